package api

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"barnabas/internal/invariant"
	"barnabas/net/socket"
)

// TestAPanicClosesTheConnectionOnly also shows that test builds do panic.
func TestAPanicClosesTheConnectionOnly(t *testing.T) {
	var out bytes.Buffer
	a := New(Options{Logger: slog.New(slog.NewTextHandler(&out, nil))})
	e := &entry{serve: func(*API, context.Context, *socket.Request) socket.Reply { panic("bug") }}
	panicked := func() (yes bool) {
		defer func() { yes = recover() != nil }()
		a.guarded(t.Context(), e, &socket.Request{})
		return false
	}()
	if panicked != invariant.Enabled {
		t.Errorf("panicked: %v, want %v", panicked, invariant.Enabled)
	}
	if logged := strings.Contains(out.String(), "this is a bug"); logged == invariant.Enabled {
		t.Errorf("logged: %v", logged)
	}
}

package testcluster

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
)

// logHandler puts what a process logs into the history, as long as it lives, and
// learns from the lines who leads, and which groups are gone.
type logHandler struct {
	h     *History
	who   string
	run   int
	dead  *atomic.Bool // nil: it doesn't die
	attrs []slog.Attr
}

const (
	// leads is the message of replica.Manager that tells of a leadership.
	leads = "partition moved"
	// forgets is a group coordinator's, of a group that it has deleted.
	forgets = "group is forgotten"
)

// Enabled implements slog.Handler.
func (l *logHandler) Enabled(context.Context, slog.Level) bool {
	return l.dead == nil || !l.dead.Load()
}

// Handle implements slog.Handler.
func (l *logHandler) Handle(_ context.Context, r slog.Record) error {
	if r.Level < slog.LevelInfo && r.Message != leads {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", r.Level, r.Message)
	values := map[string]string{}
	add := func(a slog.Attr) bool {
		values[a.Key] = a.Value.String()
		fmt.Fprintf(&b, " %s=%v", a.Key, a.Value)
		return true
	}
	for _, a := range l.attrs {
		add(a)
	}
	r.Attrs(add)
	l.h.note(l.who, "%s", b.String())
	if r.Message == forgets {
		l.h.forgotten(values["group"])
	}
	if r.Message == leads && values["leads"] == "true" {
		l.h.led(fmt.Sprintf("%s (process %d)", l.who, l.run), leadership{values["topic_id"], values["partition"], values["leader_epoch"]})
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (l *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *l
	c.attrs = append(slices.Clone(l.attrs), attrs...)
	return &c
}

// WithGroup implements slog.Handler; groups are flattened.
func (l *logHandler) WithGroup(string) slog.Handler { return l }

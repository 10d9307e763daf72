package log

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"barnabas/internal/vfs"
)

// TestStall: a write, a sync, a checkpoint or a new name that does not come back
// takes its directory offline. The other directory serves on, and the broker
// stops without waiting.
func TestStall(t *testing.T) {
	stalls := map[string]func(op vfs.Op) bool{
		"appending": func(op vfs.Op) bool { return op.Kind == vfs.OpWrite && strings.HasSuffix(op.Name, ".log") },
		"syncing":   func(op vfs.Op) bool { return op.Kind == vfs.OpSync && strings.HasSuffix(op.Name, ".log") },
		"checkpoint": func(op vfs.Op) bool {
			return op.Kind == vfs.OpSync && strings.Contains(op.Name, "recovery-point")
		},
		"making": func(op vfs.Op) bool { return op.Kind == vfs.OpMkdir },
	}
	for name, match := range stalls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testStall(t, name, match)
		})
	}
}

func testStall(t *testing.T, name string, match func(op vfs.Op) bool) {
	var stalling atomic.Bool
	back := make(chan struct{})
	fs := vfs.NewFailing(vfs.NewMem(), func(op vfs.Op) error {
		if stalling.Load() && strings.HasPrefix(op.Name, "/a") && match(op) {
			<-back
		}
		return nil
	})
	down := make(chan error, 2)
	m := mustManager(t, fs, func(o *ManagerOptions) {
		o.StallTimeout, o.SyncInterval = 100*time.Millisecond, 5*time.Millisecond
		o.OnDirFailure = func(dir string, err error) { down <- err }
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		m.Run(ctx)
		close(ended)
	}()
	logs := map[string]*Log{}
	for n := range 2 {
		l, err := m.GetOrCreate(part(n), [16]byte{1}, true)
		must(t, err)
		logs[l.Dir()[:2]] = l
	}
	bad, good := logs["/a"], logs["/b"]
	appendTest(t, bad, 1, "v")
	stalling.Store(true)
	hung := make(chan error, 1)
	go func() { // the one who meets it
		if name == "making" {
			_, err := m.GetOrCreate(part(7), [16]byte{1}, true)
			hung <- err
			return
		}
		_, err := bad.AppendAsLeader(makeBatch(t, 1, "v", nil, false), 1, Client)
		hung <- err
	}()
	if err := <-down; !errors.Is(err, ErrStalled) || !strings.Contains(err.Error(), name) {
		t.Errorf("the directory is offline because %v", err)
	}
	if _, err := bad.AppendAsLeader(makeBatch(t, 1, "v", nil, false), 1, Client); !errors.Is(err, ErrOffline) {
		t.Errorf("an append to a stalled directory: %v", err)
	}
	if _, err := bad.Read(0, 100, 1, true); !errors.Is(err, ErrOffline) {
		t.Errorf("a read from a stalled directory: %v", err)
	}
	bad.SetHighWatermark(1)
	appendTest(t, good, 3, "v")
	must(t, good.Flush())
	readAll(t, good, 100)
	l, err := m.GetOrCreate(part(9), [16]byte{1}, true)
	must(t, err)
	if !strings.HasPrefix(l.Dir(), "/b") {
		t.Error("a new log in a stalled directory")
	}
	stop()
	<-ended
	must(t, m.Close())
	if m, err := OpenManager(t.Context(), ManagerOptions{FS: fs, Dirs: []string{"/b"}, Defaults: testOptions(), BootID: "boot-1"}); err != nil || !m.dirs[0].clean {
		t.Errorf("the healthy directory was not left clean: %v", err)
	}
	close(back)
	<-hung
	select {
	case err := <-down:
		t.Errorf("a second failure: %v", err)
	default:
	}
}

// TestSlowIsNoStall: what comes back in time is fine, however often.
func TestSlowIsNoStall(t *testing.T) {
	var clock atomic.Int64
	var w stopwatch
	for range 100 {
		w.start(&clock)
		for range stallTicks {
			if w.stalled(clock.Add(1)) {
				t.Fatal("stalled too early")
			}
		}
		w.stop()
	}
	w.start(&clock)
	if clock.Add(stallTicks); !w.stalled(clock.Add(1)) || w.began.Load() == 0 {
		t.Error("a stall is not found")
	}
}

package log

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log/checkpoint"
)

func openManager(t *testing.T, fs vfs.FS, change func(*ManagerOptions)) (*Manager, error) {
	t.Helper()
	o := ManagerOptions{FS: fs, Dirs: []string{"/a", "/b"}, Defaults: testOptions(), BootID: "boot-1", ProducerIDExpiration: 1 << 62}
	if change != nil {
		change(&o)
	}
	return OpenManager(t.Context(), o)
}

func mustManager(t *testing.T, fs vfs.FS, change func(*ManagerOptions)) *Manager {
	t.Helper()
	m, err := openManager(t, fs, change)
	must(t, err)
	return m
}

func part(n int) kafka.TopicPartition {
	return kafka.TopicPartition{Topic: "t", Partition: int32(n)}
}

// TestManagerLife makes logs in several directories, stops cleanly, starts,
// deletes, and starts after a kill.
func TestManagerLife(t *testing.T) {
	fs := vfs.NewMem()
	m := mustManager(t, fs, nil)
	if m.Crashed() || m.ReadMeta() != (Meta{BrokerID: -1}) {
		t.Error("a new directory has no past")
	}
	must(t, m.WriteMeta(Meta{BrokerID: 7, ClusterID: "c"}))
	must(t, m.Settle())
	id := kafka.NewTopicID()
	for n := range 4 {
		l, err := m.GetOrCreate(part(n), id, true)
		must(t, err)
		appendTest(t, l, 2, "v")
		l.SetHighWatermark(2)
	}
	for _, d := range m.Dirs() {
		if d.Logs != 2 || d.Err != nil || d.Bytes != 2*81 {
			t.Errorf("directory %+v, want 2 logs of 81 bytes", d)
		}
	}
	if _, err := openManager(t, fs, nil); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("a second manager: %v", err)
	}
	if _, err := m.GetOrCreate(part(0), kafka.NewTopicID(), false); !errors.Is(err, ErrTopicIDMismatch) {
		t.Errorf("another topic id: %v", err)
	}
	if _, err := m.GetOrCreate(part(9), id, false); !errors.Is(err, ErrMissing) {
		t.Errorf("a log that should be in a directory that is new: %v", err)
	}
	m.NoteMissing(part(9), id)
	l, _ := m.Get(part(1))
	must(t, l.IncrementStartOffset(1))
	must(t, m.Close())

	m = mustManager(t, fs, func(o *ManagerOptions) { o.BootID = "boot-2" })
	if m.Crashed() || m.ReadMeta() != (Meta{BrokerID: 7, ClusterID: "c"}) {
		t.Error("a clean stop was forgotten")
	}
	l, _ = m.Get(part(1))
	if l.StartOffset() != 1 || l.EndOffset() != 2 || l.HighWatermark() != 2 || l.TopicID() != id {
		t.Errorf("offsets %d, %d, %d after a clean stop", l.StartOffset(), l.EndOffset(), l.HighWatermark())
	}
	if _, err := m.GetOrCreate(part(9), id, false); !errors.Is(err, ErrMissing) {
		t.Errorf("the missing log was forgotten: %v", err)
	}
	if _, err := m.GetOrCreate(part(8), id, false); !errors.Is(err, ErrNotFound) {
		t.Errorf("a log that never was: %v", err)
	}
	must(t, m.Delete(part(1), "test"))
	again, err := m.GetOrCreate(part(1), kafka.NewTopicID(), true)
	must(t, err)
	if again.StartOffset() != 0 || again.EndOffset() != 0 {
		t.Error("a new log has the offsets of the deleted one")
	}
	appendTest(t, again, 2, "v")
	managerAfterKill(t, fs.CrashClone(100))
}

// managerAfterKill goes on where TestManagerLife was killed.
func managerAfterKill(t *testing.T, fs *vfs.Mem) {
	// The same boot: no crash of the machine. The deleted directory waits.
	m := mustManager(t, fs, func(o *ManagerOptions) { o.BootID = "boot-2" })
	l, _ := m.Get(part(1))
	if m.Crashed() || l.EndOffset() != 2 || l.StartOffset() != 0 {
		t.Errorf("after a kill: crashed %v, offsets %d to %d", m.Crashed(), l.StartOffset(), l.EndOffset())
	}
	if n := len(m.dirs[0].graves) + len(m.dirs[1].graves); n != 1 {
		t.Errorf("%d directories wait for their deletion, want 1", n)
	}

	// The machine went down: said until confirmed, over a clean stop too.
	fs = fs.CrashClone(100)
	for range 2 {
		m = mustManager(t, fs, func(o *ManagerOptions) { o.BootID = "boot-3" })
		if !m.Crashed() {
			t.Error("crash of the machine not seen")
		}
		must(t, m.Close())
	}
	m = mustManager(t, fs, func(o *ManagerOptions) { o.BootID = "boot-3" })
	must(t, m.ConfirmCrash())
	must(t, m.Close())
	if m = mustManager(t, fs, func(o *ManagerOptions) { o.BootID = "boot-3" }); m.Crashed() {
		t.Error("crash told again after it was confirmed")
	}
	must(t, m.Close())
}

// TestManagerRefuses starts on directories that an operator must put right.
func TestManagerRefuses(t *testing.T) {
	meta := func(fs *vfs.Mem, dir string, m checkpoint.Meta) error {
		return checkpoint.WriteMeta(fs, path.Join(dir, checkpoint.MetaPropertiesFile), m, time.Unix(0, 0))
	}
	for name, c := range map[string]struct {
		prepare func(fs *vfs.Mem) error
		want    string
	}{
		"strange directory": {func(fs *vfs.Mem) error { return fs.MkdirAll("/a/lost+found") }, "should only contain Kafka topic data"},
		"two places": {func(fs *vfs.Mem) error {
			return errors.Join(fs.MkdirAll("/a/t-0"), fs.MkdirAll("/b/t-0"))
		}, "two directories"},
		"broker ids": {func(fs *vfs.Mem) error {
			return errors.Join(meta(fs, "/a", checkpoint.Meta{BrokerID: 1}), meta(fs, "/b", checkpoint.Meta{BrokerID: 2}))
		}, "disagree"},
		"KRaft": {func(fs *vfs.Mem) error { return meta(fs, "/a", checkpoint.Meta{Version: 1, BrokerID: 1}) }, "KRaft"},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			must(t, errors.Join(fs.MkdirAll("/a"), fs.MkdirAll("/b"), c.prepare(fs)))
			if _, err := openManager(t, fs, nil); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want one with %q", err, c.want)
			}
		})
	}
	t.Run("left alone", func(t *testing.T) {
		fs := vfs.NewMem()
		hex := strings.Repeat("0", 32)
		for _, name := range []string{"t-1." + hex + "-delete", "t-2." + hex + "-stray", "t-3." + hex + "-future", indexCacheDir, "__cluster_metadata-0"} {
			must(t, fs.MkdirAll("/a/"+name))
		}
		m := mustManager(t, fs, nil)
		if _, ok := m.Future(part(3)); !ok || len(m.logs) != 0 || len(m.dirs[0].graves) != 1 {
			t.Errorf("%d logs and %d to delete, want 0 and 1, and a copy: %v", len(m.logs), len(m.dirs[0].graves), ok)
		}
		must(t, m.Close())
	})
	t.Run("checked first", func(t *testing.T) {
		fs := vfs.NewMem()
		bad := errors.New("another cluster")
		if _, err := openManager(t, fs, func(o *ManagerOptions) { o.CheckMeta = func(Meta) error { return bad } }); !errors.Is(err, bad) {
			t.Errorf("got %v", err)
		}
	})
}

// TestManagerOffline fails a sync in one directory: it is offline with its logs,
// the other goes on, and nothing writes a clean marker over it.
func TestManagerOffline(t *testing.T) {
	mem := vfs.NewMem()
	broken := errors.New("input/output error")
	var failing atomic.Bool
	fs := vfs.NewFailing(mem, func(op vfs.Op) error {
		if failing.Load() && op.Kind == vfs.OpSync && strings.HasPrefix(op.Name, "/a/") {
			return broken
		}
		return nil
	})
	var told []string
	m := mustManager(t, fs, func(o *ManagerOptions) {
		o.OnDirFailure = func(dir string, err error) { told = append(told, dir+": "+err.Error()) }
	})
	a, err := m.GetOrCreate(part(0), kafka.TopicID{}, true)
	must(t, err)
	b, err := m.GetOrCreate(part(1), kafka.TopicID{}, true)
	must(t, err)
	c, err := m.GetOrCreate(part(2), kafka.TopicID{}, true)
	must(t, err)
	appendTest(t, a, 1, "v")
	failing.Store(true)
	if err := a.Flush(); !errors.Is(err, ErrOffline) || !errors.Is(err, broken) {
		t.Fatalf("flush: %v", err)
	}
	if _, err := c.AppendAsLeader(makeBatch(t, 1, "v", nil, false), 1, Client); !errors.Is(err, ErrOffline) {
		t.Errorf("append to another log of the directory: %v", err)
	}
	appendTest(t, b, 1, "v")
	must(t, b.Flush())
	if len(told) != 1 || !strings.HasPrefix(told[0], "/a: ") {
		t.Errorf("told %q", told)
	}
	if _, err := m.GetOrCreate(part(8), kafka.TopicID{}, false); !errors.Is(err, ErrOffline) {
		t.Errorf("a log that may be in the offline directory: %v", err)
	}
	if l, err := m.GetOrCreate(part(9), kafka.TopicID{}, true); err != nil || !strings.HasPrefix(l.Dir(), "/b/") {
		t.Errorf("a new log: %v", err)
	}
	must(t, m.Close())
	for dir, want := range map[string]bool{"/a": false, "/b": true} {
		if ok, _ := exists(mem, path.Join(dir, checkpoint.CleanShutdownFile)); ok != want {
			t.Errorf("clean marker in %s: %v", dir, ok)
		}
	}
}

// TestManagerRun lets the background work for minutes of fake time.
func TestManagerRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		var logged bytes.Buffer
		o := testOptions()
		o.RetentionAge, o.SegmentBytes = time.Hour, 200
		m := mustManager(t, fs, func(mo *ManagerOptions) {
			mo.Dirs, mo.Defaults = []string{"/a"}, o
			mo.Logger = slog.New(slog.NewTextHandler(&logged, nil))
		})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- m.Run(ctx) }()
		l, err := m.GetOrCreate(part(0), kafka.NewTopicID(), true)
		must(t, err)
		for range 5 {
			appendTest(t, l, 1, "v") // dated 2023: in the future of the fake clock
		}
		l.SetHighWatermark(5)
		time.Sleep(6 * time.Second)
		synctest.Wait()
		saved, err := checkpoint.ReadOffsets(fs, "/a/"+checkpoint.RecoveryPointFile)
		must(t, err)
		if saved[part(0)] != 5 || l.RecoveryPoint() != 5 {
			t.Errorf("recovery point %d, on disk %d, want 5", l.RecoveryPoint(), saved[part(0)])
		}
		watermarks, err := checkpoint.ReadOffsets(fs, "/a/"+checkpoint.HighWatermarkFile)
		must(t, err)
		if watermarks[part(0)] != 5 {
			t.Errorf("high watermark on disk %d, want 5", watermarks[part(0)])
		}
		// The files' time decides for records of the future; they are named once.
		time.Sleep(70 * time.Minute)
		synctest.Wait()
		if l.StartOffset() != 5 || l.Segments() != 1 {
			t.Errorf("start %d, %d segments after the retention, want 5 and 1", l.StartOffset(), l.Segments())
		}
		if n := strings.Count(logged.String(), "record dated in the future"); n != 3 {
			t.Errorf("%d segments named, want 3:\n%s", n, logged.String())
		}
		must(t, m.Delete(part(0), "test"))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		names, err := fs.List("/a")
		must(t, err)
		if i := strings.Index(strings.Join(names, " "), "-delete"); i >= 0 {
			t.Errorf("deleted directory still there: %v", names)
		}
		stop()
		must(t, <-ended)
		must(t, m.Close())
	})
}

package log

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
)

// brokenDir lets everything in a directory fail.
func brokenDir(fs vfs.FS, dir string) vfs.FS {
	return vfs.NewFailing(fs, func(op vfs.Op) error {
		if strings.HasPrefix(op.Name, dir) {
			return syscall.EIO
		}
		return nil
	})
}

// TestMadeWhileADirectoryIsOffline: the directory comes back with an older log of the
// partition, which is set aside; the start does not have to ask which one counts.
// Afterwards the log can be moved there.
func TestMadeWhileADirectoryIsOffline(t *testing.T) {
	mem := vfs.NewMem()
	old, young := kafka.TopicID{7}, kafka.TopicID{8}
	m := mustManager(t, mem, nil)
	must(t, m.WriteMeta(Meta{BrokerID: 1}))
	must(t, m.Prefer(part(0), "/a"))
	l, err := m.GetOrCreate(part(0), old, true)
	must(t, err)
	appendTest(t, l, 3, "old")
	must(t, m.Close())

	m = mustManager(t, brokenDir(mem, "/a"), nil)
	l, err = m.GetOrCreate(part(0), young, true)
	must(t, err)
	appendTest(t, l, 1, "young")
	must(t, m.Close())

	for range 2 {
		m = mustManager(t, mem, nil)
		l, ok := m.Get(part(0))
		if !ok || l.TopicID() != young || l.EndOffset() != 1 || l.Dir() != "/b/t-0" {
			t.Fatalf("got %v", l)
		}
		names, err := mem.List("/a")
		must(t, err)
		strays := 0
		for _, name := range names {
			if strayName.MatchString(name) {
				strays++
			}
		}
		if strays != 1 {
			t.Errorf("the old log is not kept: %q", names)
		}
		must(t, m.Close())
	}

	// Moved to /a: neither may say any more that it replaces the other's.
	m = mustManager(t, mem, nil)
	begun, err := m.BeginMove(part(0), "/a")
	if err != nil || !begun {
		t.Fatal(begun, err)
	}
	cur, _ := m.Get(part(0))
	future, _ := m.Future(part(0))
	r, err := cur.Read(0, 1<<20, 1, true)
	must(t, err)
	recs := make([]byte, r.Range.Length)
	_, err = r.Range.File.ReadAt(recs, r.Range.Offset)
	must(t, err)
	r.Range.Release()
	_, err = future.AppendAsFollower(recs)
	must(t, err)
	stop := errors.New("killed")
	m.o.FS = vfs.NewFailing(mem, func(op vfs.Op) error { // before the old one goes
		if op.Kind == vfs.OpRename && op.Name == "/b/t-0" {
			return stop
		}
		return nil
	})
	_, err = m.Swap(part(0))
	must(t, err)
	m = mustManager(t, mem.CrashClone(100), nil)
	if l, ok := m.Get(part(0)); !ok || l.Dir() != "/a/t-0" || l.TopicID() != young || l.EndOffset() != 1 {
		t.Errorf("after a move that was cut short: %v", l)
	}
	must(t, m.Close())
}

// TestMadeInPart: a log that could be made in part only, since the disk is full, is
// made in the same directory later, though another one has fewer.
func TestMadeInPart(t *testing.T) {
	mem := vfs.NewMem()
	full := false
	fs := vfs.NewFailing(mem, func(op vfs.Op) error {
		if full && strings.HasPrefix(op.Name, "/a/") && (op.Kind == vfs.OpWrite || op.Kind == vfs.OpCreate) {
			return syscall.ENOSPC
		}
		return nil
	})
	m := mustManager(t, fs, nil)
	must(t, m.WriteMeta(Meta{BrokerID: 1}))
	full = true
	if _, err := m.GetOrCreate(part(0), kafka.TopicID{7}, true); !errors.Is(err, ErrNoRoom) { // in /a, the first
		t.Fatalf("got %v", err)
	}
	for n := 1; n < 4; n++ {
		must(t, m.Prefer(part(n), "/b"))
		_, err := m.GetOrCreate(part(n), kafka.TopicID{7}, true)
		must(t, err)
	}
	full = false
	must(t, m.Delete(part(1), "test"))
	must(t, m.Delete(part(2), "test"))
	must(t, m.Delete(part(3), "test"))
	must(t, m.Prefer(part(4), "/a"))
	_, err := m.GetOrCreate(part(4), kafka.TopicID{7}, true)
	must(t, err)
	_, err = m.GetOrCreate(part(0), kafka.TopicID{7}, true) // /b has none
	must(t, err)
	must(t, m.Close())
	m = mustManager(t, mem, nil)
	if _, ok := m.Get(part(0)); !ok {
		t.Error("it is gone")
	}
	must(t, m.Close())
}

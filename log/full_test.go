package log

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log/checkpoint"
)

// fullDisk is a manager of one directory with one log of some segments, and its disk.
func fullDisk(t *testing.T) (*Manager, *Log, *smallDisk) {
	t.Helper()
	d := newSmallDisk(vfs.NewMem(), 1<<30, 1<<30)
	m := mustManager(t, d, func(o *ManagerOptions) { o.Dirs = []string{"/a"} })
	must(t, m.WriteMeta(Meta{BrokerID: 1}))
	l, err := m.GetOrCreate(part(0), kafka.NewTopicID(), true)
	must(t, err)
	for range 40 {
		appendTest(t, l, 1, "a value of some length, so that the index gets entries")
	}
	return m, l, d
}

// TestDeletedOnAFullDisk: a deletion is what makes room; that the indexes lack room
// for their last entries is no failure of the directory.
func TestDeletedOnAFullDisk(t *testing.T) {
	for name, away := range map[string]func(*Manager) error{
		"deleted":   func(m *Manager) error { return m.Delete(part(0), "test") },
		"set aside": func(m *Manager) error { return m.SetAside(part(0), "test") },
	} {
		t.Run(name, func(t *testing.T) {
			m, _, d := fullDisk(t)
			d.setFree(0)
			if err := away(m); err != nil {
				t.Error(err)
			}
			if err := m.dirs[0].failure.get(); err != nil {
				t.Errorf("the directory is offline: %v", err)
			}
			d.setFree(1 << 20)
			must(t, m.Close())
		})
	}
}

// TestTruncatedOnAFullDisk: where the lower recovery point can't be saved nothing is
// cut, now or at the next try, and the directory stays.
func TestTruncatedOnAFullDisk(t *testing.T) {
	m, l, d := fullDisk(t)
	must(t, l.Flush())
	must(t, m.dirs[0].saveRecoveryPoints(m))
	const to = 3
	for _, free := range []int64{0, 0, 1 << 20} {
		d.setFree(free)
		err := l.TruncateTo(to)
		saved, rerr := checkpoint.ReadOffsets(d.mem, "/a/"+checkpoint.RecoveryPointFile)
		must(t, rerr)
		switch {
		case m.dirs[0].failure.get() != nil:
			t.Fatalf("the directory is offline: %v", m.dirs[0].failure.get())
		case free == 0 && (!errors.Is(err, ErrNoRoom) || l.EndOffset() != 40):
			t.Errorf("on a full disk: %v, and the end is %d", err, l.EndOffset())
		case free > 0 && (err != nil || l.EndOffset() != to):
			t.Errorf("with room: %v, and the end is %d", err, l.EndOffset())
		}
		if saved[part(0)] > l.EndOffset() {
			t.Fatalf("the log ends at %d, and the saved recovery point is %d", l.EndOffset(), saved[part(0)])
		}
	}
	must(t, m.Close())
}

// TestMadeInOneDirectory: a log that could be made but for its topic's id is made to
// the end where it is, though another directory has fewer logs by then.
func TestMadeInOneDirectory(t *testing.T) {
	var full atomic.Bool
	mem := vfs.NewMem()
	m := mustManager(t, vfs.NewFailing(mem, func(op vfs.Op) error {
		if full.Load() && op.Kind == vfs.OpCreate && strings.Contains(op.Name, checkpoint.PartitionMetadataFile) {
			return syscall.ENOSPC
		}
		return nil
	}), nil)
	id := kafka.NewTopicID()
	full.Store(true)
	if _, err := m.GetOrCreate(part(0), id, true); !errors.Is(err, ErrNoRoom) {
		t.Fatalf("got %v, want ErrNoRoom", err)
	}
	full.Store(false)
	_, err := m.GetOrCreate(part(1), id, true) // goes to the first directory
	must(t, err)
	_, err = m.GetOrCreate(part(0), id, true)
	must(t, err)
	must(t, m.Close())
	must(t, mustManager(t, mem, nil).Close())
}

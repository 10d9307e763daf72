package log

import (
	"errors"
	"testing"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log/checkpoint"
)

// TestBirthNeedsNoSync: a topic of some thousand partitions is made without waiting
// for the disk once for each. What a record needs is durable before it, and what
// names a log is after the log's name.
func TestBirthNeedsNoSync(t *testing.T) {
	mem := vfs.NewMem()
	syncs := 0
	fs := vfs.NewFailing(mem, func(op vfs.Op) error {
		if op.Kind == vfs.OpSync || op.Kind == vfs.OpSyncDir {
			syncs++
		}
		return nil
	})
	m := mustManager(t, fs, func(o *ManagerOptions) { o.Dirs = []string{"/a"} })
	defer m.Close()
	id := kafka.NewTopicID()
	syncs = 0
	for n := range 20 {
		l, err := m.GetOrCreate(part(n), id, true)
		must(t, err)
		must(t, l.AssignEpoch(3, 0))
	}
	if syncs != 0 {
		t.Errorf("%d syncs for 20 logs", syncs)
	}

	// The first record waits for the topic id, but not for the name of the log.
	l, _ := m.Get(part(7))
	appendEpoch(t, l, 3)
	if kept, err := checkpoint.ReadPartitionMetadata(syncedChildren(t, mem, "/a"), "/a/t-7/partition.metadata"); err != nil || kept != id {
		t.Errorf("the topic id before the first record: %v, %v", kept, err)
	}

	// A checkpoint names logs that are there.
	syncs = 0
	must(t, m.dirs[0].saveRecoveryPoints(m))
	after := mem.CrashClone(0)
	for n := range 20 {
		if _, err := after.Stat("/a/" + part(n).String()); err != nil {
			t.Errorf("a checkpoint names %s: %v", part(n), err)
		}
	}
	if syncs > 4 {
		t.Errorf("%d syncs for a checkpoint", syncs)
	}

	// A flush leaves the epochs behind it.
	must(t, l.Flush())
	epochs, err := checkpoint.ReadEpochs(mem.CrashClone(0), "/a/t-7/leader-epoch-checkpoint")
	if err != nil || len(epochs) != 1 || epochs[0].Epoch != 3 {
		t.Errorf("epochs after a flush: %v, %v", epochs, err)
	}
}

// syncedChildren is the world after a crash, if the names in dir survive it.
func syncedChildren(t *testing.T, mem *vfs.Mem, dir string) *vfs.Mem {
	t.Helper()
	must(t, mem.SyncDir(dir))
	return mem.CrashClone(0)
}

func appendEpoch(t *testing.T, l *Log, e kafka.LeaderEpoch) {
	t.Helper()
	_, err := l.AppendAsLeader(makeBatch(t, 1, "v", nil, false), e, Client)
	must(t, err)
}

// TestKilledBeforeTheFirstRecord: the process ends before the topic id is durable;
// the next one makes it so before it takes a record.
func TestKilledBeforeTheFirstRecord(t *testing.T) {
	mem := vfs.NewMem()
	one := func(o *ManagerOptions) { o.Dirs = []string{"/a"} }
	id := kafka.NewTopicID()
	m := mustManager(t, mem, one)
	_, err := m.GetOrCreate(part(0), id, true)
	must(t, err)
	m = mustManager(t, mem.CrashClone(100), one) // what a killed process leaves
	defer m.Close()
	l, ok := m.Get(part(0))
	if !ok || l.TopicID() != id {
		t.Fatal("the log is not there as it was")
	}
	if !l.idUnsynced {
		t.Error("nobody may have synced the topic id, and it counts as durable")
	}
	appendEpoch(t, l, 1)
	if l.idUnsynced {
		t.Error("a record came before the topic id was durable")
	}
}

// TestNoSyncNoRecord: where the topic id can't be made durable, nothing is stored.
func TestNoSyncNoRecord(t *testing.T) {
	failing := false
	fs := vfs.NewFailing(vfs.NewMem(), func(op vfs.Op) error {
		if failing && op.Kind == vfs.OpSync {
			return errors.New("the disk is gone")
		}
		return nil
	})
	m := mustManager(t, fs, func(o *ManagerOptions) { o.Dirs = []string{"/a"} })
	defer m.Close()
	l, err := m.GetOrCreate(part(0), kafka.NewTopicID(), true)
	must(t, err)
	failing = true
	if _, err := l.AppendAsLeader(makeBatch(t, 1, "v", nil, false), 1, Client); !errors.Is(err, ErrOffline) || l.EndOffset() != 0 {
		t.Errorf("got %v and an end of %d", err, l.EndOffset())
	}
}

// BenchmarkCreate makes the logs of a topic's partitions on a real file system.
func BenchmarkCreate(b *testing.B) {
	m, err := OpenManager(b.Context(), ManagerOptions{FS: vfs.OS, Dirs: []string{b.TempDir()}, Defaults: testOptions(), BootID: "boot-1"})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	id := kafka.NewTopicID()
	n := 0
	for b.Loop() {
		l, err := m.GetOrCreate(part(n), id, true)
		if err == nil {
			err = l.AssignEpoch(0, 0)
		}
		if err != nil {
			b.Fatal(err)
		}
		n++
	}
}

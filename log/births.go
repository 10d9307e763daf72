package log

import (
	"sync"
	"sync/atomic"

	"barnabas/internal/vfs"
)

// births are the directories of new logs in a log directory whose names are not
// durable yet. A sync of the parent for each would take a commit of the file
// system's journal a partition, seconds for a topic of some thousand; one at the
// first flush, or before a checkpoint that names them, is enough for all: until
// then they hold nothing durable, and a replica whose machine crashed is not
// trusted anyway (docs/coordination.md §7).
type births struct {
	made atomic.Int64 // how many there were

	mu     sync.Mutex   // held while the parent is synced
	synced atomic.Int64 // how many of them are durable
}

func (b *births) note() { b.made.Add(1) }

// sync makes the names durable that were noted before; parent is the log
// directory.
func (b *births) sync(fs vfs.FS, parent string) error {
	want := b.made.Load()
	if b.synced.Load() >= want {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.synced.Load() >= want { // somebody was quicker
		return nil
	}
	all := b.made.Load()
	if err := fs.SyncDir(parent); err != nil {
		return err
	}
	b.synced.Store(all)
	return nil
}

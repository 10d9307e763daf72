package testcluster

import (
	"sync"
	"syscall"

	"barnabas/internal/vfs"
)

// dataDir is the log directory of each broker, on its own disk.
const dataDir = "/data"

// disk is the disk of a machine.
type disk struct {
	mu       sync.Mutex // guards following
	mem      *vfs.Mem
	full     bool // writes beyond what is there fail
	failSync bool // the next Sync fails
}

func newDisk() *disk { return &disk{mem: vfs.NewMem()} }

// fs is the disk as a process sees it.
func (d *disk) fs() vfs.FS {
	d.mu.Lock()
	defer d.mu.Unlock()
	return vfs.NewFailing(d.mem, d.fail)
}

func (d *disk) fail(op vfs.Op) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch op.Kind {
	case vfs.OpWrite, vfs.OpCreate, vfs.OpMkdir, vfs.OpPreallocate:
		if d.full {
			return syscall.ENOSPC
		}
	case vfs.OpSync:
		if d.failSync {
			d.failSync = false
			return syscall.EIO
		}
	}
	return nil
}

func (d *disk) setFull(full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = full
}

// failNextSync lets one fdatasync fail.
func (d *disk) failNextSync() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failSync = true
}

// crash leaves what a power failure would.
func (d *disk) crash(keep int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mem = d.mem.CrashClone(keep)
	d.failSync = false
}

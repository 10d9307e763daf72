package testcluster

import (
	"strings"
	"sync"
	"syscall"

	"barnabas/internal/vfs"
)

// dataDirs are the log directories of each broker, each on a disk of its own.
var dataDirs = []string{"/data", "/more"}

// disk has the disks of a machine.
type disk struct {
	dirs []string

	mu     sync.Mutex // guards following
	mem    *vfs.Mem
	states map[string]*dirState
	// hurt: a broker has met an error, so that a directory may be offline until it is
	// started again.
	hurt bool
}

// dirState is how one of the disks is.
type dirState struct {
	full     bool // writes beyond what is there fail
	failSync bool // the next Sync fails
	broken   bool // everything fails
}

func newDisk(dirs int) *disk {
	d := &disk{dirs: dataDirs[:dirs], mem: vfs.NewMem(), states: map[string]*dirState{}}
	for _, name := range d.dirs {
		d.states[name] = &dirState{}
	}
	return d
}

// fs is the disk as a process sees it.
func (d *disk) fs() vfs.FS {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hurt = false
	return vfs.NewFailing(d.mem, d.fail)
}

// whole is the disk as somebody sees it who looks at it afterwards.
func (d *disk) whole() vfs.FS {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mem
}

func (d *disk) stateLocked(name string) *dirState {
	for _, dir := range d.dirs {
		if name == dir || strings.HasPrefix(name, dir+"/") {
			return d.states[dir]
		}
	}
	return &dirState{}
}

func (d *disk) fail(op vfs.Op) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.stateLocked(op.Name)
	if s.broken && op.Kind != vfs.OpClose {
		d.hurt = true
		return syscall.EIO
	}
	switch op.Kind {
	case vfs.OpWrite, vfs.OpPreallocate:
		if s.full {
			d.hurt = d.hurt || len(d.dirs) > 1 // a truncation that finds no room (docs/disks.md)
			return syscall.ENOSPC
		}
	case vfs.OpCreate, vfs.OpMkdir: // of what is there they need no room
		if s.full {
			if _, err := d.mem.Stat(op.Name); err != nil {
				return syscall.ENOSPC
			}
		}
	case vfs.OpSync:
		if s.failSync {
			s.failSync, d.hurt = false, true
			return syscall.EIO
		}
	}
	return nil
}

// set changes how one of the disks is.
func (d *disk) set(dir string, change func(*dirState)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d.states[dir])
}

// setFull fills all disks, or empties them somewhat.
func (d *disk) setFull(full bool) {
	for _, dir := range d.dirs {
		d.set(dir, func(s *dirState) { s.full = full })
	}
}

// failNextSync lets one fdatasync fail.
func (d *disk) failNextSync() { d.set(d.dirs[0], func(s *dirState) { s.failSync = true }) }

// mend ends what is wrong with the disks, and reports whether the broker must be
// started again to use them.
func (d *disk) mend() (hurt bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.states {
		*s = dirState{}
	}
	return d.hurt
}

// crash leaves what a power failure would.
func (d *disk) crash(keep int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mem = d.mem.CrashClone(keep)
	for _, s := range d.states {
		s.failSync = false
	}
}

package vfs

import (
	"io"
	"io/fs"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
)

// memFile is an open file of a Mem. A removed or replaced file stays readable
// and writable by who has it open, as on Unix.
type memFile struct {
	m        *Mem
	n        *memNode
	name     string
	readOnly bool
	closed   atomic.Bool
}

func (f *memFile) check(op string, write bool) error {
	switch {
	case f.closed.Load():
		return pathError(op, f.name, fs.ErrClosed)
	case write && f.readOnly:
		return pathError(op, f.name, syscall.EBADF)
	}
	return nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.check("read", false); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathError("read", f.name, syscall.EINVAL)
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.check("write", true); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathError("write", f.name, syscall.EINVAL)
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	f.n.resize(max(len(f.n.data), int(off)+len(p)))
	copy(f.n.data[off:], p)
	f.n.dirty = min(f.n.dirty, int(off))
	f.n.mtime = time.Now()
	return len(p), nil
}

// resize sets the length; what is added is zero.
func (n *memNode) resize(size int) {
	old := len(n.data)
	if size <= old {
		n.dirty = min(n.dirty, size)
		clear(n.data[size:]) // so that growing again shows zeros
		n.data = n.data[:size]
		return
	}
	n.dirty = min(n.dirty, old)
	n.data = slices.Grow(n.data, size-old)[:size]
	clear(n.data[old:])
}

func (f *memFile) Close() error {
	if f.closed.Swap(true) {
		return pathError("close", f.name, fs.ErrClosed)
	}
	return nil
}

func (f *memFile) Name() string { return f.name }

func (f *memFile) Size() (int64, error) {
	if err := f.check("stat", false); err != nil {
		return 0, err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return int64(len(f.n.data)), nil
}

func (f *memFile) ModTime() (time.Time, error) {
	if err := f.check("stat", false); err != nil {
		return time.Time{}, err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.n.mtime, nil
}

func (f *memFile) Truncate(size int64) error {
	if err := f.check("truncate", true); err != nil {
		return err
	}
	if size < 0 {
		return pathError("truncate", f.name, syscall.EINVAL)
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.n.resize(int(size))
	f.n.mtime = time.Now()
	return nil
}

func (f *memFile) Preallocate(off, length int64) error {
	if err := f.check("fallocate", true); err != nil {
		return err
	}
	if off < 0 || length <= 0 {
		return pathError("fallocate", f.name, syscall.EINVAL)
	}
	return nil
}

func (f *memFile) Sync() error {
	if err := f.check("fdatasync", false); err != nil {
		return err
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	n := f.n
	// Only what changed is copied: a log is synced often and grows at its end.
	keep := min(n.dirty, len(n.synced), len(n.data))
	n.synced = append(n.synced[:keep], n.data[keep:]...)
	n.dirty = len(n.data)
	return nil
}

package vfs

import (
	"errors"
	"io"
	"sync"
	"time"
)

// ErrDead is what a process gets from its files after its end.
var ErrDead = errors.New("vfs: the process that opened this is dead")

// Mortal is a file system as one process has it: after End nothing is written
// through it, and its locks are free. Reading goes on: nobody can see it any more.
// It is for tests that kill a broker inside their own process.
type Mortal struct {
	FS

	mu    sync.RWMutex // held for reading while something is written; guards following
	dead  bool
	locks []io.Closer
}

// NewMortal gives a process its view of fs.
func NewMortal(fs FS) *Mortal { return &Mortal{FS: fs} }

// End kills: when it returns nothing more is written.
func (m *Mortal) End() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
	for _, l := range m.locks {
		_ = l.Close() // of a dead one
	}
	m.locks = nil
}

// Do runs f unless the process is dead; while f runs it lives.
func (m *Mortal) Do(f func() error) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.dead {
		return ErrDead
	}
	return f()
}

func (m *Mortal) file(open func(string) (File, error), name string) (f File, err error) {
	err = m.Do(func() error {
		f, err = open(name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &mortalFile{f, m}, nil
}

// Open implements FS.
func (m *Mortal) Open(name string) (File, error) { return m.file(m.FS.Open, name) }

// OpenReadWrite implements FS.
func (m *Mortal) OpenReadWrite(name string) (File, error) { return m.file(m.FS.OpenReadWrite, name) }

// Create implements FS.
func (m *Mortal) Create(name string) (File, error) { return m.file(m.FS.Create, name) }

// Remove implements FS.
func (m *Mortal) Remove(name string) error {
	return m.Do(func() error { return m.FS.Remove(name) })
}

// RemoveAll implements FS.
func (m *Mortal) RemoveAll(name string) error {
	return m.Do(func() error { return m.FS.RemoveAll(name) })
}

// Rename implements FS.
func (m *Mortal) Rename(oldname, newname string) error {
	return m.Do(func() error { return m.FS.Rename(oldname, newname) })
}

// MkdirAll implements FS.
func (m *Mortal) MkdirAll(name string) error {
	return m.Do(func() error { return m.FS.MkdirAll(name) })
}

// Chtimes implements FS.
func (m *Mortal) Chtimes(name string, mtime time.Time) error {
	return m.Do(func() error { return m.FS.Chtimes(name, mtime) })
}

// SyncDir implements FS.
func (m *Mortal) SyncDir(dir string) error {
	return m.Do(func() error { return m.FS.SyncDir(dir) })
}

// Lock implements FS.
func (m *Mortal) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return nil, ErrDead
	}
	c, err := m.FS.Lock(name)
	if err != nil {
		return nil, err
	}
	lock := &onceCloser{Closer: c}
	m.locks = append(m.locks, lock)
	return lock, nil
}

// onceCloser is closed by the end or by its owner, and the file may be another's
// between the two.
type onceCloser struct {
	io.Closer
	once sync.Once
	err  error
}

func (c *onceCloser) Close() error {
	c.once.Do(func() { c.err = c.Closer.Close() })
	return c.err
}

// mortalFile is written to only while its process lives.
type mortalFile struct {
	File
	m *Mortal
}

func (f *mortalFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.m.Do(func() error {
		n, err = f.File.WriteAt(p, off)
		return err
	})
	return n, err
}

func (f *mortalFile) Truncate(size int64) error {
	return f.m.Do(func() error { return f.File.Truncate(size) })
}

func (f *mortalFile) Preallocate(off, length int64) error {
	return f.m.Do(func() error { return f.File.Preallocate(off, length) })
}

func (f *mortalFile) Sync() error { return f.m.Do(f.File.Sync) }

// Unwrap gives the file, for those who look for its descriptor.
func (f *mortalFile) Unwrap() File { return f.File }

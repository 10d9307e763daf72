// Package vfs is the door to files: everything that the log stores goes through
// an FS, so that a test can hold files in memory, lose what was not synced, or
// fail the Nth write. OS is the real one.
//
// Paths are slash-separated and given as the operating system takes them.
// Errors wrap fs.ErrNotExist, fs.ErrExist and the operating system's own.
package vfs

import (
	"errors"
	"io"
	"io/fs"
	"syscall"
	"time"
)

// FS opens, names and removes files.
type FS interface {
	// Open opens an existing file for reading.
	Open(name string) (File, error)
	// OpenReadWrite opens a file for reading and writing and creates it, empty,
	// if there is none.
	OpenReadWrite(name string) (File, error)
	// Create makes an empty file for reading and writing; what was there is
	// gone.
	Create(name string) (File, error)
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// RemoveAll removes name and all below it; nothing there is no error.
	RemoveAll(name string) error
	// Rename replaces newname by oldname at once. It is durable after SyncDir of
	// the parent.
	Rename(oldname, newname string) error
	// MkdirAll makes a directory and its parents.
	MkdirAll(name string) error
	// List returns the names in a directory, sorted.
	List(dir string) ([]string, error)
	// Stat describes a file or directory.
	Stat(name string) (fs.FileInfo, error)
	// Chtimes sets the modification time.
	Chtimes(name string, mtime time.Time) error
	// SyncDir makes the names in a directory durable.
	SyncDir(dir string) error
	// Lock creates name and holds an exclusive lock on it until the closer is
	// closed. It fails with ErrLocked while another process holds it.
	Lock(name string) (io.Closer, error)
	// Usage tells the room on the file system that holds dir.
	Usage(dir string) (Usage, error)
}

// File is an open file. ReadAt and WriteAt may be called by many goroutines;
// WriteAt does not keep p.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Name is the path that the file was opened by.
	Name() string
	// Size is the present length in bytes.
	Size() (int64, error)
	// ModTime is the time of the last write.
	ModTime() (time.Time, error)
	// Truncate sets the length; preallocated room beyond it is released.
	Truncate(size int64) error
	// Preallocate reserves room for [off, off+length) without changing the
	// file's length (fallocate, KEEP_SIZE). Unsupported is not an error.
	Preallocate(off, length int64) error
	// Sync makes the data, and the metadata needed to read them, durable
	// (fdatasync). After an error the state of the file is unknown: it must not
	// be called again on it.
	Sync() error
}

// Usage is the room of a file system, in bytes.
type Usage struct {
	Total, Free int64
}

// A Range is a piece of an open file that is to be sent. Whoever holds it keeps
// the file readable; Release gives it back, exactly once.
type Range struct {
	File           File
	Offset, Length int64
	// OnRelease is called by Release; nil means nothing to do.
	OnRelease func()
}

// Release gives the range back.
func (r *Range) Release() {
	if f := r.OnRelease; f != nil {
		r.OnRelease = nil
		f()
	}
}

// ErrLocked is returned by Lock while another process holds the lock.
var ErrLocked = errors.New("vfs: locked by another process")

// ErrSync marks a failed Sync in an error's chain: after one nobody knows what
// the file holds, whatever the reason was.
var ErrSync = errors.New("vfs: sync failed")

// NoSpace tells whether err says that a write or a new name found no room (disk
// or quota), or an opening no free descriptor: a shortage that may pass, not a
// disk that is broken. What had been there is unchanged then; of a write, a part
// may have been done. A failed Sync is never that.
func NoSpace(err error) bool {
	return (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)) && !errors.Is(err, ErrSync) || NoDescriptor(err)
}

// NoDescriptor tells whether err says that a file could not be opened because
// the process, or the machine, has too many open: it was not touched.
func NoDescriptor(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

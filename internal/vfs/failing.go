package vfs

import (
	"io"
	"io/fs"
	"time"
)

// OpKind is what is about to be done to a file system.
type OpKind string

// The operations that a Failing file system asks about.
const (
	OpOpen        OpKind = "open"
	OpCreate      OpKind = "create" // OpenReadWrite and Create
	OpRemove      OpKind = "remove" // Remove and RemoveAll
	OpRename      OpKind = "rename"
	OpMkdir       OpKind = "mkdir"
	OpList        OpKind = "list"
	OpStat        OpKind = "stat"
	OpChtimes     OpKind = "chtimes"
	OpSyncDir     OpKind = "syncdir"
	OpLock        OpKind = "lock"
	OpUsage       OpKind = "usage"
	OpRead        OpKind = "read"
	OpWrite       OpKind = "write"
	OpClose       OpKind = "close"
	OpTruncate    OpKind = "truncate"
	OpPreallocate OpKind = "preallocate"
	OpSync        OpKind = "sync"
)

// Op is one operation that is about to run.
type Op struct {
	Kind OpKind
	Name string // the path; of a rename the old one
	New  string // the new path of a rename
	// Off and Len are the place and bytes of a read, write or preallocation;
	// Off is the new size of a truncation.
	Off, Len int64
}

// A TornError returned by the function given to NewFailing for a write lets the
// first Written bytes reach the file before Err is returned: a full disk.
type TornError struct {
	Written int
	Err     error
}

func (e *TornError) Error() string { return "torn write: " + e.Err.Error() }
func (e *TornError) Unwrap() error { return e.Err }

// NewFailing puts fail before each operation on fs and its files: an error from
// it is returned and the operation is not done. fail is called by many
// goroutines at once. It may also just watch, or wait (a slow disk).
func NewFailing(fs FS, fail func(op Op) error) FS { return &failing{fs: fs, fail: fail} }

type failing struct {
	fs   FS
	fail func(op Op) error
}

func (f *failing) open(kind OpKind, name string, open func(string) (File, error)) (File, error) {
	if err := f.fail(Op{Kind: kind, Name: name}); err != nil {
		return nil, err
	}
	file, err := open(name)
	if err != nil {
		return nil, err
	}
	return &failingFile{File: file, fail: f.fail}, nil
}

func (f *failing) Open(name string) (File, error) { return f.open(OpOpen, name, f.fs.Open) }

func (f *failing) OpenReadWrite(name string) (File, error) {
	return f.open(OpCreate, name, f.fs.OpenReadWrite)
}

func (f *failing) Create(name string) (File, error) { return f.open(OpCreate, name, f.fs.Create) }

func (f *failing) Remove(name string) error {
	if err := f.fail(Op{Kind: OpRemove, Name: name}); err != nil {
		return err
	}
	return f.fs.Remove(name)
}

func (f *failing) RemoveAll(name string) error {
	if err := f.fail(Op{Kind: OpRemove, Name: name}); err != nil {
		return err
	}
	return f.fs.RemoveAll(name)
}

func (f *failing) Rename(oldname, newname string) error {
	if err := f.fail(Op{Kind: OpRename, Name: oldname, New: newname}); err != nil {
		return err
	}
	return f.fs.Rename(oldname, newname)
}

func (f *failing) MkdirAll(name string) error {
	if err := f.fail(Op{Kind: OpMkdir, Name: name}); err != nil {
		return err
	}
	return f.fs.MkdirAll(name)
}

func (f *failing) List(dir string) ([]string, error) {
	if err := f.fail(Op{Kind: OpList, Name: dir}); err != nil {
		return nil, err
	}
	return f.fs.List(dir)
}

func (f *failing) Stat(name string) (fs.FileInfo, error) {
	if err := f.fail(Op{Kind: OpStat, Name: name}); err != nil {
		return nil, err
	}
	return f.fs.Stat(name)
}

func (f *failing) Chtimes(name string, mtime time.Time) error {
	if err := f.fail(Op{Kind: OpChtimes, Name: name}); err != nil {
		return err
	}
	return f.fs.Chtimes(name, mtime)
}

func (f *failing) SyncDir(dir string) error {
	if err := f.fail(Op{Kind: OpSyncDir, Name: dir}); err != nil {
		return err
	}
	return f.fs.SyncDir(dir)
}

func (f *failing) Lock(name string) (io.Closer, error) {
	if err := f.fail(Op{Kind: OpLock, Name: name}); err != nil {
		return nil, err
	}
	return f.fs.Lock(name)
}

func (f *failing) Usage(dir string) (Usage, error) {
	if err := f.fail(Op{Kind: OpUsage, Name: dir}); err != nil {
		return Usage{}, err
	}
	return f.fs.Usage(dir)
}

// failingFile leaves Name, Size and ModTime to the embedded file.
type failingFile struct {
	File
	fail func(op Op) error
}

func (f *failingFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fail(Op{Kind: OpRead, Name: f.Name(), Off: off, Len: int64(len(p))}); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *failingFile) WriteAt(p []byte, off int64) (int, error) {
	err := f.fail(Op{Kind: OpWrite, Name: f.Name(), Off: off, Len: int64(len(p))})
	if torn, ok := err.(*TornError); ok {
		n, werr := f.File.WriteAt(p[:min(torn.Written, len(p))], off)
		if werr != nil {
			return n, werr
		}
		return n, err
	}
	if err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f *failingFile) Close() error {
	// The descriptor goes in any case: a failed close must not leak it.
	err := f.fail(Op{Kind: OpClose, Name: f.Name()})
	if cerr := f.File.Close(); err == nil {
		err = cerr
	}
	return err
}

func (f *failingFile) Truncate(size int64) error {
	if err := f.fail(Op{Kind: OpTruncate, Name: f.Name(), Off: size}); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *failingFile) Preallocate(off, length int64) error {
	if err := f.fail(Op{Kind: OpPreallocate, Name: f.Name(), Off: off, Len: length}); err != nil {
		return err
	}
	return f.File.Preallocate(off, length)
}

func (f *failingFile) Sync() error {
	if err := f.fail(Op{Kind: OpSync, Name: f.Name()}); err != nil {
		return err
	}
	return f.File.Sync()
}

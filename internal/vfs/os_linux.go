package vfs

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// dropCache is a hint: there is nothing to do if it is not taken.
func dropCache(f *os.File) { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }

func (f *osFile) Preallocate(off, length int64) error {
	for {
		err := f.control(func(fd int) error {
			return unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, off, length)
		})
		switch {
		case err == nil, errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		}
		return &fs.PathError{Op: "fallocate", Path: f.f.Name(), Err: err}
	}
}

func (f *osFile) Sync() error {
	for {
		err := f.control(unix.Fdatasync)
		if errors.Is(err, unix.EINTR) {
			continue // nothing was attempted: this is no retry of a failed sync
		}
		if err != nil {
			return &fs.PathError{Op: "fdatasync", Path: f.f.Name(), Err: err}
		}
		return nil
	}
}

// control runs fn on the descriptor while it can't be closed.
func (f *osFile) control(fn func(fd int) error) error {
	rc, err := f.f.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	if err := rc.Control(func(fd uintptr) { ferr = fn(int(fd)) }); err != nil {
		return err
	}
	return ferr
}

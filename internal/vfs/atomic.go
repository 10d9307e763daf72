package vfs

import (
	"fmt"
	"io"
	"path"
)

// WriteFileAtomic replaces the content of name by data so that a crash at any
// moment leaves the old content or the new: it writes name+".tmp", syncs it,
// renames it over name and syncs the directory.
func WriteFileAtomic(fs FS, name string, data []byte) error {
	if err := replace(fs, name, data, File.Sync); err != nil {
		return err
	}
	return fs.SyncDir(path.Dir(name))
}

// ReplaceFile is WriteFileAtomic without the syncs: a process that is killed leaves
// the old file or the new one, a machine that crashes may leave neither, until the
// caller has synced the file and its directory.
func ReplaceFile(fs FS, name string, data []byte) error {
	return replace(fs, name, data, func(File) error { return nil })
}

func replace(fs FS, name string, data []byte, sync func(File) error) error {
	tmp := name + ".tmp"
	f, err := fs.Create(tmp)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		f.Close()
		return err
	}
	if err := sync(f); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return fs.Rename(tmp, name)
}

// ReadFile returns the content of name. A file longer than max bytes is an
// error: what the caller expects is small.
func ReadFile(fs FS, name string, max int64) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > max {
		return nil, fmt.Errorf("vfs: %s has %d bytes, more than the %d expected at most", name, size, max)
	}
	data := make([]byte, size)
	n, err := f.ReadAt(data, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	return data[:n], nil
}

package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Mem is a file system in memory that knows what a crash of the machine would
// leave: it keeps, beside the present state, the synced content of each file and
// the synced names of each directory. CrashClone makes the world after a crash.
//
// A file system in memory has room without end; Usage says so by a large number.
type Mem struct {
	// mu guards the whole tree and the content of all files.
	mu    sync.Mutex
	root  *memNode
	locks map[string]bool
	// inodes is the number that the last node was given, in all clones.
	inodes *atomic.Uint64
}

// memNode is a file or directory.
type memNode struct {
	dir   bool
	inode uint64
	mtime time.Time

	// Of a file.
	data []byte
	// synced is data at the last Sync; nil before the first.
	synced []byte
	// dirty is the smallest offset that was changed since the last Sync, or
	// len(data) if nothing was.
	dirty int

	// Of a directory.
	names map[string]*memNode
	// durable are the names at the last SyncDir.
	durable map[string]*memNode
}

// NewMem returns an empty file system that has the root directory only.
func NewMem() *Mem {
	m := &Mem{locks: map[string]bool{}, inodes: new(atomic.Uint64)}
	m.root = m.newDir()
	return m
}

func (m *Mem) newDir() *memNode {
	return &memNode{dir: true, inode: m.inodes.Add(1), names: map[string]*memNode{}, durable: map[string]*memNode{}, mtime: time.Now()}
}

// CrashClone returns what a crash of the machine at this moment could leave:
// everything synced, and of each file the first keep percent (0 to 100) of the
// bytes written at its end since its last sync. With 100 all names survive too;
// with less, names not followed by SyncDir of their directory are as they were
// at the last one. A change in place of synced bytes survives with 100 only.
// Locks and open files are not taken over; the receiver stays usable.
func (m *Mem) CrashClone(keep int) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	seen := map[*memNode]*memNode{}
	return &Mem{root: m.root.crash(keep, seen), locks: map[string]bool{}, inodes: m.inodes}
}

func (n *memNode) crash(keep int, seen map[*memNode]*memNode) *memNode {
	if c := seen[n]; c != nil {
		return c
	}
	c := &memNode{dir: n.dir, inode: n.inode, mtime: n.mtime}
	seen[n] = c
	if !n.dir {
		c.data = n.crashData(keep)
		c.synced = slices.Clone(c.data)
		c.dirty = len(c.data)
		return c
	}
	names := n.durable
	if keep >= 100 {
		names = n.names
	}
	c.names, c.durable = map[string]*memNode{}, map[string]*memNode{}
	for name, child := range names {
		cc := child.crash(keep, seen)
		c.names[name], c.durable[name] = cc, cc
	}
	return c
}

func (n *memNode) crashData(keep int) []byte {
	if keep >= 100 {
		return slices.Clone(n.data)
	}
	if n.dirty < len(n.synced) || len(n.data) < len(n.synced) {
		return slices.Clone(n.synced) // changed in place or shortened: not yet on disk
	}
	unsynced := len(n.data) - len(n.synced)
	return slices.Clone(n.data[:len(n.synced)+unsynced*keep/100])
}

func clean(name string) []string {
	name = strings.Trim(path.Clean("/"+name), "/")
	if name == "" {
		return nil
	}
	return strings.Split(name, "/")
}

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// lookupLocked finds a node.
func (m *Mem) lookupLocked(name string) (*memNode, error) {
	n := m.root
	for _, part := range clean(name) {
		if !n.dir {
			return nil, syscall.ENOTDIR
		}
		n = n.names[part]
		if n == nil {
			return nil, fs.ErrNotExist
		}
	}
	return n, nil
}

// parentLocked finds the directory that has name, and the last part of name.
func (m *Mem) parentLocked(name string) (*memNode, string, error) {
	parts := clean(name)
	if len(parts) == 0 {
		return nil, "", fs.ErrInvalid
	}
	dir, err := m.lookupLocked(strings.Join(parts[:len(parts)-1], "/"))
	if err != nil {
		return nil, "", err
	}
	if !dir.dir {
		return nil, "", syscall.ENOTDIR
	}
	return dir, parts[len(parts)-1], nil
}

// Open implements FS.
func (m *Mem) Open(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookupLocked(name)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	if n.dir {
		return nil, pathError("open", name, syscall.EISDIR)
	}
	return &memFile{m: m, n: n, name: name, readOnly: true}, nil
}

// OpenReadWrite implements FS.
func (m *Mem) OpenReadWrite(name string) (File, error) { return m.create(name, false) }

// Create implements FS.
func (m *Mem) Create(name string) (File, error) { return m.create(name, true) }

func (m *Mem) create(name string, truncate bool) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parentLocked(name)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	n := dir.names[base]
	switch {
	case n == nil:
		n = &memNode{inode: m.inodes.Add(1), mtime: time.Now()}
		dir.names[base] = n
	case n.dir:
		return nil, pathError("open", name, syscall.EISDIR)
	case truncate:
		n.data, n.dirty, n.mtime = nil, 0, time.Now()
	}
	return &memFile{m: m, n: n, name: name}, nil
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parentLocked(name)
	if err != nil {
		return pathError("remove", name, err)
	}
	n := dir.names[base]
	switch {
	case n == nil:
		return pathError("remove", name, fs.ErrNotExist)
	case n.dir && len(n.names) > 0:
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	delete(dir.names, base)
	return nil
}

// RemoveAll implements FS.
func (m *Mem) RemoveAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parentLocked(name)
	switch {
	case err == fs.ErrNotExist:
		return nil
	case err != nil:
		return pathError("remove", name, err)
	}
	delete(dir.names, base)
	return nil
}

// Rename implements FS.
func (m *Mem) Rename(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, oldBase, err := m.parentLocked(oldname)
	if err != nil {
		return pathError("rename", oldname, err)
	}
	to, newBase, err := m.parentLocked(newname)
	if err != nil {
		return pathError("rename", newname, err)
	}
	n := from.names[oldBase]
	if n == nil {
		return pathError("rename", oldname, fs.ErrNotExist)
	}
	if old := to.names[newBase]; old != nil && old != n {
		switch {
		case old.dir != n.dir && old.dir:
			return pathError("rename", newname, syscall.EISDIR)
		case old.dir != n.dir:
			return pathError("rename", newname, syscall.ENOTDIR)
		case old.dir && len(old.names) > 0:
			return pathError("rename", newname, syscall.ENOTEMPTY)
		}
	}
	delete(from.names, oldBase)
	to.names[newBase] = n
	return nil
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.root
	for _, part := range clean(name) {
		child := n.names[part]
		if child == nil {
			child = m.newDir()
			n.names[part] = child
		}
		if !child.dir {
			return pathError("mkdir", name, syscall.ENOTDIR)
		}
		n = child
	}
	return nil
}

// List implements FS.
func (m *Mem) List(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookupLocked(dir)
	if err == nil && !n.dir {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, pathError("list", dir, err)
	}
	names := make([]string, 0, len(n.names))
	for name := range n.names {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// Stat implements FS.
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookupLocked(name)
	if err != nil {
		return nil, pathError("stat", name, err)
	}
	return memInfo{name: path.Base(name), inode: n.inode, size: int64(len(n.data)), mtime: n.mtime, dir: n.dir}, nil
}

// Chtimes implements FS.
func (m *Mem) Chtimes(name string, mtime time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookupLocked(name)
	if err != nil {
		return pathError("chtimes", name, err)
	}
	n.mtime = mtime
	return nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookupLocked(dir)
	if err == nil && !n.dir {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return pathError("sync", dir, err)
	}
	clear(n.durable)
	for name, child := range n.names {
		n.durable[name] = child
	}
	return nil
}

// Lock implements FS.
func (m *Mem) Lock(name string) (io.Closer, error) {
	f, err := m.OpenReadWrite(name)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := strings.Join(clean(name), "/")
	if m.locks[key] {
		return nil, fmt.Errorf("%w: %s", ErrLocked, name)
	}
	m.locks[key] = true
	return &memLock{m: m, key: key, f: f}, nil
}

// Usage implements FS.
func (m *Mem) Usage(string) (Usage, error) { return Usage{Total: 1 << 50, Free: 1 << 50}, nil }

type memLock struct {
	m    *Mem
	key  string
	f    File
	once sync.Once
}

func (l *memLock) Close() error {
	l.once.Do(func() {
		l.m.mu.Lock()
		delete(l.m.locks, l.key)
		l.m.mu.Unlock()
	})
	return l.f.Close()
}

type memInfo struct {
	name  string
	inode uint64
	size  int64
	mtime time.Time
	dir   bool
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) ModTime() time.Time { return i.mtime }
func (i memInfo) IsDir() bool        { return i.dir }

// Sys tells the inode, as the operating system does. It stays through a rename and a
// crash.
func (i memInfo) Sys() any { return &syscall.Stat_t{Ino: i.inode} }

func (i memInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

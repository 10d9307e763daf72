package brokertest

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"barnabas/internal/vfs"
)

// errKilled is what a killed broker gets from its files and its network.
var errKilled = errors.New("brokertest: the broker was killed")

// life is what a broker loses when its process is killed: its connections,
// listeners, file locks, and the power to write. It is the FS of one run of one
// broker. Reading goes on: nobody can see it any more.
type life struct {
	vfs.FS

	mu    sync.RWMutex // held for reading while something is written; guards following
	dead  bool
	locks []io.Closer
	lns   []net.Listener

	connsMu sync.Mutex // guards following; inside mu
	conns   []net.Conn
	prune   int // len(conns) at which closed ones are dropped
}

func newLife(fs vfs.FS) *life { return &life{FS: fs, prune: 64} }

// end kills: when it returns nothing more is written.
func (l *life) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
	for _, ln := range l.lns {
		ln.Close()
	}
	for _, c := range l.conns {
		c.Close()
	}
	for _, lock := range l.locks {
		lock.Close()
	}
}

// do runs f while alive.
func (l *life) do(f func() error) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.dead {
		return errKilled
	}
	return f()
}

func (l *life) file(open func() (vfs.File, error)) (f vfs.File, err error) {
	err = l.do(func() error {
		f, err = open()
		return err
	})
	if err != nil {
		return nil, err
	}
	return &mortalFile{f, l}, nil
}

func (l *life) Open(name string) (vfs.File, error) {
	return l.file(func() (vfs.File, error) { return l.FS.Open(name) })
}

func (l *life) OpenReadWrite(name string) (vfs.File, error) {
	return l.file(func() (vfs.File, error) { return l.FS.OpenReadWrite(name) })
}

func (l *life) Create(name string) (vfs.File, error) {
	return l.file(func() (vfs.File, error) { return l.FS.Create(name) })
}

func (l *life) Remove(name string) error {
	return l.do(func() error { return l.FS.Remove(name) })
}

func (l *life) RemoveAll(name string) error {
	return l.do(func() error { return l.FS.RemoveAll(name) })
}

func (l *life) Rename(oldname, newname string) error {
	return l.do(func() error { return l.FS.Rename(oldname, newname) })
}

func (l *life) MkdirAll(name string) error {
	return l.do(func() error { return l.FS.MkdirAll(name) })
}

func (l *life) Chtimes(name string, mtime time.Time) error {
	return l.do(func() error { return l.FS.Chtimes(name, mtime) })
}

func (l *life) SyncDir(dir string) error {
	return l.do(func() error { return l.FS.SyncDir(dir) })
}

func (l *life) Lock(name string) (io.Closer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return nil, errKilled
	}
	c, err := l.FS.Lock(name)
	if err != nil {
		return nil, err
	}
	lock := &onceCloser{Closer: c}
	l.locks = append(l.locks, lock)
	return lock, nil
}

// onceCloser is closed by the kill or by its owner, and the file may be another's
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

// mortalFile is written to only while alive.
type mortalFile struct {
	vfs.File
	l *life
}

func (f *mortalFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.l.do(func() error {
		n, err = f.File.WriteAt(p, off)
		return err
	})
	return n, err
}

func (f *mortalFile) Truncate(size int64) error {
	return f.l.do(func() error { return f.File.Truncate(size) })
}

func (f *mortalFile) Preallocate(off, length int64) error {
	return f.l.do(func() error { return f.File.Preallocate(off, length) })
}

func (f *mortalFile) Sync() error { return f.l.do(f.File.Sync) }

// Unwrap gives the file, for those who look for its descriptor.
func (f *mortalFile) Unwrap() vfs.File { return f.File }

func (l *life) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return l.own(c)
}

func (l *life) listen(network, addr string) (net.Listener, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		return nil, errKilled
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		return nil, err
	}
	l.lns = append(l.lns, ln)
	return &listener{ln.(*net.TCPListener), l}, nil
}

// listener is a TCP listener whose connections are the life's.
type listener struct {
	*net.TCPListener
	l *life
}

func (ln *listener) Accept() (net.Conn, error) {
	c, err := ln.TCPListener.Accept()
	if err != nil {
		return nil, err
	}
	return ln.l.own(c)
}

// own remembers a connection until it is closed. It is handed on as it is: what
// is made for TCP stays possible.
func (l *life) own(c net.Conn) (net.Conn, error) {
	err := l.do(func() error {
		l.connsMu.Lock()
		defer l.connsMu.Unlock()
		l.conns = append(l.conns, c)
		if len(l.conns) >= l.prune {
			l.pruneLocked()
		}
		return nil
	})
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// pruneLocked drops connections that are closed; twice as many as are left may
// then come.
func (l *life) pruneLocked() {
	open := l.conns[:0]
	for _, c := range l.conns {
		if isOpen(c) {
			open = append(open, c)
		}
	}
	clear(l.conns[len(open):])
	l.conns = open
	l.prune = max(64, 2*len(open))
}

func isOpen(c net.Conn) bool {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return true
	}
	raw, err := tcp.SyscallConn()
	return err == nil && raw.Control(func(uintptr) {}) == nil
}

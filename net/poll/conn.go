//go:build linux

package poll

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// closedRefs is what refs is lowered by when the connection closes.
const closedRefs = -1 << 40

// Conn is a connection of a Poller. Its methods may be called by any goroutine.
type Conn struct {
	p             *Poller
	h             Handler
	fd            int
	refs          atomic.Int64 // system calls under way; see acquire
	waiters       atomic.Int32 // goroutines that wait
	local, remote net.Addr
	posted        bool // guarded by Poller.mu

	mu      sync.Mutex // guards following
	armed   uint32     // the events that epoll waits for; 0: none, one was told
	watch   uint32     // the directions that Handler is told of
	running uint32     // the directions whose handler runs
	held    bool       // a new leader met a running handler: it is not told until that ends
	closed  bool
	rd, wr  side
}

// side is one direction, for goroutines that wait.
type side struct {
	wake     chan struct{} // has room for one
	waiting  bool
	deadline time.Time
}

func (s *side) init() { s.wake = make(chan struct{}, 1) }

func (s *side) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Handle sets who is told. It is called once, before anything is watched.
func (c *Conn) Handle(h Handler) { c.h = h }

// Poller is the connection's poller.
func (c *Conn) Poller() *Poller { return c.p }

// Post makes the poller call Handler.Posted, soon and once for all calls until
// then. It does not wait.
func (c *Conn) Post() { c.p.post(c) }

// WatchRead says whether Handler.Readable is to be called.
func (c *Conn) WatchRead(on bool) { c.set(unix.EPOLLIN, on) }

// WatchWrite says whether Handler.Writable is to be called.
func (c *Conn) WatchWrite(on bool) { c.set(unix.EPOLLOUT, on) }

func (c *Conn) set(direction uint32, on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if on {
		c.watch |= direction
	} else {
		c.watch &^= direction
	}
	c.armLocked()
}

// armLocked tells epoll what is wanted now. Level-triggered for the handler, which
// would else be told once too little after a stall; one event for goroutines.
func (c *Conn) armLocked() {
	if c.closed {
		return
	}
	want := c.watch
	if c.held {
		want &^= c.running
	}
	level := want != 0
	if c.rd.waiting {
		want |= unix.EPOLLIN
	}
	if c.wr.waiting {
		want |= unix.EPOLLOUT
	}
	if want == 0 && c.armed == 0 {
		return
	}
	if !level {
		want |= unix.EPOLLONESHOT // with no direction: an error is told once
	}
	if want == c.armed {
		return
	}
	ev := unix.EpollEvent{Events: want, Fd: int32(c.fd)}
	if err := unix.EpollCtl(c.p.ep, unix.EPOLL_CTL_MOD, c.fd, &ev); err == nil {
		c.armed = want
	}
}

const (
	ends   = unix.EPOLLERR | unix.EPOLLHUP | unix.EPOLLRDHUP
	inSet  = unix.EPOLLIN | ends
	outSet = unix.EPOLLOUT | ends
)

// release wakes the goroutines that wait for what has come.
func (c *Conn) release(events uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.armed&unix.EPOLLONESHOT != 0 {
		c.armed = 0
	}
	if events&inSet != 0 && c.rd.waiting {
		c.rd.waiting = false
		c.rd.signal()
		c.p.Yield()
	}
	if events&outSet != 0 && c.wr.waiting {
		c.wr.waiting = false
		c.wr.signal()
		c.p.Yield()
	}
	c.armLocked()
}

// handle calls the handler.
func (c *Conn) handle(events uint32) {
	if c.begin(events, inSet, unix.EPOLLIN) {
		c.h.Readable()
		c.end(unix.EPOLLIN)
	}
	if events&outSet != 0 && c.begin(events, outSet, unix.EPOLLOUT) {
		c.h.Writable()
		c.end(unix.EPOLLOUT)
	}
}

// begin reports whether the handler of a direction is to run.
func (c *Conn) begin(events, set, direction uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.armed&unix.EPOLLONESHOT != 0 && c.watch == 0 {
		c.armed = 0
	}
	// One may wait since release looked, or not any more: what nobody waits for is
	// told again and again otherwise.
	c.armLocked()
	if c.closed || events&set == 0 || c.watch&direction == 0 {
		return false
	}
	if c.running&direction != 0 {
		c.held = true
		c.armLocked()
		return false
	}
	c.running |= direction
	return true
}

func (c *Conn) end(direction uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running &^= direction
	if c.held {
		c.held = c.running != 0
		c.armLocked()
	}
}

// acquire keeps the descriptor from being closed until done; false if it is. Once
// Close was called refs only falls, so that done closes once: the number may be
// another file's after that.
func (c *Conn) acquire() bool {
	for {
		n := c.refs.Load()
		if n < 0 {
			return false
		}
		if c.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (c *Conn) done() {
	if c.refs.Add(-1) == closedRefs {
		c.p.forget(c.fd) // before another connection may have the number
		_ = unix.Close(c.fd)
	}
}

// Close ends the connection. Those who wait get net.ErrClosed.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.closed = true
	c.rd.signal()
	c.wr.signal()
	_ = unix.EpollCtl(c.p.ep, unix.EPOLL_CTL_DEL, c.fd, nil)
	c.refs.Add(1)
	c.mu.Unlock()
	c.refs.Add(closedRefs)
	c.done()
	return nil
}

// wait blocks until a direction may be tried again.
func (c *Conn) wait(s *side) error {
	c.mu.Lock()
	if err := c.checkLocked(s); err != nil {
		c.mu.Unlock()
		return err
	}
	var expired <-chan time.Time
	if !s.deadline.IsZero() {
		t := time.NewTimer(time.Until(s.deadline))
		defer t.Stop()
		expired = t.C
	}
	s.waiting = true
	c.waiters.Add(1)
	c.armLocked()
	c.mu.Unlock()
	select {
	case <-s.wake:
	case <-expired:
	}
	c.waiters.Add(-1)
	c.mu.Lock()
	defer c.mu.Unlock()
	s.waiting = false
	return nil // who tries again learns what has come
}

// checkLocked tells why a direction can't be used any more.
func (c *Conn) checkLocked(s *side) error {
	switch {
	case c.closed:
		return net.ErrClosed
	case !s.deadline.IsZero() && !time.Now().Before(s.deadline):
		return os.ErrDeadlineExceeded
	}
	return nil
}

// try calls f until it returns true.
func (c *Conn) try(s *side, f func(fd uintptr) bool) error {
	for {
		c.mu.Lock()
		err := c.checkLocked(s)
		c.mu.Unlock()
		if err != nil {
			return err
		}
		if !c.acquire() {
			return net.ErrClosed
		}
		ok := f(uintptr(c.fd))
		c.done()
		if ok {
			return nil
		}
		if err := c.wait(s); err != nil {
			return err
		}
	}
}

// Read implements net.Conn.
func (c *Conn) Read(b []byte) (n int, err error) {
	failed := c.try(&c.rd, func(fd uintptr) bool {
		n, err = syscall.Read(int(fd), b)
		return err != unix.EAGAIN && err != unix.EINTR
	})
	switch {
	case failed != nil:
		return 0, failed
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0 && len(b) > 0:
		return 0, io.EOF
	}
	return n, nil
}

// Write implements net.Conn.
func (c *Conn) Write(b []byte) (n int, err error) {
	for n < len(b) {
		var m int
		var wrote error
		err := c.try(&c.wr, func(fd uintptr) bool {
			m, wrote = syscall.Write(int(fd), b[n:])
			return wrote != unix.EAGAIN && wrote != unix.EINTR
		})
		if err != nil {
			return n, err
		}
		if wrote != nil {
			return n, os.NewSyscallError("write", wrote)
		}
		n += m
	}
	return n, nil
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn. It is heeded by those who wait, not by
// Handler.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(&c.rd, t) }

// SetWriteDeadline implements net.Conn, see SetReadDeadline.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.wr, t) }

func (c *Conn) setDeadline(s *side, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	s.deadline = t
	if s.waiting {
		s.signal()
	}
	return nil
}

// SyscallConn implements syscall.Conn. Control does not wait: it tries once.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return rawConn{c}, nil }

type rawConn struct{ c *Conn }

func (r rawConn) Control(f func(fd uintptr)) error {
	if !r.c.acquire() {
		return net.ErrClosed
	}
	defer r.c.done()
	f(uintptr(r.c.fd))
	return nil
}

func (r rawConn) Read(f func(fd uintptr) bool) error { return r.c.try(&r.c.rd, f) }

func (r rawConn) Write(f func(fd uintptr) bool) error { return r.c.try(&r.c.wr, f) }

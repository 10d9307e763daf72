//go:build linux

package poll

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// handler is a Handler of functions.
type handler struct{ readable, writable, posted func() }

func (h handler) Readable() { h.readable() }
func (h handler) Writable() { h.writable() }
func (h handler) Posted()   { h.posted() }

func newPoller(t *testing.T) *Poller {
	t.Helper()
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// pair is a connection of p and its other end.
func pair(t *testing.T, p *Poller) (*Conn, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	other, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c, err := p.Adopt(nc.(*net.TCPConn))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); other.Close() })
	if err := other.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return c, other
}

// echo answers what comes, on the poller.
func echo(t *testing.T, c *Conn) {
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	c.Handle(handler{readable: func() {
		b := make([]byte, 100)
		n := 0
		_ = raw.Control(func(fd uintptr) { n, _ = syscall.Read(int(fd), b) })
		if n > 0 {
			_ = raw.Control(func(fd uintptr) { _, _ = syscall.Write(int(fd), b[:n]) })
			return
		}
		if n == 0 {
			c.Close()
		}
	}})
	c.WatchRead(true)
}

// waitClosed returns when the handler has closed c.
func (c *Conn) waitClosed() {
	for {
		c.mu.Lock()
		closed := c.closed
		c.mu.Unlock()
		if closed {
			return
		}
		runtime.Gosched()
	}
}

func exchange(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("got %q, %v, want %q", got, err, text)
	}
}

func TestHandlerServes(t *testing.T) {
	p := newPoller(t)
	c, other := pair(t, p)
	echo(t, c)
	for range 100 {
		exchange(t, other, "hello")
	}
	other.Close() // the end is told too
	c.waitClosed()
}

// TestPost: what is posted while the poller sleeps, and by a handler, is called.
func TestPost(t *testing.T) {
	p := newPoller(t)
	c, _ := pair(t, p)
	called := make(chan struct{})
	left := 1000
	c.Handle(handler{posted: func() {
		if left--; left == 0 {
			close(called)
		} else if left%2 == 0 {
			c.Post()
		} else {
			go c.Post()
		}
	}})
	c.Post()
	<-called
}

// TestStalledHandler: while a handler waits for something the other connections
// are served, and its own again when it has ended.
func TestStalledHandler(t *testing.T) {
	p := newPoller(t)
	stalled, other1 := pair(t, p)
	lively, other2 := pair(t, p)
	echo(t, lively)
	release, in := make(chan struct{}), make(chan struct{})
	var calls, together atomic.Int32
	raw, err := stalled.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	stalled.Handle(handler{readable: func() {
		if together.Add(1) > 1 {
			t.Error("two handlers of one direction run")
		}
		defer together.Add(-1)
		b := make([]byte, 1)
		_ = raw.Control(func(fd uintptr) { _, _ = syscall.Read(int(fd), b) })
		if calls.Add(1) == 1 {
			close(in)
			<-release
		}
		_ = raw.Control(func(fd uintptr) { _, _ = syscall.Write(int(fd), b) })
	}})
	stalled.WatchRead(true)
	if _, err := other1.Write([]byte("ab")); err != nil { // b is told again and again
		t.Fatal(err)
	}
	<-in
	exchange(t, other2, "are you there")
	if p.Stalls() == 0 || p.Calm() {
		t.Errorf("%d stalls, calm %v", p.Stalls(), p.Calm())
	}
	exchange(t, other2, "and still")
	close(release)
	got := make([]byte, 2)
	if _, err := io.ReadFull(other1, got); err != nil || string(got) != "ab" {
		t.Fatalf("got %q, %v", got, err)
	}
	exchange(t, other1, "c")
}

// TestAsNetConn: a goroutine reads and writes more than the buffers hold.
func TestAsNetConn(t *testing.T) {
	p := newPoller(t)
	c, other := pair(t, p)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<19)
	done := make(chan error, 2)
	go func() { _, err := c.Write(data); done <- err }()
	got := make([]byte, len(data))
	if _, err := io.ReadFull(other, got); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("other bytes, %v", err)
	}
	go func() { _, err := other.Write(data); done <- err }()
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("other bytes, %v", err)
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// TestWaitsEnd: by a deadline, one that is set meanwhile, and by Close.
func TestWaitsEnd(t *testing.T) {
	p := newPoller(t)
	c, _ := pair(t, p)
	read := func() chan error {
		done := make(chan error, 1)
		go func() { _, err := c.Read(make([]byte, 1)); done <- err }()
		return done
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if err := <-read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	_ = c.SetReadDeadline(time.Time{})
	done := read()
	_ = c.SetReadDeadline(time.Unix(1, 0))
	if err := <-done; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	_ = c.SetReadDeadline(time.Time{})
	done = read()
	_ = c.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if err := c.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
}

// TestUseAfterClose: who comes too late does not touch the descriptor, which may be
// another file's by then.
func TestUseAfterClose(t *testing.T) {
	p := newPoller(t)
	c, _ := pair(t, p)
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Dup3(int(f.Fd()), c.fd, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(uintptr) { t.Error("the descriptor is used") }); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if err := unix.Close(c.fd); err != nil {
		t.Errorf("the other file was closed: %v", err)
	}
}

//go:build linux

package poll

import (
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// unled is a poller that nobody leads: the test waits in its place.
func unled(t *testing.T) *Poller {
	t.Helper()
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(ep) })
	return &Poller{ep: ep, wake: -1, closed: true}
}

// events waits for some, or until the time is over.
func (p *Poller) events(t *testing.T, timeout time.Duration) []unix.EpollEvent {
	t.Helper()
	events := make([]unix.EpollEvent, 10)
	n, err := unix.EpollWait(p.ep, events, int(timeout.Milliseconds()))
	for err == unix.EINTR {
		n, err = unix.EpollWait(p.ep, events, int(timeout.Milliseconds()))
	}
	if err != nil {
		t.Fatal(err)
	}
	return events[:n]
}

// timedOut lets a read of c wait and end by its deadline.
func timedOut(t *testing.T, c *Conn) {
	t.Helper()
	done := make(chan error, 1)
	go func() { _, err := c.Read(make([]byte, 1)); done <- err }()
	for c.waiters.Load() == 0 {
		runtime.Gosched()
	}
	_ = c.SetReadDeadline(time.Unix(1, 0))
	if err := <-done; !os.IsTimeout(err) {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Time{})
}

func put(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// TestWaitBetweenLooks: an event is taken while a goroutine does not wait, which
// reads what has come and waits again before the poller looks at the event. It must
// hear of what comes next.
func TestWaitBetweenLooks(t *testing.T) {
	p := unled(t)
	c, other := pair(t, p)
	timedOut(t, c)
	put(t, other, "a")
	events := p.events(t, time.Minute) // nobody is there for release
	got := make(chan byte)
	go func() {
		b := make([]byte, 1)
		for range 2 {
			if _, err := c.Read(b); err != nil {
				t.Error(err)
			}
			got <- b[0]
		}
	}()
	<-got
	for c.waiters.Load() == 0 {
		runtime.Gosched()
	}
	c.handle(events[0].Events)
	put(t, other, "b")
	if events = p.events(t, 20*time.Second); len(events) == 0 {
		t.Fatal("the second byte is not told")
	}
	c.release(events[0].Events)
	<-got
}

// TestNobodyWaits: what the poller is told while it waits to write, and nobody to
// read, is not told for ever.
func TestNobodyWaits(t *testing.T) {
	p := unled(t)
	c, other := pair(t, p)
	c.Handle(handler{writable: func() { c.WatchWrite(false) }})
	timedOut(t, c)
	c.mu.Lock()
	c.rd.waiting = true // as it is while it waits
	c.mu.Unlock()
	fill(t, c)
	c.WatchWrite(true)
	c.mu.Lock()
	c.rd.waiting = false // its time is over
	c.mu.Unlock()
	put(t, other, "a")
	for _, e := range p.events(t, time.Minute) {
		c.handle(e.Events)
	}
	if again := p.events(t, 0); len(again) > 0 {
		t.Errorf("told again: %x", again[0].Events)
	}
}

// fill writes until the socket takes no more.
func fill(t *testing.T, c *Conn) {
	t.Helper()
	b := make([]byte, 1<<20)
	for {
		if _, err := unix.Write(c.fd, b); err == unix.EAGAIN {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// twoWait makes a poller of which the leader was deposed just when it waited, so
// that two wait.
func twoWait(t *testing.T) *Poller {
	t.Helper()
	p := newPoller(t)
	for range 2 {
		for !p.sleeping.Load() {
			runtime.Gosched()
		}
		// The flag is set a little before.
		for tick := time.Now(); time.Since(tick) < 5*time.Millisecond; {
			runtime.Gosched()
		}
		if p.Stalls() == 0 {
			p.sleeping.Store(false)
			p.depose(p.reign.Load())
		}
	}
	return p
}

// TestDeposedWhileItWaits: what comes to the one that leads no more is done
// nevertheless.
func TestDeposedWhileItWaits(t *testing.T) {
	p := twoWait(t)
	c, _ := pair(t, p)
	called := make(chan struct{}, 1)
	c.Handle(handler{posted: func() { called <- struct{}{} }})
	for range 3 {
		c.Post()
		select {
		case <-called:
		case <-time.After(time.Minute):
			t.Fatal("a post is lost")
		}
	}
}

// TestCloseWhileTwoWait: Close ends both.
func TestCloseWhileTwoWait(t *testing.T) {
	p := twoWait(t)
	done := make(chan struct{})
	go func() { p.Close(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("Close hangs")
	}
}

// TestPostsLeaveTime: connections that are posted without end do not keep others
// from being read, and take no more memory.
func TestPostsLeaveTime(t *testing.T) {
	p := newPoller(t)
	for range 3 {
		c, _ := pair(t, p)
		c.Handle(handler{posted: c.Post})
		c.Post()
	}
	c, other := pair(t, p)
	echo(t, c)
	for range 100 {
		exchange(t, other, "hello")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := cap(p.posted); n > 4*maxPosted {
		t.Errorf("room for %d posts", n)
	}
}

// TestDeposedBetweenLooks: a leader is deposed between the event of a connection that
// nobody waited for and its look at it, and a goroutine waits by then. It must hear of
// what comes next.
func TestDeposedBetweenLooks(t *testing.T) {
	p := newPoller(t)
	first, toFirst := pair(t, p)
	stalling, toStalling := pair(t, p)
	c, other := pair(t, p)
	reads := func(c *Conn, then func()) {
		c.Handle(handler{readable: func() {
			_, _ = unix.Read(c.fd, make([]byte, 1))
			then()
		}})
		c.WatchRead(true)
	}
	in, on := make(chan struct{}), make(chan struct{})
	reads(first, func() { close(in); <-on })
	got := make(chan byte)
	reads(stalling, func() {
		go func() {
			b := make([]byte, 1)
			for range 2 {
				if _, err := c.Read(b); err != nil {
					t.Error(err)
				}
				got <- b[0]
			}
		}()
		<-got
		for c.waiters.Load() == 0 {
			runtime.Gosched()
		}
		for n := p.Stalls(); p.Stalls() == n; {
			runtime.Gosched()
		}
	})
	timedOut(t, c)
	put(t, toFirst, "a")
	<-in
	put(t, toStalling, "a")
	put(t, other, "a")
	close(on)
	for p.Stalls() == 0 || c.waiters.Load() == 0 {
		runtime.Gosched()
	}
	put(t, other, "b")
	select {
	case <-got:
	case <-time.After(20 * time.Second):
		t.Fatal("the second byte is not told")
	}
}

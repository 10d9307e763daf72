//go:build linux

package poll

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// guardEvery is how often the guard looks; a handler that is at it for two looks
	// is stalled.
	guardEvery = 20 * time.Millisecond
	// starvedLooks is after how many looks at the same call another leads even if the
	// thread is not seen to wait.
	starvedLooks = 5
	// calmAfter is how many looks after a stall Calm says yes again, and without any
	// event end the guard's work.
	calmAfter = 50
	// yieldEvery is how often the poller lets other goroutines run on its processor.
	yieldEvery = 5 * time.Millisecond
	// shareFrom is how many events at a time are shared with another goroutine, if
	// the load is high.
	shareFrom = 4
	// maxEvents are taken at a time.
	maxEvents = 64
	// maxPosted are told between two waits.
	maxPosted = 256
)

// Poller serves connections. New, then Adopt; Close ends it.
type Poller struct {
	ep, wake int // descriptors: of epoll, and an eventfd that ends a wait

	reign    atomic.Pointer[reign]
	sleeping atomic.Bool // in epoll_wait, or about to be; looks at posted before
	guarded  atomic.Bool // the guard's timer runs
	uneasy   atomic.Bool // a handler stalled a short while ago
	handed   atomic.Bool // goroutines were woken, see Yield
	closing  atomic.Bool // set under mu
	stalls   atomic.Int64
	wg       sync.WaitGroup

	mu     sync.Mutex // guards following
	conns  []*Conn    // by descriptor
	posted []*Conn    // Handler.Posted is to be called, from next on
	next   int
	closed bool // descriptors are not to be used any more

	guard struct { // of the guard's goroutine
		last  uint64
		of    *reign
		quiet int // looks without an event
		busy  int // looks at the same call of a handler
		since int // looks since the last stall
	}
}

// reign is the time of one goroutine as the one that waits and serves.
type reign struct {
	beat atomic.Uint64 // odd while handlers run; counts them
	over atomic.Bool   // another leads
	tid  atomic.Int32  // its thread
}

// New starts a poller.
func New() (*Poller, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(ep)
		return nil, os.NewSyscallError("eventfd", err)
	}
	p := &Poller{ep: ep, wake: wake}
	// Edge-triggered: each write is told, and nobody has to read.
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(wake)}
	if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, wake, &ev); err != nil {
		_ = unix.Close(wake)
		_ = unix.Close(ep)
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	r := new(reign)
	p.reign.Store(r)
	p.wg.Go(func() { p.lead(r) })
	return p, nil
}

// Close ends the poller. Its connections have been closed before.
func (p *Poller) Close() {
	p.mu.Lock()
	p.closing.Store(true)
	p.interruptLocked()
	p.mu.Unlock()
	p.wg.Wait()
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = unix.Close(p.wake)
	_ = unix.Close(p.ep)
}

// Calm reports whether handlers may serve what may wait for a disk.
func (p *Poller) Calm() bool { return !p.uneasy.Load() }

// Yield is for a handler that has made a goroutine ready: it may run before the next
// wait. The wait would keep the processor in whose queue the goroutine is, for
// milliseconds if the others are busy.
func (p *Poller) Yield() { p.handed.Store(true) }

// Stalls counts how often a handler took so long that another goroutine went on.
func (p *Poller) Stalls() int64 { return p.stalls.Load() }

// Adopt takes over a connection that nobody has used yet; nc is closed. Nothing is
// watched at first.
func (p *Poller) Adopt(nc *net.TCPConn) (*Conn, error) {
	raw, err := nc.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd, dupErr := -1, error(nil)
	if err := raw.Control(func(old uintptr) { fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, os.NewSyscallError("fcntl", dupErr)
	}
	c := &Conn{p: p, fd: fd, local: nc.LocalAddr(), remote: nc.RemoteAddr(), armed: unix.EPOLLONESHOT}
	c.rd.init()
	c.wr.init()
	_ = nc.Close() // the other descriptor keeps the connection; Go's own poller lets go of it
	p.mu.Lock()
	for len(p.conns) <= fd {
		p.conns = append(p.conns, nil)
	}
	p.conns[fd] = c
	p.mu.Unlock()
	ev := unix.EpollEvent{Events: unix.EPOLLONESHOT, Fd: int32(fd)}
	if err := unix.EpollCtl(p.ep, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("poll: %w", os.NewSyscallError("epoll_ctl", err))
	}
	return c, nil
}

func (p *Poller) conn(fd int32) *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if int(fd) >= len(p.conns) {
		return nil
	}
	return p.conns[fd]
}

func (p *Poller) forget(fd int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[fd] = nil
}

// post makes Handler.Posted be called.
func (p *Poller) post(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.posted {
		return
	}
	c.posted = true
	p.posted = append(p.posted, c)
	if p.sleeping.CompareAndSwap(true, false) {
		p.interruptLocked()
	}
}

// interruptLocked ends a wait.
func (p *Poller) interruptLocked() {
	if !p.closed {
		one := [8]byte{1}
		_, _ = unix.Write(p.wake, one[:]) // it fails only when so many wakes are on the way that one more says nothing
	}
}

func (p *Poller) takePosted() *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == len(p.posted) {
		p.posted, p.next = p.posted[:0], 0
		return nil
	}
	c := p.posted[p.next]
	p.posted[p.next] = nil
	p.next++
	c.posted = false
	if p.next >= maxPosted && 2*p.next > len(p.posted) { // it may never be empty
		n := copy(p.posted, p.posted[p.next:])
		clear(p.posted[n:])
		p.posted, p.next = p.posted[:n], 0
	}
	return c
}

func (p *Poller) anyPosted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next < len(p.posted)
}

// lead waits and serves until its reign is over.
func (p *Poller) lead(r *reign) {
	defer p.handOver()
	var events [maxEvents]unix.EpollEvent
	var load load
	load.begin()
	for {
		// Else Go's monitor takes this for a goroutine that keeps others from running,
		// and its remedies cost more than the yielding.
		if handed := p.handed.Swap(false); handed || time.Since(load.yielded) > yieldEvery {
			load.end()
			runtime.Gosched()
			load.begin()
		}
		n := p.await(events[:])
		r.tid.Store(int32(unix.Gettid()))
		if p.closing.Load() {
			return
		}
		r.beat.Add(1)
		p.watch()
		// First those that wait in goroutines: their events come once.
		for i := range events[:n] {
			if c := p.conn(events[i].Fd); c != nil && c.waiters.Load() > 0 {
				c.release(events[i].Events)
			}
		}
		if load.high && n >= shareFrom {
			p.share(r, events[:n])
		} else {
			p.handle(r, events[:n])
		}
		if r.over.Load() {
			return
		}
		for range maxPosted { // then it is the turn of who has sent something
			c := p.takePosted()
			if c == nil {
				break
			}
			c.h.Posted()
			if r.over.Load() {
				return
			}
			r.beat.Add(2)
		}
		r.beat.Add(1)
	}
}

// handle calls the handlers of connections.
func (p *Poller) handle(r *reign, events []unix.EpollEvent) {
	for i := range events {
		c := p.conn(events[i].Fd)
		switch {
		case c == nil:
		case r.over.Load(): // the next one is told, but not for who began to wait just now
			c.release(events[i].Events)
		default:
			c.handle(events[i].Events)
		}
		r.beat.Add(2)
	}
}

// share is handle with half of the events on another goroutine, for which there may be
// a processor.
func (p *Poller) share(r *reign, events []unix.EpollEvent) {
	var other sync.WaitGroup
	other.Add(1)
	p.wg.Go(func() {
		defer other.Done()
		p.handle(r, events[len(events)/2:])
	})
	p.handle(r, events[:len(events)/2])
	other.Wait()
}

// handOver wakes the next leader. One whose reign ended while it was about to wait
// may have taken what was meant for the other: the end of a wait, for a post or
// for Close, comes to one of those who wait.
func (p *Poller) handOver() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.interruptLocked()
}

// await waits for events. An error is a signal that came, or a bug.
func (p *Poller) await(events []unix.EpollEvent) int {
	p.sleeping.Store(true)
	timeout := -1
	if p.closing.Load() || p.anyPosted() {
		timeout = 0
	}
	n, err := unix.EpollWait(p.ep, events, timeout)
	p.sleeping.Store(false)
	if err != nil {
		return 0
	}
	return n
}

// watch starts the guard.
func (p *Poller) watch() {
	if !p.guarded.Load() && p.guarded.CompareAndSwap(false, true) {
		time.AfterFunc(guardEvery, p.look)
	}
}

// look is the guard's work. There is one at a time.
func (p *Poller) look() {
	if p.closing.Load() {
		return
	}
	r, g := p.reign.Load(), &p.guard
	beat := r.beat.Load()
	same := g.of == r && g.last == beat
	g.of, g.last = r, beat
	if g.since++; g.since >= calmAfter {
		p.uneasy.Store(false)
	}
	switch {
	case !same:
		g.quiet, g.busy = 0, 0
	case beat&1 == 1:
		g.quiet = 0
		// Its thread may run other goroutines while it waits, so the state does not
		// always tell.
		if g.busy++; g.busy >= starvedLooks || waits(r.tid.Load()) {
			g.busy = 0
			p.depose(r)
		}
	default:
		if g.quiet++; g.quiet >= calmAfter {
			g.quiet = 0
			p.guarded.Store(false)
			// The next event starts it again, unless it came just before.
			if r.beat.Load() == beat || !p.guarded.CompareAndSwap(false, true) {
				return
			}
		}
	}
	time.AfterFunc(guardEvery, p.look)
}

// waits reports whether a thread waits for something: a disk, or a lock whose holder
// does. One that could run and has no processor is not stalled.
func waits(tid int32) bool {
	b, err := os.ReadFile("/proc/self/task/" + strconv.Itoa(int(tid)) + "/stat")
	i := bytes.LastIndexByte(b, ')') // ends the name; the state follows
	return err == nil && i >= 0 && i+2 < len(b) && b[i+2] != 'R'
}

// depose lets another goroutine lead.
func (p *Poller) depose(r *reign) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing.Load() {
		return
	}
	p.stalls.Add(1)
	p.guard.since = 0
	p.uneasy.Store(true)
	r.over.Store(true)
	next := new(reign)
	p.reign.Store(next)
	p.wg.Go(func() { p.lead(next) })
}

package memnet

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// window is how many bytes may be under way in one direction.
const window = 256 << 10

// pair is a connection: two ends under one lock.
type pair struct {
	n    *Network
	mu   sync.Mutex // guards the ends
	cond sync.Cond
	ends [2]conn
}

// wake lets both ends look again.
func (p *pair) wake() {
	p.mu.Lock()
	p.cond.Broadcast()
	p.mu.Unlock()
}

// conn is one end of a connection.
type conn struct {
	p             *pair
	peer          *conn
	proc          *Process
	local, remote netip.AddrPort
	boots         [2]int // of the own and the other host, when it was made

	// Guarded by pair.mu.
	in       []packet // sent by the peer, in order, not read yet
	inBytes  int
	fin      *time.Time // when the peer's end of stream arrives
	closed   bool       // by the owner
	killed   bool       // with the process
	reset    bool       // by the peer: what was not read is lost
	rd, wd   deadline
	arrivals *time.Timer // wakes the reader for a packet that is under way
	last     time.Time   // when the last packet of in arrives
}

// packet is what one Write sent.
type packet struct {
	b  []byte
	at time.Time
}

// deadline is a moment after which a call fails.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// connectLocked makes a connection to l. Network.mu is held.
func (p *Process) connectLocked(l *listener, to netip.AddrPort) *conn {
	n := p.h.n
	pr := &pair{n: n}
	pr.cond.L = &pr.mu
	from := netip.AddrPortFrom(p.h.addr, p.h.portLocked())
	a, b := &pr.ends[0], &pr.ends[1]
	*a = conn{p: pr, peer: b, proc: p, local: from, remote: to, boots: [2]int{p.h.boot, l.p.h.boot}}
	*b = conn{p: pr, peer: a, proc: l.p, local: to, remote: from, boots: [2]int{l.p.h.boot, p.h.boot}}
	p.conns[a], l.p.conns[b] = struct{}{}, struct{}{}
	n.pairs[pr] = struct{}{}
	l.waiting = append(l.waiting, b)
	n.changed.Broadcast()
	return a
}

func (c *conn) toPeer() direction   { return direction{c.local.Addr(), c.remote.Addr()} }
func (c *conn) fromPeer() direction { return direction{c.remote.Addr(), c.local.Addr()} }

// state is what the network says about a connection.
type state struct {
	in, out  bool // packets pass
	delay    time.Duration
	rebooted bool // the other host is up and knows nothing of it
}

// lock takes pair.mu and tells what the network says. A change of the network after
// that wakes whoever waits on pair.cond.
func (c *conn) lock() state {
	n := c.p.n
	n.mu.Lock()
	defer n.mu.Unlock()
	defer c.p.mu.Lock() // before Network.mu is free, lest a change goes unseen
	other := n.hostLocked(c.remote.Addr())
	return state{
		in: n.passesLocked(c.fromPeer()), out: n.passesLocked(c.toPeer()), delay: n.delayLocked(c.toPeer()),
		rebooted: !other.down && other.boot != c.boots[1],
	}
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	for {
		s := c.lock()
		n, err, done := c.readLocked(b, s)
		if !done {
			c.p.cond.Wait()
		}
		c.p.mu.Unlock()
		if done {
			return n, c.opError("read", err)
		}
	}
}

func (c *conn) readLocked(b []byte, s state) (n int, err error, done bool) {
	switch {
	case c.killed:
		return 0, ErrKilled, true
	case c.closed:
		return 0, net.ErrClosed, true
	case c.rd.passed():
		return 0, os.ErrDeadlineExceeded, true
	case c.reset:
		return 0, syscall.ECONNRESET, true
	case s.rebooted && c.peer.inBytes > 0 && s.in && s.out: // what we sent was answered by a reset
		return 0, syscall.ECONNRESET, true
	case len(b) == 0:
		return 0, nil, true
	case !s.in || s.rebooted:
		return 0, nil, false
	}
	now := time.Now()
	for n < len(b) && len(c.in) > 0 && !c.in[0].at.After(now) {
		k := copy(b[n:], c.in[0].b)
		n += k
		c.inBytes -= k
		if c.in[0].b = c.in[0].b[k:]; len(c.in[0].b) == 0 {
			c.in = c.in[1:]
		}
	}
	if n > 0 {
		c.p.cond.Broadcast() // the peer may write again
		return n, nil, true
	}
	next := c.fin
	if len(c.in) > 0 {
		next = &c.in[0].at
	}
	if next == nil {
		return 0, nil, false
	}
	if !next.After(now) {
		return 0, io.EOF, true
	}
	if c.arrivals != nil {
		c.arrivals.Stop()
	}
	c.arrivals = time.AfterFunc(next.Sub(now), c.p.wake)
	return 0, nil, false
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	written := 0
	for {
		s := c.lock()
		n, err, done := c.writeLocked(b[written:], s)
		written += n
		if !done && n == 0 {
			c.p.cond.Wait()
		}
		c.p.mu.Unlock()
		if done || written == len(b) {
			return written, c.opError("write", err)
		}
	}
}

func (c *conn) writeLocked(b []byte, s state) (n int, err error, done bool) {
	switch {
	case c.killed:
		return 0, ErrKilled, true
	case c.closed:
		return 0, net.ErrClosed, true
	case c.wd.passed():
		return 0, os.ErrDeadlineExceeded, true
	case c.reset:
		return 0, syscall.EPIPE, true
	case s.rebooted && s.out && s.in:
		c.reset = true
		return 0, syscall.ECONNRESET, true
	case (c.peer.closed || c.peer.killed) && c.fin != nil && s.out && s.in && !c.fin.After(time.Now()):
		c.reset = true // the other end answers with a reset
		return 0, syscall.EPIPE, true
	case len(b) == 0:
		return 0, nil, true
	}
	n = min(len(b), window-c.peer.inBytes)
	if n <= 0 {
		return 0, nil, false
	}
	c.peer.inBytes += n
	if !c.peer.closed && !c.peer.killed {
		at := c.peer.arrival(s.delay)
		c.peer.in = append(c.peer.in, packet{b: append([]byte(nil), b[:n]...), at: at})
	}
	c.p.cond.Broadcast()
	return n, nil, n == len(b)
}

// arrival is when something that is sent now, with a delay, arrives: never before
// what was sent earlier.
func (c *conn) arrival(delay time.Duration) time.Time {
	at := time.Now().Add(delay)
	if at.Before(c.last) {
		at = c.last
	}
	c.last = at
	return at
}

// Close implements net.Conn.
func (c *conn) Close() error {
	n := c.p.n
	n.mu.Lock()
	defer n.mu.Unlock()
	delay := n.delayLocked(c.toPeer())
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	if c.closed || c.killed {
		return c.opError("close", net.ErrClosed)
	}
	c.closed = true
	c.endLocked(delay)
	return nil
}

// killLocked ends the connection with its process. Network.mu is held.
func (c *conn) killLocked() {
	n := c.p.n
	delay := n.delayLocked(c.toPeer())
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	if c.closed || c.killed {
		return
	}
	c.killed = true
	if c.proc.h.down || c.proc.h.boot != c.boots[0] { // nobody is told
		c.forgetLocked()
		return
	}
	c.endLocked(delay)
}

// endLocked tells the peer: by a reset if it sent what nobody read, as TCP does,
// else by the end of the stream. Network.mu and pair.mu are held.
func (c *conn) endLocked(delay time.Duration) {
	n := c.p.n
	if len(c.in) > 0 && !c.in[0].at.After(time.Now()) && n.passesLocked(c.fromPeer()) && n.passesLocked(c.toPeer()) {
		c.peer.reset = true
	}
	at := c.peer.arrival(delay)
	c.peer.fin = &at
	if wait := time.Until(at); wait > 0 {
		time.AfterFunc(wait, c.p.wake)
	}
	c.forgetLocked()
}

// forgetLocked drops what the network keeps of this end.
func (c *conn) forgetLocked() {
	for _, t := range []*time.Timer{c.rd.timer, c.wd.timer, c.arrivals} {
		if t != nil {
			t.Stop()
		}
	}
	c.in = nil
	delete(c.proc.conns, c)
	if (c.closed || c.killed) && (c.peer.closed || c.peer.killed) {
		delete(c.p.n.pairs, c.p)
	}
	c.p.cond.Broadcast()
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return tcpAddr(c.local) }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return tcpAddr(c.remote) }

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error { return c.set(t, &c.rd, &c.wd) }

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error { return c.set(t, &c.rd) }

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error { return c.set(t, &c.wd) }

func (c *conn) set(t time.Time, ds ...*deadline) error {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	if c.closed || c.killed {
		return c.opError("set", net.ErrClosed)
	}
	for _, d := range ds {
		if d.timer != nil {
			d.timer.Stop()
			d.timer = nil
		}
		d.at = t
		if wait := time.Until(t); !t.IsZero() && wait > 0 {
			d.timer = time.AfterFunc(wait, c.p.wake)
		}
	}
	c.p.cond.Broadcast()
	return nil
}

func (c *conn) opError(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

package peer

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Link is a connection to another broker that carries nothing: its end tells of
// the end of the process at the other side.
type Link struct {
	conn   net.Conn
	closed atomic.Bool

	raw  syscall.RawConn // nil if the connection is not the system's
	look func(fd uintptr)
	over atomic.Bool
}

func newLink(c net.Conn) *Link {
	l := &Link{conn: c}
	l.look = func(fd uintptr) {
		// Not by a read, which would take the error that Wait is to see.
		fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds[:], 0)
		l.over.Store(err == nil && n > 0)
	}
	if sc, ok := c.(syscall.Conn); ok {
		l.raw, _ = sc.SyscallConn() // nil: the end is known once Wait has read it
	}
	return l
}

// Over reports whether the system has something to tell of the connection, which can
// only be its end: Wait may not have had its turn since. It neither waits nor
// allocates.
func (l *Link) Over() bool {
	return l.raw != nil && l.raw.Control(l.look) == nil && l.over.Load()
}

// keepAlive makes an idle link say something each second. A firewall that begins to
// reject answers a packet, and none else: until then the link looks whole, and by the
// time that it does not its broker may be alone in its ISRs. A host that is silent
// is no news, and given more than a moment.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 15}

// Dialing is how all addresses of a broker answered.
type Dialing int8

const (
	// Connected: at least one address answered.
	Connected Dialing = iota
	// Refused: every address refused the connection, so nobody listens there.
	Refused
	// Silent: neither. No route, a time-out, a queue that is full.
	Silent
)

// Probe dials all addresses at the same time, each for at most
// Options.DialTimeout. link is the connection to the first one of them if that
// answered, to be closed by the caller; else nil. Without addresses all is
// silent.
func (p *Peers) Probe(ctx context.Context, addrs []string) (outcome Dialing, link *Link) {
	ctx, cancel := context.WithTimeout(ctx, p.o.DialTimeout)
	defer cancel()
	conns, errs := make([]net.Conn, len(addrs)), make([]error, len(addrs))
	var wg sync.WaitGroup
	for i, addr := range addrs {
		wg.Go(func() { conns[i], errs[i] = p.o.Dial(ctx, "tcp", addr) })
	}
	wg.Wait()
	outcome = Silent
	refused := 0
	for i, err := range errs {
		switch {
		case err == nil:
			outcome = Connected
			if i > 0 {
				_ = conns[i].Close() // nothing was written to it
			}
		case errors.Is(err, syscall.ECONNREFUSED):
			refused++
		}
	}
	if refused > 0 && refused == len(addrs) {
		outcome = Refused
	}
	if len(addrs) > 0 && errs[0] == nil {
		if c, ok := conns[0].(*net.TCPConn); ok {
			_ = c.SetKeepAliveConfig(keepAlive) // else it is as it was, and slower to tell
		}
		link = newLink(conns[0])
	}
	return outcome, link
}

// Wait returns when the connection has ended: byPeer tells whether the other side
// ended it, by FIN or RST, rather than Close, a time-out or anything else.
func (l *Link) Wait() (byPeer bool) {
	defer l.conn.Close()
	var b [64]byte
	for {
		_, err := l.conn.Read(b[:]) // nobody asked for what comes
		if err != nil {
			ended := errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
			return ended && !l.closed.Load()
		}
	}
}

// Close ends the connection.
func (l *Link) Close() {
	l.closed.Store(true)
	_ = l.conn.Close() // nothing was written to it
}

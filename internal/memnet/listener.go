package memnet

import (
	"net"
	"net/netip"
)

// backlog is how many connections wait to be accepted; more are refused.
const backlog = 1024

// listener is a listening socket.
type listener struct {
	p    *Process
	port uint16

	// Guarded by Network.mu.
	closed  bool
	waiting []*conn
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	n := l.p.h.n
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		switch {
		case l.p.gone():
			return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
		case l.closed:
			return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
		case len(l.waiting) > 0:
			c := l.waiting[0]
			l.waiting = l.waiting[1:]
			return c, nil
		}
		n.changed.Wait()
	}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	n := l.p.h.n
	n.mu.Lock()
	defer n.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	l.closeLocked()
	n.changed.Broadcast()
	return nil
}

func (l *listener) closeLocked() {
	if l.closed {
		return
	}
	l.closed = true
	if l.p.h.listeners[l.port] == l {
		delete(l.p.h.listeners, l.port)
	}
	for _, c := range l.waiting {
		c.killLocked()
	}
	l.waiting = nil
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return tcpAddr(netip.AddrPortFrom(l.p.h.addr, l.port)) }

func tcpAddr(a netip.AddrPort) *net.TCPAddr { return net.TCPAddrFromAddrPort(a) }

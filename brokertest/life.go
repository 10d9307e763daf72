package brokertest

import (
	"context"
	"errors"
	"net"
	"sync"

	"barnabas/internal/vfs"
)

// errKilled is what a killed broker gets from its network.
var errKilled = errors.New("brokertest: the broker was killed")

// life is what a broker loses when its process is killed: its connections,
// listeners, file locks, and the power to write. It is the FS of one run of one
// broker.
type life struct {
	*vfs.Mortal

	mu    sync.Mutex // guards following
	dead  bool
	lns   []net.Listener
	conns []net.Conn
	prune int // len(conns) at which closed ones are dropped
}

func newLife(fs vfs.FS) *life { return &life{Mortal: vfs.NewMortal(fs), prune: 64} }

// end kills: when it returns nothing more is written.
func (l *life) end() {
	l.Mortal.End()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = true
	for _, ln := range l.lns {
		ln.Close()
	}
	for _, c := range l.conns {
		c.Close()
	}
}

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
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead {
		c.Close()
		return nil, errKilled
	}
	l.conns = append(l.conns, c)
	if len(l.conns) >= l.prune {
		l.pruneLocked()
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

package socket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// listener is one listening socket.
type listener struct {
	srv  *Server
	opt  ListenerOptions
	ln   net.Listener
	open int  // connections; guarded by srv.mu
	rate rate // of new connections
	accepting
}

// accept takes connections until the server closes.
func (l *listener) accept() {
	defer l.end()
	for l.awaitPlace() {
		nc, err := l.ln.Accept()
		l.note(err)
		if err != nil {
			if errors.Is(err, net.ErrClosed) || !l.pause(err) {
				return
			}
			continue
		}
		// Meanwhile others may have taken the place. If the server closes, the loop
		// ends after this one.
		l.awaitPlace()
		l.start(nc)
	}
}

// pause waits a little after a failed accept: with no descriptors left the next
// one fails at once too. It reports false when the server closes.
func (l *listener) pause(err error) bool {
	l.srv.opt.Logger.Warn("accept failed", "listener", l.opt.Name, "error", err)
	t := time.NewTimer(100 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.srv.ctx.Done():
		return false
	}
}

// start serves a new connection, or closes it if its address has too many.
func (l *listener) start(nc net.Conn) {
	s := l.srv
	ip := remoteHost(nc)
	s.mu.Lock()
	closing := s.closing
	if s.fullIPLocked(ip) {
		s.mu.Unlock()
		l.refused.Add(1)
		_ = nc.Close() // refused; nothing was sent
		return
	}
	if tc, ok := nc.(*net.TCPConn); ok {
		s.setBuffers(tc)
	}
	c := newConn(s, l, s.nextID.Add(1), s.adopt(nc), ip)
	s.conns[c] = struct{}{}
	s.perIP[ip]++
	l.open++
	l.acceptedLocked()
	victim := l.makeRoomLocked()
	s.mu.Unlock()
	if victim != nil {
		victim.close(errMadeRoom)
	}
	if closing {
		c.shutdown() // it is answered once
	}
	if !c.takeOver() {
		s.wg.Go(c.run)
	}
}

// adopt gives a connection to a poller, if there are any.
func (s *Server) adopt(nc net.Conn) net.Conn {
	tc, ok := nc.(*net.TCPConn)
	if !ok || len(s.pollers) == 0 {
		return nc
	}
	pc, err := s.pollers[s.nextID.Load()%uint64(len(s.pollers))].Adopt(tc)
	if err != nil {
		s.opt.Logger.Debug("connection without a poller", "error", err)
		return nc // closed perhaps, which its reader will find
	}
	return pc
}

// errMadeRoom closes the connection of a client for that of a broker.
var errMadeRoom = errors.New("socket: max.connections is reached and another broker connects")

// fullIPLocked reports whether an address has all the connections it may have.
func (s *Server) fullIPLocked(ip string) bool {
	if limit, ok := s.limits.MaxPerIPOverrides[ip]; ok {
		return s.perIP[ip] >= limit
	}
	return full(s.perIP[ip], s.limits.MaxPerIP)
}

// setBuffers asks for the configured sizes; the system may give others.
func (s *Server) setBuffers(tc *net.TCPConn) {
	var err error
	if n := s.opt.SendBuffer; n > 0 {
		err = tc.SetWriteBuffer(n)
	}
	if n := s.opt.ReceiveBuffer; n > 0 {
		err = errors.Join(err, tc.SetReadBuffer(n))
	}
	if err != nil {
		s.opt.Logger.Debug("socket buffers", "error", err)
	}
}

func remoteHost(nc net.Conn) string {
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap().WithZone("").String()
	}
	host, _, err := net.SplitHostPort(nc.RemoteAddr().String())
	if err != nil {
		return nc.RemoteAddr().String()
	}
	return host
}

// setBacklog calls listen(2) again, which changes the length of the queue.
func setBacklog(ln net.Listener, n int) error {
	sc, ok := ln.(syscall.Conn)
	if !ok {
		return nil
	}
	if err := control(sc, func(fd int) error { return unix.Listen(fd, n) }); err != nil {
		return fmt.Errorf("backlog: %w", err)
	}
	return nil
}

// control calls f with the descriptor.
func control(sc syscall.Conn, f func(fd int) error) error {
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// limitedLog writes one line per second about closed connections, and counts
// what it leaves out.
type limitedLog struct {
	logger *slog.Logger

	mu      sync.Mutex // guards following
	last    time.Time
	skipped int
}

// closed tells why a connection was closed, unless that is an everyday matter:
// the client went, or the server closes.
func (l *limitedLog) closed(c *Conn, reason error) {
	switch {
	case reason == nil, errors.Is(reason, io.EOF), errors.Is(reason, net.ErrClosed),
		errors.Is(reason, errShutdown), errors.Is(reason, context.Canceled),
		errors.Is(reason, syscall.ECONNRESET), errors.Is(reason, syscall.EPIPE):
		return
	}
	l.mu.Lock()
	now := time.Now()
	if now.Sub(l.last) < time.Second {
		l.skipped++
		l.mu.Unlock()
		return
	}
	skipped := l.skipped
	l.last, l.skipped = now, 0
	l.mu.Unlock()
	if errors.Is(reason, os.ErrDeadlineExceeded) {
		reason = fmt.Errorf("the client takes no replies: %w", reason)
	}
	l.logger.Warn("connection closed", "client", c.RemoteAddr().String(), "listener", c.Listener(),
		"reason", reason.Error(), "more_since_last", skipped)
}

package session

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/go-zookeeper/zk"
)

// sess is one session and the one library connection that serves it.
//
// It is dialing until a server grants an id, then connected and disconnected in
// turn, then dead: expired or closed. A dead one dials no more, so that the
// library, which would begin a new session, can't.
type sess struct {
	c      *Client
	ctx    context.Context // ends with its death
	cancel context.CancelFunc
	conn   *zk.Conn
	made   chan struct{} // closed when conn is set
	quiet  chan struct{} // closed when the library's loop has ended
	w      watches

	// Guarded by Client.mu.
	net       *guard // of the last dial
	id        int64
	timeout   time.Duration
	connected bool
	syncing   bool
	synced    bool // the sync before the first read was answered
	dead      bool
	expired   bool
	refusals  refusals
}

// begin starts a session. The library dials in the background.
func (c *Client) begin() *sess {
	s := &sess{c: c, made: make(chan struct{}), quiet: make(chan struct{}), timeout: c.opts.Timeout}
	s.ctx, s.cancel = context.WithCancel(c.ctx)
	c.mu.Lock()
	c.cur = s
	c.mu.Unlock()
	h := &hosts{ctx: s.ctx, servers: c.servers, resolve: c.opts.Resolver, failed: func(server string, err error) {
		c.noteError(fmt.Errorf("resolving %s: %w", server, err))
	}}
	conn, events, err := zk.Connect(c.servers, c.opts.Timeout,
		zk.WithDialer(s.dial), zk.WithHostProvider(h), zk.WithEventCallback(s.callback),
		zk.WithLogger(logger{s}), zk.WithLogInfo(false), zk.WithMaxBufferSize(c.opts.MaxReplyBytes))
	if err != nil {
		panic("session: the library refuses its options: " + err.Error()) // it has servers, and our Init can't fail
	}
	s.conn = conn
	close(s.made)
	c.wg.Go(func() {
		for range events { // closed by the library at its very end
		}
		close(s.quiet)
	})
	return s
}

// end closes the library's connection, and with it a session that lives, and
// waits for its goroutines.
func (s *sess) end() {
	s.c.mu.Lock()
	s.dead = true
	s.c.closeGateLocked()
	connected := s.connected
	s.c.mu.Unlock()
	if !connected {
		s.cancel()
		s.drop()
	}
	s.conn.Close()
	s.cancel()
	<-s.quiet
}

func (s *sess) wasEstablished() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.synced
}

// dial connects to one server for the library.
func (s *sess) dial(network, addr string, _ time.Duration) (net.Conn, error) {
	s.c.mu.Lock()
	id, dead, timeout := s.id, s.expired, s.timeout
	s.c.mu.Unlock()
	if dead || s.ctx.Err() != nil {
		return nil, ErrClosed
	}
	wait := max(min(2*time.Second, timeout/6), 50*time.Millisecond)
	ctx, cancel := context.WithTimeout(s.ctx, wait)
	defer cancel()
	conn, err := s.c.opts.Dialer(ctx, network, addr)
	if err != nil {
		s.c.noteError(err)
		return nil, err
	}
	g := &guard{
		watched: make(chan struct{}),
		Conn:    conn, handshake: wait, maxWait: max(timeout*2/3, 50*time.Millisecond), maxReply: s.c.opts.MaxReplyBytes,
		expect: id, established: s.established,
	}
	g.failed = func(err error) {
		s.c.noteError(err)
		s.refused(network, addr, g.seen, err)
	}
	s.c.mu.Lock()
	s.net = g
	s.c.mu.Unlock()
	return g, nil
}

// drop closes the present connection; the library makes another.
func (s *sess) drop() {
	s.c.mu.Lock()
	g := s.net
	s.c.mu.Unlock()
	if g != nil {
		g.Close()
	}
}

// established is told by the guard of a good connect reply.
func (s *sess) established(id int64, timeout time.Duration) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.id, s.timeout, s.refusals = id, timeout, refusals{}
}

// callback is called by the library's goroutines and must not block.
func (s *sess) callback(e zk.Event) {
	if e.Type != zk.EventSession {
		s.fired(e)
		return
	}
	switch e.State {
	case zk.StateHasSession:
		s.hasSession()
	case zk.StateDisconnected:
		s.disconnected()
	case zk.StateExpired:
		s.expire()
	}
}

func (s *sess) fired(e zk.Event) {
	var t EventType
	switch e.Type {
	case zk.EventNodeCreated:
		t = NodeCreated
	case zk.EventNodeDeleted:
		t = NodeDeleted
	case zk.EventNodeDataChanged:
		t = NodeDataChanged
	case zk.EventNodeChildrenChanged:
		t = NodeChildrenChanged
	default: // EventNotWatching: the session is over, which OnState tells
		return
	}
	path := s.c.rel(e.Path)
	s.w.fired(t, path)
	s.c.disp.event(Event{Type: t, Path: path})
}

// hasSession lets requests through; in a new session only after a sync.
func (s *sess) hasSession() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.dead {
		return
	}
	s.connected = true
	switch {
	case s.synced:
		s.c.openGateLocked()
		s.c.disp.state(State{Connected, s.id})
	case !s.syncing:
		s.syncing = true
		s.c.wg.Go(s.sync)
	}
}

// sync makes the first request of a session. A lost connection ends the try;
// the next connection begins another.
func (s *sess) sync() {
	select {
	case <-s.made:
	case <-s.ctx.Done():
		return
	}
	for {
		_, err := s.conn.Sync("/")
		s.c.mu.Lock()
		s.syncing = false
		switch {
		case s.dead:
		case err == nil:
			s.synced = true
			s.c.log.Info("session established", "session", sessionText(s.id), "timeout", s.timeout)
			s.c.disp.state(State{NewSession, s.id})
			if s.connected {
				s.c.openGateLocked()
			} else {
				s.c.disp.state(State{Disconnected, s.id})
			}
		case s.connected: // connected again meanwhile
			s.syncing = true
		}
		again := s.syncing
		s.c.mu.Unlock()
		if !again {
			return
		}
	}
}

func (s *sess) disconnected() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	was := s.connected
	s.connected = false
	if s.dead {
		return
	}
	s.c.closeGateLocked()
	if was && s.synced {
		s.c.log.Warn("disconnected", "session", sessionText(s.id))
		s.c.disp.state(State{Disconnected, s.id})
	}
}

// expire ends the session: what is pending fails when run closes the library's
// connection.
func (s *sess) expire() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.dead {
		return
	}
	s.dead, s.expired, s.connected = true, true, false
	s.c.closeGateLocked()
	if s.synced {
		s.c.log.Error("session expired", "session", sessionText(s.id))
		s.c.disp.state(State{Expired, s.id})
	}
	s.cancel()
}

// isDead reports whether the session can serve no more.
func (s *sess) isDead() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.dead
}

func sessionText(id int64) string { return fmt.Sprintf("%#x", uint64(id)) }

// logger takes what the library says. It has no other way to tell that it could
// not set the watches again after a reconnection: the connection is then dropped,
// so that it tries again.
type logger struct{ s *sess }

const setWatchesFailed = "Failed to set previous watches: %v"

// Printf is called by the library.
func (l logger) Printf(format string, args ...any) {
	l.s.c.log.Debug("zk library", "msg", fmt.Sprintf(format, args...))
	if format != setWatchesFailed || len(args) != 1 {
		return
	}
	if err, ok := args[0].(error); ok && !isLost(err) {
		l.s.drop()
	}
}

package devzk

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"
)

// Server is a running server. Its methods may be called by any goroutine.
type Server struct {
	opts     Options
	log      *slog.Logger
	listener net.Listener
	quit     chan struct{}
	failed   chan struct{}
	running  sync.WaitGroup
	closed   sync.Once
	// epoch is where ticks are counted from.
	epoch time.Time
	store *store // nil without Options.Dir

	mu          sync.Mutex // guards the following
	tree        *tree
	watches     watchTable
	sessions    map[int64]*session
	nextSession int64
	zxid        int64  // of the last transaction
	lastTxn     uint64 // number of the last transaction of this process
	conns       map[*conn]struct{}
	requests    int64
	scratch     []byte
	closing     bool
	failure     error
}

// Start recovers what Options.Dir holds, listens and serves until Close.
func Start(o Options) (*Server, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	now := time.Now()
	s := &Server{
		opts: o, log: o.Logger, listener: o.Listener, epoch: now,
		quit: make(chan struct{}), failed: make(chan struct{}),
		tree: newTree(), watches: watchTable{byPath: map[string]map[*conn]watchKind{}},
		sessions: map[int64]*session{}, nextSession: newSessionBase(now), conns: map[*conn]struct{}{},
	}
	if o.Dir != "" {
		if err := s.openStore(); err != nil {
			return nil, err
		}
		for _, ss := range s.sessions {
			s.touchLocked(ss, now) // nobody else is here yet
		}
	}
	if s.listener == nil {
		l, err := net.Listen("tcp", o.Addr)
		if err != nil {
			if s.store != nil {
				s.store.close()
			}
			return nil, fmt.Errorf("devzk: listen: %w", err)
		}
		s.listener = l
	}
	s.running.Go(s.accept)
	s.running.Go(s.expire)
	return s, nil
}

// Addr is the address listened on, host:port, as a connect string.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Close ends the server: connections break, sessions stay in Dir. It returns
// when all is quiet. Closing twice is harmless.
func (s *Server) Close() error {
	s.stop(nil)
	s.running.Wait()
	s.closed.Do(func() {
		if s.store == nil {
			return
		}
		if err := s.store.close(); err != nil && s.failure == nil {
			s.failure = fmt.Errorf("devzk: closing the transaction log: %w", err)
		}
	})
	return s.failure
}

// Failed is closed when the server had to stop by itself because its
// transaction log could not be written; Close returns the reason.
func (s *Server) Failed() <-chan struct{} { return s.failed }

// stop begins the end; a reason makes it a failure.
func (s *Server) stop(reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopLocked(reason)
}

func (s *Server) stopLocked(reason error) {
	if s.closing {
		return
	}
	s.closing = true
	if reason != nil {
		s.failure = reason
		s.log.Error("server stops", "error", reason)
		close(s.failed)
	}
	close(s.quit)
	if s.listener != nil { // nil while starting
		s.listener.Close()
	}
	for c := range s.conns {
		c.close()
	}
}

func (s *Server) accept() {
	for {
		nc, err := s.listener.Accept()
		if err != nil {
			if s.acceptFailed(err) {
				return
			}
			continue
		}
		c := newConn(s, nc)
		s.mu.Lock()
		ok := !s.closing && len(s.conns) < s.opts.MaxConnections
		if ok {
			s.conns[c] = struct{}{}
			s.running.Go(c.serve)
		}
		s.mu.Unlock()
		if !ok {
			nc.Close()
		}
	}
}

// acceptFailed reports whether the listener is done for; else, as when file
// descriptors have run out, it has waited a little.
func (s *Server) acceptFailed(err error) bool {
	s.mu.Lock()
	closing := s.closing
	s.mu.Unlock()
	if closing || errors.Is(err, net.ErrClosed) {
		return true
	}
	s.log.Warn("accept failed", "error", err)
	select {
	case <-s.quit:
		return true
	case <-time.After(50 * time.Millisecond):
		return false
	}
}

// forget drops what the server knows of a connection that ends. Its session
// lives on.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watches.drop(c)
	if c.session != nil {
		c.session.conn = nil
		c.session = nil
	}
	delete(s.conns, c)
}

// commitLocked gives a transaction its place: in the log, if there is one. An
// error means that the server is stopping and nothing may be answered.
func (s *Server) commitLocked(t *txn) error {
	t.prev = s.zxid
	if s.store != nil {
		if err := s.store.append(t, s.lastTxn+1); err != nil {
			err = fmt.Errorf("devzk: writing the transaction log: %w", err)
			s.stopLocked(err)
			return err
		}
	}
	s.zxid = t.zxid
	s.lastTxn++
	return nil
}

// waitDurable returns when a transaction, and all before it, are as durable as
// Options ask for.
func (s *Server) waitDurable(number uint64) error {
	if !s.opts.Sync || s.store == nil {
		return nil
	}
	err := s.store.sync(number)
	if err != nil {
		s.stop(fmt.Errorf("devzk: syncing the transaction log: %w", err))
	}
	return err
}

// SessionInfo describes a session.
type SessionInfo struct {
	ID        int64
	Timeout   time.Duration // as negotiated
	Connected bool
	Remote    string // the client's address, "" when not connected
	// Ephemerals are the paths that end with the session, sorted.
	Ephemerals []string
}

// Sessions lists the live sessions by id.
func (s *Server) Sessions() []SessionInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []SessionInfo
	for _, ss := range s.sessions {
		info := SessionInfo{ID: ss.id, Timeout: ss.timeout, Ephemerals: s.tree.ephemeralsOf(ss.id)}
		if ss.conn != nil {
			info.Connected, info.Remote = true, ss.conn.net.RemoteAddr().String()
		}
		list = append(list, info)
	}
	slices.SortFunc(list, func(a, b SessionInfo) int { return int(min(max(a.ID-b.ID, -1), 1)) })
	return list
}

// ExpireSession ends a session as its timeout would and reports whether there
// was one.
func (s *Server) ExpireSession(id int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ss := s.sessions[id]
	return ss != nil && s.endSessionLocked(ss, nil) == nil
}

// DropConnections breaks every connection; sessions live on. It returns how
// many there were.
func (s *Server) DropConnections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.close()
	}
	return len(s.conns)
}

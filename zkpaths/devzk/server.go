package devzk

import (
	"errors"
	"time"
)

// Server is a running server. Its methods may be called by any goroutine.
type Server struct{ opts Options }

// Start recovers what Options.Dir holds, listens and serves until Close.
func Start(o Options) (*Server, error) { return nil, errors.ErrUnsupported }

// Addr is the address listened on, host:port, as a connect string.
func (s *Server) Addr() string { return "" }

// Close ends the server: connections break, sessions stay in Dir. It returns
// when all is quiet. Closing twice is harmless.
func (s *Server) Close() error { return nil }

// Failed is closed when the server had to stop by itself because its
// transaction log could not be written; Close returns the reason.
func (s *Server) Failed() <-chan struct{} { return nil }

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
func (s *Server) Sessions() []SessionInfo { return nil }

// ExpireSession ends a session as its timeout would and reports whether there
// was one.
func (s *Server) ExpireSession(id int64) bool { return false }

// DropConnections breaks every connection; sessions live on. It returns how
// many there were.
func (s *Server) DropConnections() int { return 0 }

// DropSession breaks the connection of one session and reports whether it had
// one.
func (s *Server) DropSession(id int64) bool { return false }

package socket

import (
	"context"
	"log/slog"
	"net"
	"time"
)

// ListenerOptions is one address to listen on.
type ListenerOptions struct {
	// Name is the listener's name, such as PLAINTEXT.
	Name string
	// Addr is host:port; an empty host means all interfaces, port 0 any free
	// port.
	Addr string
	// MaxConnections bounds this listener's connections; 0 means no bound of
	// its own.
	MaxConnections int
}

// Options of a Server. Zero values take the defaults named.
type Options struct {
	Listeners []ListenerOptions
	// MaxRequestBytes is the longest frame (socket.request.max.bytes).
	// Default 100 MiB.
	MaxRequestBytes int
	// MaxConnections bounds all connections together (max.connections);
	// accepting waits for a free place. 0: unbounded.
	MaxConnections int
	// MaxPerIP bounds the connections of one client address
	// (max.connections.per.ip); one more is closed at once. 0: unbounded.
	MaxPerIP int
	// MaxPerIPOverrides replaces MaxPerIP for named addresses.
	MaxPerIPOverrides map[string]int
	// MaxIdle closes a connection without traffic (connections.max.idle.ms).
	// Default 10 minutes; negative never.
	MaxIdle time.Duration
	// WriteTimeout closes a connection whose client takes nothing for so long
	// while replies wait. Default 30 s.
	WriteTimeout time.Duration
	// Backlog of the listening sockets (socket.listen.backlog.size). 0: the
	// system's.
	Backlog int
	// SendBuffer and ReceiveBuffer are SO_SNDBUF and SO_RCVBUF in bytes; 0 or
	// negative leaves the system's.
	SendBuffer, ReceiveBuffer int
	// MaxPending is the number of requests of a connection that may wait for
	// their replies. Default 32.
	MaxPending int
	// MaxReadyBytes is the size of finished replies above which a connection
	// reads no further. Default 1 MiB.
	MaxReadyBytes int
	// CloseGrace is how long Close waits for requests under way. Default 5 s.
	CloseGrace time.Duration
	// Listen opens a listening socket. Default net.Listen.
	Listen func(network, addr string) (net.Listener, error)
	// Logger gets one line now and then about connections that were closed for
	// what they sent. Default: nothing is logged.
	Logger *slog.Logger
}

// Server listens and serves. New, then Listen, then Serve; Close ends it.
type Server struct {
	opt Options
}

// New makes a server.
func New(o Options) *Server { return &Server{opt: o} }

// Listen binds all listeners, so that a taken port is known before anything
// else is done, and ports that were 0 are known. The error names host and port.
func (s *Server) Listen() error { return nil }

// Addr is the bound address of a listener; nil before Listen.
func (s *Server) Addr(listener string) net.Addr { return nil }

// Serve accepts connections until Close, or until ctx ends, which closes the
// server.
func (s *Server) Serve(ctx context.Context, h Handler) error { return nil }

// Close stops accepting, lets requests under way finish for CloseGrace, closes
// all connections, and returns when all is quiet.
func (s *Server) Close() error { return nil }

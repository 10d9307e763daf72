package socket

import (
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
	// MaxQueuedBytes bounds the memory for requests of all connections that
	// arrive or are not answered yet (queued.max.request.bytes), see
	// frame.Budget; the first 16 KiB of each connection are not counted. At
	// least MaxRequestBytes. Default 512 MiB.
	MaxQueuedBytes int64
	// MaxConnections bounds all connections together (max.connections);
	// accepting waits for a free place. 0: unbounded.
	MaxConnections int
	// MaxPerIP bounds the connections of one client address
	// (max.connections.per.ip); one more is closed at once. 0: unbounded.
	MaxPerIP int
	// MaxPerIPOverrides replaces MaxPerIP for named addresses; 0 refuses all.
	MaxPerIPOverrides map[string]int
	// MaxIdle closes a connection without traffic (connections.max.idle.ms),
	// up to a quarter later. Default 10 minutes; negative never.
	MaxIdle time.Duration
	// WriteTimeout closes a connection whose client takes nothing for so long
	// while replies wait, up to twice as long. Default 30 s; negative never.
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

func (o Options) withDefaults() Options {
	if o.MaxRequestBytes <= 0 {
		o.MaxRequestBytes = 100 << 20
	}
	if o.MaxQueuedBytes <= 0 {
		o.MaxQueuedBytes = 512 << 20
	}
	if o.MaxIdle == 0 {
		o.MaxIdle = 10 * time.Minute
	}
	if o.WriteTimeout == 0 {
		o.WriteTimeout = 30 * time.Second
	}
	if o.MaxPending <= 0 {
		o.MaxPending = 32
	}
	if o.MaxReadyBytes <= 0 {
		o.MaxReadyBytes = 1 << 20
	}
	if o.CloseGrace <= 0 {
		o.CloseGrace = 5 * time.Second
	}
	if o.Listen == nil {
		o.Listen = net.Listen
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

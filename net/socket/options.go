package socket

import (
	"context"
	"log/slog"
	"net"
	"time"

	"barnabas/protocol"
)

// ListenerOptions is one address to listen on.
type ListenerOptions struct {
	// Name is the listener's name, such as PLAINTEXT.
	Name string
	// Addr is host:port; an empty host means all interfaces, port 0 any free
	// port.
	Addr string
	// Protected keeps the listener of brokers free: it is not bounded by
	// Limits.MaxConnections and Limits.Rate, and if there is no place left, a
	// connection of a listener that is not protected is closed. The only
	// listener there is cannot be protected.
	Protected bool
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
	// least MaxRequestBytes. Default 256 MiB.
	MaxQueuedBytes int64
	// MaxWorkBytes bounds the memory for what requests become while they are served,
	// and for their replies, beyond 64 KiB of each; see Request.Lease. A quarter as
	// much is for what is made while it is sent, see Request.Hold. Default
	// MaxQueuedBytes.
	MaxWorkBytes int64
	// Limits of the number of connections at the start; see SetLimits.
	Limits Limits
	// MaxIdle closes a connection without traffic (connections.max.idle.ms),
	// up to a quarter later. Default 10 minutes; negative never.
	MaxIdle time.Duration
	// WriteTimeout closes a connection whose client takes nothing for so long
	// while replies wait, up to four times as long; by then the system closes it too if
	// what it took over is not acknowledged. Default 30 s; negative never.
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
	// Pollers is how many threads wait for connections and serve what needs no
	// waiting, see package poll. Each takes a processor of Go's while it waits, so
	// they should be fewer than GOMAXPROCS, in a process that has no other server.
	// Default 0: a goroutine for each connection.
	Pollers int
	// MayWait reports whether what pollers serve may have to wait before its effects
	// just now, so that goroutines do it. It is asked for each request, and takes no
	// time. Default: it never has to.
	MayWait func() bool
	// CloseGrace is how long Close waits for requests under way. Default 5 s.
	CloseGrace time.Duration
	// Stamp tells how far this broker has read the change log, for answers to other
	// brokers; Heard takes what they say. They come by protected listeners only.
	// Neither waits. Default: nothing is said and heard.
	Stamp func() protocol.Stamp
	Heard func(protocol.Stamp)
	// Listen opens a listening socket. Default net.Listen, with keepalive probes
	// that find a peer which is gone without a word within two minutes.
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
		o.MaxQueuedBytes = 256 << 20
	}
	if o.MaxWorkBytes <= 0 {
		o.MaxWorkBytes = o.MaxQueuedBytes
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
	if o.MayWait == nil {
		o.MayWait = func() bool { return false }
	}
	if o.CloseGrace <= 0 {
		o.CloseGrace = 5 * time.Second
	}
	if o.Listen == nil {
		o.Listen = listenTCP
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// freshTime is how long after it was made a connection may still bring its first
// request to a server that closes.
func (o *Options) freshTime() time.Duration { return o.CloseGrace / 5 }

// listenTCP listens for connections that are probed when they are silent.
func listenTCP(network, addr string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 10 * time.Second, Count: 6}}
	// Kafka's clients speak no multipath TCP, and its sockets lack options.
	lc.SetMultipathTCP(false)
	return lc.Listen(context.Background(), network, addr)
}

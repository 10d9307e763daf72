package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/buf"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// Errors. All that Request, Conn and Exchange return wrap one of them, or are
// the cause of an ended context.
var (
	// ErrUnknownBroker: no address is known; it is not registered.
	ErrUnknownBroker = errors.New("peer: the broker is not registered")
	// ErrUnreachable: no connection could be made. Nothing was sent.
	ErrUnreachable = errors.New("peer: the broker can't be reached")
	// ErrBroken: the connection ended, or the answer did not come in time. The
	// request may have been carried out or not.
	ErrBroken = errors.New("peer: the connection broke")
	// ErrMalformed: the answer is none. The connection is closed.
	ErrMalformed = errors.New("peer: malformed answer")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("peer: closed")
)

const (
	// perBroker bounds the connections of Request to one broker.
	perBroker = 4
	// maxIdle is how long a connection is kept that nobody uses.
	maxIdle = time.Minute
)

// Options of New. Address is required.
type Options struct {
	// Dial makes connections. Default: net.Dialer's.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// ClientID is sent with each request.
	ClientID string
	// Address is where a broker listens for brokers; false if it is not
	// registered. It is asked before each connection and each use of one.
	Address func(kafka.BrokerID) (addr string, ok bool)
	// Timeout bounds a request on a connection of one's own until its whole
	// answer is there (replica.socket.timeout.ms). Default 30 s.
	Timeout time.Duration
	// RequestTimeout bounds one of Request (request.timeout.ms), DialTimeout a
	// dial (socket.connection.setup.timeout.ms). Default: Timeout.
	RequestTimeout, DialTimeout time.Duration
	// Stamp tells how far this broker has read the change log, for each request;
	// Heard takes what the answers say. Neither waits. Default: nothing is said and
	// heard.
	Stamp func() protocol.Stamp
	Heard func(protocol.Stamp)
	// ReceiveBuffer is SO_RCVBUF of a connection of one's own, in bytes
	// (replica.socket.receive.buffer.bytes); 0 or negative leaves the system's.
	ReceiveBuffer int
	// MaxResponseBytes bounds one answer. Default 256 MiB.
	MaxResponseBytes int
	// Logger is told, at level Debug, of connections. Default: none.
	Logger *slog.Logger
}

// Peers are the connections to all other brokers. It is safe for concurrent use.
type Peers struct {
	o    Options
	pool *buf.Pool

	mu      sync.Mutex // guards following
	targets map[kafka.BrokerID]*target
	closed  bool
}

// target is a broker that Request was called for.
type target struct {
	slots chan struct{} // has a value for each request under way
	idle  []*Conn       // guarded by Peers.mu; the last used is last
}

// New makes Peers without connections.
func New(o Options) *Peers {
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	if o.RequestTimeout <= 0 {
		o.RequestTimeout = o.Timeout
	}
	if o.DialTimeout <= 0 {
		o.DialTimeout = o.Timeout
	}
	if o.MaxResponseBytes <= 0 {
		o.MaxResponseBytes = 256 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Peers{o: o, pool: buf.New(), targets: map[kafka.BrokerID]*target{}}
}

// Request sends a request, of the version that it is set to, and returns its
// answer, which belongs to the caller.
func (p *Peers) Request(ctx context.Context, broker kafka.BrokerID, req kmsg.Request) (kmsg.Response, error) {
	addr, err := p.address(broker)
	if err != nil {
		return nil, err
	}
	t, err := p.target(broker)
	if err != nil {
		return nil, err
	}
	select {
	case t.slots <- struct{}{}:
		defer func() { <-t.slots }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	c := p.take(t, addr)
	if c == nil {
		if c, err = p.dial(ctx, broker, addr); err != nil {
			return nil, err
		}
		c.timeout = p.o.RequestTimeout
	}
	defer p.give(t, c)
	return c.Request(ctx, req)
}

// Conn makes a connection of the caller's own, to be closed by it.
func (p *Peers) Conn(ctx context.Context, broker kafka.BrokerID) (*Conn, error) {
	addr, err := p.address(broker)
	if err != nil {
		return nil, err
	}
	c, err := p.dial(ctx, broker, addr)
	if err != nil {
		return nil, err
	}
	if tc, ok := c.conn.(*net.TCPConn); ok && p.o.ReceiveBuffer > 0 {
		if err := tc.SetReadBuffer(p.o.ReceiveBuffer); err != nil {
			p.o.Logger.Debug("socket buffer", "error", err)
		}
	}
	return c, nil
}

// Close closes what is idle. Requests under way end by their own; later ones
// fail with ErrClosed. What Conn returned stays open.
func (p *Peers) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, t := range p.targets {
		for _, c := range t.idle {
			c.Close()
		}
		t.idle = nil
	}
}

func (p *Peers) address(broker kafka.BrokerID) (string, error) {
	addr, ok := p.o.Address(broker)
	if !ok {
		return "", fmt.Errorf("%w: %d", ErrUnknownBroker, broker)
	}
	return addr, nil
}

func (p *Peers) target(broker kafka.BrokerID) (*target, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	t := p.targets[broker]
	if t == nil {
		t = &target{slots: make(chan struct{}, perBroker)}
		p.targets[broker] = t
	}
	return t, nil
}

// take returns an idle connection to addr that its peer has not closed, or nil.
func (p *Peers) take(t *target, addr string) *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(t.idle) > 0 {
		c := t.idle[len(t.idle)-1]
		t.idle = t.idle[:len(t.idle)-1]
		if c.addr == addr && time.Since(c.used) < maxIdle && c.quiet() {
			return c
		}
		c.Close()
	}
	return nil
}

// give keeps a connection for the next request, and closes what is too old.
func (p *Peers) give(t *target, c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || c.broken {
		c.Close()
		return
	}
	for len(t.idle) > 0 && time.Since(t.idle[0].used) >= maxIdle {
		t.idle[0].Close()
		t.idle = t.idle[1:]
	}
	t.idle = append(t.idle, c)
}

func (p *Peers) dial(ctx context.Context, broker kafka.BrokerID, addr string) (*Conn, error) {
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	dialing, cancel := context.WithTimeout(ctx, p.o.DialTimeout)
	defer cancel()
	conn, err := p.o.Dial(dialing, "tcp", addr)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, fmt.Errorf("%w: %d at %s: %w", ErrUnreachable, broker, addr, err)
	}
	p.o.Logger.Debug("connected to a broker", "peer", int32(broker), "addr", addr)
	return newConn(p, broker, addr, conn), nil
}

package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"

	"barnabas/internal/metrics"
)

// Client is a ZooKeeper client; all its methods may be called concurrently.
// Paths are relative to the chroot. Calls wait while there is no connection,
// until their context ends.
type Client struct {
	opts    Options
	servers []string
	chroot  string
	log     *slog.Logger
	slots   chan struct{} // one token per request in flight
	disp    *dispatcher
	losses  losses
	latency metrics.Histogram // of requests that were answered, in microseconds

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex // guards following
	cur     *sess
	gate    chan struct{} // closed while requests may go out
	open    bool          // gate is closed
	closed  bool
	lastErr error // of connecting, for error messages
}

// Open connects to a ZooKeeper ensemble and makes the chroot if it is not
// there (see KeepChroot). The error after ConnectTimeout names the servers and what to check.
func Open(ctx context.Context, o Options) (*Client, error) {
	servers, chroot, err := ParseConnect(o.Connect)
	if err != nil {
		return nil, err
	}
	o = o.withDefaults()
	c := &Client{
		opts: o, servers: servers, chroot: chroot, log: o.Logger.With("zookeeper", o.Connect),
		slots: make(chan struct{}, o.MaxInFlight), gate: make(chan struct{}),
		disp: newDispatcher(o.OnEvent, o.OnState),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.wg.Go(c.disp.run)
	c.wg.Go(c.run)
	if err := c.waitFirst(ctx); err != nil {
		c.Close()
		return nil, err
	}
	if err := c.makeChroot(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// waitFirst waits for the first session.
func (c *Client) waitFirst(ctx context.Context) error {
	c.mu.Lock()
	gate := c.gate
	c.mu.Unlock()
	var expired <-chan time.Time
	// An operator who looks at the log of a start must soon see why nothing
	// happens, and not a page of it later.
	const soon, every = 2 * time.Second, 10 * time.Second
	if c.opts.ConnectTimeout > 0 {
		t := time.NewTimer(c.opts.ConnectTimeout)
		defer t.Stop()
		expired = t.C
	}
	tell := time.NewTimer(soon)
	defer tell.Stop()
	start := time.Now()
	for {
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("session: connecting to ZooKeeper at %s: %w", strings.Join(c.servers, ","), ctx.Err())
		case <-expired:
			return c.connectError()
		case <-tell.C:
			c.log.Warn("still waiting for ZooKeeper", "waited", time.Since(start).Round(time.Second), "err", c.connectCause())
			tell.Reset(every)
		}
	}
}

func (c *Client) connectCause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lastErr == nil {
		return errors.New("no server answered")
	}
	return c.lastErr
}

// ErrNoServer is wrapped by Open's error when no session could be had in time.
var ErrNoServer = errors.New("session: can't connect to ZooKeeper")

func (c *Client) connectError() error {
	return fmt.Errorf("%w at %s within %v (last: %w). Check that it runs (echo srvr | nc HOST PORT), that zookeeper.connect names it, and that no firewall is between; zookeeper.connection.timeout.ms sets how long to wait",
		ErrNoServer, strings.Join(c.servers, ","), c.opts.ConnectTimeout, c.connectCause())
}

// makeChroot creates each part of the chroot.
func (c *Client) makeChroot(ctx context.Context) error {
	if c.chroot == "" {
		return nil
	}
	ok, err := send(c, ctx, call{op: "exists", path: c.chroot}, func(conn *zk.Conn) (bool, error) {
		ok, _, err := conn.Exists(c.chroot)
		return ok, err
	})
	switch {
	case err != nil || ok:
		return err
	case c.opts.KeepChroot:
		return fmt.Errorf("session: the chroot %s: %w", c.chroot, ErrNoNode)
	}
	if _, err := c.createAllAbs(ctx, c.chroot, nil, Persistent); err != nil && !errors.Is(err, ErrNodeExists) {
		return fmt.Errorf("session: making the chroot: %w", err)
	}
	return nil
}

// run keeps a session, for ever.
func (c *Client) run() {
	for c.ctx.Err() == nil {
		s := c.begin()
		select {
		case <-s.ctx.Done():
		case <-c.ctx.Done():
		}
		s.end()
		if c.ctx.Err() == nil && !s.wasEstablished() {
			select { // a server that refuses new sessions
			case <-time.After(time.Second):
			case <-c.ctx.Done():
			}
		}
	}
}

// Close ends the session, with its ephemeral znodes, and waits until all
// goroutines have ended: without a connection up to four seconds.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.disp.close()
	c.wg.Wait()
}

// Collect writes Kafka's ZooKeeperClientMetrics.
func (c *Client) Collect(p *metrics.Page) {
	p.Family("kafka_server_zookeeperclientmetrics_zookeeperrequestlatencyms", metrics.SummaryKind, "Milliseconds from a request to ZooKeeper to its answer.")
	p.Summary(&c.latency, 1000)
}

// SessionID is the id of the present session, 0 while there is none.
func (c *Client) SessionID() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cur == nil || c.cur.dead || !c.cur.synced {
		return 0
	}
	return c.cur.id
}

// SessionTimeout is what the servers granted; before the first session, what is
// asked for.
func (c *Client) SessionTimeout() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cur == nil || c.cur.timeout == 0 {
		return c.opts.Timeout
	}
	return c.cur.timeout
}

// Connected reports whether requests can go out now.
func (c *Client) Connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

// Servers are the host:port pairs, and Chroot the path, of the connect string.
func (c *Client) Servers() []string { return append([]string(nil), c.servers...) }

// Chroot is "" or a path.
func (c *Client) Chroot() string { return c.chroot }

func (c *Client) openGateLocked() {
	if !c.open {
		c.open = true
		close(c.gate)
	}
}

func (c *Client) closeGateLocked() {
	if c.open {
		c.open = false
		c.gate = make(chan struct{})
	}
}

// acquire waits for a usable session and for room among the requests in flight.
// It takes a slot and adds one to the wait group, which the caller gives back.
func (c *Client) acquire(ctx context.Context) (*sess, error) {
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.ctx.Done():
		return nil, ErrClosed
	}
	for {
		c.mu.Lock()
		s, gate, open := c.cur, c.gate, c.open && !c.closed
		if open {
			c.wg.Add(1)
		}
		c.mu.Unlock()
		if open {
			return s, nil
		}
		select {
		case <-gate:
		case <-ctx.Done():
			<-c.slots
			return nil, ctx.Err()
		case <-c.ctx.Done():
			<-c.slots
			return nil, ErrClosed
		}
	}
}

// abs puts the chroot before a path, rel takes it away.
func (c *Client) abs(path string) string {
	if c.chroot == "" {
		return path
	}
	if path == "/" {
		return c.chroot
	}
	return c.chroot + path
}

func (c *Client) rel(path string) string {
	if c.chroot == "" || !strings.HasPrefix(path, c.chroot) {
		return path
	}
	if path = path[len(c.chroot):]; path == "" {
		return "/"
	}
	return path
}

func (c *Client) noteError(err error) {
	if err == nil || err == io.EOF {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastErr = err
}

// Expired reports whether session id, one of this client's, is known to be
// over.
func (c *Client) Expired(id int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cur == nil || c.cur.dead || c.cur.id != id
}

package socket

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"barnabas/net/frame"
	"barnabas/net/poll"
	"barnabas/protocol"
)

// errShutdown ends the reader of a connection when the server closes.
var errShutdown = errors.New("socket: server closes")

// Conn is a connection of a client.
type Conn struct {
	srv      *Server
	id       uint64
	listener *listener
	conn     net.Conn
	ip       string // key of Server.perIP
	ctx      context.Context
	cancel   context.CancelFunc
	active   atomic.Int64 // when the last request arrived or reply was sent, Unix nanoseconds
	since    time.Time    // when it was accepted
	leaving  bool         // is being closed to make room; guarded by Server.mu
	peer     frame.Peer
	exempt   bool // of a listener for brokers alone: it waits for no lease

	// Of the reader's goroutine.
	reader   *frame.Reader
	req      Request
	idleFrom time.Time // when the read deadline was set
	requests uint32    // read so far; which of them are timed
	streams  bool      // one of them overlaps
	inlined

	// Of whoever has set writing.
	writer *frame.Writer
	batch  []Reply
	pieces []frame.Piece
	// closing is why the connection ends once the batch is written.
	closing error

	mu sync.Mutex // guards following
	// queue is a ring of the unanswered requests in order; made with the first.
	queue       []item
	head, count int
	sending     int   // taken from the queue, not written yet
	ready       int64 // bytes of finished replies in the queue
	writing     bool  // somebody takes from the queue and writes
	started     bool  // the writer's goroutine runs
	draining    bool  // the server closes
	heard       bool  // a request was served
	dead        bool
	work        sync.Cond // the writer waits for a reply that can be written
	space       sync.Cond // the reader waits for replies to go out
}

type item struct {
	reply Reply
}

// ready reports whether the reply can be written. Conn.mu is held.
func (i *item) ready() bool {
	return i.reply.kind != replyParked || i.reply.pending.state != waiting
}

// newConn is called with Server.mu held.
func newConn(s *Server, l *listener, id uint64, nc net.Conn, ip string) *Conn {
	c := &Conn{
		srv: s, id: id, listener: l, conn: nc, ip: ip, exempt: l.protectedLocked(),
		reader: frame.NewReader(nc, s.pool, s.opt.MaxRequestBytes),
		writer: frame.NewWriter(nc, s.pool, s.opt.WriteTimeout),
	}
	c.work.L, c.space.L = &c.mu, &c.mu
	c.req.Conn = c
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	c.peer = frame.Peer{Done: c.ctx.Done(), Evict: c.close, Gone: frame.Gone(nc)}
	c.reader.Share(s.budget, c.peer)
	c.since = time.Now()
	c.active.Store(c.since.UnixNano())
	if pc, ok := nc.(*poll.Conn); ok {
		c.polled = pc
		pc.Handle(c)
	}
	return c
}

// ID is unique among the connections of a server's life.
func (c *Conn) ID() uint64 { return c.id }

// Listener is the name of the listener that accepted the connection.
func (c *Conn) Listener() string { return c.listener.opt.Name }

// RemoteAddr is the address of the client.
func (c *Conn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// RemoteHost is the client's IP without the port, as groups show it.
func (c *Conn) RemoteHost() string { return c.ip }

// Streams reports whether requests that overlap (see Overlaps) have come by this
// connection. Only Serve may call it.
func (c *Conn) Streams() bool { return c.streams }

// Context ends when the connection or the server closes.
func (c *Conn) Context() context.Context { return c.ctx }

// run reads and serves until the connection ends.
func (c *Conn) run() { c.runFrom(nil) }

// runFrom begins with a frame that is read already, if there is one.
func (c *Conn) runFrom(body []byte) {
	err := c.serve(body)
	if err == errInline {
		return
	}
	if errors.Is(err, errShutdown) {
		c.drain()
	}
	c.end(err)
}

// end closes the connection when the answers to what was good are out, as far as they
// wait for nothing. The caller is the reader.
func (c *Conn) end(reason error) {
	c.mu.Lock()
	for !c.dead && (c.sending > 0 || c.count > 0 && c.front().ready()) {
		if !c.flushLocked(true) {
			c.space.Wait()
		}
	}
	c.mu.Unlock()
	c.close(reason)
	c.reader.Close()
}

func (c *Conn) serve(body []byte) error {
	for {
		alive, over := c.holdUp()
		if !alive {
			return net.ErrClosed
		}
		if body == nil {
			if !c.reader.Buffered() {
				if over {
					return errShutdown
				}
				c.flush(true)
				if c.takeOver() {
					return errInline
				}
			}
			var err error
			if body, err = c.next(); err != nil {
				return err
			}
		}
		h, rest, err := protocol.ParseHeader(body)
		body = nil
		if err != nil {
			return err
		}
		c.noteMade(h)
		if !Overlaps(h.Key) && !c.drain() {
			return net.ErrClosed
		}
		if !c.serveOne(h, rest) {
			return net.ErrClosed
		}
	}
}

// serveOne serves a request. It reports whether the connection lives.
func (c *Conn) serveOne(h protocol.Header, body []byte) bool {
	c.reader.Complete()
	r := &c.req
	r.Key, r.Version, r.CorrelationID, r.Body = h.Key, h.Version, h.CorrelationID, body
	if string(h.ClientID) != r.ClientID { // rare: one client, one name
		r.ClientID = string(h.ClientID)
	}
	c.streams = c.streams || Overlaps(h.Key)
	r.Arrived, r.Follower, r.Stamped = time.Now(), false, h.Stamped && c.listener.opt.Protected
	if r.Stamped && c.srv.opt.Heard != nil {
		c.srv.opt.Heard(h.Stamp)
	}
	c.active.Store(r.Arrived.UnixNano())
	reply := c.srv.handler.Serve(c.ctx, r)
	r.Release() // before waiting for a client that takes no replies
	reply.slot, reply.arrived = c.served(r), r.Arrived
	took := time.Duration(0)
	if c.polled != nil {
		took = time.Since(r.Arrived)
	}
	return c.push(reply, took)
}

// next reads a frame. A connection with unanswered requests is not idle.
func (c *Conn) next() ([]byte, error) {
	for {
		if err := c.armIdle(false); err != nil {
			return nil, err
		}
		c.reader.Progress() // what was before
		body, err := c.reader.Next()
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return body, err
		}
		c.mu.Lock()
		busy, draining := c.count+c.sending > 0, c.draining
		c.mu.Unlock()
		if draining {
			return nil, errShutdown
		}
		if progress := c.reader.Progress(); !busy && !progress {
			return nil, io.EOF // idle for too long: an ordinary end
		}
		if err := c.armIdle(true); err != nil {
			return nil, err
		}
	}
}

// armIdle sets the read deadline, at most once in an eighth of the idle time.
func (c *Conn) armIdle(force bool) error {
	idle := c.srv.opt.MaxIdle
	if idle < 0 || c.reader.Buffered() {
		return nil
	}
	now := time.Now()
	if !force && now.Sub(c.idleFrom) < idle/8 {
		return nil
	}
	c.idleFrom = now
	c.mu.Lock() // so that shutdown's deadline is not overwritten
	defer c.mu.Unlock()
	if c.draining {
		if c.overLocked() {
			return errShutdown
		}
		return c.conn.SetReadDeadline(c.since.Add(c.srv.opt.freshTime()))
	}
	return c.conn.SetReadDeadline(now.Add(idle + idle/8))
}

// overLocked reports whether the server closes and the connection has had its turn.
// One that was made just before is answered once: some clients give up what they
// have to send when a new connection ends before its first answer.
func (c *Conn) overLocked() bool {
	return c.draining && (c.heard || time.Since(c.since) >= c.srv.opt.freshTime())
}

// shutdown makes the reader end as soon as it would read again.
func (c *Conn) shutdown() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	if c.inline {
		if !c.reading {
			c.leaveLocked(nil)
		} // else it leaves when it is done
	}
	until := time.Unix(1, 0)
	if !c.overLocked() {
		until = c.since.Add(c.srv.opt.freshTime())
	}
	// An error means that the connection is closed already.
	_ = c.conn.SetReadDeadline(until)
}

// close ends the connection: what is parked is cancelled, what is finished but
// not sent is dropped. It may be called more than once; the first reason counts.
func (c *Conn) close(reason error) {
	c.mu.Lock()
	if c.dead {
		c.mu.Unlock()
		return
	}
	c.dead = true
	rest := c.unsent // the batch is nobody's now
	c.unsent = false
	unread := c.inline && !c.reading
	if unread {
		c.inline = false
	}
	var left []Reply
	for c.count > 0 {
		r := c.popLocked()
		if r.pending != nil {
			if r.pending.state == ended {
				continue
			}
			r.pending.state = ended
		}
		left = append(left, r)
	}
	c.work.Broadcast()
	c.space.Broadcast()
	c.mu.Unlock()

	c.cancel()
	// What Close could say, nobody can act on.
	_ = c.conn.Close()
	if rest {
		c.writer.Drop()
		c.discardBatch()
	}
	if unread {
		c.reader.Close()
	}
	for i := range left {
		left[i].discard()
		if p := left[i].pending; p != nil && p.cancel != nil {
			p.cancel()
		}
	}
	c.srv.closed(c, reason)
}

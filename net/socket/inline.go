package socket

import (
	"errors"
	"net"
	"os"
	"time"

	"barnabas/net/frame"
	"barnabas/net/poll"
	"barnabas/protocol"
)

const (
	// inlineFrame is the largest frame that is served by the poller, so that others
	// need not wait for long.
	inlineFrame = 1 << 20
	// inlineTurn is how many requests of a connection are served before others get
	// their turn.
	inlineTurn = 64
	// slowHandler is the time from which a request is slow in its handler, or what is
	// sent is: the disk was waited for, or much was unpacked. A connection with several
	// of them in a few (slowLimit; a fast one takes 1 off slowCount, since a thread may
	// lose its processor any time) has goroutines for slowTime, and for twice as long
	// each time that it is slow again soon, up to slowLongest.
	slowHandler = 250 * time.Microsecond
	slowCount   = 4
	slowLimit   = 12
	slowTime    = time.Second
	slowLongest = 32 * time.Second
)

// errInline ends the goroutine of a connection that its poller serves from now on.
var errInline = errors.New("socket: served by its poller")

// inlined are the fields of a Conn for being served by its poller.
type inlined struct {
	polled *poll.Conn // nil if goroutines serve the connection

	// Guarded by Conn.mu, as the following are.
	slow      bool // goroutines do what the poller could, until
	slowUntil time.Time
	slowFor   time.Duration
	score     int // see slowLimit

	// inline: no goroutine reads, the poller is told when something can be read.
	inline  bool
	reading bool      // Readable is at it
	unsent  bool      // the writer has a rest, which goes when the poller says so; writing is set
	stuck   time.Time // since when there is a rest and nothing went
}

// takeOver lets the poller serve the connection, if it may. The goroutine that read
// until now ends then, and must touch nothing. A part of a frame may be of one that
// the poller has sent here, so a goroutine reads the rest of it.
func (c *Conn) takeOver() bool {
	if c.polled == nil || c.reader.Hint() > inlineFrame || c.reader.Partial() || !c.polled.Poller().Calm() || c.srv.opt.MayWait() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead || c.draining || c.slowLocked() || c.fullLocked() {
		return false
	}
	c.inline = true
	c.polled.WatchRead(true)
	return true
}

// sentInLocked notes how long the poller was at sending; that it was quick says nothing
// of the handler.
func (c *Conn) sentInLocked(took time.Duration) {
	if took >= slowHandler {
		c.timedLocked(took)
	}
}

// timedLocked notes how long a handler took.
func (c *Conn) timedLocked(took time.Duration) {
	if took < slowHandler {
		c.score = max(c.score-1, 0)
		return
	}
	if c.score += slowCount; c.score < slowLimit || c.slow {
		return
	}
	now := time.Now()
	if c.slowFor *= 2; c.slowFor == 0 || now.Sub(c.slowUntil) > c.slowFor {
		c.slowFor = slowTime
	}
	c.slowFor = min(c.slowFor, slowLongest)
	c.slow, c.slowUntil = true, now.Add(c.slowFor)
}

// slowLocked reports whether goroutines have to do what the poller could. When their
// time is over the first thing that is slow brings it back.
func (c *Conn) slowLocked() bool {
	if c.slow && !time.Now().Before(c.slowUntil) {
		c.slow, c.score = false, slowLimit-slowCount
	}
	return c.slow
}

// noteMade reports whether the reply to a request is made while it is sent, which may
// wait for memory (Request.Hold) and takes its time. Goroutines serve such a connection
// from then on.
func (c *Conn) noteMade(h protocol.Header) bool {
	if h.Key != protocol.KeyFetch || h.Version >= 4 {
		return false
	}
	if c.polled != nil {
		c.mu.Lock()
		c.slow, c.slowUntil = true, c.since.AddDate(100, 0, 0)
		c.mu.Unlock()
	}
	return true
}

// leaveLocked gives the connection a goroutine again, which begins with a frame
// that is read already, if there is one.
func (c *Conn) leaveLocked(body []byte) {
	c.inline, c.reading = false, false
	c.polled.WatchRead(false)
	c.srv.wg.Go(func() { c.runFrom(body) })
	c.polled.Poller().Yield()
}

// Readable implements poll.Handler.
func (c *Conn) Readable() {
	c.mu.Lock()
	if c.dead || !c.inline {
		c.mu.Unlock()
		return
	}
	if c.slowLocked() {
		c.leaveLocked(nil)
		c.mu.Unlock()
		return
	}
	c.reading = true
	c.mu.Unlock()

	body, err := c.serveReady()

	c.mu.Lock()
	switch {
	case c.dead:
		c.inline, c.reading = false, false
		c.mu.Unlock()
		c.reader.Close()
		return
	case errors.Is(err, frame.ErrWouldWait) || err == nil && (c.draining || body != nil):
		c.leaveLocked(body)
	case err == nil:
		c.reading = false
	case c.unsent: // the client has to take that first
		c.inline, c.reading = false, false
		c.polled.WatchRead(false)
		c.srv.wg.Go(func() { c.end(err) })
	default:
		c.inline, c.reading = false, false
		c.mu.Unlock()
		c.close(err)
		c.reader.Close()
		return
	}
	c.mu.Unlock()
}

// serveReady serves what has come. A body is of a request that may wait, and so
// needs a goroutine, as frame.ErrWouldWait does.
func (c *Conn) serveReady() (body []byte, err error) {
	for range inlineTurn {
		body, ok, err := c.reader.TryNext(inlineFrame)
		if err != nil {
			c.flush(false)
			return nil, err
		}
		if !ok {
			if c.reader.Partial() {
				c.active.Store(time.Now().UnixNano())
			}
			c.flush(false)
			return nil, nil
		}
		h, rest, err := protocol.ParseHeader(body)
		if err != nil {
			c.flush(false)
			return nil, err
		}
		if c.noteMade(h) || !Overlaps(h.Key) || !c.polled.Poller().Calm() || c.srv.opt.MayWait() {
			return body, nil
		}
		c.serveOne(h, rest)
		c.mu.Lock()
		dead, leave := c.dead, c.fullLocked() || c.slow
		c.mu.Unlock()
		if dead {
			return nil, net.ErrClosed
		}
		if leave {
			return nil, frame.ErrWouldWait // which sends, too
		}
	}
	c.flush(false)
	if c.reader.Partial() { // the poller is told of what comes, not of what is here
		return nil, frame.ErrWouldWait
	}
	return nil, nil
}

// Writable implements poll.Handler.
func (c *Conn) Writable() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead || !c.unsent {
		return
	}
	c.unsent = false // nobody else drops the rest now
	if c.slowLocked() {
		c.polled.WatchWrite(false)
		c.srv.wg.Go(c.finish)
		return
	}
	c.mu.Unlock()
	began := time.Now()
	done, err := c.writer.Retry()
	took := time.Since(began)
	c.mu.Lock()
	c.sentInLocked(took)
	if done = c.wroteLocked(done, err); !done {
		return
	}
	c.polled.WatchWrite(false)
	c.writing = false
	c.flushLocked(false)
}

// finish is the goroutine that sends what Try has left.
func (c *Conn) finish() {
	err := c.writer.Finish()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wroteLocked(true, err)
	c.writing = false
	c.flushLocked(true)
}

// wroteLocked ends a write of the batch that does not wait. It reports false if a
// rest is left to the poller.
func (c *Conn) wroteLocked(done bool, err error) bool {
	if !done && !c.dead {
		c.unsent = true
		if c.writer.Moved() || c.stuck.IsZero() {
			c.stuck = time.Now()
		}
		return false
	}
	c.stuck = time.Time{}
	c.mu.Unlock()
	if !done {
		c.writer.Drop()
		err = net.ErrClosed
	}
	if err = c.ended(err); err != nil {
		c.close(err)
	}
	c.mu.Lock()
	c.sending = 0
	c.space.Broadcast()
	return true
}

// Posted implements poll.Handler: a parked reply may be complete.
func (c *Conn) Posted() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.slowLocked() {
		c.wakeWriterLocked()
		return
	}
	c.flushLocked(false)
}

// checkIdle closes the connection if nothing has happened on it for too long. The
// poller has no deadlines.
func (c *Conn) checkIdle(now time.Time) {
	c.mu.Lock()
	idle := c.inline && !c.reading && c.count+c.sending == 0
	stuck := c.unsent && !c.stuck.IsZero() && c.srv.opt.WriteTimeout > 0 && now.Sub(c.stuck) > c.srv.opt.WriteTimeout
	if stuck && c.writer.Taken() {
		c.stuck, stuck = now, false
	}
	c.mu.Unlock()
	switch {
	case stuck:
		c.close(os.ErrDeadlineExceeded)
	case idle && c.srv.opt.MaxIdle > 0 && now.UnixNano()-c.active.Load() > int64(c.srv.opt.MaxIdle):
		c.close(nil)
	}
}

// sweep looks after the connections of pollers until the server is closed.
func (s *Server) sweep() {
	every := time.Minute
	if o := s.opt.MaxIdle; o > 0 {
		every = min(every, o/8)
	}
	if o := s.opt.WriteTimeout; o > 0 {
		every = min(every, o/4)
	}
	tick := time.NewTicker(max(every, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case now := <-tick.C:
			s.mu.Lock()
			all := make([]*Conn, 0, len(s.conns))
			for c := range s.conns {
				all = append(all, c)
			}
			s.mu.Unlock()
			for _, c := range all {
				c.checkIdle(now)
			}
		}
	}
}

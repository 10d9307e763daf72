package socket

import (
	"errors"
	"net"
	"runtime/debug"
	"time"

	"barnabas/internal/invariant"
)

// errParkedTwice is a bug of a handler.
var errParkedTwice = errors.New("socket: a gathered reply was parked again")

// push takes the reply to the latest request, which took so long in its handler, into
// the queue. It reports whether the connection lives.
func (c *Conn) push(r Reply, took time.Duration) bool {
	c.mu.Lock()
	c.heard = true
	c.timedLocked(took)
	if c.dead {
		c.mu.Unlock()
		r.discard()
		if r.pending != nil && r.pending.cancel != nil {
			r.pending.cancel()
		}
		return false
	}
	if r.kind == replyNone {
		c.mu.Unlock()
		c.srv.stats.done(r.slot, time.Since(r.arrived))
		return true
	}
	if c.queue == nil {
		c.queue = make([]item, 4)
	}
	if c.count == len(c.queue) {
		c.growLocked()
	}
	c.queue[(c.head+c.count)%len(c.queue)] = item{reply: r}
	c.count++
	if r.out != nil {
		c.ready += r.out.Len()
	}
	c.mu.Unlock()
	return true
}

// fullLocked reports whether too much waits for the next request to be read.
func (c *Conn) fullLocked() bool {
	return c.count+c.sending >= c.srv.opt.MaxPending || c.ready >= int64(c.srv.opt.MaxReadyBytes)
}

// holdUp waits while too much is waiting. It reports whether the connection lives,
// and whether it is over since the server closes.
func (c *Conn) holdUp() (alive, over bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.dead && c.fullLocked() {
		if !c.flushLocked(true) {
			c.space.Wait()
		}
	}
	return !c.dead, c.overLocked()
}

// growLocked doubles the ring.
func (c *Conn) growLocked() {
	q := make([]item, 2*len(c.queue))
	n := copy(q, c.queue[c.head:])
	copy(q[n:], c.queue[:c.head])
	c.queue, c.head = q, 0
}

func (c *Conn) front() *item { return &c.queue[c.head] }

func (c *Conn) popLocked() Reply {
	i := c.front()
	r := i.reply
	*i = item{}
	c.head = (c.head + 1) % len(c.queue)
	c.count--
	if r.out != nil {
		c.ready -= r.out.Len()
	}
	return r
}

// flush sends what is ready, unless somebody else is at it. Without wait, what the
// client does not take at once is left to the poller.
func (c *Conn) flush(wait bool) {
	c.mu.Lock()
	c.flushLocked(wait)
	c.mu.Unlock()
}

// flushLocked sends what is ready at the front of the queue, and sees to it
// that somebody writes if something parked remains. It reports whether it sent
// anything; c.mu is free meanwhile.
func (c *Conn) flushLocked(wait bool) bool {
	sent := false
	if !c.dead && !c.writing && c.count > 0 && c.front().ready() {
		c.pumpLocked(wait)
		sent = true
	}
	if c.count > 0 && c.polled == nil {
		c.startWriterLocked()
	}
	return sent
}

func (c *Conn) startWriterLocked() {
	if !c.started && !c.dead {
		c.started = true
		c.srv.wg.Go(c.write)
	}
}

// wakeWriterLocked lets a goroutine send what is ready.
func (c *Conn) wakeWriterLocked() {
	c.startWriterLocked()
	c.work.Signal()
}

// drain waits until all replies are out. It reports whether the connection
// lives.
func (c *Conn) drain() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.dead && c.count+c.sending > 0 {
		if !c.flushLocked(true) {
			c.space.Wait()
		}
	}
	return !c.dead
}

// write is the goroutine that sends parked replies.
func (c *Conn) write() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.dead {
		if !c.writing && c.count > 0 && c.front().ready() {
			c.pumpLocked(true)
			continue
		}
		c.work.Wait()
	}
}

// pumpLocked writes replies as long as the front of the queue is ready. All
// that is ready together leaves together. Without wait, it ends where the client
// takes no more; the poller goes on then, and writing stays.
func (c *Conn) pumpLocked(wait bool) {
	c.writing = true
	for !c.dead && c.count > 0 && c.front().ready() {
		c.batch = c.batch[:0]
		for c.count > 0 && c.front().ready() {
			r := c.popLocked()
			if r.pending != nil {
				r.pending.state = ended
			}
			c.batch = append(c.batch, r)
		}
		c.sending = len(c.batch)
		c.mu.Unlock()
		began := time.Now()
		c.prepare()
		done, err, took := true, error(nil), time.Duration(0)
		switch {
		case len(c.pieces) == 0:
		case wait:
			err = c.writer.Write(c.pieces)
		default:
			done, err = c.writer.Try(c.pieces)
			took = time.Since(began)
		}
		c.mu.Lock()
		c.sentInLocked(took)
		if !c.wroteLocked(done, err) {
			c.polled.WatchWrite(true)
			return
		}
	}
	c.writing = false
}

// prepare gathers c.batch and makes the pieces to write. A reply that closes the
// connection sets c.closing, which ends it after all before are written.
func (c *Conn) prepare() {
	for i := range c.batch {
		r := c.batch[i]
		if r.kind == replyParked {
			slot, arrived := r.slot, r.arrived
			r = c.gather(r.pending)
			r.slot, r.arrived = slot, arrived
		}
		c.batch[i] = r
		if r.kind == replyParked {
			r.kind, r.err = replyClose, errParkedTwice
		}
		if r.kind == replyClose {
			c.closing = closeReason(r.err)
			c.dropFrom(i)
			break
		}
		if r.kind == replyOut {
			r.out.finish()
			c.pieces = r.out.appendPieces(c.pieces)
		}
	}
}

// ended lets go of the batch, whose write ended so. The error ends the connection.
func (c *Conn) ended(err error) error {
	if err == nil && len(c.pieces) > 0 {
		c.sent()
	}
	c.discardBatch()
	if err != nil {
		return err
	}
	return c.closing
}

func (c *Conn) discardBatch() {
	clear(c.pieces)
	c.pieces = c.pieces[:0]
	for i := range c.batch {
		c.batch[i].discard()
	}
	clear(c.batch)
}

// gather makes a parked reply. A panic closes the connection: a bug that one
// client can reach must not take the broker from all others. Test builds panic.
func (c *Conn) gather(p *Pending) (reply Reply) {
	defer func() {
		if invariant.Enabled {
			return
		}
		if v := recover(); v != nil {
			c.srv.opt.Logger.Error("a parked request panicked when it was answered; this is a bug",
				"client", c.RemoteAddr().String(), "listener", c.Listener(), "panic", v, "stack", string(debug.Stack()))
			reply = CloseConn(nil)
		}
	}()
	return p.gather()
}

// dropFrom cancels the replies of the batch from the ith on, which closes the
// connection.
func (c *Conn) dropFrom(i int) {
	for j, r := range c.batch[i:] {
		if j == 0 {
			c.batch[i] = Reply{}
			continue
		}
		r.discard()
		if r.kind == replyParked && r.pending.cancel != nil {
			r.pending.cancel()
		}
		c.batch[i+j] = Reply{}
	}
}

// closeReason is the error with which a handler closes a connection.
func closeReason(err error) error {
	if err == nil {
		return net.ErrClosed
	}
	return err
}

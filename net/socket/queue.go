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

// push takes the reply to the latest request into the queue, and holds the
// reader up while too much is waiting. It reports whether the connection lives.
func (c *Conn) push(r Reply) bool {
	c.mu.Lock()
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
	for !c.dead && (c.count+c.sending >= c.srv.opt.MaxPending || c.ready >= int64(c.srv.opt.MaxReadyBytes)) {
		if !c.flushLocked() {
			c.space.Wait()
		}
	}
	alive := !c.dead
	c.mu.Unlock()
	return alive
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

// flush sends what is ready, unless somebody else is at it.
func (c *Conn) flush() {
	c.mu.Lock()
	c.flushLocked()
	c.mu.Unlock()
}

// flushLocked sends what is ready at the front of the queue, and sees to it
// that a writer runs if something parked remains. It reports whether it sent
// anything; c.mu is free meanwhile.
func (c *Conn) flushLocked() bool {
	sent := false
	if !c.writing && c.count > 0 && c.front().ready() {
		c.pumpLocked()
		sent = true
	}
	if c.count > 0 && !c.started && !c.dead {
		c.started = true
		c.srv.wg.Go(c.write)
	}
	return sent
}

// drain waits until all replies are out. It reports whether the connection
// lives.
func (c *Conn) drain() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.dead && c.count+c.sending > 0 {
		if !c.flushLocked() {
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
			c.pumpLocked()
			continue
		}
		c.work.Wait()
	}
}

// pumpLocked writes replies as long as the front of the queue is ready. All
// that is ready together leaves together.
func (c *Conn) pumpLocked() {
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
		err := c.send()
		if err != nil {
			c.close(err)
		}
		c.mu.Lock()
		c.sending = 0
		c.space.Broadcast()
	}
	c.writing = false
}

// send gathers and writes c.batch. A reply that closes the connection becomes
// the error, after all before it are written.
func (c *Conn) send() error {
	var closing error
	outs := 0
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
			closing = closeReason(r.err)
			c.dropFrom(i)
			break
		}
		if r.kind == replyOut {
			r.out.finish()
			c.pieces = r.out.appendPieces(c.pieces)
			outs++
		}
	}
	var err error
	if outs > 0 {
		if err = c.writer.Write(c.pieces); err == nil {
			c.sent()
		}
	}
	clear(c.pieces)
	c.pieces = c.pieces[:0]
	for i := range c.batch {
		c.batch[i].discard()
	}
	clear(c.batch)
	if err != nil {
		return err
	}
	return closing
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

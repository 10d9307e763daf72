package frame

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	// exempt is how much memory a Reader may take without asking. So the number
	// of connections bounds what is not in the budget, and small requests are
	// answered however many large ones wait.
	exempt = 16 << 10

	// A frame that holds memory for which others wait must be complete after
	// slowGrace, and a second more for each slowRate bytes of it.
	slowGrace = 10 * time.Second
	slowRate  = 1 << 20
	// slowCheck is how often that is looked at while somebody waits.
	slowCheck = time.Second
)

// ErrSlow closes a connection whose frame held memory that others waited for
// and arrived too slowly.
var ErrSlow = errors.New("frame: the request arrives too slowly while others wait for its memory")

// errGone closes a connection whose other side went while it waited for memory.
var errGone = fmt.Errorf("frame: the client went while its request waited for memory: %w", syscall.ECONNRESET)

// Budget bounds the memory for frames of all connections that share it: those
// that arrive and those that are not answered yet. A Reader that finds no memory
// left waits, and so reads no further; its connection stays open.
//
// Frames grow as their bytes arrive, in the open part of the budget, so that a
// claimed length costs nothing. When that is used up, frames that are half there
// could wait for each other for ever. So lanes are kept apart, by the frames'
// size: there a frame has its whole length reserved
// before it goes on, first come, first served, and so gets done. Whoever holds
// memory then and does not bring what is missing loses its connection.
type Budget struct {
	mu      sync.Mutex // guards following
	open    share
	lanes   [3]lane // for small, middling and the largest frames
	holders map[*claim]struct{}
	waiting int
	since   time.Time // when waiting became positive
	armed   bool      // check is due
	evicted int64
}

type share struct{ used, max int64 }

type lane struct {
	share
	frame int64 // the largest frame that it is for
	queue []*claim
}

// Peer is the connection for which memory is taken.
type Peer struct {
	// Done ends when the connection does: who waits for memory then waits no more.
	Done <-chan struct{}
	// Evict closes the connection, which must give back what it has. Any goroutine
	// may call it.
	Evict func(error)
	// Gone reports whether the other side has ended the connection, which nobody
	// reads while it waits for memory; lacks is how many bytes must still come. Any
	// goroutine may call it. See Gone; nil: it is not known.
	Gone func(lacks int64) bool
}

// claim is what one Reader has of a Budget. Its fields are guarded by Budget.mu.
type claim struct {
	b    *Budget
	peer Peer
	wake chan struct{} // has room for one

	size    int64 // reserved
	from    *share
	need    int64 // length of the frame that arrives; 0 if none does
	since   time.Time
	waiting bool
	lacks   int64 // what has not been read of the frame that waits
	turn    int   // counts its waits
}

func newClaim(b *Budget, p Peer) *claim {
	return &claim{b: b, peer: p, wake: make(chan struct{}, 1)}
}

// NewBudget makes a budget of limit bytes for frames of at most maxFrame bytes.
// A limit that one such frame exceeds is raised to its length.
func NewBudget(limit int64, maxFrame int) *Budget {
	largest := int64(maxFrame) + prefix
	rest := max(limit-largest, 0)
	b := &Budget{holders: make(map[*claim]struct{})}
	b.lanes[0].max, b.lanes[1].max, b.lanes[2].max = rest/8, rest/8, largest
	b.lanes[0].frame, b.lanes[1].frame, b.lanes[2].frame = rest/8/16, rest/8/4, largest
	b.open.max = rest - 2*(rest/8)
	return b
}

// BudgetStatus is how a budget stands.
type BudgetStatus struct {
	Used, Limit int64 // bytes
	// Waiting connections are not read, for want of memory.
	Waiting int
	// Evicted connections were closed with ErrSlow.
	Evicted int64
}

// Status tells how the budget stands.
func (b *Budget) Status() BudgetStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := BudgetStatus{Used: b.open.used, Limit: b.open.max, Waiting: b.waiting, Evicted: b.evicted}
	for i := range b.lanes {
		s.Used += b.lanes[i].used
		s.Limit += b.lanes[i].max
	}
	return s
}

// try makes the claim n bytes large if nobody need wait for that.
func (c *claim) try(n int) bool {
	if c == nil || n <= exempt {
		return true
	}
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	return c.growLocked(int64(n), int64(n))
}

// tryFor is get if nobody need wait for that.
func (c *claim) tryFor(n, need int) bool {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	return c.growLocked(int64(n), int64(need))
}

// get makes the claim large enough for n bytes, of a frame of need bytes, of which
// lacks have not been read. It waits for them, and fails when the connection ends.
func (c *claim) get(n, need, lacks int) error {
	if c == nil || n <= exempt {
		return nil
	}
	b := c.b
	b.mu.Lock()
	if c.growLocked(int64(n), int64(need)) {
		b.mu.Unlock()
		return nil
	}
	c.lacks = int64(lacks)
	b.enqueueLocked(c, int64(need))
	b.mu.Unlock()
	select {
	case <-c.wake:
		return nil
	case <-c.peer.Done:
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.waiting {
		l := b.laneOf(c.need)
		l.queue = slices.DeleteFunc(l.queue, func(o *claim) bool { return o == c })
		b.stopWaitingLocked(c)
		b.dispatchLocked()
	}
	return context.Canceled
}

// growLocked enlarges the claim in the part of the budget where it is.
func (c *claim) growLocked(n, need int64) bool {
	if n > c.size {
		from := c.from
		if from == nil {
			from = &c.b.open
		}
		if from.used+n-c.size > from.max {
			return false
		}
		from.used += n - c.size
		c.from, c.size = from, n
	}
	c.beginLocked(need)
	return true
}

// beginLocked notes that a frame of need bytes arrives.
func (c *claim) beginLocked(need int64) {
	if c.need == 0 {
		c.since = time.Now()
	}
	c.need = need
	c.b.holders[c] = struct{}{}
}

// arriving notes that another frame arrives in memory that is claimed already.
func (c *claim) arriving(need int) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if c.size > 0 {
		c.beginLocked(int64(need))
	}
}

// complete notes that the frame is there and served: what holds it up now is
// not its client.
func (c *claim) complete() {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	c.need = 0
	delete(c.b.holders, c)
}

// release gives all back.
func (c *claim) release() {
	b := c.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.from != nil {
		c.from.used -= c.size
	}
	c.size, c.from, c.need = 0, nil, 0
	delete(b.holders, c)
	b.dispatchLocked()
}

// laneOf is the lane for frames of need bytes. Several fit into each but the
// last, so that one that is slow does not hold up the others.
func (b *Budget) laneOf(need int64) *lane {
	for i := range b.lanes {
		if need <= b.lanes[i].frame {
			return &b.lanes[i]
		}
	}
	return &b.lanes[len(b.lanes)-1]
}

func (b *Budget) enqueueLocked(c *claim, need int64) {
	c.need, c.waiting = need, true
	c.turn++
	delete(b.holders, c)
	l := b.laneOf(need)
	l.queue = append(l.queue, c)
	if b.waiting++; b.waiting == 1 {
		b.since = time.Now()
	}
	if !b.armed {
		b.armed = true
		time.AfterFunc(slowCheck, b.check)
	}
	b.dispatchLocked()
}

func (b *Budget) stopWaitingLocked(c *claim) {
	c.waiting = false
	b.waiting--
}

// dispatchLocked gives memory to those who wait. Only the first of a lane may
// get it from the open part, so that nobody is overtaken for ever.
func (b *Budget) dispatchLocked() {
	for b.passLocked() {
	}
}

// passLocked goes through the lanes once. It reports whether somebody has left the
// open part for a lane's: a lane that was looked at before may go on with that.
func (b *Budget) passLocked() (left bool) {
	for i := range b.lanes {
		l := &b.lanes[i]
		for len(l.queue) > 0 {
			c := l.queue[0]
			from := &b.open
			if !c.fits(from) {
				from = &l.share
			}
			if !c.fits(from) {
				break
			}
			if c.from != nil {
				c.from.used -= c.size
				left = left || c.from == &b.open && from != &b.open
			}
			from.used += c.need
			c.from, c.size, c.since = from, c.need, time.Now()
			b.holders[c] = struct{}{}
			l.queue = slices.Delete(l.queue, 0, 1)
			b.stopWaitingLocked(c)
			c.wake <- struct{}{}
		}
	}
	return left
}

// fits reports whether there is room for the whole frame of c, when c has given
// back what it has.
func (c *claim) fits(s *share) bool {
	used := s.used
	if c.from == s {
		used -= c.size
	}
	return used+c.need <= s.max
}

// check closes the connections of frames that hold memory and are too slow,
// while others wait for it, and those that wait and whose other side has gone.
func (b *Budget) check() {
	b.mu.Lock()
	var slow []func(error)
	var waiting []*claim
	if b.armed = b.waiting > 0; b.armed {
		now := time.Now()
		for c := range b.holders {
			since := c.since
			if since.Before(b.since) {
				since = b.since
			}
			if now.Sub(since) > slowGrace+time.Duration(c.need)*time.Second/slowRate {
				delete(b.holders, c)
				slow = append(slow, c.peer.Evict)
			}
		}
		b.evicted += int64(len(slow))
		for i := range b.lanes {
			waiting = append(waiting, b.lanes[i].queue...)
		}
		time.AfterFunc(slowCheck, b.check)
	}
	b.mu.Unlock()
	for _, evict := range slow {
		evict(ErrSlow)
	}
	for _, c := range waiting {
		if c.gone() {
			c.peer.Evict(errGone)
		}
	}
}

// gone reports whether c waits and the other side of its connection has gone.
func (c *claim) gone() bool {
	c.b.mu.Lock()
	turn, lacks, asks := c.turn, c.lacks, c.waiting && c.peer.Gone != nil
	c.b.mu.Unlock()
	if !asks || !c.peer.Gone(lacks) {
		return false
	}
	// If its turn has come meanwhile, its reader took what was still to come.
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	return c.waiting && c.turn == turn
}

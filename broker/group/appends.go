package group

import (
	"sync"
	"sync/atomic"
	"time"

	"barnabas/internal/kafka"
	"barnabas/log/batch"
)

// appends is the queue of what is to be appended to one partition. Whoever adds
// to it calls drain afterwards, without any lock; one of them at a time does the
// work for all.
type appends struct {
	mu    sync.Mutex // guards queue, busy
	queue []*appending
	busy  bool
}

// appending is one batch on its way to the log.
type appending struct {
	tenure *tenure
	// records adds the batch's records; ts is the time of the append in ms.
	records func(b *batch.Builder, ts int64)
	// sequence is the batch's baseSequence: 0 for commits, -1 for group records,
	// as Kafka writes them.
	sequence int32
	// done gets the base offset and the outcome, once. nil: nobody waits.
	done func(base int64, err error)
	// failed is called before done if nothing came into the log. What is in the
	// log counts, whatever replicas know of it. nil: nobody cares.
	failed func(err error)

	base  int64
	err   error
	parts atomic.Int32
}

func (q *appends) add(a *appending) {
	q.mu.Lock()
	q.queue = append(q.queue, a)
	q.mu.Unlock()
}

// drainShare is how many batches one caller appends for others before it hands
// the rest to a goroutine.
const drainShare = 64

// drain appends what is queued, unless somebody is at it.
func (c *Coordinator) drain(p *partition) {
	if rest := c.drainSome(p, drainShare); rest {
		if !c.start(func() { c.drainAll(p) }) {
			c.drainAll(p)
		}
	}
}

func (c *Coordinator) drainAll(p *partition) {
	for c.drainOwned(p, drainShare) {
	}
}

// drainSome takes the queue if it is free, and reports whether it still owns it.
func (c *Coordinator) drainSome(p *partition, share int) bool {
	q := &p.appends
	q.mu.Lock()
	if q.busy || len(q.queue) == 0 {
		q.mu.Unlock()
		return false
	}
	q.busy = true
	q.mu.Unlock()
	return c.drainOwned(p, share)
}

// drainOwned appends up to share batches; false: the queue is empty and given
// up.
func (c *Coordinator) drainOwned(p *partition, share int) bool {
	q := &p.appends
	for {
		q.mu.Lock()
		work := q.queue
		q.queue = nil
		if len(work) == 0 {
			q.busy = false
			q.mu.Unlock()
			return false
		}
		q.mu.Unlock()
		for _, a := range work {
			c.append(p, a)
		}
		if share -= len(work); share <= 0 {
			return true
		}
	}
}

func (c *Coordinator) append(p *partition, a *appending) {
	ts := time.Now().UnixMilli()
	b := batch.NewBuilder(batch.BuilderOptions{
		Codec:    c.cfg.Codec,
		Codecs:   c.opt.Codecs,
		Producer: &batch.Producer{ID: batch.Absent, Epoch: batch.Absent, Sequence: a.sequence},
	})
	a.records(b, ts)
	data, err := b.Bytes()
	if err != nil {
		a.finish(err)
		return
	}
	// The base offset and the outcome may come in either order.
	a.parts.Store(2)
	var done func(error)
	if a.done != nil {
		done = func(err error) {
			a.err = err
			a.part()
		}
	}
	a.base, err = c.opt.Store.Append(p.index, kafka.LeaderEpoch(a.tenure.epoch.Load()), data, c.cfg.CommitTimeout, done)
	if err != nil {
		a.finish(err)
		return
	}
	a.part()
}

func (a *appending) part() {
	if a.parts.Add(-1) == 0 && a.done != nil {
		a.done(a.base, a.err)
	}
}

func (a *appending) finish(err error) {
	if a.failed != nil {
		a.failed(err)
	}
	if a.done != nil {
		a.done(-1, err)
	}
}

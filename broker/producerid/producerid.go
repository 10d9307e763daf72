// Package producerid hands out producer ids from blocks that the cluster's
// controller reserves in ZooKeeper (/latest_producer_id_block), so that no id
// is ever given twice. Like Kafka's RPCProducerIdManager it fetches the next
// block before the present one is used up; unlike it, a caller who finds none
// waits for the block on its way instead of being sent back to retry.
//
// The rest of a block is lost when the process ends.
package producerid

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"barnabas/internal/kafka"
)

// ErrExhausted means that all ids there are have been given out.
var ErrExhausted = errors.New("producerid: no producer ids left")

// A Source reserves the next block of ids: [first, first+count).
type Source func(ctx context.Context) (first, count int64, err error)

// prefetchAt is the share of a block, in percent, after which the next one is
// fetched (Kafka's PidPrefetchThreshold).
const prefetchAt = 90

// Allocator gives out ids. It is safe for concurrent use.
type Allocator struct {
	source Source
	ctx    context.Context // ends with the broker; bounds the fetches
	wg     sync.WaitGroup

	mu       sync.Mutex // guards the fields below
	present  block
	next     block
	fetching chan struct{} // closed when the fetch under way ends; nil: none
	failure  error         // of the last fetch; nil once one succeeded
}

type block struct{ at, end, size int64 }

func (b block) left() int64 { return b.end - b.at }

// New makes an allocator whose fetches end with ctx. It reserves nothing before
// the first Next.
func New(ctx context.Context, source Source) *Allocator {
	return &Allocator{source: source, ctx: ctx}
}

// Close waits for a fetch under way, whose context must have ended.
func (a *Allocator) Close() { a.wg.Wait() }

// Next returns an id that nobody else has. It waits for a block if none is at
// hand, until ctx ends; a fetch that fails is reported to those who waited for
// it, and the next call tries again.
func (a *Allocator) Next(ctx context.Context) (kafka.ProducerID, error) {
	for {
		id, ok, wait := a.take()
		if ok {
			return id, nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return -1, fmt.Errorf("producerid: waiting for a block of ids: %w", context.Cause(ctx))
		}
		if err := a.failed(); err != nil {
			return -1, fmt.Errorf("producerid: reserving a block of ids: %w", err)
		}
	}
}

// take returns an id, or what to wait for.
func (a *Allocator) take() (kafka.ProducerID, bool, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.present.left() == 0 && a.next.left() > 0 {
		a.present, a.next = a.next, block{}
	}
	if a.present.left() == 0 {
		a.fetchLocked()
		return -1, false, a.fetching
	}
	id := a.present.at
	a.present.at++
	used := a.present.size - a.present.left()
	if a.next.left() == 0 && used*100 >= a.present.size*prefetchAt {
		a.fetchLocked()
	}
	return kafka.ProducerID(id), true, nil
}

// failed returns why the fetch just waited for brought nothing.
func (a *Allocator) failed() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.present.left() > 0 || a.next.left() > 0 {
		return nil
	}
	return a.failure
}

// fetchLocked starts a fetch unless one is under way.
func (a *Allocator) fetchLocked() {
	if a.fetching != nil {
		return
	}
	done := make(chan struct{})
	a.fetching, a.failure = done, nil
	a.wg.Go(func() {
		first, count, err := a.source(a.ctx)
		if err == nil && (first < 0 || count <= 0 || first > math.MaxInt64-count) {
			err = fmt.Errorf("%w: got the block [%d, +%d)", ErrExhausted, first, count)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.failure = err; err == nil {
			a.next = block{at: first, end: first + count, size: count}
		}
		a.fetching = nil
		close(done)
	})
}

// Package buf keeps byte buffers for reuse: small ones by size class, large ones
// in one list of bounded size. A Pool belongs to an object (a server, a broker),
// never to a package, so that tests in a bubble share nothing.
//
// Whoever takes a buffer releases it exactly once, and nobody looks at it after
// that: in test builds its bytes are overwritten with junk, and a second
// release panics.
package buf

import (
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"barnabas/internal/invariant"
)

const (
	minClass = 9  // 512 B
	maxClass = 16 // 64 KiB; larger buffers are in one list
	classes  = maxClass - minClass + 1

	// minLarge is the capacity of the smallest buffer in the list.
	minLarge = 2 << maxClass
	// maxIdle bounds the bytes of idle large buffers. They are few and large, and
	// new ones are expensive: the system has to find and clear their pages.
	maxIdle = 32 << 20
	// wasteful is how many times larger than asked for a lent buffer may be.
	wasteful = 4
	// idleTime is how long large buffers are kept that nobody takes; up to twice
	// as long.
	idleTime = 30 * time.Second
)

// A Buf is a buffer on loan from a Pool. B may be sliced, appended to and
// replaced; what its final capacity is decides where it returns to.
type Buf struct {
	B []byte

	pool     *Pool
	released atomic.Bool
	round    int // Pool.round when it was released; guarded by Pool.mu
}

// Pool lends buffers. It is safe for concurrent use.
type Pool struct {
	classes      [classes]sync.Pool
	hits, misses atomic.Int64

	mu    sync.Mutex // guards following
	large []*Buf     // idle; the one released last is at the end
	idle  int        // capacity of large
	round int        // counts idleTimes while large is not empty
	armed bool       // a round is under way
}

// New makes an empty pool.
func New() *Pool { return new(Pool) }

// Stats counts how often Get found a buffer in the pool, and how often it had
// to allocate one.
func (p *Pool) Stats() (hits, misses int64) { return p.hits.Load(), p.misses.Load() }

// Idle is how many bytes of large buffers wait to be lent.
func (p *Pool) Idle() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.idle
}

// Get lends a buffer with len(B) == 0 and a capacity of at least n bytes.
func (p *Pool) Get(n int) *Buf {
	if b := p.GetIdle(n); b != nil {
		return b
	}
	p.misses.Add(1)
	return &Buf{B: make([]byte, 0, capacityFor(n)), pool: p}
}

// GetIdle is Get if no memory need be allocated for that, else nil.
func (p *Pool) GetIdle(n int) *Buf {
	var b *Buf
	if class := classFor(n); class < classes {
		b, _ = p.classes[class].Get().(*Buf)
	} else {
		b = p.takeLarge(n)
	}
	if b == nil {
		return nil
	}
	p.hits.Add(1)
	b.released.Store(false)
	b.B = b.B[:0]
	return b
}

// takeLarge takes the smallest buffer that fits, and of equals the one that was
// used last, as it may still be in the processor's cache.
func (p *Pool) takeLarge(n int) *Buf {
	p.mu.Lock()
	defer p.mu.Unlock()
	best := -1
	for i, b := range p.large {
		if c := cap(b.B); c >= n && c/wasteful <= n && (best < 0 || c <= cap(p.large[best].B)) {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	b := p.large[best]
	p.large = slices.Delete(p.large, best, best+1)
	p.idle -= cap(b.B)
	return b
}

// Release gives the buffer back. B and all that aliases it is dead from now on.
func (b *Buf) Release() {
	if b.released.Swap(true) {
		_ = invariant.Check(false, "buf: a buffer of %d bytes was released twice", cap(b.B))
		return
	}
	b.B = b.B[:cap(b.B)]
	invariant.Poison(b.B)
	// The class whose every buffer this one is large enough for.
	class := bits.Len(uint(cap(b.B))) - 1 - minClass
	switch {
	case class < 0:
		b.B = nil
	case class < classes:
		b.pool.classes[class].Put(b)
	default:
		b.pool.keepLarge(b)
	}
}

// keepLarge puts b into the list; the buffers that nobody has used for the
// longest time go to the collector if there are too many.
func (p *Pool) keepLarge(b *Buf) {
	if cap(b.B) > maxIdle {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	b.round = p.round
	p.large = append(p.large, b)
	p.idle += cap(b.B)
	n := 0
	for ; p.idle > maxIdle; n++ {
		p.idle -= cap(p.large[n].B)
	}
	p.large = slices.Delete(p.large, 0, n)
	if !p.armed {
		p.armed = true
		time.AfterFunc(idleTime, p.trim)
	}
}

// trim drops the large buffers that were idle for a whole round, and begins the
// next one if any are left.
func (p *Pool) trim() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.large = slices.DeleteFunc(p.large, func(b *Buf) bool {
		if b.round < p.round {
			p.idle -= cap(b.B)
			return true
		}
		return false
	})
	p.round++
	if p.armed = len(p.large) > 0; p.armed {
		time.AfterFunc(idleTime, p.trim)
	}
}

// Grow makes room for at least n more bytes and keeps what is there. It takes a
// larger buffer from the pool and releases b, so the result replaces b.
func (b *Buf) Grow(n int) *Buf {
	if cap(b.B)-len(b.B) >= n {
		return b
	}
	next := b.pool.Get(len(b.B) + n)
	next.B = append(next.B, b.B...)
	b.Release()
	return next
}

// classFor is the smallest class whose buffers hold n bytes; classes if none.
func classFor(n int) int {
	if n <= 1<<minClass {
		return 0
	}
	return min(bits.Len(uint(n-1))-minClass, classes)
}

// capacityFor is n rounded up: to its class, or to quarters of a power of two. What is
// too large to be kept is not.
func capacityFor(n int) int {
	if n > maxIdle {
		return n
	}
	if class := classFor(n); class < classes {
		return 1 << (class + minClass)
	}
	step := 1 << (bits.Len(uint(n-1)) - 3)
	return max((n+step-1)&^(step-1), minLarge)
}

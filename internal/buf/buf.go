// Package buf keeps byte buffers for reuse, by size class. A Pool belongs to an
// object (a server, a broker), never to a package, so that tests in a bubble
// share nothing.
//
// Whoever takes a buffer releases it exactly once, and nobody looks at it after
// that: in test builds its bytes are overwritten with junk, and a second
// release panics.
package buf

import (
	"math/bits"
	"sync"
	"sync/atomic"

	"barnabas/internal/invariant"
)

const (
	minClass = 9  // 512 B
	maxClass = 22 // 4 MiB; larger buffers are left to the collector
	classes  = maxClass - minClass + 1
)

// A Buf is a buffer on loan from a Pool. B may be sliced, appended to and
// replaced; what its final capacity is decides the class that it returns to.
type Buf struct {
	B []byte

	pool     *Pool
	released atomic.Bool
}

// Pool lends buffers. It is safe for concurrent use.
type Pool struct {
	classes      [classes]sync.Pool
	hits, misses atomic.Int64
}

// New makes an empty pool.
func New() *Pool { return new(Pool) }

// Stats counts how often Get found a buffer in the pool, and how often it had
// to allocate one.
func (p *Pool) Stats() (hits, misses int64) { return p.hits.Load(), p.misses.Load() }

// Get lends a buffer with len(B) == 0 and a capacity of at least n bytes.
func (p *Pool) Get(n int) *Buf {
	class := classFor(n)
	if class < classes {
		if b, _ := p.classes[class].Get().(*Buf); b != nil {
			p.hits.Add(1)
			b.released.Store(false)
			b.B = b.B[:0]
			return b
		}
		n = 1 << (class + minClass)
	}
	p.misses.Add(1)
	return &Buf{B: make([]byte, 0, n), pool: p}
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
	if class < 0 || class >= classes {
		b.B = nil
		return
	}
	b.pool.classes[class].Put(b)
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

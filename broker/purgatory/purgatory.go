// Package purgatory parks requests until a condition holds or a deadline
// passes: a produce that waits for its replicas, a fetch that waits for data
// (Kafka's DelayedOperationPurgatory).
//
// A Waiter is registered under one or more keys. Whoever changes what a
// condition may depend on calls Wake with the key, after it has released its
// locks; the condition is asked again then, and also once right after
// registering, so that a change in between is not lost. A waiter ends exactly
// once: fulfilled, timed out, or cancelled.
//
// A waiter without keys is for whom somebody else knows when to ask (Wait).
//
// It knows no request, no partition and no clock but timers. No goroutine of
// its own runs; the shard locks are never held over a callback.
package purgatory

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// Outcome says how a waiter ended.
type Outcome int8

const (
	// Fulfilled: the condition held.
	Fulfilled Outcome = iota
	// TimedOut: the deadline passed first.
	TimedOut
)

// shards spreads the locks; more than the cores of a large machine gain nothing.
const shards = 32

// Purgatory keeps the waiters under their keys. The zero value is not usable;
// call New.
type Purgatory[K comparable] struct {
	seed   maphash.Seed
	size   atomic.Int64
	keyed  atomic.Int64 // those under keys; lets Wake skip the hashing
	closed atomic.Bool
	shards [shards]shard[K]

	mu    sync.Mutex // guards loose
	loose map[*Waiter[K]]struct{}
}

type shard[K comparable] struct {
	count atomic.Int64 // entries in lists; lets Wake skip the lock
	mu    sync.Mutex   // guards lists and the links of their entries
	lists map[K]*entry[K]
}

// entry is one waiter's place in one key's ring; the list's head is an entry
// without a waiter.
type entry[K comparable] struct {
	next, prev *entry[K]
	key        K
	w          *Waiter[K]
}

// Waiter is one parked request.
type Waiter[K comparable] struct {
	p       *Purgatory[K]
	ready   func() bool
	done    func(Outcome)
	ended   atomic.Bool
	asked   atomic.Int64 // wakes since the condition was last known to be false
	mu      sync.Mutex   // guards timer, entries, gone
	timer   *time.Timer
	entries []entry[K] // none: it is loose
	gone    bool
}

// New makes an empty purgatory.
func New[K comparable]() *Purgatory[K] {
	p := &Purgatory[K]{seed: maphash.MakeSeed(), loose: make(map[*Waiter[K]]struct{})}
	for i := range p.shards {
		p.shards[i].lists = make(map[K]*entry[K])
	}
	return p
}

// Len is the number of parked waiters.
func (p *Purgatory[K]) Len() int { return int(p.size.Load()) }

// Park registers a waiter under keys and returns it. ready is asked at once and
// after a Wake of a key, by any goroutine, one at a time; many wakes may be
// answered by one look. It must not block. done is called exactly once, unless Cancel came first,
// by the goroutine that found the condition true, or by a timer's after wait.
// done may run before Park returns. Keys must not repeat.
func (p *Purgatory[K]) Park(keys []K, wait time.Duration, ready func() bool, done func(Outcome)) *Waiter[K] {
	w := &Waiter[K]{p: p, ready: ready, done: done, entries: make([]entry[K], len(keys))}
	p.size.Add(1)
	if len(keys) > 0 {
		p.keyed.Add(1)
	}
	for i, k := range keys {
		w.entries[i] = entry[K]{key: k, w: w}
	}
	for i := range w.entries { // from the first link on, a wake may end it
		p.link(&w.entries[i])
	}
	w.begin(wait)
	w.Check()
	return w
}

// Wait registers a waiter without keys: whoever knows that its condition may hold now
// calls Check, and the caller does so once after all who may know of it do.
func (p *Purgatory[K]) Wait(wait time.Duration, ready func() bool, done func(Outcome)) *Waiter[K] {
	w := &Waiter[K]{p: p, ready: ready, done: done}
	p.size.Add(1)
	p.mu.Lock()
	p.loose[w] = struct{}{}
	p.mu.Unlock()
	w.begin(wait)
	return w
}

// begin lets the time of a waiter run.
func (w *Waiter[K]) begin(wait time.Duration) {
	w.mu.Lock()
	if !w.gone {
		w.timer = time.AfterFunc(wait, func() { w.end(TimedOut) })
	}
	w.mu.Unlock()
	if w.p.closed.Load() {
		w.end(TimedOut)
	}
}

// Close ends all waiters as if their time were over, and from now on each that
// is parked.
func (p *Purgatory[K]) Close() {
	p.closed.Store(true)
	var loose []*Waiter[K]
	p.mu.Lock()
	for w := range p.loose {
		loose = append(loose, w)
	}
	p.mu.Unlock()
	for _, w := range loose {
		w.end(TimedOut)
	}
	for i := range p.shards {
		s := &p.shards[i]
		var left []*Waiter[K]
		s.mu.Lock()
		for _, head := range s.lists {
			for e := head.next; e != head; e = e.next {
				left = append(left, e.w)
			}
		}
		s.mu.Unlock()
		for _, w := range left {
			w.end(TimedOut)
		}
	}
}

// Wake asks the conditions of all waiters under key again.
func (p *Purgatory[K]) Wake(key K) {
	if p.keyed.Load() == 0 {
		return
	}
	s := p.shard(key)
	if s.count.Load() == 0 {
		return
	}
	var few [16]*Waiter[K]
	woken := few[:0]
	s.mu.Lock()
	if head := s.lists[key]; head != nil {
		for e := head.next; e != head; e = e.next {
			woken = append(woken, e.w)
		}
	}
	s.mu.Unlock()
	for _, w := range woken {
		w.Check()
	}
}

// Cancel withdraws a waiter: done will not be called any more, unless it has
// been already or is running now. It reports whether it came in time.
func (w *Waiter[K]) Cancel() bool {
	if !w.ended.CompareAndSwap(false, true) {
		return false
	}
	w.leave()
	return true
}

// lull is the time between two looks at a condition that many wakes ask for.
const lull = time.Millisecond

// Check asks the condition, unless somebody is at it, who will ask once more then. A
// fetch of thousands of partitions looks at all of them when one is woken, and all
// may be woken one after the other, when a broker dies: the wakes must not wait for
// as many looks.
func (w *Waiter[K]) Check() {
	if !w.ended.Load() && w.asked.Add(1) == 1 {
		w.ask(1)
	}
}

// ask asks the condition for the n wakes until now, and at once again for those that
// came meanwhile. If there were more by then it is asked later, by a timer, so that
// the caller goes on with its own work.
func (w *Waiter[K]) ask(n int64) {
	for range 2 {
		switch {
		case w.ended.Load():
			return
		case w.ready():
			w.end(Fulfilled)
			return
		case w.asked.CompareAndSwap(n, 0):
			return
		}
		n = w.asked.Load()
	}
	time.AfterFunc(lull, func() { w.ask(w.asked.Load()) })
}

func (w *Waiter[K]) end(o Outcome) {
	if !w.ended.CompareAndSwap(false, true) {
		return
	}
	w.leave()
	w.done(o)
}

// leave takes the waiter out of all lists and stops its timer.
func (w *Waiter[K]) leave() {
	w.mu.Lock()
	w.gone = true
	if w.timer != nil {
		w.timer.Stop()
	}
	w.mu.Unlock()
	for i := range w.entries {
		w.p.unlink(&w.entries[i])
	}
	if len(w.entries) > 0 {
		w.p.keyed.Add(-1)
	} else {
		w.p.mu.Lock()
		delete(w.p.loose, w)
		w.p.mu.Unlock()
	}
	w.p.size.Add(-1)
}

func (p *Purgatory[K]) shard(key K) *shard[K] {
	return &p.shards[maphash.Comparable(p.seed, key)%shards]
}

func (p *Purgatory[K]) link(e *entry[K]) {
	s := p.shard(e.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.w.ended.Load() { // a wake under an earlier key ended it meanwhile
		return
	}
	head := s.lists[e.key]
	if head == nil {
		head = &entry[K]{key: e.key}
		head.next, head.prev = head, head
		s.lists[e.key] = head
	}
	e.prev, e.next = head.prev, head
	head.prev.next, head.prev = e, e
	s.count.Add(1)
}

func (p *Purgatory[K]) unlink(e *entry[K]) {
	s := p.shard(e.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.next == nil {
		return
	}
	e.prev.next, e.next.prev = e.next, e.prev
	if e.next == e.prev && e.next.w == nil { // only the head is left
		delete(s.lists, e.key)
	}
	e.next, e.prev = nil, nil
	s.count.Add(-1)
}

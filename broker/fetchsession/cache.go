package fetchsession

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"barnabas/protocol"
)

const (
	// initial and final are the epochs of full requests: one that wants a
	// session, and one that wants none.
	initial = 0
	final   = -1

	maxShards = 8
	// evictAfter protects a session that was used or made a shorter time ago
	// (min.incremental.fetch.session.eviction.ms).
	evictAfter = 120 * time.Second

	// maxPartitions bounds the partitions of all sessions together, which take
	// some 350 bytes each. Apache Kafka bounds only the sessions.
	maxPartitions = 1 << 19
)

// Cache holds the sessions. It is safe for concurrent use.
type Cache struct {
	shards []*shard
	span   int32 // ids of a shard: i*span … (i+1)*span - 1
	limit  int64 // of partitions
	total  atomic.Int64
}

type shard struct {
	slots       int
	first, last int32 // ids
	total       *atomic.Int64

	mu       sync.Mutex // guards following, and fields of session
	sessions map[int32]*session
}

// New makes a cache for at most so many sessions; 0 or less: none are made.
func New(slots int) *Cache {
	n := max(1, min(maxShards, slots))
	c := &Cache{span: math.MaxInt32 / int32(n), limit: maxPartitions}
	for i := range int32(n) {
		s := &shard{slots: max(slots, 0) / n, first: max(1, i*c.span), last: (i+1)*c.span - 1, total: &c.total, sessions: make(map[int32]*session)}
		if int(i) < max(slots, 0)%n {
			s.slots++
		}
		c.shards = append(c.shards, s)
	}
	return c
}

// Len is the number of sessions.
func (c *Cache) Len() int {
	n := 0
	for _, s := range c.shards {
		s.mu.Lock()
		n += len(s.sessions)
		s.mu.Unlock()
	}
	return n
}

// Request is what a Fetch says about its session. Cache keeps no slice of it,
// but the strings.
type Request struct {
	SessionID, Epoch int32
	// ByID: topics are named by id (version 13 and later).
	ByID bool
	// Follower: the request comes from another broker.
	Follower   bool
	Partitions []Partition
	Forgotten  []Key
}

// Fetch is one request under way.
type Fetch struct {
	// Err refuses the whole request; nothing is to be read then.
	Err protocol.Error
	// Partitions are to be read, in this order. The caller may change the order
	// before Finish.
	Partitions []Partition

	cache    *Cache
	req      Request // without the slices
	session  *session
	full     bool
	creating bool // a full request that wants a session
}

// Begin takes a request in. buf, emptied, takes the partitions to read.
func (c *Cache) Begin(now time.Time, r *Request, buf []Partition) *Fetch {
	f := &Fetch{cache: c, req: *r, Partitions: buf[:0]}
	f.req.Partitions, f.req.Forgotten = nil, nil
	if r.Epoch == initial || r.Epoch == final {
		if r.SessionID != 0 {
			c.remove(r.SessionID)
		}
		f.full, f.creating = true, r.Epoch == initial
		f.Partitions = dedupe(f.Partitions, r.Partitions)
		return f
	}
	s := c.get(r.SessionID)
	if s == nil {
		f.Err = protocol.FetchSessionIDNotFound
		return f
	}
	s.mu.Lock()
	switch {
	case s.epoch != r.Epoch:
		f.Err = protocol.InvalidFetchSessionEpoch
	case s.byID != r.ByID:
		f.Err = protocol.FetchSessionTopicIDError
	}
	if f.Err != protocol.None {
		s.mu.Unlock()
		return f
	}
	if c.full(len(r.Partitions)) && c.full(s.newLocked(r.Partitions)) {
		s.mu.Unlock()
		c.remove(s.id)
		f.Err = protocol.FetchSessionIDNotFound // the client goes on by a full request
		return f
	}
	for i := range r.Partitions {
		s.setLocked(r.Partitions[i])
	}
	for _, k := range r.Forgotten {
		s.removeLocked(k)
	}
	if len(s.parts) == 0 {
		s.mu.Unlock()
		c.remove(s.id)
		f.full = true
		return f
	}
	s.epoch = nextEpoch(s.epoch)
	for p := s.ring.next; p != &s.ring; p = p.next {
		f.Partitions = append(f.Partitions, p.want)
	}
	size := len(s.parts)
	s.mu.Unlock()
	s.shard.touch(s, size, now)
	f.session = s
	return f
}

// Finish takes what reading brought, in the order of f.Partitions, and returns
// the session id for the answer. Partitions whose tell is false stay out of it.
// An error refuses the whole request, since the session went on without it.
func (f *Fetch) Finish(now time.Time, found []Found, tell []bool) (id int32, err protocol.Error) {
	if f.full {
		for i := range tell {
			tell[i] = true
		}
		if !f.creating {
			return 0, protocol.None
		}
		return f.cache.create(now, f, found), protocol.None
	}
	s := f.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch != nextEpoch(f.req.Epoch) {
		return 0, protocol.InvalidFetchSessionEpoch
	}
	for i := range found {
		c := s.parts[f.Partitions[i].Key]
		if c == nil {
			tell[i] = false
			continue
		}
		if tell[i] = c.news(&found[i]); found[i].Records {
			c.unlink()
			s.linkLocked(c)
		}
	}
	return s.id, protocol.None
}

// Incremental reports whether the answer leaves out what did not change.
func (f *Fetch) Incremental() bool { return f.session != nil }

// dedupe copies partitions; of one named twice the last word counts, in the
// first place.
func dedupe(dst, src []Partition) []Partition {
	if len(src) <= 16 {
	next:
		for i := range src {
			for j := range dst {
				if dst[j].Key == src[i].Key {
					dst[j] = src[i]
					continue next
				}
			}
			dst = append(dst, src[i])
		}
		return dst
	}
	at := make(map[Key]int, len(src))
	for i := range src {
		if j, ok := at[src[i].Key]; ok {
			dst[j] = src[i]
			continue
		}
		at[src[i].Key] = len(dst)
		dst = append(dst, src[i])
	}
	return dst
}

// shardOf is the shard whose ids include id, or nil.
func (c *Cache) shardOf(id int32) *shard {
	i := int(id / c.span)
	if id <= 0 || i >= len(c.shards) {
		return nil
	}
	return c.shards[i]
}

func (c *Cache) get(id int32) *session {
	s := c.shardOf(id)
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[id]
}

func (c *Cache) remove(id int32) {
	if s := c.shardOf(id); s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.removeLocked(id)
	}
}

func (s *shard) removeLocked(id int32) {
	if old := s.sessions[id]; old != nil {
		old.gone = true
		s.total.Add(-int64(old.size))
		delete(s.sessions, id)
	}
}

// full reports whether the sessions may not have so many partitions more.
func (c *Cache) full(more int) bool { return more > 0 && c.total.Load()+int64(more) > c.limit }

// sweep removes the sessions that nobody has used for a while.
func (c *Cache) sweep(now time.Time) {
	for _, s := range c.shards {
		s.mu.Lock()
		for id, x := range s.sessions {
			if now.Sub(x.used) > evictAfter {
				s.removeLocked(id)
			}
		}
		s.mu.Unlock()
	}
}

// create makes a session of a full request, or returns 0 if there is no place
// for it.
func (c *Cache) create(now time.Time, f *Fetch, found []Found) int32 {
	s := c.shards[rand.IntN(len(c.shards))]
	n := len(f.Partitions)
	if c.full(n) {
		if c.sweep(now); c.full(n) {
			return 0
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sessions) >= s.slots && !s.evictLocked(now, f.req.Follower, n) {
		return 0
	}
	fresh := newSession(n)
	fresh.follower, fresh.byID, fresh.created, fresh.shard = f.req.Follower, f.req.ByID, now, s
	fresh.epoch = nextEpoch(initial)
	for i := range f.Partitions {
		p := fresh.setLocked(f.Partitions[i]) // nobody else has it yet
		p.hw, p.logStart = found[i].HighWatermark, found[i].LogStartOffset
		if found[i].Failed {
			p.hw = -1
		}
	}
	for fresh.id == 0 || s.sessions[fresh.id] != nil {
		fresh.id = s.first + rand.Int32N(s.last-s.first+1)
	}
	s.sessions[fresh.id] = fresh
	s.touchLocked(fresh, n, now)
	return fresh.id
}

func (s *shard) touch(x *session, size int, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !x.gone {
		s.touchLocked(x, size, now)
	}
}

// touchLocked notes a use. A session becomes evictable by anyone when it is old
// enough, and a consumer's by followers at once.
func (s *shard) touchLocked(x *session, size int, now time.Time) {
	old := now.Sub(x.created) > evictAfter
	s.total.Add(int64(size - x.size))
	x.used, x.size = now, size
	x.evictByFollower, x.evictByAnyone = !x.follower || old, old
}

// evictLocked makes room for a session of a follower or consumer with size
// partitions: the least recently used session goes if it is stale, else the
// smallest that may be evicted, if the newcomer is worth more.
func (s *shard) evictLocked(now time.Time, follower bool, size int) bool {
	var stale, least *session
	for _, x := range s.sessions {
		if stale == nil || x.used.Before(stale.used) || x.used.Equal(stale.used) && x.id < stale.id {
			stale = x
		}
		if follower && x.evictByFollower || !follower && x.evictByAnyone {
			if least == nil || worthLess(x.follower, x.size, x.id, least) {
				least = x
			}
		}
	}
	switch {
	case stale == nil:
		return false
	case now.Sub(stale.used) > evictAfter:
		s.removeLocked(stale.id)
		return true
	case least == nil || worthLess(follower, size, 0, least):
		return false
	}
	s.removeLocked(least.id)
	return true
}

// worthLess compares by kind, size and id, as Kafka's EvictableKey does.
func worthLess(follower bool, size int, id int32, than *session) bool {
	if follower != than.follower {
		return than.follower
	}
	if size != than.size {
		return size < than.size
	}
	return id < than.id
}

package fetchsession

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
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
	// some 400 bytes each. Apache Kafka bounds only the sessions.
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

// dedupe copies partitions; of one named twice the last word counts, in the
// first place.
func dedupe(dst []Want, src []Partition) []Want {
	if len(src) <= 16 {
	next:
		for i := range src {
			for j := range dst {
				if dst[j].Key == src[i].Key {
					dst[j].Partition = src[i]
					continue next
				}
			}
			dst = append(dst, Want{Partition: src[i]})
		}
		return dst
	}
	at := make(map[Key]int, len(src))
	for i := range src {
		if j, ok := at[src[i].Key]; ok {
			dst[j].Partition = src[i]
			continue
		}
		at[src[i].Key] = len(dst)
		dst = append(dst, Want{Partition: src[i]})
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
		old := s.removeLocked(id)
		s.mu.Unlock()
		if old != nil {
			old.close()
		}
	}
}

// removeLocked takes a session out, which the caller must close.
func (s *shard) removeLocked(id int32) *session {
	old := s.sessions[id]
	if old != nil {
		old.gone = true
		s.total.Add(-int64(old.size))
		delete(s.sessions, id)
	}
	return old
}

// full reports whether the sessions may not have so many partitions more.
func (c *Cache) full(more int) bool { return more > 0 && c.total.Load()+int64(more) > c.limit }

// sweep removes the sessions that nobody has used for a while.
func (c *Cache) sweep(now time.Time) {
	for _, s := range c.shards {
		var old []*session
		s.mu.Lock()
		for id, x := range s.sessions {
			if now.Sub(x.used) > evictAfter {
				old = append(old, s.removeLocked(id))
			}
		}
		s.mu.Unlock()
		for _, x := range old {
			x.close()
		}
	}
}

// create makes a session of a full request, or returns 0 if there is no place
// for it.
func (c *Cache) create(now time.Time, f *Fetch, wants []Want, found []Found) int32 {
	s := c.shards[rand.IntN(len(c.shards))]
	n := len(wants)
	if c.full(n) {
		if c.sweep(now); c.full(n) {
			return 0
		}
	}
	id, evicted := s.create(now, f, wants, found)
	if evicted != nil {
		evicted.close()
	}
	return id
}

func (s *shard) create(now time.Time, f *Fetch, wants []Want, found []Found) (id int32, evicted *session) {
	n := len(wants)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sessions) >= s.slots {
		if evicted = s.evictLocked(now, f.req.follower(), n); evicted == nil {
			return 0, nil
		}
	}
	fresh := newSession(n)
	fresh.follower, fresh.byID, fresh.created, fresh.shard = f.req.follower(), f.req.ByID, now, s
	fresh.epoch, fresh.as, fresh.last, fresh.walked = nextEpoch(initial), f.req.As, now, now
	for i := range wants {
		p := fresh.setLocked(wants[i].Partition) // nobody else has it yet
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
	return fresh.id, evicted
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
// smallest that may be evicted, if the newcomer is worth more. It returns who
// went, nil if nobody.
func (s *shard) evictLocked(now time.Time, follower bool, size int) *session {
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
		return nil
	case now.Sub(stale.used) > evictAfter:
		return s.removeLocked(stale.id)
	case least == nil || worthLess(follower, size, 0, least):
		return nil
	}
	return s.removeLocked(least.id)
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

package fetchsession

import (
	"math"
	"sync"
	"time"

	"barnabas/internal/kafka"
)

// Key names a partition as the client does: by id, or else by name.
type Key struct {
	Topic     string // empty if the client names topics by id
	ID        kafka.TopicID
	Partition int32
}

// Partition is what a client wants of a partition.
type Partition struct {
	Key
	Offset           int64
	LogStartOffset   int64 // a follower's own
	MaxBytes         int32
	CurrentEpoch     kafka.LeaderEpoch
	LastFetchedEpoch kafka.LeaderEpoch
}

// cached is a partition of a session, and what the client was told last.
type cached struct {
	want       Partition
	hw         int64 // -1: tell it in any case
	logStart   int64
	prev, next *cached // the session's order
}

// session is what one client fetches. Partitions are read in its order, and
// those that gave records move to the end, so that each gets its turn.
type session struct {
	id       int32
	follower bool // "privileged" in KIP-227
	byID     bool
	created  time.Time
	shard    *shard

	mu    sync.Mutex // guards following
	epoch int32      // what the next request must carry
	parts map[Key]*cached
	ring  cached // its next is the first partition

	// Guarded by shard.mu: as of the last request.
	used                           time.Time
	size                           int
	evictByFollower, evictByAnyone bool
	gone                           bool
}

func newSession(n int) *session {
	s := &session{parts: make(map[Key]*cached, n)}
	s.ring.prev, s.ring.next = &s.ring, &s.ring
	return s
}

// setLocked adds a partition at the end, or replaces what is wanted of one.
func (s *session) setLocked(p Partition) *cached {
	c := s.parts[p.Key]
	if c == nil {
		c = &cached{hw: -1, logStart: -1}
		s.parts[p.Key] = c
		s.linkLocked(c)
	}
	c.want = p
	return c
}

// newLocked counts the partitions that are not in the session yet.
func (s *session) newLocked(ps []Partition) int {
	n := 0
	for i := range ps {
		if s.parts[ps[i].Key] == nil {
			n++
		}
	}
	return n
}

func (s *session) removeLocked(k Key) {
	if c := s.parts[k]; c != nil {
		delete(s.parts, k)
		c.unlink()
	}
}

func (s *session) linkLocked(c *cached) {
	c.prev, c.next = s.ring.prev, &s.ring
	c.prev.next, c.next.prev = c, c
}

func (c *cached) unlink() {
	c.prev.next, c.next.prev = c.next, c.prev
	c.prev, c.next = nil, nil
}

// nextEpoch follows an epoch; 0 and -1 mean something else.
func nextEpoch(e int32) int32 {
	switch {
	case e < 0:
		return final
	case e == math.MaxInt32:
		return 1
	}
	return e + 1
}

// Found is what reading a partition brought, as far as sessions care.
type Found struct {
	HighWatermark, LogStartOffset int64
	// Records, Failed, Diverging or Preferred: told in any case.
	Records, Failed, Diverging, Preferred bool
}

// news reports whether the client must be told, and remembers what it is told.
func (c *cached) news(f *Found) bool {
	told := f.Records || f.Diverging || f.Preferred
	if c.hw != f.HighWatermark {
		c.hw = f.HighWatermark
		told = true
	}
	if c.logStart != f.LogStartOffset {
		c.logStart = f.LogStartOffset
		told = true
	}
	if f.Failed {
		c.hw = -1 // so that it is told when the error goes away
		told = true
	}
	return told
}

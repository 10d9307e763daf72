package fetchsession

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"time"

	"barnabas/broker/watch"
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

// As is what a request says beside its partitions that decides what it is answered.
type As struct {
	Version int16
	// Follower is the broker that asks, under its registration Epoch; negative: it is
	// a consumer, of a rack, that speaks to a listener.
	Follower       kafka.BrokerID
	Epoch          kafka.BrokerEpoch
	Committed      bool
	Rack, Listener string
}

// cached is a partition of a session, and what the client was told last. It is
// settled, or due: to be looked at by the next fetch. Settled is what was found to
// have nothing for the client, by a reader who watches it: see Want.Watch. Guarded
// by session.mu.
type cached struct {
	s          *session
	want       Partition
	hw         int64 // -1: tell it in any case
	logStart   int64
	prev, next *cached // the session's order
	place      uint64  // in it: grows along the order
	due        int     // index in session.due; -1: settled
	// marks counts the changes of the partition and of what is wanted of it: a look
	// settles only what has not been changed since it began.
	marks uint64
	// looked is, of one that is due, the session's last request before it became so.
	looked  time.Time
	refused bool // the last look found no such partition
	gone    bool // no more in the session
	node    watch.Node
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
	place uint64 // of the last one
	due   []*cached
	as    As
	// last is the time of the last request, walked that of the last one for which all
	// partitions were due.
	last, walked time.Time
	current      *Fetch // the last request
	waiting      func() // lets its fetch look again, while that waits; else nil
	closed       bool   // nobody finds it any more

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
		c = &cached{s: s, hw: -1, logStart: -1, due: -1}
		c.node.Reader = c
		s.parts[p.Key] = c
		s.linkLocked(c)
	}
	c.want = p
	c.markLocked()
	return c
}

// markLocked makes a partition due.
func (c *cached) markLocked() {
	c.marks++
	if c.due < 0 && !c.gone {
		c.looked = c.s.last
		c.due = len(c.s.due)
		c.s.due = append(c.s.due, c)
	}
}

// settleLocked makes a partition not due.
func (c *cached) settleLocked() {
	if c.due < 0 {
		return
	}
	s, last := c.s, len(c.s.due)-1
	s.due[c.due] = s.due[last]
	s.due[c.due].due = c.due
	s.due[last] = nil
	s.due, c.due = s.due[:last], -1
}

func (s *session) markAllLocked() {
	for c := s.ring.next; c != &s.ring; c = c.next {
		c.markLocked()
	}
}

// Changed implements watch.Reader.
func (c *cached) Changed(wake bool) func() {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.markLocked()
	if !wake {
		return nil
	}
	return c.s.waiting
}

// Looked implements watch.Reader: each request of a session asks for what it names
// and for what is settled.
func (c *cached) Looked() time.Time {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.due >= 0 || c.gone {
		return c.looked
	}
	return c.s.last
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

// removeLocked takes a partition out; its watch is left to the caller.
func (s *session) removeLocked(k Key) *cached {
	c := s.parts[k]
	if c != nil {
		c.markLocked() // before it goes, so that looked is right
		c.settleLocked()
		c.gone = true
		delete(s.parts, k)
		c.unlink()
	}
	return c
}

func (s *session) linkLocked(c *cached) {
	c.prev, c.next = s.ring.prev, &s.ring
	c.prev.next, c.next.prev = c, c
	s.place++
	c.place = s.place
}

func (c *cached) unlink() {
	c.prev.next, c.next.prev = c.next, c.prev
	c.prev, c.next = nil, nil
}

// dueLocked adds those that are due, in the session's order.
func (s *session) dueLocked(wants []Want) []Want {
	if len(s.due) > len(s.parts)/8 { // sorting is not worth it
		for c := s.ring.next; c != &s.ring; c = c.next {
			if c.due >= 0 {
				wants = append(wants, c.wantLocked())
			}
		}
		return wants
	}
	slices.SortFunc(s.due, func(a, b *cached) int { return cmp.Compare(a.place, b.place) })
	for i, c := range s.due {
		c.due = i
		wants = append(wants, c.wantLocked())
	}
	return wants
}

func (c *cached) wantLocked() Want {
	w := Want{Partition: c.want, Refused: c.refused, item: c, marks: c.marks}
	if !c.s.closed {
		w.Watch = &c.node
	}
	return w
}

// close ends what the session watches, and the wait of its fetch, after it has been
// taken out of the cache. No lock may be held.
func (s *session) close() {
	s.mu.Lock()
	s.closed = true
	call := s.waiting
	s.waiting = nil
	var parts []*cached
	for c := s.ring.next; c != &s.ring; c = c.next {
		parts = append(parts, c)
	}
	s.mu.Unlock()
	for _, c := range parts {
		c.node.Stop()
	}
	if call != nil {
		call()
	}
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
	// Refused: it failed since there is no such partition.
	Refused bool
	// Settled: as long as the partition does not change, reading it would bring the
	// same, and nothing but the offsets above.
	Settled bool
}

// settlesLocked reports whether the client needs to be told nothing, until the partition
// changes.
func (c *cached) settlesLocked(w *Want, f *Found) bool {
	return f.Settled && c.marks == w.marks && c.hw == f.HighWatermark && c.logStart == f.LogStartOffset
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

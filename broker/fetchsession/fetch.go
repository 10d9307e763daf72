package fetchsession

import (
	"time"

	"barnabas/broker/watch"
	"barnabas/protocol"
)

// walkAfter is how often all partitions of a session are looked at, changed or not.
// Nothing needs it: it bounds what a change would cost that nobody was told of. At
// 0.2 µs a partition it is next to nothing.
const walkAfter = 10 * time.Second

// Request is what a Fetch says about its session. Cache keeps no slice of it,
// but the strings.
type Request struct {
	SessionID, Epoch int32
	// ByID: topics are named by id (version 13 and later).
	ByID       bool
	As         As
	Partitions []Partition
	Forgotten  []Key
}

// follower reports whether the request comes from another broker.
func (r *Request) follower() bool { return r.As.Follower >= 0 }

// Want is a partition that is to be looked at.
type Want struct {
	Partition
	// Watch is to watch the partition from before it is looked at; nil: nobody is told
	// of changes. Without it, or where it can't be done, nothing is Found.Settled.
	Watch *watch.Node
	// Refused: the session's last look found no such partition.
	Refused bool

	item  *cached // nil without a session
	marks uint64
}

// Fetch is one request under way. Look, Settle and Await are safe for concurrent
// use.
type Fetch struct {
	// Err refuses the whole request; nothing is to be read then.
	Err protocol.Error
	// Wants are the partitions of a full request, in order. The caller may change the
	// order before Finish.
	Wants []Want

	cache    *Cache
	req      Request // without the slices
	session  *session
	full     bool
	creating bool // a full request that wants a session
}

// Begin takes a request in. buf, emptied, takes Wants.
func (c *Cache) Begin(now time.Time, r *Request, buf []Want) *Fetch {
	f := &Fetch{cache: c, req: *r, Wants: buf[:0]}
	f.req.Partitions, f.req.Forgotten = nil, nil
	if r.Epoch == initial || r.Epoch == final {
		if r.SessionID != 0 {
			c.remove(r.SessionID)
		}
		f.full, f.creating = true, r.Epoch == initial
		f.Wants = dedupe(f.Wants, r.Partitions)
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
	gone, before := s.beginLocked(now, r, f)
	size := len(s.parts)
	s.mu.Unlock()
	for _, p := range gone {
		p.node.Stop()
	}
	if before != nil {
		before() // its answer will be refused: it need not wait for more
	}
	if size == 0 {
		c.remove(s.id)
		f.full = true
		return f
	}
	s.shard.touch(s, size, now)
	f.session = s
	return f
}

// beginLocked brings the session to what a request says. It returns the partitions
// that it has no more, and whom to call of the request before, if that waits.
func (s *session) beginLocked(now time.Time, r *Request, f *Fetch) (gone []*cached, before func()) {
	if s.as != r.As || now.Sub(s.walked) > walkAfter {
		s.markAllLocked()
		s.as, s.walked = r.As, now
	}
	for i := range r.Partitions {
		s.setLocked(r.Partitions[i])
	}
	for _, k := range r.Forgotten {
		if p := s.removeLocked(k); p != nil {
			gone = append(gone, p)
		}
	}
	before, s.waiting = s.waiting, nil
	// From here on this request counts as asking for what is settled.
	s.last, s.current, s.epoch = now, f, nextEpoch(s.epoch)
	return gone, before
}

// Incremental reports whether the request is part of a session, so that the answer
// leaves out what did not change.
func (f *Fetch) Incremental() bool { return f.session != nil }

// overLocked reports whether the answer will be refused, or the session has gone.
func (f *Fetch) overLocked() bool { return f.session.current != f || f.session.closed }

// Look adds to buf what of the session is to be looked at now, in this order, and
// tells how many partitions there are. over: the wait for more is over, whatever is
// found.
func (f *Fetch) Look(buf []Want) (wants []Want, all int, over bool) {
	s := f.session
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dueLocked(buf), len(s.parts), f.overLocked()
}

// Settle takes what looking at wants found. What has nothing for the client is not
// looked at again until it changes.
func (f *Fetch) Settle(wants []Want, found []Found) {
	s := f.session
	s.mu.Lock()
	for i := range wants {
		c := wants[i].item
		if c.refused = found[i].Refused; c.settlesLocked(&wants[i], &found[i]) {
			c.settleLocked()
		}
	}
	closed := s.closed
	s.mu.Unlock()
	if closed {
		stop(wants)
	}
}

// stop ends watches that may have begun after their session's end.
func stop(wants []Want) {
	for i := range wants {
		wants[i].item.node.Stop()
	}
}

// Await has look called when something changed, until Finish or another request of
// the session. The caller looks once more after Await.
func (f *Fetch) Await(look func()) {
	f.session.mu.Lock()
	defer f.session.mu.Unlock()
	if !f.overLocked() {
		f.session.waiting = look
	}
}

// Leave ends Await.
func (f *Fetch) Leave() {
	f.session.mu.Lock()
	defer f.session.mu.Unlock()
	if f.session.current == f {
		f.session.waiting = nil
	}
}

// Finish takes what reading the wants brought, of a session those of the last Look,
// and returns the session id for the answer. Partitions whose tell is false stay out
// of it. An error refuses the whole request, since the session went on without it.
func (f *Fetch) Finish(now time.Time, wants []Want, found []Found, tell []bool) (id int32, err protocol.Error) {
	if f.full {
		for i := range tell {
			tell[i] = true
		}
		if !f.creating {
			return 0, protocol.None
		}
		return f.cache.create(now, f, wants, found), protocol.None
	}
	s := f.session
	s.mu.Lock()
	if s.epoch != nextEpoch(f.req.Epoch) {
		s.mu.Unlock()
		return 0, protocol.InvalidFetchSessionEpoch
	}
	s.waiting = nil
	for i := range found {
		c := wants[i].item
		if c.gone {
			tell[i] = false
			continue
		}
		if tell[i] = c.news(&found[i]); found[i].Records {
			c.unlink()
			s.linkLocked(c)
		}
		if c.refused = found[i].Refused; c.settlesLocked(&wants[i], &found[i]) {
			c.settleLocked()
		}
	}
	closed := s.closed
	s.mu.Unlock()
	if closed {
		stop(wants)
	}
	return s.id, protocol.None
}

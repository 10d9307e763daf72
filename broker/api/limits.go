package api

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/net/frame"
	"barnabas/net/socket"
	"barnabas/protocol"
)

const (
	// elementSize is what an element of a request's arrays becomes when it is
	// decoded, in bytes.
	elementSize = 256
	// replyFactor is how much larger a reply is while it is made: its structs, and the
	// buffer that grows.
	replyFactor = 3
	// firstReply is what the reply about all there is may have, before one was made.
	firstReply = 256 << 10
)

// sizes remembers how large replies were, by key, to know before a request is served
// what its reply will take.
type sizes [maxKey + 1]struct {
	// all is of requests that name nothing, and get all there is; each is by element
	// of those that name something.
	all, each replySize
}

// replySize is the size of the largest replies of late, in bytes.
type replySize struct{ n atomic.Int64 }

// note forgets an eighth of what is known with each reply that is smaller.
func (s *replySize) note(n int64) {
	old := s.n.Load()
	if n = max(n, old-old/8); n != old {
		s.n.Store(n)
	}
}

func (s *sizes) of(key int16, elements int) (*replySize, int64) {
	if elements == 0 {
		return &s[key].all, 1
	}
	return &s[key].each, int64(elements)
}

// weigh is how many bytes a request takes while it is served: a copy of its body,
// what that is decoded to, and the reply.
func (s *sizes) weigh(key int16, body, elements int) int64 {
	size, n := s.of(key, elements)
	known := size.n.Load()
	if known == 0 && elements == 0 && repliesWithAll(key) {
		known = firstReply
	}
	return int64(body) + n*(elementSize+replyFactor*known)
}

// repliesWithAll reports whether a request of this key that names nothing is
// answered with all there is.
func repliesWithAll(key int16) bool {
	switch key {
	case protocol.KeyMetadata, protocol.KeyOffsetFetch, protocol.KeyListGroups, protocol.KeyDescribeLogDirs,
		protocol.KeyElectLeaders, protocol.KeyListPartitionReassignments:
		return true
	}
	return false
}

func (s *sizes) note(key int16, elements int, reply int) {
	size, n := s.of(key, elements)
	size.note(int64(reply) / n)
}

// enter checks the structure of a request and waits until there is memory to
// serve it. The errors are that it is malformed, or that the connection closed.
func (a *API) enter(r *socket.Request) (elements int, lease *frame.Lease, err error) {
	if elements, err = protocol.CountElements(r.Key, r.Version, r.Body); err != nil {
		return 0, nil, err
	}
	lease, err = r.Lease(a.sizes.weigh(r.Key, len(r.Body), elements))
	return elements, lease, err
}

// keepsBody reports whether what the request says is kept as long as a group has its
// member, while the answer waits for other members. That can't be leased: it would
// keep the others out.
func keepsBody(key int16) bool { return key == protocol.KeyJoinGroup || key == protocol.KeySyncGroup }

// smallBody is the size up to which what groups keep is not counted.
const smallBody = 64 << 10

// kept counts the bodies that groups keep parts of, until the collector has found
// that they do so no more: so it holds whatever way a member goes.
type kept struct {
	most  int64 // set once
	bytes atomic.Int64

	mu     sync.Mutex // guards following
	looked time.Time  // when the collector was asked last
}

// GroupBytes is how many bytes of what members of groups sent are kept, beyond 64 KiB
// of each.
func (a *API) GroupBytes() int64 { return a.kept.bytes.Load() }

// add counts body. It reports false if there is no room for it; the collector has
// looked for some then, at most once a second.
func (k *kept) add(body []byte) bool {
	n := int64(len(body))
	if n <= smallBody {
		return true
	}
	if k.bytes.Add(n) > k.most {
		k.bytes.Add(-n)
		k.look()
		return false
	}
	runtime.AddCleanup(&body[0], func(n int64) { k.bytes.Add(-n) }, n)
	return true
}

func (k *kept) look() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := time.Now(); now.Sub(k.looked) >= time.Second {
		k.looked = now
		runtime.GC()
	}
}

// noRoom is the answer to a request that a group would keep, and has no room for.
// Clients try again after a while. One that is larger than all the room is told that
// it never has a chance: nor has it in Apache Kafka, which can't store such a group
// in one record.
func (k *kept) noRoom(req kmsg.Request, body int) kmsg.Response {
	err := protocol.CoordinatorLoadInProgress
	if int64(body) > k.most {
		err = protocol.UnknownServerError
	}
	switch req := req.(type) {
	case *kmsg.JoinGroupRequest:
		resp := req.ResponseKind().(*kmsg.JoinGroupResponse)
		resp.ErrorCode, resp.Generation, resp.MemberID = err.Code(), -1, req.MemberID
		return resp
	case *kmsg.SyncGroupRequest:
		resp := req.ResponseKind().(*kmsg.SyncGroupResponse)
		resp.ErrorCode = err.Code()
		return resp
	}
	return nil
}

// repeats refuses what a request names again. Apache Kafka answers it again, so
// that a request of a few bytes for each name gets an answer of any size; its
// clients never ask so.
type repeats[K comparable] struct{ seen map[K]bool }

func (r *repeats[K]) check(k K) error {
	if r.seen[k] {
		return protocol.Fail(protocol.InvalidRequest, "Named more than once in the request.")
	}
	if r.seen == nil {
		r.seen = map[K]bool{}
	}
	r.seen[k] = true
	return nil
}

package group

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// history collects what members were told, and judges it.
type history struct {
	mu sync.Mutex // guards all
	// leaders, listed and assigned are by group and generation: who was told that
	// it leads, whom it was told of, and who was told which assignment.
	leaders  map[generation]string
	listed   map[generation][]string
	joined   map[generation][]string
	assigned map[generation]map[string]string
	bad      []string
}

type generation struct {
	group  string
	number int32
}

func newHistory() *history {
	return &history{leaders: map[generation]string{}, listed: map[generation][]string{}, joined: map[generation][]string{}, assigned: map[generation]map[string]string{}}
}

func (h *history) join(group string, r *JoinResponse) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := generation{group, r.Generation}
	// The id of a static leader changes within a generation.
	if was := h.leaders[g]; was != "" && was != r.Leader && (dynamic(was) || dynamic(r.Leader)) {
		h.bad = append(h.bad, fmt.Sprintf("%v is led by %s and %s", g, was, r.Leader))
	}
	h.leaders[g] = r.Leader
	h.joined[g] = append(h.joined[g], r.MemberID)
	if r.Leader == r.MemberID && len(r.Members) > 0 {
		var ids []string
		for _, m := range r.Members {
			ids = append(ids, m.MemberID)
		}
		slices.Sort(ids)
		if was := h.listed[g]; was != nil && !slices.Equal(was, ids) {
			h.bad = append(h.bad, fmt.Sprintf("%v has members %v and %v", g, was, ids))
		}
		h.listed[g] = ids
	}
}

func dynamic(id string) bool { return strings.HasPrefix(id, "c-") }

func (h *history) sync(group string, number int32, member, assignment string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := generation{group, number}
	if h.assigned[g] == nil {
		h.assigned[g] = map[string]string{}
	}
	if was, twice := h.assigned[g][member]; twice && was != assignment {
		h.bad = append(h.bad, fmt.Sprintf("%v gave %s %q and %q", g, member, was, assignment))
	}
	h.assigned[g][member] = assignment
}

// judge reports what no history may show: a member of a generation that its
// leader does not know, an assignment that was meant for another.
func (h *history) judge(t *testing.T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for g, members := range h.joined {
		for _, m := range members {
			if l := h.listed[g]; l != nil && !slices.Contains(l, m) {
				h.bad = append(h.bad, fmt.Sprintf("%v: %s joined, the leader was told of %v", g, m, l))
			}
		}
	}
	for g, a := range h.assigned {
		for m, data := range a {
			if want := fmt.Sprintf("%d/%s", g.number, m); data != want {
				h.bad = append(h.bad, fmt.Sprintf("%v: %s was given %q", g, m, data))
			}
		}
	}
	for _, b := range h.bad {
		t.Error(b)
	}
	if len(h.assigned) < 3 {
		t.Errorf("only %d generations were assigned", len(h.assigned))
	}
}

// life is one member that joins, works, leaves or vanishes, for ever.
func (h *history) life(ctx context.Context, c *Coordinator, group, instance string, r *rand.Rand) {
	id := ""
	for ctx.Err() == nil {
		req := joining(group, id)
		if instance != "" {
			req.InstanceID = &instance
		}
		res := c.Join(ctx, req)
		switch res.Err {
		case ok:
			id = res.MemberID
		case errMemberIDRequired:
			id = res.MemberID
			continue
		case errUnknownMember, errFencedInstance:
			id = ""
			continue
		default:
			time.Sleep(50 * time.Millisecond)
			continue
		}
		sync := SyncRequest{Group: group, Generation: res.Generation, MemberID: id, InstanceID: req.InstanceID}
		for _, m := range res.Members {
			sync.Assignments = append(sync.Assignments, Assignment{m.MemberID, fmt.Appendf(nil, "%d/%s", res.Generation, m.MemberID)})
		}
		s := c.Sync(ctx, &sync)
		if s.Err != ok {
			continue
		}
		// A generation whose assignment was not stored may be forgotten, and its
		// number used again. A static member may come into a generation without
		// having joined it, with the assignment of its older incarnation.
		if instance == "" {
			h.join(group, &res)
			h.sync(group, res.Generation, id, string(s.Assignment))
		}
		if !h.work(ctx, c, group, id, req.InstanceID, res.Generation, r) {
			id = ""
		}
	}
}

// work sends heartbeats and commits until the group rebalances (true) or the
// member leaves or vanishes (false).
func (h *history) work(ctx context.Context, c *Coordinator, group, id string, instance *string, generation int32, r *rand.Rand) bool {
	for n := range 1000 {
		switch r.IntN(40) {
		case 0:
			c.Leave(&LeaveRequest{Group: group, Members: []LeavingMember{{MemberID: id, InstanceID: instance}}})
			return false
		case 1:
			return false // it will expire
		case 2, 3, 4, 5:
			commit := committing(group, generation, id, int64(n))
			commit.InstanceID = instance
			c.Commit(ctx, commit)
		}
		if err := c.Heartbeat(&HeartbeatRequest{Group: group, Generation: generation, MemberID: id, InstanceID: instance}); err != ok {
			return err == errRebalancing
		}
		select {
		case <-ctx.Done():
			return true
		case <-time.After(time.Duration(r.IntN(3000)) * time.Millisecond):
		}
	}
	return true
}

// TestStress lets members come and go while the coordinator fails to store,
// resigns and loads again, for ten minutes of fake time.
func TestStress(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		s := newMemStore()
		s.lag = 5 * time.Millisecond
		c := led(t, s, Config{InitialRebalanceDelay: 100 * time.Millisecond, MaxSize: 15})
		h := newHistory()
		ctx, cancel := context.WithCancel(t.Context())
		var members sync.WaitGroup
		for i := range 40 {
			instance := ""
			if i%5 == 0 {
				instance = fmt.Sprintf("i%d", i%20) // of some, two processes fight for one
			}
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			members.Go(func() { h.life(ctx, c, fmt.Sprintf("g%d", i%3), instance, r) })
		}
		r := rand.New(rand.NewPCG(seed, 999))
		epoch := int32(1)
		for range 300 {
			time.Sleep(2 * time.Second)
			switch r.IntN(12) {
			case 0:
				c.Resign(0, kafka.LeaderEpoch(epoch+1))
				epoch += 2
				c.BecomeLeader(0, kafka.LeaderEpoch(epoch))
				s.set(func(s *memStore) { s.epoch[0] = kafka.LeaderEpoch(epoch) })
			case 1:
				s.set(func(s *memStore) { s.lost = protocol.NotEnoughReplicasAfterAppend })
			default:
				s.set(func(s *memStore) { s.lost = nil })
			}
			for _, g := range c.instances() {
				g.mu.Lock()
				if err := g.m.check(); err != nil {
					t.Errorf("%s: %v", g.m.id, err)
				}
				g.mu.Unlock()
			}
		}
		cancel()
		members.Wait()
		h.judge(t)
	})
}

// TestThousandMembers forms one large group twice.
func TestThousandMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := led(t, newMemStore(), Config{InitialRebalanceDelay: 3 * time.Second})
		const n = 1000
		ids := make([]string, n)
		var members sync.WaitGroup
		each := func(want int32, join func(i int) (string, int32, string, protocol.Error)) {
			for i := range n {
				members.Go(func() {
					id, number, assigned, err := join(i)
					if err != ok || assigned != id || number != want {
						t.Errorf("%s in generation %d: %q, %v", id, number, assigned, err)
					}
					ids[i] = id
				})
			}
			members.Wait()
		}
		each(1, func(int) (string, int32, string, protocol.Error) { return consumer(t.Context(), c, "g") })
		leader := c.Describe("g").Members[0].MemberID
		each(2, func(i int) (string, int32, string, protocol.Error) {
			// The leader's join begins a rebalance, of which the others hear.
			for ids[i] != leader && c.Heartbeat(&HeartbeatRequest{Group: "g", Generation: 1, MemberID: ids[i]}) == ok {
				time.Sleep(time.Second)
			}
			return rejoin(t.Context(), c, "g", ids[i])
		})
		if x := c.Describe("g"); len(x.Members) != n || x.State != "Stable" {
			t.Errorf("%d members, %s", len(x.Members), x.State)
		}
	})
}

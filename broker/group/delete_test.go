package group

import (
	"testing"
	"testing/synctest"
	"time"

	"barnabas/internal/kafka"
	"barnabas/protocol"
	"barnabas/protocol/groupstory"
)

// reloaded is the coordinator that takes the partition over.
func reloaded(t *testing.T, c *Coordinator, s *memStore) *Coordinator {
	return reloadedIn(t, c, s, 2)
}

func reloadedIn(t *testing.T, c *Coordinator, s *memStore, epoch kafka.LeaderEpoch) *Coordinator {
	c.Resign(0, epoch)
	next := start(t, s, Config{})
	next.BecomeLeader(0, epoch)
	synctest.Wait()
	return next
}

// TestDeleteIsKept: what was deleted stays so under the next coordinator, and is
// answered only when replicas know.
func TestDeleteIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemStore()
		c := led(t, s, Config{})
		id, generation, _, err := consumer(t.Context(), c, "g")
		if err != ok {
			t.Fatal(err)
		}
		c.Commit(t.Context(), committing("g", generation, id, 5))
		if out := c.Delete(t.Context(), []string{"g", "none"}); out[0] != errNonEmpty || out[1] != errGroupNotFound {
			t.Errorf("with a member: %v", out)
		}
		c.Leave(&LeaveRequest{Group: "g", Members: []LeavingMember{{MemberID: id}}})
		synctest.Wait()
		s.set(func(s *memStore) { s.lag = time.Second })
		began := time.Now()
		if out := c.Delete(t.Context(), []string{"g"}); out[0] != ok || time.Since(began) != s.lag {
			t.Errorf("%v after %v", out, time.Since(began))
		}
		for _, c := range []*Coordinator{c, reloaded(t, c, s)} {
			if list, _ := c.List(nil, nil); len(list) != 0 {
				t.Errorf("still there: %v", list)
			}
			if out := c.Delete(t.Context(), []string{"g"}); out[0] != errGroupNotFound && out[0] != errNotCoordinator {
				t.Errorf("again: %v", out)
			}
		}
	})
}

// TestDeleteOffsetsIsKept also tells the outcome if it could not be stored.
func TestDeleteOffsetsIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemStore()
		c := led(t, s, Config{})
		c.Commit(t.Context(), committing("g", -1, "", 5))
		of := func() []OffsetDeletion {
			return []OffsetDeletion{
				{TopicPartition: kafka.TopicPartition{Topic: "t", Partition: 0}},
				{TopicPartition: kafka.TopicPartition{Topic: "t", Partition: 9}, Err: errUnknownPartition},
			}
		}
		if err := c.DeleteOffsets(t.Context(), "", of()); err != errInvalidGroupID {
			t.Error(err)
		}
		if err := c.DeleteOffsets(t.Context(), "none", of()); err != errGroupNotFound {
			t.Error(err)
		}
		s.set(func(s *memStore) { s.lost = protocol.NotEnoughReplicasAfterAppend })
		list := of()
		if err := c.DeleteOffsets(t.Context(), "g", list); err != ok || list[0].Err != errNotAvailable || list[1].Err != errUnknownPartition {
			t.Errorf("%v %+v", err, list)
		}
		if next := reloaded(t, c, s); next.Describe("g").State != "Dead" {
			t.Errorf("%+v", next.Describe("g"))
		}
	})
}

// TestExplain tells of the generation that a join made.
func TestExplain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := led(t, newMemStore(), Config{InitialRebalanceDelay: 3 * time.Second})
		id, _, _, err := consumer(t.Context(), c, "g")
		if err != ok {
			t.Fatal(err)
		}
		story, err := c.Explain("g")
		if err != ok || len(story.Generations) != 1 {
			t.Fatal(err, story)
		}
		want := groupstory.Generation{Generation: 1, Cause: "member " + id + " of 127.0.0.1 joins: new", Members: 1, Leader: id, Protocol: "range", Last: id}
		got := story.Generations[0]
		if got.Joined-got.Began != 3000 || got.Assigned != got.Joined {
			t.Errorf("times: %+v", got)
		}
		if got.Began, got.Joined, got.Assigned = 0, 0, 0; got.Cause != want.Cause || got.Members != 1 || got.Leader != id || got.Last != id {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if story, err := c.Explain("none"); err != ok || story.Generations != nil {
			t.Error(err, story)
		}
	})
}

// offsetOf is what a group has committed for partition 0 of t, -1 if nothing.
func offsetOf(c *Coordinator, group string) int64 {
	res := c.Fetch(&FetchRequest{Group: group, Topics: []FetchTopic{{Topic: "t", Partitions: []int32{0}}}})
	return res.Topics[0].Partitions[0].Offset
}

// TestDeletionThatFails: a group whose tombstones can't be appended keeps what it
// has, in memory as in the log, and can be deleted later.
func TestDeletionThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemStore()
		c := led(t, s, Config{})
		id, generation, _, err := consumer(t.Context(), c, "g")
		if err != ok {
			t.Fatal(err)
		}
		c.Commit(t.Context(), committing("g", generation, id, 5))
		c.Leave(&LeaveRequest{Group: "g", Members: []LeavingMember{{MemberID: id}}})
		synctest.Wait()
		before := c.Describe("g")
		is := func(when string) {
			t.Helper()
			if d := c.Describe("g"); d.State != "Empty" || d.ProtocolType != before.ProtocolType || offsetOf(c, "g") != 5 {
				t.Errorf("%s: %+v with offset %d", when, d, offsetOf(c, "g"))
			}
			if list, err := c.List(nil, nil); err != ok || len(list) != 1 {
				t.Errorf("%s: listed %v, %v", when, list, err)
			}
		}
		s.set(func(s *memStore) { s.fail = protocol.NotEnoughReplicas })
		for range 2 {
			if out := c.Delete(t.Context(), []string{"g"}); out[0] != errNotAvailable {
				t.Errorf("deleted: %v", out)
			}
			is("after the group's deletion failed")
		}
		of := []OffsetDeletion{{TopicPartition: kafka.TopicPartition{Topic: "t"}}}
		if err := c.DeleteOffsets(t.Context(), "g", of); err != ok || of[0].Err != errNotAvailable {
			t.Errorf("offset deleted: %v %+v", err, of)
		}
		is("after the offset's deletion failed")
		c.forget(c.instances(), true, func(m *Machine, now time.Time) ([]kafka.TopicPartition, bool) {
			return m.Expire(now.Add(365 * 24 * time.Hour))
		})
		is("after the expiry failed")
		s.set(func(s *memStore) { s.fail = nil })
		is("when appends succeed again")
		c = reloaded(t, c, s)
		is("under the next coordinator")
		if out := c.Delete(t.Context(), []string{"g"}); out[0] != ok {
			t.Errorf("deleted in the end: %v", out)
		}
		if c = reloadedIn(t, c, s, 3); c.Describe("g").State != "Dead" || offsetOf(c, "g") != -1 {
			t.Errorf("the deleted group is back: %+v", c.Describe("g"))
		}
	})
}

// TestDeletionThatFailsLate: the group was made anew before the append of its
// deletion failed; the new one has the old offsets, and its own where it has some.
func TestDeletionThatFailsLate(t *testing.T) {
	for _, commits := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := newMemStore()
			c := led(t, s, Config{})
			c.Commit(t.Context(), committing("g", -1, "", 5))
			p, _ := c.partitionOf("g")
			p.appends.mu.Lock()
			p.appends.busy = true // somebody else is at it
			p.appends.mu.Unlock()
			deleted := make(chan []protocol.Error, 1)
			go func() { deleted <- c.Delete(t.Context(), []string{"g"}) }()
			synctest.Wait()
			if o := offsetOf(c, "g"); o != -1 {
				t.Errorf("offset %d while it is being deleted", o)
			}
			want := int64(5)
			if commits {
				want = 9
			}
			committed := make(chan struct{})
			go func() {
				defer close(committed)
				if commits {
					c.Commit(t.Context(), committing("g", -1, "", 9))
				}
			}()
			synctest.Wait()
			s.set(func(s *memStore) { s.failOnce = protocol.NotEnoughReplicas })
			c.drainAll(p)
			<-committed
			if out := <-deleted; out[0] != errNotAvailable {
				t.Errorf("deleted: %v", out)
			}
			for i := range 2 {
				if o := offsetOf(c, "g"); o != want {
					t.Errorf("commit meanwhile %v: offset %d, want %d", commits, o, want)
				}
				c = reloadedIn(t, c, s, 2+kafka.LeaderEpoch(i))
			}
		})
	}
}

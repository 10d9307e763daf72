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
	c.Resign(0, 2)
	next := start(t, s, Config{})
	next.BecomeLeader(0, 2)
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

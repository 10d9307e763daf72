package fetchsession

import (
	"testing"
	"time"

	"barnabas/protocol"
)

// consumer is who asks.
var consumer = As{Version: 17, Follower: -1}

// TestPartitionsAreBounded: few sessions of many partitions fill the memory as
// well as many sessions do.
func TestPartitionsAreBounded(t *testing.T) {
	c := New(1000)
	c.limit = 100
	now := time.Unix(1e9, 0)
	partitions := func(first, n int) []Partition {
		var out []Partition
		for i := range n {
			out = append(out, Partition{Key: Key{Topic: "t", Partition: int32(first + i)}})
		}
		return out
	}
	create := func(n int) int32 {
		f := c.Begin(now, &Request{As: consumer, Partitions: partitions(0, n)}, nil)
		id, err := f.Finish(now, f.Wants, make([]Found, n), make([]bool, n))
		if err != protocol.None {
			t.Fatal(err)
		}
		return id
	}
	old, other := create(60), create(30)
	if old == 0 || other == 0 {
		t.Fatal("refused below the limit")
	}
	if id := create(11); id != 0 {
		t.Error("a session above the limit")
	}
	add := func(id, epoch int32, first, n int) protocol.Error {
		return c.Begin(now, &Request{SessionID: id, Epoch: epoch, As: consumer, Partitions: partitions(first, n)}, nil).Err
	}
	if err := add(other, 1, 0, 30); err != protocol.None {
		t.Errorf("what the session has already: %v", err)
	}
	if err := add(other, 2, 30, 10); err != protocol.None {
		t.Errorf("up to the limit: %v", err)
	}
	if err := add(other, 3, 40, 1); err != protocol.FetchSessionIDNotFound {
		t.Errorf("above the limit: %v", err)
	}
	if got := c.total.Load(); got != 60 {
		t.Errorf("%d partitions are counted after the session has gone, want 60", got)
	}
	now = now.Add(evictAfter + time.Second)
	if id := create(100); id == 0 {
		t.Error("no room though the old sessions are stale")
	}
	if got := c.total.Load(); got != 100 || c.Len() != 1 {
		t.Errorf("%d partitions in %d sessions", got, c.Len())
	}
}

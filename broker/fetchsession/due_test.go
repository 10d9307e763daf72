package fetchsession

import (
	"slices"
	"testing"
	"time"

	"barnabas/protocol"
)

// dueTest is a session of n partitions of which all are settled.
type dueTest struct {
	t     *testing.T
	c     *Cache
	id    int32
	epoch int32
	now   time.Time
}

func newDueTest(t *testing.T, n int) *dueTest {
	d := &dueTest{t: t, c: New(10), now: time.Unix(1e9, 0)}
	req := Request{As: consumer}
	for i := range n {
		req.Partitions = append(req.Partitions, Partition{Key: Key{Topic: "t", Partition: int32(i)}})
	}
	f := d.c.Begin(d.now, &req, nil)
	id, err := f.Finish(d.now, f.Wants, make([]Found, n), make([]bool, n))
	if err != protocol.None || id == 0 {
		t.Fatal(id, err)
	}
	d.id, d.epoch = id, 1
	f = d.begin()
	d.finish(f, settled)
	return d
}

func (d *dueTest) begin() *Fetch {
	d.t.Helper()
	f := d.c.Begin(d.now, &Request{SessionID: d.id, Epoch: d.epoch, As: consumer}, nil)
	if f.Err != protocol.None {
		d.t.Fatal(f.Err)
	}
	d.epoch++
	return f
}

func settled(int32) Found { return Found{Settled: true} }

// finish ends a fetch by what is found of each partition, and returns what was
// looked at and what is told.
func (d *dueTest) finish(f *Fetch, found func(int32) Found) (looked, told []int32) {
	d.t.Helper()
	wants, _, _ := f.Look(nil)
	all, tell := make([]Found, len(wants)), make([]bool, len(wants))
	for i := range wants {
		all[i] = found(wants[i].Key.Partition)
		looked = append(looked, wants[i].Key.Partition)
	}
	if _, err := f.Finish(d.now, wants, all, tell); err != protocol.None {
		d.t.Fatal(err)
	}
	for i, k := range looked {
		if tell[i] {
			told = append(told, k)
		}
	}
	return looked, told
}

func (d *dueTest) item(p int32) *cached {
	s := d.c.get(d.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parts[Key{Topic: "t", Partition: p}]
}

func (d *dueTest) expect(what string, got []int32, want ...int32) {
	d.t.Helper()
	if !slices.Equal(got, want) {
		d.t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// TestDueInTheSessionsOrder: few of many come in the order that a walk has.
func TestDueInTheSessionsOrder(t *testing.T) {
	d := newDueTest(t, 100)
	looked, _ := d.finish(d.begin(), settled)
	d.expect("nothing changed", looked)
	for _, p := range []int32{70, 5, 30, 2} {
		d.item(p).Changed(true)
	}
	looked, told := d.finish(d.begin(), func(p int32) Found { return Found{Records: p == 5, Settled: p != 5} })
	d.expect("looked at", looked, 2, 5, 30, 70)
	d.expect("told", told, 5)
	for _, p := range []int32{99, 2} {
		d.item(p).Changed(false)
	}
	looked, _ = d.finish(d.begin(), settled)
	d.expect("5 gave records, and is the last now", looked, 2, 99, 5)
	d.now = d.now.Add(walkAfter + time.Second)
	if looked, _ = d.finish(d.begin(), settled); len(looked) != 100 || looked[99] != 5 {
		t.Errorf("%d looked at after a while, the last %v", len(looked), looked)
	}
}

// TestChangedWhileLookedAt: what changes after a look began stays due, whatever the
// look finds.
func TestChangedWhileLookedAt(t *testing.T) {
	d := newDueTest(t, 100)
	d.item(7).Changed(true)
	f := d.begin()
	wants, all, over := f.Look(nil)
	if len(wants) != 1 || all != 100 || over {
		t.Fatalf("%d of %d due, over %v", len(wants), all, over)
	}
	d.item(7).Changed(true)
	f.Settle(wants, []Found{{Settled: true}})
	if again, _, _ := f.Look(nil); len(again) != 1 {
		t.Fatal("settled by a look from before the change")
	}
	wants, _, _ = f.Look(nil)
	d.item(7).Changed(true)
	if _, err := f.Finish(d.now, wants, []Found{{Settled: true}}, make([]bool, 1)); err != protocol.None {
		t.Fatal(err)
	}
	looked, _ := d.finish(d.begin(), settled)
	d.expect("after the answer", looked, 7)
	looked, _ = d.finish(d.begin(), settled)
	d.expect("settled", looked)
}

// TestNewsWaitsToBeTold: an offset that moved while a fetch waits ends no wait, and
// comes with its answer.
func TestNewsWaitsToBeTold(t *testing.T) {
	d := newDueTest(t, 100)
	d.item(7).Changed(true)
	f := d.begin()
	moved := func(int32) Found { return Found{LogStartOffset: 3, Settled: true} }
	wants, _, _ := f.Look(nil)
	f.Settle(wants, []Found{moved(7)})
	_, told := d.finish(f, moved)
	d.expect("told", told, 7)
	looked, _ := d.finish(d.begin(), moved)
	d.expect("told already", looked)
}

// TestAskingOtherwise: who asks in another way is answered anew.
func TestAskingOtherwise(t *testing.T) {
	d := newDueTest(t, 100)
	as := consumer
	as.Committed = true
	f := d.c.Begin(d.now, &Request{SessionID: d.id, Epoch: d.epoch, As: as}, nil)
	if wants, _, _ := f.Look(nil); len(wants) != 100 {
		t.Errorf("%d looked at, want all", len(wants))
	}
}

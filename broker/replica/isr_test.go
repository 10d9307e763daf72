package replica

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"barnabas/broker/purgatory"
	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log"
	"barnabas/protocol"
)

// proposals collects what a manager asks the controller for.
type proposals struct {
	mu  sync.Mutex // guards got
	got []*Proposal
}

func (p *proposals) add(ask *Proposal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, ask)
}

func (p *proposals) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.got)
}

func (p *proposals) take(t *testing.T, want ...kafka.BrokerID) *Proposal {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.got) != 1 {
		t.Fatalf("%d proposals, want one for %v", len(p.got), want)
	}
	ask := p.got[0]
	p.got = nil
	var ids []kafka.BrokerID
	for _, m := range ask.ISR {
		ids = append(ids, m.ID)
	}
	slices.Sort(ids)
	if !slices.Equal(ids, want) {
		t.Fatalf("proposed %v, want %v (%s)", ids, want, ask.Reason)
	}
	return ask
}

// startCluster is start with brokers 1 to 3 alive, and what is proposed.
func startCluster(t *testing.T) (*Manager, *proposals) {
	t.Helper()
	m := start(t, vfs.NewMem())
	asked := &proposals{}
	m.propose = asked.add
	m.Follow(aliveImage(1, 2, 3))
	return m, asked
}

// aliveImage is an image with brokers alone.
func aliveImage(ids ...kafka.BrokerID) (*cluster.Image, []cluster.Change) {
	e := cluster.NewEdit(cluster.Empty())
	for _, id := range ids {
		e.ReadBroker(&cluster.Broker{ID: id, Epoch: 100, Version: "test", Zxid: 100})
	}
	return e.Publish()
}

// fetch is a follower's fetch from offset.
func fetch(t *testing.T, m *Manager, id kafka.BrokerID, offset int64) Data {
	t.Helper()
	d, err := m.Read(&ReadArgs{TP: tp, Epoch: kafka.NoLeaderEpoch, LastFetched: kafka.NoLeaderEpoch, Offset: offset, MaxBytes: 1 << 20,
		Follower: &FollowerArgs{ID: id, Epoch: 100}})
	if err != nil {
		t.Fatal(err)
	}
	d.Records.Release()
	return d
}

func produce(t *testing.T, m *Manager, n int) {
	t.Helper()
	if _, err := m.Append(tp, records(t, n), 1, log.Client); err != nil {
		t.Fatal(err)
	}
}

func TestTheHighWatermarkIsWhatAllInSyncHave(t *testing.T) {
	m, asked := startCluster(t)
	become(t, m, leading(0, self, 2, 3))
	produce(t, m, 10)
	if d := fetch(t, m, 2, 0); d.Records.Length == 0 || d.HighWatermark != 0 {
		t.Errorf("first fetch: %+v", d)
	}
	fetch(t, m, 2, 10)
	if hw := m.Log(tp).HighWatermark(); hw != 0 {
		t.Errorf("high watermark %d before broker 3 has anything", hw)
	}
	if d := fetch(t, m, 3, 4); d.HighWatermark != 4 {
		t.Errorf("high watermark %d, want 4", d.HighWatermark)
	}
	if d := fetch(t, m, 2, 10); !d.Now {
		t.Error("broker 2 does not know the high watermark and is not answered at once")
	}
	fetch(t, m, 3, 10)
	if hw := m.Log(tp).HighWatermark(); hw != 10 {
		t.Errorf("high watermark %d, want 10", hw)
	}
	if asked.len() != 0 {
		t.Errorf("%d proposals although all are in sync", asked.len())
	}
	_, err := m.Read(&ReadArgs{TP: tp, Epoch: 0, LastFetched: kafka.NoLeaderEpoch, Follower: &FollowerArgs{ID: 9}})
	wantCode(t, err, protocol.UnknownLeaderEpoch)
}

// TestSettled: what a new leader alone has is not settled, whatever its log says.
func TestSettled(t *testing.T) {
	m, _ := startCluster(t)
	become(t, m, leading(0, self, 2, 3))
	produce(t, m, 10)
	fetch(t, m, 2, 10)
	fetch(t, m, 3, 9)
	ctx, cancel := context.WithCancel(t.Context())
	settled := make(chan error, 1)
	go func() { settled <- m.AwaitSettled(ctx, tp) }()
	eventually(t, "somebody waits", func() bool { n, _ := m.Parked(); return n == 1 })
	cancel()
	if err := <-settled; !errors.Is(err, context.Canceled) {
		t.Errorf("broker 3 lacks one, and the wait ends with %v", err)
	}
	go func() { settled <- m.AwaitSettled(t.Context(), tp) }()
	eventually(t, "somebody waits", func() bool { n, _ := m.Parked(); return n == 1 })
	fetch(t, m, 3, 10)
	if err := <-settled; err != nil {
		t.Error(err)
	}
	go func() { produce(t, m, 1); settled <- m.AwaitSettled(t.Context(), tp) }()
	eventually(t, "somebody waits", func() bool { n, _ := m.Parked(); return n == 1 })
	s := leading(1, 2, self, 3)
	s.Leader = 2
	become(t, m, s)
	var not *NotLeaderError
	if err := <-settled; !errors.As(err, &not) {
		t.Errorf("another leads: %v", err)
	}
}

func TestAReplicaThatCaughtUpIsProposedAndCountsFromThenOn(t *testing.T) {
	m, asked := startCluster(t)
	s := leading(0, self)
	s.Replicas = []kafka.BrokerID{self, 2}
	become(t, m, s)
	produce(t, m, 10)
	fetch(t, m, 2, 3)
	if asked.len() != 0 {
		t.Fatal("proposed although it is behind the high watermark")
	}
	fetch(t, m, 2, 10)
	ask := asked.take(t, 1, 2)
	if ask.LeaderEpoch != 0 || ask.ISR[1].Epoch != 100 {
		t.Errorf("proposal %+v", ask)
	}
	produce(t, m, 1) // the controller may have taken it: broker 2 must have this before it counts
	if hw := m.Log(tp).HighWatermark(); hw != 10 {
		t.Errorf("high watermark %d while the proposal is under way, want 10", hw)
	}
	fetch(t, m, 2, 10)
	if asked.len() != 0 {
		t.Error("proposed twice")
	}
	m.Refused(ask)
	fetch(t, m, 2, 11)
	asked.take(t, 1, 2)
	s.ISR, s.PartitionEpoch, s.Zxid = []kafka.BrokerID{self, 2}, 1, 201
	become(t, m, s)
	produce(t, m, 1)
	if hw := m.Log(tp).HighWatermark(); hw != 11 {
		t.Errorf("high watermark %d, want 11", hw)
	}
	fetch(t, m, 2, 12)
	if hw := m.Log(tp).HighWatermark(); hw != 12 {
		t.Errorf("high watermark %d, want 12", hw)
	}
}

func TestAMemberThatFallsBehindIsPutOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, asked := startCluster(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- m.Run(ctx) }()
		become(t, m, leading(0, self, 2, 3))
		fetch(t, m, 2, 0)
		fetch(t, m, 3, 0)
		time.Sleep(time.Hour) // nothing to copy: nobody is behind
		if asked.len() != 0 {
			t.Fatal("put out of an idle partition")
		}
		become(t, m, leading(1, self, 2, 3)) // the clock starts at the leadership
		produce(t, m, 5)
		time.Sleep(29 * time.Second)
		fetch(t, m, 2, 5)
		if asked.len() != 0 {
			t.Fatal("put out before replica.lag.time.max.ms")
		}
		time.Sleep(17 * time.Second)
		ask := asked.take(t, 1, 2)
		if hw := m.Log(tp).HighWatermark(); hw != 0 {
			t.Errorf("high watermark %d before the controller agreed", hw)
		}
		s := leading(1, self, 2)
		s.Replicas, s.PartitionEpoch, s.Zxid = []kafka.BrokerID{self, 2, 3}, ask.PartitionEpoch+1, 201
		become(t, m, s)
		if hw := m.Log(tp).HighWatermark(); hw != 5 {
			t.Errorf("high watermark %d, want 5", hw)
		}
		cancel()
		<-ended
	})
}

func TestADeadReplicaIsNotProposed(t *testing.T) {
	m, asked := startCluster(t)
	s := leading(0, self)
	s.Replicas = []kafka.BrokerID{self, 7}
	become(t, m, s)
	produce(t, m, 1)
	fetch(t, m, 7, 1)
	if asked.len() != 0 {
		t.Error("a broker that is not registered was proposed")
	}
}

// TestAReplicaThatCameBackCountsOnlyOnceItFetches: what the leader knew of it was
// of its life before.
func TestAReplicaThatCameBackCountsOnlyOnceItFetches(t *testing.T) {
	m, _ := startCluster(t)
	s := leading(0, self, 2, 3)
	become(t, m, s)
	produce(t, m, 1)
	fetch(t, m, 2, 1)
	fetch(t, m, 3, 1)
	s.ISR, s.PartitionEpoch, s.Zxid = []kafka.BrokerID{self, 2}, 1, 201 // 3 has left
	become(t, m, s)
	e := cluster.NewEdit(m.queue.newest())
	e.ReadBroker(&cluster.Broker{ID: 3, Epoch: 202, Version: "test", Zxid: 202}) // and is back
	im, changes := e.Publish()
	m.Follow(im, changes)
	produce(t, m, 1)
	fetch(t, m, 2, 2)
	if hw := m.Log(tp).HighWatermark(); hw != 2 {
		t.Errorf("high watermark %d, want 2: it waits for a broker that has not fetched yet", hw)
	}
}

// TestFetchesOfTwoLives: a fetch of a follower's last life and one of its present life
// wait for the same records. Neither may take the other's place, and wake it, for ever.
func TestFetchesOfTwoLives(t *testing.T) {
	m, _ := startCluster(t)
	become(t, m, leading(0, self, 2, 3))
	produce(t, m, 2)
	read := func(epoch kafka.BrokerEpoch, offset int64) {
		t.Helper()
		d, err := m.Read(&ReadArgs{TP: tp, Epoch: 0, LastFetched: kafka.NoLeaderEpoch, Offset: offset, MaxBytes: 1 << 20,
			Follower: &FollowerArgs{ID: 2, Epoch: epoch}})
		if err != nil {
			t.Fatal(err)
		}
		d.Records.Release()
	}
	depth := 0
	for _, epoch := range []kafka.BrokerEpoch{11, 12} {
		m.Fetches().Park([]kafka.TopicPartition{tp}, time.Hour, func() bool {
			if depth++; depth > 100 {
				t.Fatal("they wake each other for ever")
			}
			read(epoch, 2)
			return false
		}, func(purgatory.Outcome) {}) // ended by the manager
	}
	read(11, 1) // of the last life
	if got := m.Partition(tp).remotes[2]; got.end != 2 || got.epoch != 12 {
		t.Errorf("known of 2: %+v", got)
	}
}

// copyAll lets a follower copy a leader's log.
func copyAll(t *testing.T, leader, follower *Manager, f *Following) {
	t.Helper()
	for range 100 {
		pos, err := follower.FetchPosition(f)
		if err != nil {
			t.Fatal(err)
		}
		d, err := leader.Read(&ReadArgs{TP: tp, TopicID: f.TopicID, Epoch: f.Epoch, LastFetched: pos.LastEpoch, Offset: pos.Offset,
			MaxBytes: 1 << 20, MinOne: true, Follower: &FollowerArgs{ID: 2, Epoch: -1, LogStart: pos.Start}})
		switch {
		case err != nil:
			t.Fatal(err)
		case d.Diverging != nil:
			if err := follower.Diverged(f, *d.Diverging); err != nil {
				t.Fatal(err)
			}
			continue
		}
		b := make([]byte, d.Records.Length)
		if len(b) > 0 {
			if _, err := d.Records.File.ReadAt(b, d.Records.Offset); err != nil {
				t.Fatal(err)
			}
		}
		d.Records.Release()
		if err := follower.AppendFetched(f, b, d.HighWatermark, d.LogStartOffset); err != nil {
			t.Fatal(err)
		}
		if len(b) == 0 {
			return
		}
	}
	t.Fatal("the follower does not come to an end")
}

func TestAFollowerCopiesAndTruncatesWhatDiffers(t *testing.T) {
	leader, _ := startCluster(t)
	follower := start(t, vfs.NewMem())
	follower.self = 2
	// Both led once, and each has records that the other has not.
	become(t, leader, leading(0, self, 2))
	become(t, follower, State{TopicID: kafka.TopicID{1}, Replicas: []kafka.BrokerID{1, 2}, ISR: []kafka.BrokerID{1, 2}, Leader: 1, LeaderEpoch: 0, Zxid: 200, Created: 200, MinISR: 1})
	produce(t, leader, 4)
	f := &Following{TP: tp, TopicID: kafka.TopicID{1}, Leader: 1, Epoch: 0}
	copyAll(t, leader, follower, f)
	become(t, follower, State{TopicID: kafka.TopicID{1}, Replicas: []kafka.BrokerID{1, 2}, ISR: []kafka.BrokerID{2}, Leader: 2, LeaderEpoch: 1, Zxid: 201, MinISR: 1})
	produce(t, follower, 7)
	if err := follower.AppendFetched(f, nil, 0, 0); !errors.Is(err, ErrNotFollowing) {
		t.Errorf("as leader: %v", err)
	}
	become(t, leader, leading(2, self, 2))
	produce(t, leader, 3)
	become(t, follower, State{TopicID: kafka.TopicID{1}, Replicas: []kafka.BrokerID{1, 2}, ISR: []kafka.BrokerID{1, 2}, Leader: 1, LeaderEpoch: 2, Zxid: 202, MinISR: 1})
	f.Epoch = 2
	copyAll(t, leader, follower, f)
	if a, b := leader.Log(tp).EndOffset(), follower.Log(tp).EndOffset(); a != 7 || b != 7 {
		t.Errorf("ends %d and %d, want 7", a, b)
	}
	for _, e := range []kafka.LeaderEpoch{0, 1, 2} {
		ea, oa := leader.Log(tp).EndOffsetForEpoch(e)
		eb, ob := follower.Log(tp).EndOffsetForEpoch(e)
		if ea != eb || oa != ob {
			t.Errorf("epoch %d ends at (%d, %d) and (%d, %d)", e, ea, oa, eb, ob)
		}
	}
	if hw := follower.Log(tp).HighWatermark(); hw != leader.Log(tp).HighWatermark() {
		t.Errorf("high watermarks %d and %d", hw, leader.Log(tp).HighWatermark())
	}
}

func TestAFollowerStartsOverWhereItsLeaderBegins(t *testing.T) {
	m := start(t, vfs.NewMem())
	m.logger = slog.New(slog.DiscardHandler)
	become(t, m, State{TopicID: kafka.TopicID{1}, Replicas: []kafka.BrokerID{1, 2}, ISR: []kafka.BrokerID{2}, Leader: 2, Zxid: 200, MinISR: 1})
	f := &Following{TP: tp, TopicID: kafka.TopicID{1}, Leader: 2}
	if err := m.OutOfRange(f, 500, 900); err != nil {
		t.Fatal(err)
	}
	pos, err := m.FetchPosition(f)
	if err != nil || pos.Offset != 500 || pos.Start != 500 {
		t.Errorf("got %+v, %v", pos, err)
	}
}

// The controller may have taken a proposal while the same state comes again, for
// another config: the member still counts.
func TestAProposalOutlivesTheSameState(t *testing.T) {
	m, asked := startCluster(t)
	s := leading(0, self)
	s.Replicas = []kafka.BrokerID{self, 2}
	become(t, m, s)
	produce(t, m, 10)
	fetch(t, m, 2, 10)
	asked.take(t, 1, 2)
	s.MinISR = 2
	become(t, m, s)
	fetch(t, m, 2, 10)
	if n := asked.len(); n != 0 {
		t.Errorf("%d further proposals", n)
	}
	p := m.Partition(tp)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.proposed) != 2 {
		t.Errorf("the proposed ISR is %v", p.proposed)
	}
}

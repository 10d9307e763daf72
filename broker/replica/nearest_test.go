package replica

import (
	"testing"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log"
	"barnabas/protocol"
)

// startRacks leads a partition of 1, 2, 3 and 4, in racks a, b, b and c; 4 is not
// in sync.
func startRacks(t *testing.T) *Manager {
	t.Helper()
	m := start(t, vfs.NewMem())
	m.rackAware = true
	m.propose = func(*Proposal) {}
	e := cluster.NewEdit(cluster.Empty())
	for id, rack := range map[kafka.BrokerID]string{1: "a", 2: "b", 3: "b", 4: "c"} {
		e.ReadBroker(&cluster.Broker{ID: id, Epoch: 100, Version: "test", Zxid: 100, Rack: rack, Endpoints: []cluster.Endpoint{{Listener: "CLIENT"}}})
	}
	m.Follow(e.Publish())
	s := leading(0, 1, 2, 3)
	s.Replicas = []kafka.BrokerID{1, 2, 3, 4}
	become(t, m, s)
	if _, err := m.Append(tp, records(t, 10), 1, log.Client); err != nil {
		t.Fatal(err)
	}
	for id := kafka.BrokerID(2); id <= 4; id++ {
		fetch(t, m, id, 10)
	}
	return m
}

func consume(m *Manager, offset int64, n *Nearby) (Data, error) {
	d, err := m.Read(&ReadArgs{TP: tp, Epoch: kafka.NoLeaderEpoch, LastFetched: kafka.NoLeaderEpoch, Offset: offset, MaxBytes: 1 << 20, MinOne: true, Nearby: n})
	d.Records.Release()
	return d, err
}

func TestConsumersAreSentToTheirRack(t *testing.T) {
	m := startRacks(t)
	fetch(t, m, 2, 5) // 2 is behind
	for _, c := range []struct {
		name   string
		offset int64
		nearby *Nearby
		want   kafka.BrokerID // NoBroker: the leader reads
	}{
		{"the one with most of the rack", 0, &Nearby{"b", "CLIENT"}, 3},
		{"the one that has the offset", 7, &Nearby{"b", "CLIENT"}, 3},
		{"the leader's rack", 0, &Nearby{"a", "CLIENT"}, kafka.NoBroker},
		{"nobody in sync there", 0, &Nearby{"c", "CLIENT"}, kafka.NoBroker},
		{"an unknown rack", 0, &Nearby{"x", "CLIENT"}, kafka.NoBroker},
		{"no rack", 0, &Nearby{"", "CLIENT"}, kafka.NoBroker},
		{"a listener that the others lack", 0, &Nearby{"b", "OTHER"}, kafka.NoBroker},
		{"a client that says nothing", 0, nil, kafka.NoBroker},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := consume(m, c.offset, c.nearby)
			if err != nil {
				t.Fatal(err)
			}
			if d.Elsewhere != (c.want != kafka.NoBroker) || d.Elsewhere && (d.Prefer != c.want || !d.Now || d.Records.Length > 0) {
				t.Errorf("got %+v, want %d", d, c.want)
			}
		})
	}
	m.rackAware = false
	if d, err := consume(m, 0, &Nearby{"b", "CLIENT"}); err != nil || d.Elsewhere {
		t.Errorf("without the selector: %+v, %v", d, err)
	}
}

// A follower serves up to the high watermark that it knows, those who can be sent
// to it.
func TestFollowersServeConsumers(t *testing.T) {
	m := start(t, vfs.NewMem())
	s := leading(0, 1, 2)
	s.Leader = 2
	become(t, m, s)
	f := &Following{TP: tp, TopicID: s.TopicID, Leader: 2}
	leader := start(t, vfs.NewMem())
	become(t, leader, leading(0, self))
	if _, err := leader.Append(tp, records(t, 10), 1, log.Client); err != nil {
		t.Fatal(err)
	}
	d, err := leader.Read(&ReadArgs{TP: tp, Epoch: kafka.NoLeaderEpoch, LastFetched: kafka.NoLeaderEpoch, MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, d.Records.Length)
	if _, err := d.Records.File.ReadAt(b, d.Records.Offset); err != nil {
		t.Fatal(err)
	}
	d.Records.Release()
	if err := m.AppendFetched(f, b, 0, 0); err != nil {
		t.Fatal(err)
	}
	near := &Nearby{Listener: "CLIENT"}
	if d, err := consume(m, 0, near); err != nil || d.Records.Length != 0 || d.HighWatermark != 0 {
		t.Errorf("above the high watermark: %+v, %v", d, err)
	}
	if err := m.AppendFetched(f, nil, 10, 0); err != nil {
		t.Fatal(err)
	}
	if d, err := consume(m, 0, near); err != nil || d.Records.Length == 0 || d.HighWatermark != 10 || d.Elsewhere {
		t.Errorf("below it: %+v, %v", d, err)
	}
	if _, err := consume(m, 11, near); protocol.CodeOf(err) != protocol.OffsetOutOfRange {
		t.Errorf("beyond the end: %v", err)
	}
	if _, err := consume(m, 0, nil); protocol.CodeOf(err) != protocol.NotLeaderOrFollower {
		t.Errorf("a client of an old version: %v", err)
	}
	_, err = m.Read(&ReadArgs{TP: tp, Epoch: 1, LastFetched: kafka.NoLeaderEpoch, MaxBytes: 1, Nearby: near})
	wantCode(t, err, protocol.UnknownLeaderEpoch)
	// One that is to lead and may not yet is no follower either.
	s.Leader, s.LeaderEpoch, s.Zxid = self, 1, 50
	become(t, m, s)
	if _, err := consume(m, 0, near); protocol.CodeOf(err) != protocol.NotLeaderOrFollower {
		t.Errorf("in between: %v", err)
	}
}

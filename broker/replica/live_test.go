package replica

import (
	"testing"

	"barnabas/cluster"
	"barnabas/internal/kafka"
)

// followedBy makes broker 3 keep up without being in the ISR, and produces records
// that only broker 2, which is in the ISR, has.
func followedBy(t *testing.T) (*Manager, *proposals, *Proposal) {
	t.Helper()
	m, asked := startCluster(t)
	s := leading(0, self, 2)
	s.Replicas = []kafka.BrokerID{self, 2, 3}
	become(t, m, s)
	produce(t, m, 10)
	fetch(t, m, 2, 10)
	fetch(t, m, 3, 10)
	ask := asked.take(t, 1, 2, 3)
	produce(t, m, 10)
	fetch(t, m, 2, 20)
	if hw := m.Log(tp).HighWatermark(); hw != 10 {
		t.Fatalf("high watermark %d, want 10: broker 3 counts", hw)
	}
	return m, asked, ask
}

// A replica that keeps up and dies, or is about to stop, is waited for no more,
// though no state of the partition tells of it: else a produce waited until the
// next fetch of another, for half a second where that one has just begun to wait.
func TestNobodyWaitsForTheDead(t *testing.T) {
	for name, change := range map[string]func(*Manager, *Proposal){
		"dead": func(m *Manager, ask *Proposal) {
			m.Refused(ask)
			im, _ := aliveImage(1, 2)
			m.Follow(im, []cluster.Change{{Kind: cluster.BrokerDown, Broker: 3}})
		},
		"dead, and then refused": func(m *Manager, ask *Proposal) {
			im, _ := aliveImage(1, 2)
			m.Follow(im, []cluster.Change{{Kind: cluster.BrokerDown, Broker: 3}})
			m.Refused(ask)
		},
		"stopping": func(m *Manager, ask *Proposal) {
			m.Refused(ask)
			im, _ := aliveImage(1, 2, 3)
			entry := &cluster.Entry{Brokers: []cluster.EntryBroker{{ID: 3, Epoch: 100, State: cluster.Stopping}}}
			im, changes := im.Apply(im.Next, entry, 200)
			m.Follow(im, changes)
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, _, ask := followedBy(t)
			change(m, ask)
			if hw := m.Log(tp).HighWatermark(); hw != 20 {
				t.Errorf("high watermark %d, want 20", hw)
			}
		})
	}
}

// One that has caught up before its registration was known here is let in when it
// is known, not with its next fetch.
func TestWhoIsKnownLateIsLetIn(t *testing.T) {
	m, asked := startCluster(t)
	im, _ := aliveImage(1, 2)
	m.Follow(im, nil)
	s := leading(0, self, 2)
	s.Replicas = []kafka.BrokerID{self, 2, 3}
	become(t, m, s)
	fetch(t, m, 3, 0)
	if asked.len() != 0 {
		t.Fatal("a broker that nobody knows was proposed")
	}
	im, _ = aliveImage(1, 2, 3)
	m.Follow(im, []cluster.Change{{Kind: cluster.BrokerUp, Broker: 3}})
	asked.take(t, 1, 2, 3)
}

// One that comes back after a restart is behind, and is waited for only once it has
// caught up, though it kept up until its last life ended.
func TestNobodyWaitsForWhoComesBack(t *testing.T) {
	m, asked := startCluster(t)
	s := leading(0, self, 2, 3)
	become(t, m, s)
	produce(t, m, 10)
	fetch(t, m, 2, 10)
	fetch(t, m, 3, 10)
	s.ISR, s.PartitionEpoch = []kafka.BrokerID{self, 2}, 1 // 3 stopped
	become(t, m, s)
	produce(t, m, 10)
	fetch(t, m, 2, 20)
	again := func(offset int64) {
		t.Helper()
		d, err := m.Read(&ReadArgs{TP: tp, Epoch: kafka.NoLeaderEpoch, LastFetched: kafka.NoLeaderEpoch, Offset: offset, MaxBytes: 1 << 20,
			Follower: &FollowerArgs{ID: 3, Epoch: 300}})
		if err != nil {
			t.Fatal(err)
		}
		d.Records.Release()
	}
	e := cluster.NewEdit(cluster.Empty())
	for id, epoch := range map[kafka.BrokerID]kafka.BrokerEpoch{1: 100, 2: 100, 3: 300} {
		e.ReadBroker(&cluster.Broker{ID: id, Epoch: epoch, Version: "test", Zxid: int64(epoch)})
	}
	im, _ := e.Publish()
	m.Follow(im, []cluster.Change{{Kind: cluster.BrokerBounced, Broker: 3}})
	again(10)
	if asked.len() != 0 {
		t.Error("it was proposed while it is behind")
	}
	produce(t, m, 5)
	fetch(t, m, 2, 25)
	if hw := m.Log(tp).HighWatermark(); hw != 25 {
		t.Errorf("high watermark %d, want 25: broker 3 is behind", hw)
	}
	again(25)
	asked.take(t, 1, 2, 3)
}

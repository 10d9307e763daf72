package replica

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"barnabas/broker/fetchsession"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// copier is a follower that fetches tp in a session, as package api lets it.
type copier struct {
	t      *testing.T
	m      *Manager
	cache  *fetchsession.Cache
	id     kafka.BrokerID
	epoch  kafka.BrokerEpoch
	offset int64
	sid    int32
	seq    int32
	watch  fetchsession.Want // of the last look
}

func newCopier(t *testing.T, m *Manager, id kafka.BrokerID, offset int64) *copier {
	c := &copier{t: t, m: m, cache: fetchsession.New(10), id: id, epoch: 100, offset: offset}
	c.fetch(true, false)
	return c
}

// fetch makes a request that names tp, forgets it, or does neither, and tells
// whether it was looked at.
func (c *copier) fetch(name, forget bool) (looked bool) {
	c.t.Helper()
	key := fetchsession.Key{Topic: tp.Topic, Partition: tp.Partition}
	other := fetchsession.Key{Topic: "other"} // so that the session is never empty
	req := fetchsession.Request{SessionID: c.sid, Epoch: c.seq, As: fetchsession.As{Version: 17, Follower: c.id, Epoch: c.epoch}}
	if name {
		req.Partitions = append(req.Partitions, fetchsession.Partition{Key: key, Offset: c.offset, CurrentEpoch: kafka.NoLeaderEpoch, LastFetchedEpoch: kafka.NoLeaderEpoch})
	}
	if forget {
		req.Forgotten = append(req.Forgotten, key)
	}
	if c.seq == 0 {
		req.Partitions = append(req.Partitions, fetchsession.Partition{Key: other})
	}
	f := c.cache.Begin(time.Now(), &req, nil)
	if f.Err != protocol.None {
		c.t.Fatal(f.Err)
	}
	wants := f.Wants
	if f.Incremental() {
		wants, _, _ = f.Look(nil)
	}
	found := make([]fetchsession.Found, len(wants))
	for i := range wants {
		if wants[i].Key != key {
			found[i] = fetchsession.Found{Failed: true, Refused: true}
			continue
		}
		looked, c.watch = true, wants[i]
		d, err := c.m.Read(&ReadArgs{
			TP: tp, Epoch: kafka.NoLeaderEpoch, LastFetched: kafka.NoLeaderEpoch, Offset: wants[i].Offset, MaxBytes: 1 << 20,
			Watch: wants[i].Watch, Follower: &FollowerArgs{ID: c.id, Epoch: c.epoch},
		})
		if err != nil {
			c.t.Fatal(err)
		}
		d.Records.Release()
		found[i] = fetchsession.Found{HighWatermark: d.HighWatermark, LogStartOffset: d.LogStartOffset, Records: d.Records.Length > 0, Settled: d.Settled}
	}
	sid, err := f.Finish(time.Now(), wants, found, make([]bool, len(wants)))
	if err != protocol.None {
		c.t.Fatal(err)
	}
	c.sid = sid
	c.seq++
	return looked
}

// idle fetches for so long.
func (c *copier) idle(d time.Duration) (looks int) {
	c.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		if c.fetch(false, false) {
			looks++
		}
	}
	return looks
}

// watched runs fn beside a manager that watches the lag, with replicas 2 and 3 in
// sync of an empty partition.
func watched(t *testing.T, fn func(t *testing.T, m *Manager, asked *proposals)) {
	synctest.Test(t, func(t *testing.T) {
		m, asked := startCluster(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { m.watchLag(ctx); close(ended) }()
		become(t, m, leading(0, self, 2, 3))
		fn(t, m, asked)
		cancel()
		<-ended
	})
}

// TestFetchesThatLookAtNothingCount: a follower that has all is not looked at for
// each fetch, and has caught up when it last asked all the same.
func TestFetchesThatLookAtNothingCount(t *testing.T) {
	watched(t, func(t *testing.T, m *Manager, asked *proposals) {
		two, three := newCopier(t, m, 2, 0), newCopier(t, m, 3, 0)
		two.idle(time.Second)
		for range 60 {
			if n := two.idle(time.Minute) + three.idle(time.Minute); n > 4*6+4*6 { // the walk every 10 s
				t.Fatalf("%d looks in two minutes without a change", n)
			}
		}
		produce(t, m, 5) // broker 3 asked a moment ago, 2 a minute ago
		time.Sleep(16 * time.Second)
		if ask := asked.take(t, 1, 3); m.Log(tp).HighWatermark() != 0 {
			t.Errorf("high watermark %d before the controller agreed to %+v", m.Log(tp).HighWatermark(), ask)
		}
	})
}

// TestAFollowerThatDiesFallsBehind: its clock starts at its last fetch.
func TestAFollowerThatDiesFallsBehind(t *testing.T) {
	watched(t, func(t *testing.T, m *Manager, asked *proposals) {
		two, three := newCopier(t, m, 2, 0), newCopier(t, m, 3, 0)
		for range 100 {
			two.idle(time.Second)
			three.idle(time.Second)
		}
		produce(t, m, 5)
		two.fetch(false, false)
		two.offset = 5
		two.fetch(true, false)
		two.idle(28 * time.Second)
		if asked.len() != 0 {
			t.Fatal("put out before replica.lag.time.max.ms")
		}
		two.idle(18 * time.Second)
		asked.take(t, 1, 2)
	})
}

// TestForgottenIsNotFetched: requests of a session count for what it has only.
func TestForgottenIsNotFetched(t *testing.T) {
	watched(t, func(t *testing.T, m *Manager, asked *proposals) {
		two, three := newCopier(t, m, 2, 0), newCopier(t, m, 3, 0)
		two.idle(time.Minute)
		three.idle(time.Second)
		three.fetch(false, true)
		for range 40 {
			two.idle(500 * time.Millisecond)
			three.idle(500 * time.Millisecond)
		}
		produce(t, m, 5)
		two.fetch(false, false)
		two.offset = 5
		two.fetch(true, false)
		two.idle(26 * time.Second) // 46 s after 3 forgot it, 26 s after the records
		asked.take(t, 1, 2)
	})
}

// TestSessionsOfOneFollower: what comes by one is not taken for what another has.
func TestSessionsOfOneFollower(t *testing.T) {
	watched(t, func(t *testing.T, m *Manager, asked *proposals) {
		old, three := newCopier(t, m, 2, 0), newCopier(t, m, 3, 0)
		old.idle(2 * time.Second)
		three.idle(2 * time.Second)
		if old.fetch(false, false) {
			t.Fatal("looked at without a change")
		}
		newCopier(t, m, 2, 0)
		if !old.fetch(false, false) {
			t.Error("the other session's fetch went unnoticed")
		}
		// A fetch of an earlier life changes nothing.
		if old.fetch(false, false) {
			t.Fatal("looked at without a change")
		}
		late := &copier{t: t, m: m, cache: fetchsession.New(10), id: 2, epoch: 99}
		late.fetch(true, false)
		for range 60 {
			old.idle(500 * time.Millisecond)
			three.idle(500 * time.Millisecond)
		}
		produce(t, m, 5)
		for range 14 {
			old.idle(500 * time.Millisecond)
			three.idle(500 * time.Millisecond)
		}
		if asked.len() != 0 {
			t.Error("put out though it asked all the time")
		}
	})
}

// TestBornAgainIsLookedAt: another registration is another broker.
func TestBornAgainIsLookedAt(t *testing.T) {
	watched(t, func(t *testing.T, m *Manager, _ *proposals) {
		two := newCopier(t, m, 2, 0)
		two.idle(2 * time.Second)
		two.epoch = 101
		if !two.fetch(false, false) {
			t.Error("not looked at under a new registration")
		}
		p := m.Partition(tp)
		p.mu.Lock()
		defer p.unlock()
		if got := p.remotes[2].epoch; got != 101 {
			t.Errorf("the leader knows registration %d, want 101", got)
		}
	})
}

// TestWhatTimeChangesIsLookedAt: a replica that is not in sync may be let in at any
// time, and the high watermark may move when another is given up.
func TestWhatTimeChangesIsLookedAt(t *testing.T) {
	watched(t, func(t *testing.T, m *Manager, _ *proposals) {
		s := leading(1, self, 3)
		s.Replicas = []kafka.BrokerID{self, 2, 3}
		become(t, m, s)
		two, three := newCopier(t, m, 2, 0), newCopier(t, m, 3, 0)
		three.fetch(false, false)
		for range 2 {
			if !two.fetch(false, false) {
				t.Error("out of sync, and not looked at")
			}
			if three.fetch(false, false) {
				t.Error("in sync and looked at without a change")
			}
		}
		become(t, m, leading(2, self, 2, 3))
		produce(t, m, 5)
		two.offset = 5
		two.fetch(true, false)
		for range 2 {
			if !two.fetch(false, false) {
				t.Error("not all is committed, and it is not looked at")
			}
		}
		three.offset = 5
		three.fetch(true, false)
		two.fetch(false, false)
		if two.fetch(false, false) {
			t.Error("looked at though all is committed")
		}
	})
}

package controller_test

import (
	"errors"
	"testing"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/internal/zktest"
	"barnabas/protocol"
	"barnabas/zkpaths"
	"barnabas/zkpaths/devzk"
	"barnabas/zkpaths/session"
)

// What happened while there was no controller reaches those who read on, though
// the new controller knows it only by its load.
func TestMissedBetweenReigns(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		one := startNode(t, connect, 1)
		one.awaitReign()
		two := startNode(t, connect, 2)
		one.await("both", func(im *cluster.Image) bool { return im.Alive(1) && im.Alive(2) })
		two.await("both", func(im *cluster.Image) bool { return im.Alive(1) && im.Alive(2) })
		// Nobody may reign: another's throne.
		other, err := session.Open(t.Context(), session.Options{Connect: connect})
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		if err := other.Delete(t.Context(), zkpaths.ControllerPath, -1); err != nil {
			t.Fatal(err)
		}
		throne := zkpaths.Controller{BrokerID: 9, KRaftEpoch: -1}
		var epoch kafka.ControllerEpoch
		waitUntil(t, "the throne", func() bool {
			data, st, err := other.Get(t.Context(), zkpaths.ControllerEpochPath)
			if err != nil {
				t.Fatal(err)
			}
			if epoch, err = zkpaths.DecodeControllerEpoch(data); err != nil {
				t.Fatal(err)
			}
			epoch++
			_, err = other.Multi(t.Context(), session.CreateOp(zkpaths.ControllerPath, throne.Encode(), session.Ephemeral),
				session.SetOp(zkpaths.ControllerEpochPath, zkpaths.EncodeControllerEpoch(epoch), st.Version))
			if errors.Is(err, session.ErrNodeExists) {
				other.Delete(t.Context(), zkpaths.ControllerPath, -1)
			}
			return err == nil
		})
		waitUntil(t, "no reign", func() bool { return !one.ctl.Active() && !two.ctl.Active() })
		// Meanwhile a topic with an id appears, 1 vanishes, and 3 loads and waits.
		a := zkpaths.Assignment{ID: kafka.NewTopicID(), Partitions: map[int32][]kafka.BrokerID{0: {3}}}
		if _, err := other.Create(t.Context(), zkpaths.TopicPath("quiet"), a.Encode(), session.Persistent); err != nil {
			t.Fatal(err)
		}
		one.stop()
		three := startNode(t, connect, 3)
		<-three.meta.Loaded()
		// The present controller begins its epoch and dies before it has looked.
		begin := cluster.Entry{Version: cluster.EntryVersion, Controller: 9, Token: cluster.Token{Broker: 9, Session: 1, Counter: 1}, Epoch: epoch, Begins: true, Reason: cluster.Reason{Code: "epoch-begins"}}
		if _, err := other.Create(t.Context(), zkpaths.NewMetadataChange, begin.Encode(), session.PersistentSequential); err != nil {
			t.Fatal(err)
		}
		// 2 keeps out of the next election, so 3 reigns by its load.
		if err := two.zk.Delete(t.Context(), zkpaths.BrokerPath(2), -1); err != nil {
			t.Fatal(err)
		}
		if err := other.Delete(t.Context(), zkpaths.ControllerPath, -1); err != nil {
			t.Fatal(err)
		}
		three.awaitReign()
		two.await("the missed topic and death", func(im *cluster.Image) bool {
			return led("quiet", 1)(im) && !im.Alive(1) && im.Alive(3) && im.LiveController() == 3
		})
		sameAsLoaded(t, two)
	})
}

// A session that ends takes the reign with it; the next registration is a birth.
func TestSessionExpiry(t *testing.T) {
	server := zktest.DevZK(t, devzk.Options{})
	n := startNode(t, zktest.Chroot(t, server.Addr()), 1)
	n.create(cluster.NewTopic{Name: "t", Partitions: 2, ReplicationFactor: 1})
	im := n.await("t", led("t", 2))
	before, epoch := im.Broker(1).Epoch, im.Topic("t").Partition(0).LeaderEpoch
	old := n.zk.SessionID()
	server.ExpireSession(old)
	waitUntil(t, "another session", func() bool { id := n.zk.SessionID(); return id != 0 && id != old })
	n.register()
	n.ctl.Registered(0)
	im = n.await("the second birth", func(im *cluster.Image) bool {
		b, p := im.Broker(1), im.Partition(kafka.TopicPartition{Topic: "t"})
		return b != nil && b.Epoch > before && p.UsableBy(b) && p.Leader == 1
	})
	if p := im.Topic("t").Partition(0); p.LeaderEpoch <= epoch {
		t.Errorf("leader epoch %d after %d", p.LeaderEpoch, epoch)
	}
	sameAsLoaded(t, n)
}

// The same topic asked for by many is made once; the others are told so.
func TestConcurrentCreation(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		n := startNode(t, connect, 1)
		n.awaitReign()
		results := make(chan error, 16)
		for range cap(results) {
			go func() { results <- n.tryCreate(cluster.NewTopic{Name: "x", Partitions: 1, ReplicationFactor: 1}) }()
		}
		made := 0
		for range cap(results) {
			switch err := <-results; protocol.CodeOf(err) {
			case protocol.None:
				made++
			case protocol.TopicAlreadyExists:
			default:
				t.Errorf("got %v", err)
			}
		}
		if made != 1 {
			t.Errorf("made %d times", made)
		}
	})
}

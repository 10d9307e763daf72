package controller_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/internal/zktest"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// note tells of a config change, as whoever edits a config does.
func (n *node) note(topic string) {
	n.t.Helper()
	c := zkpaths.ConfigChange{Type: zkpaths.ConfigTopics, Entity: topic}
	if _, err := n.zk.Create(n.t.Context(), zkpaths.ConfigChangePath, c.Encode(), session.PersistentSequential); err != nil {
		n.t.Fatal(err)
	}
}

// A /controller_epoch that a hand rolled back, overwrote or deleted ends the
// reign, and the next one still is newer to all brokers than those before.
func TestControllerEpochByHand(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		one := startNode(t, connect, 1)
		one.awaitReign()
		if _, err := one.zk.Set(t.Context(), zkpaths.ControllerEpochPath, zkpaths.EncodeControllerEpoch(7), -1); err != nil {
			t.Fatal(err)
		}
		one.tryCreate(cluster.NewTopic{Name: "x", Partitions: 1, ReplicationFactor: 1}) // meets the fence
		waitUntil(t, "epoch 8", func() bool { e, ok := one.ctl.Epoch(); return ok && e == 8 })
		two := startNode(t, connect, 2)
		two.await("epoch 8", func(im *cluster.Image) bool {
			return im.ControllerEpoch == 8 && im.LiveController() == 1 && im.Alive(2)
		})
		last := kafka.ControllerEpoch(8)
		for i, spoil := range []func() error{
			func() error {
				_, err := one.zk.Set(t.Context(), zkpaths.ControllerEpochPath, zkpaths.EncodeControllerEpoch(2), -1)
				return err
			},
			func() error { return one.zk.Delete(t.Context(), zkpaths.ControllerEpochPath, -1) },
			func() error {
				_, err := one.zk.Set(t.Context(), zkpaths.ControllerEpochPath, []byte("seven"), -1)
				return err
			},
		} {
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			one.tryCreate(cluster.NewTopic{Name: fmt.Sprint("x", i), Partitions: 1, ReplicationFactor: 1})
			two.tryCreate(cluster.NewTopic{Name: fmt.Sprint("y", i), Partitions: 1, ReplicationFactor: 1})
			for _, n := range []*node{one, two} {
				n.await("a newer reign", func(im *cluster.Image) bool { return im.ControllerEpoch > last && im.Alive(im.Controller) })
			}
			im := two.meta.Current()
			if by := map[kafka.BrokerID]*node{1: one, 2: two}[im.Controller]; by != nil {
				waitUntil(t, "a reign under the epoch of the log", func() bool { e, ok := by.ctl.Epoch(); return ok && e == im.ControllerEpoch })
			}
			last = im.ControllerEpoch
		}
	})
}

// A config that can't be read keeps no other topic from getting its own.
func TestConfigThatCantBeRead(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		n := startNode(t, connect, 1)
		n.awaitReign()
		var names []string
		for i := range 8 {
			names = append(names, fmt.Sprint("c", i))
			n.create(cluster.NewTopic{Name: names[i], Partitions: 1, ReplicationFactor: 1})
		}
		set := func(topic, text string) {
			if _, err := n.zk.Set(t.Context(), zkpaths.TopicConfigPath(topic), []byte(text), -1); err != nil {
				t.Fatal(err)
			}
			n.note(topic)
		}
		for _, name := range []string{"c0", "c3"} {
			set(name, `{"version":1,"config":{"retention.ms":null}}`)
		}
		for _, name := range names {
			if name != "c0" && name != "c3" {
				set(name, `{"version":1,"config":{"retention.ms":"5"}}`)
			}
		}
		n.await("the others", func(im *cluster.Image) bool {
			got := 0
			for _, name := range names {
				if im.Topic(name).Config["retention.ms"] == "5" {
					got++
				}
			}
			return got == 6
		})
		// The topic of the bad one can be dealt with all the same.
		if err := n.ctl.AddPartitions(t.Context(), "c0", 2, nil, false); err != nil {
			t.Error(err)
		}
		set("c0", `{"version":1,"config":{"retention.ms":"6"}}`)
		n.await("the mended one", func(im *cluster.Image) bool { return im.Topic("c0").Config["retention.ms"] == "6" })
	})
}

// Deleted and made again, a znode has the version that it had before.
func TestMadeAgainWithTheSameVersion(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		n := startNode(t, connect, 1)
		n.create(cluster.NewTopic{Name: "t", Partitions: 1, ReplicationFactor: 1})
		im := n.await("t", led("t", 1))
		path := zkpaths.TopicConfigPath("t")
		if _, err := n.zk.Multi(t.Context(), session.DeleteOp(path, 0),
			session.CreateOp(path, zkpaths.EncodeConfig(map[string]string{"retention.ms": "5"}), session.Persistent)); err != nil {
			t.Fatal(err)
		}
		n.note("t")
		n.await("the config", func(im *cluster.Image) bool {
			return maps.Equal(im.Topic("t").Config, map[string]string{"retention.ms": "5"})
		})

		tp := kafka.TopicPartition{Topic: "t"}
		a := zkpaths.Assignment{ID: kafka.NewTopicID(), Partitions: map[int32][]kafka.BrokerID{0: {1}, 1: {1}}}
		if _, err := n.zk.Multi(t.Context(),
			session.DeleteOp(zkpaths.StatePath(tp), -1), session.DeleteOp(zkpaths.PartitionPath(tp), -1),
			session.DeleteOp(zkpaths.PartitionsPath("t"), -1), session.DeleteOp(zkpaths.TopicPath("t"), 0),
			session.CreateOp(zkpaths.TopicPath("t"), a.Encode(), session.Persistent)); err != nil {
			t.Fatal(err)
		}
		im = n.await("the other topic", led("t", 2))
		if im.Topic("t").ID != a.ID {
			t.Errorf("its id is %s, want %s", im.Topic("t").ID, a.ID)
		}
		sameAsLoaded(t, n)
	})
}

// A topic's znode that is too large to be told of holds up no other topic, and no
// election.
func TestTopicTooLargeToTell(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		n := startNode(t, connect, 1)
		n.awaitReign()
		path := zkpaths.TopicPath("big")
		a := zkpaths.Assignment{ID: kafka.NewTopicID(), Partitions: map[int32][]kafka.BrokerID{0: {1}}}
		for len(a.Encode())+len(path)+60 < session.MaxOpBytes { // the entry would have more words around it
			for range 1 + (session.MaxOpBytes-len(a.Encode())-len(path)-60)/8 {
				a.Partitions[0] = append(a.Partitions[0], kafka.BrokerID(1000+len(a.Partitions[0])))
			}
		}
		data := a.Encode()
		if _, err := n.zk.Create(t.Context(), path, data, session.Persistent); err != nil {
			t.Fatal(err)
		}
		small := zkpaths.Assignment{Partitions: map[int32][]kafka.BrokerID{0: {1}}}
		if _, err := n.zk.Create(t.Context(), zkpaths.TopicPath("small"), small.Encode(), session.Persistent); err != nil {
			t.Fatal(err)
		}
		n.await("small", led("small", 1))
		if n.meta.Current().Topic("big") != nil {
			t.Error("it was told of")
		}
		// Whoever loads knows it, and reigns nevertheless.
		two := startNode(t, connect, 2)
		n.await("two", func(im *cluster.Image) bool { return im.Alive(2) })
		if im := two.await("two", func(im *cluster.Image) bool { return im.Alive(2) }); im.Topic("big") == nil {
			t.Error("it was not loaded")
		}
		n.stop()
		two.awaitReign()
	})
}

// A hand that takes members of the ISR out of a topic's znode asks for a
// reassignment: they go when others have what they have.
func TestReassignByTopicZnode(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		one := three(t, connect, 2)[0]
		one.await("t", led("t", 2))
		one.editAssignment("t", 0, 2, 3)
		one.await("the wish", func(im *cluster.Image) bool { return ofT(im, 0).Moving() })
		if got := one.moving(); !slices.Equal(got, []string{"0 [2 3 1] [2 3] [1]"}) {
			t.Errorf("under way: %v", got)
		}
		if p := ofT(one.meta.Current(), 0); p.Leader != 1 || !slices.Equal(p.ISR, []kafka.BrokerID{1}) {
			t.Errorf("led by %d, in sync %v", p.Leader, p.ISR)
		}
		one.catchUp(0, 1, 2, 3)
		one.heldBy(0, 2, 3)
		// Nobody at all is no wish.
		one.editAssignment("t", 1)
		one.editAssignment("t", 0, 3, 2)
		one.await("the other order", func(im *cluster.Image) bool { return slices.Equal(ofT(im, 0).Replicas, []kafka.BrokerID{3, 2}) })
		one.heldBy(1, 1)
		sameAsLoaded(t, one)
	})
}

// The znode of old tools lets go of a topic that is deleted, and a mark that can't
// be removed holds up no other.
func TestDeletionsBesideOldTools(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		one := three(t, connect, 1)[0]
		one.create(cluster.NewTopic{Name: "u", Partitions: 1, ReplicationFactor: 1})
		one.wishByZnode(byZnode("t", 0, 9)) // which nobody is
		one.inZnode(0)
		one.delete("t")
		one.inZnode()
		for _, p := range []string{zkpaths.DeleteTopicPath("a") + "/below", zkpaths.DeleteTopicPath("u")} {
			err := session.ErrNoNode // the controller may take the upper one away in between
			for errors.Is(err, session.ErrNoNode) {
				_, err = one.zk.CreateAll(t.Context(), p, nil, session.Persistent)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		one.await("the deletion of u", func(im *cluster.Image) bool { return im.Topic("u") == nil })
	})
}

package controller_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/internal/zktest"
	"barnabas/protocol"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// pair is two brokers, the first of which reigns, and a topic with partitions
// that both have.
func pair(t *testing.T, connect string, partitions int) (one, two *node) {
	t.Helper()
	one = startNode(t, connect, 1)
	one.awaitReign()
	two = startNode(t, connect, 2)
	one.await("both", func(im *cluster.Image) bool { return im.Alive(1) && im.Alive(2) })
	assign := make([][]kafka.BrokerID, partitions)
	for i := range assign {
		assign[i] = []kafka.BrokerID{1, 2}
	}
	one.create(cluster.NewTopic{Name: "t", Assignment: assign})
	for _, n := range []*node{one, two} {
		n.await("the topic", led("t", partitions))
	}
	return one, two
}

// wish asks for the ISR of a partition of t, as an image has it.
func wish(im *cluster.Image, partition int32, isr ...kafka.BrokerID) cluster.ISRChange {
	p := im.Topic("t").Partition(partition)
	ch := cluster.ISRChange{TopicID: im.Topic("t").ID, TP: kafka.TopicPartition{Topic: "t", Partition: partition},
		LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch}
	for _, id := range isr {
		ch.ISR = append(ch.ISR, cluster.ISRMember{ID: id, Epoch: im.Broker(id).Epoch})
	}
	return ch
}

func hasISR(partition int32, isr ...kafka.BrokerID) func(*cluster.Image) bool {
	return func(im *cluster.Image) bool { return slices.Equal(im.Topic("t").Partition(partition).ISR, isr) }
}

func TestAlterPartition(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		one, two := pair(t, connect, 1)
		im := one.meta.Current()
		epoch := im.Broker(1).Epoch
		got, err := one.ctl.AlterPartition(t.Context(), 1, epoch, []cluster.ISRChange{wish(im, 0, 1)})
		if err != nil || got[0].Err != nil || got[0].PartitionEpoch != 1 {
			t.Fatalf("got %+v, %v", got, err)
		}
		im = two.await("the smaller ISR", hasISR(0, 1))
		if p := im.Topic("t").Partition(0); p.PartitionEpoch != got[0].PartitionEpoch {
			t.Errorf("the receipt says version %d, the log %d", got[0].PartitionEpoch, p.PartitionEpoch)
		}
		data, st, err := one.zk.Get(t.Context(), zkpaths.StatePath(kafka.TopicPartition{Topic: "t"}))
		if err != nil || st.Version != 1 {
			t.Fatalf("version %d, %v", st.Version, err)
		}
		if s, err := zkpaths.DecodeState(data); err != nil || !slices.Equal(s.ISR, []kafka.BrokerID{1}) {
			t.Errorf("the znode has %+v, %v", s, err)
		}
		// In again; and once more, as after a lost answer.
		back := wish(im, 0, 1, 2)
		for range 2 {
			got, err = one.ctl.AlterPartition(t.Context(), 1, epoch, []cluster.ISRChange{back})
			if err != nil || got[0].Err != nil || got[0].PartitionEpoch != 2 {
				t.Fatalf("got %+v, %v", got, err)
			}
		}
		if _, err := one.ctl.AlterPartition(t.Context(), 1, epoch+1, nil); !errors.Is(err, protocol.StaleBrokerEpoch) {
			t.Errorf("another registration: %v", err)
		}
		if _, err := two.ctl.AlterPartition(t.Context(), 1, epoch, nil); !errors.Is(err, protocol.NotController) {
			t.Errorf("not the controller: %v", err)
		}
		sameAsLoaded(t, two)
	})
}

// Many leaders at a time share transactions, and so entries of the log.
func TestAlterPartitionMerges(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		const many = 100
		one, two := pair(t, connect, many)
		im := two.meta.Current()
		before := im.Next
		var wg sync.WaitGroup
		for i := range int32(many) {
			wg.Go(func() {
				got, err := one.ctl.AlterPartition(t.Context(), 1, im.Broker(1).Epoch, []cluster.ISRChange{wish(im, i, 1)})
				if err != nil || got[0].Err != nil {
					t.Errorf("%d: %+v, %v", i, got, err)
				}
			})
		}
		wg.Wait()
		im = two.await("all ISRs", func(im *cluster.Image) bool {
			for i := range int32(many) {
				if !hasISR(i, 1)(im) {
					return false
				}
			}
			return true
		})
		if entries := im.Next - before; entries > many/4 {
			t.Errorf("%d entries for %d changes", entries, many)
		}
	})
}

// A state that a hand has edited since is taken as it is; the wish was made to
// another one and fails, and the others of its transaction are written.
func TestAlterPartitionMeetsAHand(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		one, two := pair(t, connect, 2)
		im := one.meta.Current()
		hand := zkpaths.State{Leader: 2, LeaderEpoch: 7, ISR: []kafka.BrokerID{2, 1}, ControllerEpoch: 1}
		path := zkpaths.StatePath(kafka.TopicPartition{Topic: "t"})
		if _, err := two.zk.Set(t.Context(), path, hand.Encode(), 0); err != nil {
			t.Fatal(err)
		}
		got, err := one.ctl.AlterPartition(t.Context(), 1, im.Broker(1).Epoch, []cluster.ISRChange{wish(im, 0, 1), wish(im, 1, 1)})
		if err != nil || protocol.CodeOf(got[0].Err) != protocol.FencedLeaderEpoch || got[1].Err != nil {
			t.Fatalf("got %+v, %v", got, err)
		}
		im = two.await("the other one", hasISR(1, 1))
		if p := im.Topic("t").Partition(0); p.Leader != 2 || !slices.Equal(p.ISR, hand.ISR) {
			t.Errorf("the edited state is %+v", p)
		}
	})
}

// Whoever has gone is not written for, and a controller that ends answers all.
func TestAlterPartitionEnds(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		one, _ := pair(t, connect, 1)
		im := one.meta.Current()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := one.ctl.AlterPartition(gone, 1, im.Broker(1).Epoch, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		ctx, stop := context.WithTimeout(t.Context(), limit)
		defer stop()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for ctx.Err() == nil {
					_, err := one.ctl.AlterPartition(ctx, 1, im.Broker(1).Epoch, []cluster.ISRChange{wish(im, 0, 1, 2)})
					if errors.Is(err, protocol.NotController) {
						return
					}
				}
				t.Error("never told that the controller ended")
			})
		}
		one.stop()
		wg.Wait()
		// Nor does anything else that comes too late wait for a loop that has ended.
		made := one.ctl.CreateTopics(ctx, []cluster.NewTopic{{Name: "late", Partitions: 1, ReplicationFactor: 1}}, false)
		if !errors.Is(made[0].Err, protocol.NotController) {
			t.Errorf("after its end: %v", made[0].Err)
		}
	})
}

// A broker that died and came back does not enter by what its leader saw of it
// before (KIP-903): an emptied follower would count as in sync.
func TestAlterPartitionAfterABounceKIP903(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		one, two := pair(t, connect, 1)
		im := one.meta.Current()
		old := im.Broker(2).Epoch
		if err := two.zk.Delete(t.Context(), zkpaths.BrokerPath(2), -1); err != nil && !errors.Is(err, session.ErrNoNode) {
			t.Fatal(err)
		}
		one.await("the death", hasISR(0, 1))
		two.register()
		im = one.await("the birth", func(im *cluster.Image) bool {
			b := im.Broker(2)
			return b != nil && b.Epoch != old
		})
		ch := wish(im, 0, 1, 2)
		ch.ISR[1].Epoch = old
		for _, want := range []protocol.Error{protocol.IneligibleReplica, protocol.None} {
			var got []cluster.ISRResult
			waitUntil(t, fmt.Sprint(want.Name()), func() bool { // the birth may settle in more than one state
				im := one.meta.Current()
				p := im.Topic("t").Partition(0)
				ch.LeaderEpoch, ch.PartitionEpoch = p.LeaderEpoch, p.PartitionEpoch
				var err error
				got, err = one.ctl.AlterPartition(t.Context(), 1, im.Broker(1).Epoch, []cluster.ISRChange{ch})
				return err == nil && protocol.CodeOf(got[0].Err) == want
			})
			ch.ISR[1].Epoch = one.meta.Current().Broker(2).Epoch
		}
	})
}

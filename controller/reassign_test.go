package controller_test

import (
	"fmt"
	"slices"
	"testing"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/internal/zktest"
	"barnabas/protocol"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// three is three brokers, the first of which reigns, and a topic whose partitions
// only the first has.
func three(t *testing.T, connect string, partitions int) []*node {
	t.Helper()
	nodes := []*node{startNode(t, connect, 1)}
	nodes[0].awaitReign()
	nodes = append(nodes, startNode(t, connect, 2), startNode(t, connect, 3))
	nodes[0].await("all", func(im *cluster.Image) bool { return im.Alive(1) && im.Alive(2) && im.Alive(3) })
	assign := make([][]kafka.BrokerID, partitions)
	for i := range assign {
		assign[i] = []kafka.BrokerID{1}
	}
	nodes[0].create(cluster.NewTopic{Name: "t", Assignment: assign})
	return nodes
}

// ofT is a partition of t; an empty one if the image does not have it yet.
func ofT(im *cluster.Image, partition int32) *cluster.Partition {
	if p := im.Partition(kafka.TopicPartition{Topic: "t", Partition: partition}); p != nil {
		return p
	}
	return &cluster.Partition{}
}

func move(partition int32, to ...kafka.BrokerID) cluster.Move {
	return cluster.Move{TP: kafka.TopicPartition{Topic: "t", Partition: partition}, Replicas: to, Cancel: to == nil}
}

// reassign asks for moves, none of which may be refused.
func (n *node) reassign(moves ...cluster.Move) {
	n.t.Helper()
	errs, err := n.ctl.Reassign(n.t.Context(), moves)
	for _, e := range append(errs, err) {
		if e != nil {
			n.t.Fatal(e)
		}
	}
}

func (n *node) moving() []string {
	n.t.Helper()
	list, err := n.ctl.Reassignments(n.t.Context(), nil)
	if err != nil {
		n.t.Fatal(err)
	}
	var out []string
	for _, m := range list {
		out = append(out, fmt.Sprint(m.TP.Partition, m.Replicas, m.Adding, m.Removing))
	}
	return out
}

// catchUp lets brokers into the ISR of a partition, as its leader would: again, if
// somebody died or was born meanwhile.
func (n *node) catchUp(partition int32, isr ...kafka.BrokerID) {
	n.t.Helper()
	waitUntil(n.t, fmt.Sprintf("partition %d in sync on %v", partition, isr), func() bool {
		im := n.await("a reassignment", func(im *cluster.Image) bool {
			p := ofT(im, partition)
			return p.Moving() && im.Alive(p.Leader) && !slices.ContainsFunc(isr, func(id kafka.BrokerID) bool { return !im.Alive(id) })
		})
		leader := ofT(im, partition).Leader
		got, err := n.ctl.AlterPartition(n.t.Context(), leader, im.Broker(leader).Epoch, []cluster.ISRChange{wish(im, partition, isr...)})
		return err == nil && got[0].Err == nil
	})
}

// heldBy waits until exactly these hold a partition, and one of them leads it.
func (n *node) heldBy(partition int32, by ...kafka.BrokerID) {
	n.t.Helper()
	im := n.await(fmt.Sprintf("partition %d on %v", partition, by), func(im *cluster.Image) bool {
		p := ofT(im, partition)
		return slices.Equal(p.Replicas, by) && !p.Moving()
	})
	if p := ofT(im, partition); !slices.Contains(by, p.Leader) || slices.ContainsFunc(p.ISR, func(id kafka.BrokerID) bool { return !slices.Contains(by, id) }) {
		n.t.Errorf("led by %d, in sync %v", p.Leader, p.ISR)
	}
}

func TestReassign(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		nodes := three(t, connect, 2)
		one := nodes[0]
		one.reassign(move(0, 2, 3), move(1, 3))
		if got := one.moving(); !slices.Equal(got, []string{"0 [2 3 1] [2 3] [1]", "1 [3 1] [3] [1]"}) {
			t.Errorf("under way: %v", got)
		}
		data, _, err := one.zk.Get(t.Context(), zkpaths.TopicPath("t"))
		if err != nil {
			t.Fatal(err)
		}
		if a, err := zkpaths.DecodeAssignment(data); err != nil || fmt.Sprint(a.Partitions, a.Adding, a.Removing) !=
			"map[0:[2 3 1] 1:[3 1]] map[0:[2 3] 1:[3]] map[0:[1] 1:[1]]" {
			t.Errorf("the znode has %s, %v", data, err)
		}
		err = one.ctl.AddPartitions(t.Context(), "t", 3, nil, false)
		if protocol.CodeOf(err) != protocol.ReassignmentInProgress {
			t.Errorf("extending meanwhile: %v", err)
		}
		one.catchUp(0, 1, 2)
		one.reassign(move(1)) // cancelled
		one.catchUp(0, 1, 2, 3)
		for _, n := range nodes {
			n.heldBy(0, 2, 3)
			n.heldBy(1, 1)
		}
		if got := one.moving(); len(got) > 0 {
			t.Errorf("still under way: %v", got)
		}
		errs, err := one.ctl.Reassign(t.Context(), []cluster.Move{move(1), move(0, 9)})
		if err != nil || protocol.CodeOf(errs[0]) != protocol.NoReassignmentInProgress || protocol.CodeOf(errs[1]) != protocol.InvalidReplicaAssignment {
			t.Errorf("cancelled, and moved to a dead broker: %v, %v", errs, err)
		}
		if _, err := nodes[1].ctl.Reassign(t.Context(), nil); protocol.CodeOf(err) != protocol.NotController {
			t.Errorf("not the controller: %v", err)
		}
		sameAsLoaded(t, nodes[2])
	})
}

// A new controller goes on with what it finds, also with what was complete when
// the old one died.
func TestReassignmentOutlivesController(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		nodes := three(t, connect, 2)
		nodes[0].reassign(move(0, 2), move(1, 3, 2))
		nodes[0].stop()
		var ctl *node
		waitUntil(t, "another reign", func() bool {
			for _, n := range nodes[1:] {
				if _, ok := n.ctl.Epoch(); ok {
					ctl = n
				}
			}
			return ctl != nil
		})
		if got := ctl.moving(); !slices.Equal(got, []string{"0 [2 1] [2] [1]", "1 [3 2 1] [3 2] [1]"}) {
			t.Errorf("under way: %v", got)
		}
		// The stopped broker is the only one in sync until it is back.
		back := startNode(t, connect, 1)
		back.await("a leader", func(im *cluster.Image) bool { return im.Alive(1) && led("t", 2)(im) })
		ctl.await("a leader", func(im *cluster.Image) bool { return im.Alive(1) && led("t", 2)(im) })
		ctl.catchUp(0, 1, 2)
		ctl.catchUp(1, 1, 2, 3)
		ctl.heldBy(0, 2)
		ctl.heldBy(1, 3, 2)
	})
}

// A topic that goes away takes its reassignments with it, and one whose znode a
// hand edits meanwhile is moved on.
func TestReassignBesideHands(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		one := three(t, connect, 2)[0]
		one.reassign(move(0, 2), move(1, 3))
		// A hand takes the second one back, and moves the first on by itself.
		a := &zkpaths.Assignment{ID: one.meta.Current().Topic("t").ID, Partitions: map[int32][]kafka.BrokerID{0: {3, 1}, 1: {1}},
			Adding: map[int32][]kafka.BrokerID{0: {3}}, Removing: map[int32][]kafka.BrokerID{0: {1}}}
		if _, err := one.zk.Set(t.Context(), zkpaths.TopicPath("t"), a.Encode(), -1); err != nil {
			t.Fatal(err)
		}
		one.await("the edit", func(im *cluster.Image) bool { return slices.Equal(ofT(im, 1).Replicas, []kafka.BrokerID{1}) })
		if got := one.moving(); !slices.Equal(got, []string{"0 [3 1] [3] [1]"}) {
			t.Errorf("under way: %v", got)
		}
		one.catchUp(0, 1, 3)
		one.heldBy(0, 3)
		one.reassign(move(0, 2))
		one.delete("t")
		if got := one.moving(); len(got) > 0 {
			t.Errorf("under way after the deletion: %v", got)
		}
	})
}

func (n *node) wishByZnode(rs ...zkpaths.Reassignment) {
	n.t.Helper()
	if _, err := n.zk.Create(n.t.Context(), zkpaths.ReassignPath, zkpaths.EncodeReassignments(rs), session.Persistent); err != nil {
		n.t.Fatal(err)
	}
}

func byZnode(topic string, partition int32, to ...kafka.BrokerID) zkpaths.Reassignment {
	return zkpaths.Reassignment{TopicPartition: kafka.TopicPartition{Topic: topic, Partition: partition}, Replicas: to}
}

// inZnode waits until the znode of old tools names just these partitions; none:
// until it is gone.
func (n *node) inZnode(partitions ...int32) {
	n.t.Helper()
	var last string
	waitUntil(n.t, fmt.Sprintf("partitions %v in the znode", partitions), func() bool {
		data, _, err := n.zk.Get(n.t.Context(), zkpaths.ReassignPath)
		last = fmt.Sprint(string(data), err)
		if err != nil {
			return len(partitions) == 0
		}
		list, _ := zkpaths.DecodeReassignments(data)
		var got []int32
		for _, r := range list {
			got = append(got, r.Partition)
		}
		return slices.Equal(got, partitions)
	})
	n.t.Log(last)
}

func TestReassignByZnode(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		one := three(t, connect, 4)[0]
		// Taken are the first two and, although nobody is broker 9, the last; the
		// others can't be, or are done already.
		one.wishByZnode(byZnode("t", 0, 2), byZnode("t", 1, 3, 1), byZnode("none", 7, 1), byZnode("t", 8, 1), byZnode("t", 2, 1), byZnode("t", 3, 9))
		one.inZnode(0, 1, 3)
		if got := one.moving(); !slices.Equal(got, []string{"0 [2 1] [2] [1]", "1 [3 1] [3] []", "3 [9 1] [9] [1]"}) {
			t.Errorf("under way: %v", got)
		}
		one.catchUp(0, 1, 2)
		one.heldBy(0, 2)
		one.inZnode(1, 3)
		one.reassign(move(3)) // who asks last is right
		one.inZnode(1)
		one.heldBy(3, 1)
		one.catchUp(1, 1, 3)
		one.heldBy(1, 3, 1)
		one.inZnode()
		// The next one is noticed, too.
		one.wishByZnode(byZnode("t", 2, 3))
		one.await("the second", func(im *cluster.Image) bool { return ofT(im, 2).Moving() })
		one.catchUp(2, 1, 3)
		one.heldBy(2, 3)
		one.inZnode()
		// What can't be read is left, and does no harm; a hand corrects it.
		if _, err := one.zk.Create(t.Context(), zkpaths.ReassignPath, []byte("{nonsense"), session.Persistent); err != nil {
			t.Fatal(err)
		}
		one.reassign(move(2, 3, 1))
		if _, err := one.zk.Set(t.Context(), zkpaths.ReassignPath, zkpaths.EncodeReassignments([]zkpaths.Reassignment{byZnode("t", 2, 1)}), -1); err != nil {
			t.Fatal(err)
		}
		one.await("the corrected one", func(im *cluster.Image) bool { return slices.Equal(ofT(im, 2).Target(), []kafka.BrokerID{1}) })
		one.catchUp(2, 3, 1)
		one.heldBy(2, 1)
		one.inZnode()
	})
}

// What was written while nobody reigned, or under an earlier reign, is found.
func TestReassignByZnodeAtTakeover(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		nodes := three(t, connect, 2)
		nodes[0].wishByZnode(byZnode("t", 0, 2), byZnode("t", 1, 3))
		nodes[0].inZnode(0, 1)
		nodes[0].catchUp(0, 1, 2)
		nodes[0].inZnode(1)
		nodes[0].stop()
		back := startNode(t, connect, 1)
		back.await("a leader", func(im *cluster.Image) bool { return im.Alive(1) && led("t", 2)(im) })
		back.inZnode(1)
		var ctl *node
		waitUntil(t, "another reign", func() bool {
			for _, n := range []*node{nodes[1], nodes[2], back} {
				if _, ok := n.ctl.Epoch(); ok {
					ctl = n
				}
			}
			return ctl != nil
		})
		ctl.await("a leader", func(im *cluster.Image) bool { return im.Alive(1) && led("t", 2)(im) })
		ctl.catchUp(1, 1, 3)
		ctl.heldBy(1, 3)
		ctl.inZnode()
	})
}

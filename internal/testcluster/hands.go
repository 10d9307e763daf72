package testcluster

import (
	"context"
	"errors"
	"slices"
	"time"

	"barnabas/internal/kafka"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// Faults that hands make in ZooKeeper, as with zkCli. They are of the sensible kind:
// who edits a state names a leader that is in sync.

// byHand does something in ZooKeeper beside the other faults.
func (x *chaos) byHand(ctx context.Context, what string, do func(ctx context.Context, zk *session.Client) error) {
	x.note("by hand: %s", what)
	x.wg.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if err := x.c.zkCli(ctx, do); err != nil {
			x.note("by hand: %s: %v", what, err)
		}
	})
}

// zkCli does something in ZooKeeper.
func (c *Cluster) zkCli(ctx context.Context, do func(ctx context.Context, zk *session.Client) error) error {
	zk, err := session.Open(ctx, session.Options{Connect: zkIP + ":2181", Timeout: 5 * time.Second, Dialer: c.clients.Dial})
	if err != nil {
		return err
	}
	defer zk.Close()
	return do(ctx, zk)
}

func (x *chaos) dismissController(ctx context.Context) {
	x.byHand(ctx, "/controller is deleted", func(ctx context.Context, zk *session.Client) error {
		return zk.Delete(ctx, zkpaths.ControllerPath, -1)
	})
}

// partition is any partition of the topics that stay.
func (x *chaos) partition() (Topic, kafka.TopicPartition) {
	t := x.topics[x.rng.IntN(len(x.topics))]
	return t, kafka.TopicPartition{Topic: t.Name, Partition: x.rng.Int32N(x.c.size(t))}
}

// brokers are so many of them, in any order.
func (x *chaos) brokers(n int16) (ids []kafka.BrokerID) {
	for _, id := range x.rng.Perm(len(x.c.nodes))[:n] {
		ids = append(ids, kafka.BrokerID(id))
	}
	return ids
}

func (x *chaos) reassignByHand(ctx context.Context) {
	t, tp := x.partition()
	data := zkpaths.EncodeReassignments([]zkpaths.Reassignment{{TopicPartition: tp, Replicas: x.brokers(t.Replication)}})
	x.byHand(ctx, zkpaths.ReassignPath+": "+string(data), func(ctx context.Context, zk *session.Client) error {
		_, err := zk.Create(ctx, zkpaths.ReassignPath, data, session.Persistent)
		return err
	})
}

func (x *chaos) preferByHand(ctx context.Context) {
	_, tp := x.partition()
	_, other := x.partition()
	tps := slices.Compact([]kafka.TopicPartition{tp, other})
	data := zkpaths.EncodePartitions(tps)
	x.byHand(ctx, zkpaths.PreferredElectionPath+": "+string(data), func(ctx context.Context, zk *session.Client) error {
		_, err := zk.Create(ctx, zkpaths.PreferredElectionPath, data, session.Persistent)
		return err
	})
}

// editState gives a partition another leader of its ISR, or takes a member that does
// not lead out of it, in a new leader epoch or not.
func (x *chaos) editState(ctx context.Context) {
	_, tp := x.partition()
	tp.Topic = x.hand
	if t := x.topics[slices.IndexFunc(x.topics, func(t Topic) bool { return t.Name == x.hand })]; tp.Partition >= x.c.size(t) {
		tp.Partition = 0
	}
	lead, bump, which := x.rng.IntN(2) == 0, x.rng.IntN(2) == 0, x.rng.IntN(4)
	x.c.edits(tp.Topic)
	x.byHand(ctx, "the state of "+tp.String()+" is edited", func(ctx context.Context, zk *session.Client) error {
		text, err := editState(ctx, zk, tp, lead, bump, func(others []kafka.BrokerID) kafka.BrokerID { return others[which%len(others)] })
		if err == nil {
			x.note("by hand: the state of %v is %s", tp, text)
		}
		return err
	})
}

// editState names another member of the ISR as leader, or takes it out.
func editState(ctx context.Context, zk *session.Client, tp kafka.TopicPartition, lead, bump bool, choose func(others []kafka.BrokerID) kafka.BrokerID) (text []byte, err error) {
	data, st, err := zk.Get(ctx, zkpaths.StatePath(tp))
	if err != nil {
		return nil, err
	}
	s, err := zkpaths.DecodeState(data)
	if err != nil {
		return nil, err
	}
	others := slices.DeleteFunc(slices.Clone(s.ISR), func(id kafka.BrokerID) bool { return id == s.Leader })
	if len(others) == 0 || s.Leader == kafka.NoBroker {
		return nil, errors.New("nobody else is in sync")
	}
	chosen := choose(others)
	if lead {
		s.Leader = chosen
	} else {
		s.ISR = slices.DeleteFunc(s.ISR, func(id kafka.BrokerID) bool { return id == chosen })
	}
	if bump {
		s.LeaderEpoch++
	}
	text = s.Encode()
	_, err = zk.Set(ctx, zkpaths.StatePath(tp), text, st.Version)
	return text, err
}

// topicByHand makes the znode of a topic: the controller makes the topic of it.
func (x *chaos) topicByHand(ctx context.Context) {
	const name = "handmade"
	a := zkpaths.Assignment{Version: 1 + x.rng.IntN(3), Partitions: map[int32][]kafka.BrokerID{0: x.brokers(2), 1: x.brokers(3)}}
	data := a.Encode()
	x.c.edits(name)
	x.byHand(ctx, "the znode of "+name+": "+string(data), func(ctx context.Context, zk *session.Client) error {
		_, err := zk.Create(ctx, zkpaths.TopicPath(name), data, session.Persistent)
		return err
	})
}

// deleteByHand marks the volatile topic for deletion. It is made again when the
// faults are over.
func (x *chaos) deleteByHand(ctx context.Context) {
	if x.volatile == nil {
		return
	}
	x.byHand(ctx, "the deletion of "+x.volatile.Name, func(ctx context.Context, zk *session.Client) error {
		_, err := zk.Create(ctx, zkpaths.DeleteTopicPath(x.volatile.Name), nil, session.Persistent)
		return err
	})
}

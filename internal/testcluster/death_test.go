package testcluster

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
)

// TestAskedAfterADeath: clients ask for metadata, and for coordinators, as soon as
// they lose the connection to a leader whose process has died, before anybody is
// elected. All survivors name leaders that live, some of which can't know yet that
// they lead, and those take what is sent to them.
func TestAskedAfterADeath(t *testing.T) {
	danger(t, 3, func(ctx context.Context, c *Cluster) {
		// What carries Produce is answered at once, so each has connections of its own.
		k, w := c.newClient("asks", 1), &producing{Producer: Producer{Name: "asks", Acks: -1}, k: c.newClient("sends", 2), h: c.history,
			sequences: map[int32]int32{}, numbers: map[int32]int{}}
		defer k.close()
		defer w.k.close()
		_, _ = k.request(ctx, c.nodes[0].addr(), coordinators()) // makes the topic
		for _, victim := range []kafka.BrokerID{1, 2, 0} {
			c.control(ctx, 2) // one of them is the controller
			if err := await(ctx, "everybody leads", func() (bool, string) { return c.leadsAll(), "not yet" }); err != nil {
				c.history.violate("%v", err)
				return
			}
			k.close() // a client that has just lost a connection makes another one
			w.k.close()
			pause(ctx, 2*time.Second) // the connections by which brokers watch each other are no new ones
			c.nodes[victim].Kill()
			pause(ctx, 5*time.Millisecond) // what the network takes to tell of it
			for _, n := range c.nodes {
				if n.id == victim {
					continue
				}
				if err := k.asksAfter(ctx, n, victim, w); err != nil {
					c.history.violate("asking %s after the death of %d: %v", n.name(), victim, err)
				}
			}
			c.nodes[victim].Start()
			pause(ctx, 5*time.Second)
			k.elect(ctx)
		}
	})
}

// leadsAll reports whether each broker leads one of the partitions, and all are in
// sync.
func (c *Cluster) leadsAll() bool {
	leaders := map[kafka.BrokerID]bool{}
	im := c.nodes[0].Image()
	if im == nil || im.Topic("safe") == nil {
		return false
	}
	for _, p := range im.Topic("safe").Partitions {
		if p == nil || len(p.ISR) < 3 {
			return false
		}
		leaders[p.Leader] = true
	}
	return len(leaders) == 3
}

// elect gives the leaderships back that a death took.
func (k *client) elect(ctx context.Context) {
	req := kmsg.NewPtrElectLeadersRequest()
	req.Version, req.TimeoutMillis = 2, 10_000
	_, _ = k.admin(ctx, req) // whoever waits for it finds out
}

// coordinators asks for those of some groups.
func coordinators() kmsg.Request {
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.Version, req.CoordinatorKeys = 4, []string{"a", "b", "c", "d", "e", "f"}
	return req
}

// asksAfter asks a broker who leads, and where groups are coordinated, and lets w send
// a batch to each leader.
func (k *client) asksAfter(ctx context.Context, n *Node, victim kafka.BrokerID, w *producing) error {
	meta := kmsg.NewPtrMetadataRequest()
	meta.Version = 12
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = kmsg.StringPtr("safe")
	meta.Topics = append(meta.Topics, rt)
	answers, err := k.requests(ctx, n.addr(), []kmsg.Request{meta, coordinators()})
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range answers[0].(*kmsg.MetadataResponse).Topics[0].Partitions {
		if kafka.BrokerID(p.Leader) == victim || p.Leader < 0 {
			errs = append(errs, fmt.Errorf("of partition %d it names %d, code %d", p.Partition, p.Leader, p.ErrorCode))
			continue
		}
		tp := kafka.TopicPartition{Topic: "safe", Partition: p.Partition}
		w.k.leaders[tp] = k.c.nodes[p.Leader].addr()
		if err := w.try(ctx, tp, []sending{w.next(p.Partition)})[0].err; err != nil {
			errs = append(errs, fmt.Errorf("sending to %d: %w", p.Leader, err))
		}
	}
	for _, x := range answers[1].(*kmsg.FindCoordinatorResponse).Coordinators {
		if kafka.BrokerID(x.NodeID) == victim {
			errs = append(errs, errors.New("it names the dead coordinator"))
		}
	}
	return errors.Join(errs...)
}

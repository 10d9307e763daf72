package brokertest

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Partition is a partition as a broker's Metadata response tells of it. Leader is
// -1 if there is none.
type Partition struct {
	ID                             int32
	Leader                         int32
	Replicas, ISR, OfflineReplicas []int32
}

// Await waits until every running broker says of every partition of a topic what
// ok wants, so that what the test does next doesn't depend on the broker that is
// asked: brokers learn of a change one after the other. The test fails after a
// minute; what tells then what was waited for. The partitions are returned, by id.
func (c *Cluster) Await(what, topic string, ok func(Partition) bool) []Partition {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var told []Partition
	for _, b := range c.brokers {
		if b.Running() {
			var err error
			if told, err = c.awaitAt(ctx, b.Addr(), topic, ok); err != nil {
				c.t.Fatalf("brokertest: waiting for %q: broker %d tells of topic %q %s: %v", what, b.ID(), topic, partitionsText(told), err)
			}
		}
	}
	return told
}

func (c *Cluster) awaitAt(ctx context.Context, addr, topic string, ok func(Partition) bool) ([]Partition, error) {
	cl, err := c.client([]string{addr})
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr(topic)}}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		resp, err := req.RequestWith(ctx, cl.SeedBrokers()[0]) // what this one knows is asked for
		if err != nil {
			return nil, err
		}
		told := partitions(resp, topic)
		good := len(told) > 0
		for _, p := range told {
			good = good && ok(p)
		}
		if good {
			return told, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return told, ctx.Err()
		}
	}
}

// partitions are those of one topic, by id: none as long as one of them is missing.
func partitions(resp *kmsg.MetadataResponse, topic string) []Partition {
	for _, t := range resp.Topics {
		if t.Topic == nil || *t.Topic != topic {
			continue
		}
		list := make([]Partition, len(t.Partitions))
		for _, p := range t.Partitions {
			if int(p.Partition) >= len(list) {
				return nil
			}
			list[p.Partition] = Partition{ID: p.Partition, Leader: p.Leader, Replicas: p.Replicas, ISR: p.ISR, OfflineReplicas: p.OfflineReplicas}
		}
		return list
	}
	return nil
}

func partitionsText(list []Partition) string {
	var b strings.Builder
	for _, p := range list {
		fmt.Fprintf(&b, "[%d: leader %d, replicas %v, in sync %v, offline %v]", p.ID, p.Leader, p.Replicas, p.ISR, p.OfflineReplicas)
	}
	return b.String()
}

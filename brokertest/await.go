package brokertest

import (
	"context"
	"fmt"
	"slices"
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

func (c *Cluster) awaitAt(ctx context.Context, addr, topic string, ok func(Partition) bool) (told []Partition, err error) {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr(topic)}}
	_, err = c.awaitMetadata(ctx, addr, req, func(resp *kmsg.MetadataResponse) bool {
		told = partitions(resp, topic)
		return len(told) > 0 && !slices.ContainsFunc(told, func(p Partition) bool { return !ok(p) })
	})
	return told, err
}

// awaitMetadata asks the broker at addr, not one that it names, until ok is content
// with what it knows, and returns its last answer, nil if there was none.
func (c *Cluster) awaitMetadata(ctx context.Context, addr string, req *kmsg.MetadataRequest, ok func(*kmsg.MetadataResponse) bool) (*kmsg.MetadataResponse, error) {
	cl, err := c.client([]string{addr})
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		resp, err := req.RequestWith(ctx, cl.SeedBrokers()[0])
		if err != nil || ok(resp) {
			return resp, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return resp, ctx.Err()
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

package broker_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/brokertest"
)

// awaitISR waits until every partition of a topic has an ISR of that size.
func awaitISR(c *brokertest.Cluster, topic string, size int) {
	c.Await(fmt.Sprintf("%d in sync", size), topic, func(p brokertest.Partition) bool { return len(p.ISR) == size })
}

func sendAll(t *testing.T, cl *kgo.Client, topic string, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		r := &kgo.Record{Topic: topic, Key: fmt.Append(nil, i), Value: fmt.Append(nil, i)}
		cl.Produce(t.Context(), r, func(r *kgo.Record, err error) {
			if err != nil {
				t.Errorf("sending %s: %v", r.Value, err)
			}
		})
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestReplicasReturn: each broker in turn dies and comes back, among them the
// controller. It catches up and is let into the ISRs again, so that the death of
// the next one loses nothing.
func TestReplicasReturn(t *testing.T) {
	c := brokertest.Start(t, brokertest.Brokers(3), brokertest.Topics(
		brokertest.Topic{Name: "r", Partitions: 6, ReplicationFactor: 3, Configs: map[string]string{"min.insync.replicas": "2"}}))
	cl := c.Client(kgo.RequiredAcks(kgo.AllISRAcks()))
	sent := 0
	for id := range 3 {
		sendAll(t, cl, "r", sent, sent+100)
		c.Broker(id).Kill()
		sendAll(t, cl, "r", sent+100, sent+200)
		sent += 200
		c.Broker(id).Restart()
		awaitISR(c, "r", 3)
	}
	reader := c.Client(kgo.ConsumeTopics("r"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	got := map[string]int{}
	for len(got) < sent {
		f := reader.PollFetches(t.Context())
		if err := f.Err(); err != nil {
			t.Fatalf("%d of %d read: %v", len(got), sent, err)
		}
		f.EachRecord(func(r *kgo.Record) { got[string(r.Value)]++ })
	}
	for v, n := range got {
		if n != 1 {
			t.Errorf("%s is there %d times", v, n)
		}
	}
}

// TestAnyBrokerIsABootstrap: topics made by asking and producer ids come through
// brokers that are not the controller, too.
func TestAnyBrokerIsABootstrap(t *testing.T) {
	c := brokertest.Start(t, brokertest.Brokers(3), brokertest.Config("default.replication.factor", "3"))
	ids := map[int64]bool{}
	for i, addr := range c.Addrs() {
		cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		topic := fmt.Sprintf("asked-%d", i)
		req := kmsg.NewPtrMetadataRequest()
		req.AllowAutoTopicCreation = true
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = &topic
		req.Topics = append(req.Topics, rt)
		resp, err := cl.SeedBrokers()[0].Request(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		got := resp.(*kmsg.MetadataResponse).Topics[0]
		if got.ErrorCode != 0 || len(got.Partitions) != 1 || !slices.Equal(slices.Sorted(slices.Values(got.Partitions[0].Replicas)), []int32{0, 1, 2}) {
			t.Errorf("broker %d: %+v", i, got)
		}
		iresp, err := cl.SeedBrokers()[0].Request(t.Context(), kmsg.NewPtrInitProducerIDRequest())
		if err != nil {
			t.Fatal(err)
		}
		r := iresp.(*kmsg.InitProducerIDResponse)
		if r.ErrorCode != 0 || ids[r.ProducerID] {
			t.Errorf("broker %d: %+v", i, r)
		}
		ids[r.ProducerID] = true
	}
}

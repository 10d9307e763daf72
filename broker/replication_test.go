package broker_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/brokertest"
)

// known returns, by broker that runs and partition, up to where its own log is
// known to be committed.
func known(t *testing.T, c *brokertest.Cluster, topic string, partitions int32) [][]int64 {
	t.Helper()
	var all [][]int64
	for id := range 3 {
		if !c.Broker(id).Running() {
			continue
		}
		cl, err := kgo.NewClient(kgo.SeedBrokers(c.Broker(id).Addr()))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		req := kmsg.NewPtrListOffsetsRequest()
		req.ReplicaID = -2 // any replica answers
		rt := kmsg.NewListOffsetsRequestTopic()
		rt.Topic = topic
		for p := range partitions {
			rp := kmsg.NewListOffsetsRequestTopicPartition()
			rp.Partition, rp.Timestamp, rp.CurrentLeaderEpoch = p, -1, -1
			rt.Partitions = append(rt.Partitions, rp)
		}
		req.Topics = append(req.Topics, rt)
		resp, err := cl.SeedBrokers()[0].Request(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		ends := make([]int64, partitions)
		for _, p := range resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions {
			if p.ErrorCode != 0 {
				p.Offset = -int64(p.ErrorCode)
			}
			ends[p.Partition] = p.Offset
		}
		all = append(all, ends)
	}
	return all
}

// until waits for a condition.
func until(t *testing.T, what string, cond func() (bool, string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, state := cond()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: still %s", what, state)
		}
	}
}

// TestReplication: three brokers keep one topic, one of them is killed under
// load, nothing that was acknowledged is missing, and it catches up when it
// comes back.
func TestReplication(t *testing.T) {
	const topic, partitions = "three", 3
	c := brokertest.Start(t, brokertest.Brokers(3),
		brokertest.Config("replica.lag.time.max.ms", "30000"),
		brokertest.Config("min.insync.replicas", "2"),
		brokertest.Topics(brokertest.Topic{Name: topic, Partitions: partitions, ReplicationFactor: 3}))
	cl := c.Client(kgo.RequiredAcks(kgo.AllISRAcks()), kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	sent := 0
	send := func(n int) {
		t.Helper()
		began := time.Now()
		for range n {
			if err := cl.ProduceSync(t.Context(), kgo.StringRecord(fmt.Sprint(sent))).FirstErr(); err != nil {
				t.Fatalf("record %d: %v", sent, err)
			}
			sent++
		}
		t.Logf("%d records, acks=all: %v", n, time.Since(began))
	}
	same := func(want int) {
		t.Helper()
		until(t, "all know the same", func() (bool, string) {
			ends := known(t, c, topic, partitions)
			total := int64(0)
			for _, e := range ends[0] {
				total += e
			}
			for _, e := range ends[1:] {
				if !slices.Equal(e, ends[0]) {
					return false, fmt.Sprint(ends)
				}
			}
			return len(ends) == want && total == int64(sent), fmt.Sprint(ends)
		})
	}
	send(100)
	same(3)
	awaitISR(c, topic, 3)

	began := time.Now()
	c.Broker(1).Kill()
	send(100)
	t.Logf("since the kill: %v", time.Since(began))
	awaitISR(c, topic, 2)
	same(2)

	c.Broker(1).Restart()
	awaitISR(c, topic, 3)
	send(100)
	same(3)

	// What the one that came back has copied is what the others had.
	c.Broker(0).Kill()
	c.Broker(2).Kill()
	in := c.Client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	got := map[string]int{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for len(got) < sent && ctx.Err() == nil {
		in.PollFetches(ctx).EachRecord(func(r *kgo.Record) { got[string(r.Value)]++ })
	}
	for i := range sent {
		if got[fmt.Sprint(i)] != 1 {
			t.Errorf("record %d was read %d times", i, got[fmt.Sprint(i)])
		}
	}
}

package testcluster

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
	"barnabas/log/batch"
	"barnabas/protocol"
)

// Consumer reads all partitions of a topic from the beginning, again and again
// where it has come to, and notes what it saw.
type Consumer struct {
	Name  string
	Topic Topic
	Seed  uint64
	// Rack: it reads from the replica of its rack where the leader says so
	// (KIP-392).
	Rack string
}

// run works until ctx ends.
func (r Consumer) run(ctx context.Context, c *Cluster) {
	k := c.newClient(r.Name, r.Seed)
	k.rack = r.Rack
	defer k.close()
	next := map[int32]int64{}
	for last := ""; ctx.Err() == nil; {
		partition := k.rng.Int32N(c.size(r.Topic))
		tp := kafka.TopicPartition{Topic: r.Topic.Name, Partition: partition}
		got, _, err := k.fetch(ctx, tp, next[partition], 300*time.Millisecond)
		for _, g := range got {
			c.history.promised(tp, g.offset, g.value, "read by "+r.Name)
			next[partition] = g.offset + 1
		}
		if err == nil {
			last = ""
			continue
		}
		if err.Error() != last {
			last = err.Error()
			c.history.note(r.Name, "%v at %d: %v", tp, next[partition], err)
		}
		delete(k.leaders, tp)
		pause(ctx, 200*time.Millisecond)
	}
}

// fetched is a record that was read.
type fetched struct {
	offset int64
	value  string
}

// fetch reads some records of a partition from an offset on, and tells the high
// watermark.
func (k *client) fetch(ctx context.Context, tp kafka.TopicPartition, from int64, wait time.Duration) (list []fetched, hw int64, err error) {
	leader, err := k.leader(ctx, tp)
	if err != nil {
		return nil, 0, err
	}
	addr := leader
	if near := k.near[tp]; near != "" {
		addr = near
		delete(k.near, tp) // unless it works
	}
	req := kmsg.NewPtrFetchRequest()
	req.Rack = k.rack
	req.Version, req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = 11, int32(wait.Milliseconds()), 1, 1<<20, -1
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic = tp.Topic
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes, rp.CurrentLeaderEpoch = tp.Partition, from, 64<<10, k.epoch(tp)
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := k.request(ctx, addr, req)
	if err != nil {
		return nil, 0, err
	}
	fr := resp.(*kmsg.FetchResponse)
	if fr.ErrorCode != 0 {
		return nil, 0, protocol.Error(fr.ErrorCode)
	}
	p := fr.Topics[0].Partitions[0]
	if p.ErrorCode != 0 {
		return nil, 0, protocol.Error(p.ErrorCode)
	}
	switch {
	case p.PreferredReadReplica >= 0 && int(p.PreferredReadReplica) < len(k.c.nodes):
		k.near[tp] = k.c.nodes[p.PreferredReadReplica].addr()
	case addr != leader:
		k.near[tp] = addr
	}
	list, err = records(p.RecordBatches, from)
	return list, p.HighWatermark, err
}

// records opens batches; a part of one at the end is left.
func records(b []byte, from int64) (list []fetched, err error) {
	for len(b) > 0 {
		_, whole, rest, err := batch.Next(b)
		if err != nil {
			break
		}
		if !batch.CheckCRC(whole) {
			return list, fmt.Errorf("testcluster: a batch whose checksum is wrong")
		}
		for r, err := range batch.Records(whole, nil) {
			if err != nil {
				return list, err
			}
			if r.Offset >= from {
				list = append(list, fetched{r.Offset, string(r.Value)})
			}
		}
		b = rest
	}
	return list, nil
}

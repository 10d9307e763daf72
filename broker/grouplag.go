package broker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/replica"
	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/log/batch"
	"barnabas/net/peer"
)

// groupLags asks the leaders of partitions for what the group coordinator wants
// to know about lag: this broker's replicas directly, other brokers by request.
type groupLags struct {
	self  kafka.BrokerID
	image func() *cluster.Image
	m     *replica.Manager
	peers *peer.Peers
}

// byLeader sorts partitions by who leads them.
func (g groupLags) byLeader(of []kafka.TopicPartition) map[kafka.BrokerID][]kafka.TopicPartition {
	im := g.image()
	out := map[kafka.BrokerID][]kafka.TopicPartition{}
	for _, tp := range of {
		if t := im.Topic(tp.Topic); t != nil {
			if p := t.Partition(tp.Partition); p != nil && p.HasState && p.Leader >= 0 {
				out[p.Leader] = append(out[p.Leader], tp)
			}
		}
	}
	return out
}

// gather asks all leaders at the same time and puts their answers together. Who
// does not answer is left out.
func gather[V any](of map[kafka.BrokerID][]kafka.TopicPartition, ask func(kafka.BrokerID, []kafka.TopicPartition, func(kafka.TopicPartition, V))) map[kafka.TopicPartition]V {
	var mu sync.Mutex
	out := map[kafka.TopicPartition]V{}
	var wg sync.WaitGroup
	for id, tps := range of {
		wg.Go(func() {
			ask(id, tps, func(tp kafka.TopicPartition, v V) {
				mu.Lock()
				defer mu.Unlock()
				out[tp] = v
			})
		})
	}
	wg.Wait()
	return out
}

// Ends implements group.Lags.
func (g groupLags) Ends(ctx context.Context, of []kafka.TopicPartition) map[kafka.TopicPartition]int64 {
	return gather(g.byLeader(of), func(id kafka.BrokerID, tps []kafka.TopicPartition, put func(kafka.TopicPartition, int64)) {
		if id != g.self {
			g.remoteEnds(ctx, id, tps, put)
			return
		}
		for _, tp := range tps {
			a, err := g.m.Offset(&replica.OffsetQuery{TP: tp, Epoch: kafka.NoLeaderEpoch, Timestamp: replica.LatestTimestamp})
			if err == nil {
				put(tp, a.Offset)
			}
		}
	})
}

// remoteEnds asks another broker by ListOffsets.
func (g groupLags) remoteEnds(ctx context.Context, id kafka.BrokerID, tps []kafka.TopicPartition, put func(kafka.TopicPartition, int64)) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.SetVersion(5)
	req.ReplicaID = -1
	at := map[string]int{}
	for _, tp := range tps {
		i, found := at[tp.Topic]
		if !found {
			i = len(req.Topics)
			at[tp.Topic] = i
			t := kmsg.NewListOffsetsRequestTopic()
			t.Topic = tp.Topic
			req.Topics = append(req.Topics, t)
		}
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = tp.Partition, replica.LatestTimestamp
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, p)
	}
	resp, err := g.peers.Request(ctx, id, req)
	if err != nil {
		return // the next round asks again
	}
	for _, t := range resp.(*kmsg.ListOffsetsResponse).Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode == 0 {
				put(kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}, p.Offset)
			}
		}
	}
}

// Times implements group.Lags.
func (g groupLags) Times(ctx context.Context, of map[kafka.TopicPartition]int64) map[kafka.TopicPartition]time.Time {
	tps := make([]kafka.TopicPartition, 0, len(of))
	for tp := range of {
		tps = append(tps, tp)
	}
	return gather(g.byLeader(tps), func(id kafka.BrokerID, tps []kafka.TopicPartition, put func(kafka.TopicPartition, time.Time)) {
		for _, tp := range tps {
			var head []byte
			var err error
			if id == g.self {
				head, err = g.localBatch(tp, of[tp])
			} else {
				head, err = g.remoteBatch(ctx, id, tp, of[tp])
			}
			if t, ok := timeIn(head, of[tp]); ok && err == nil {
				put(tp, t)
			}
		}
	})
}

// localBatch reads the header of the batch that holds an offset.
func (g groupLags) localBatch(tp kafka.TopicPartition, offset int64) ([]byte, error) {
	d, err := g.m.Read(&replica.ReadArgs{
		TP: tp, Epoch: kafka.NoLeaderEpoch, LastFetched: kafka.NoLeaderEpoch, Offset: offset, MaxBytes: 1, MinOne: true,
	})
	if err != nil {
		return nil, err
	}
	defer d.Records.Release()
	if d.Records.Length < batch.HeaderSize {
		return nil, errors.New("no batch")
	}
	head := make([]byte, batch.HeaderSize)
	_, err = d.Records.File.ReadAt(head, d.Records.Offset)
	return head, err
}

// remoteBatch fetches it from another broker.
func (g groupLags) remoteBatch(ctx context.Context, id kafka.BrokerID, tp kafka.TopicPartition, offset int64) ([]byte, error) {
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(11)
	req.ReplicaID, req.MaxBytes, req.SessionEpoch = -1, 1, -1
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = tp.Partition, offset, 1, -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.Partitions = tp.Topic, append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := g.peers.Request(ctx, id, req)
	if err != nil {
		return nil, err
	}
	for _, t := range resp.(*kmsg.FetchResponse).Topics {
		for _, p := range t.Partitions {
			return p.RecordBatches, nil
		}
	}
	return nil, errors.New("no answer")
}

// timeIn is about when the record at offset was written, from the header of its
// batch.
func timeIn(b []byte, offset int64) (time.Time, bool) {
	h, err := batch.ParseHeader(b)
	if err != nil || h.MaxTimestamp < 0 {
		return time.Time{}, false
	}
	if h.HasDeleteHorizon() || h.LogAppendTime() || h.BaseTimestamp < 0 || h.BaseTimestamp > h.MaxTimestamp || offset > h.BaseOffset {
		return time.UnixMilli(h.MaxTimestamp), true
	}
	return time.UnixMilli(h.BaseTimestamp), true
}

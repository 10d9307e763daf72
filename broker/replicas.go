package broker

import (
	"context"
	"time"

	"barnabas/broker/api"
	"barnabas/broker/replica"
	"barnabas/internal/kafka"
	"barnabas/log"
	"barnabas/protocol"
)

// replicas gives the API the partitions in its own words.
type replicas struct{ m *replica.Manager }

// Append implements api.Replicas.
func (r replicas) Append(tp kafka.TopicPartition, recs []byte, acks int16) (api.Appended, error) {
	a, err := r.m.Append(tp, recs, acks, log.Client)
	if err != nil {
		return api.Appended{}, err
	}
	return api.Appended{
		BaseOffset: a.FirstOffset, NextOffset: a.LastOffset + 1, LogAppendTime: a.LogAppendTime, LogStartOffset: a.LogStartOffset,
		LeaderEpoch: a.Epoch, Wait: acks == -1 && !a.Replicated,
	}, nil
}

// AwaitReplicated implements api.Replicas.
func (r replicas) AwaitReplicated(tp kafka.TopicPartition, a api.Appended, wait time.Duration, done func(error)) (cancel func()) {
	return r.m.AwaitReplicated(tp, a.NextOffset-1, a.LeaderEpoch, wait, done)
}

// Read implements api.Replicas.
func (r replicas) Read(f *api.FetchPartition, data *api.FetchData) error {
	args := replica.ReadArgs{
		TP: f.TP, TopicID: f.TopicID, Epoch: f.CurrentEpoch, LastFetched: f.LastFetchedEpoch,
		Offset: f.Offset, MaxBytes: f.MaxBytes, MinOne: f.MinOne,
	}
	if f.Committed {
		args.Isolation = replica.ReadCommitted
	}
	d, err := r.m.Read(&args)
	if err != nil {
		return err
	}
	data.HighWatermark, data.LastStableOffset, data.LogStartOffset = d.HighWatermark, d.LastStableOffset, d.LogStartOffset
	data.Records = d.Records
	for _, t := range d.Aborted {
		data.Aborted = append(data.Aborted, protocol.AbortedTxn{ProducerID: t.ProducerID, FirstOffset: t.FirstOffset})
	}
	if d.Diverging != nil {
		data.Diverging = &protocol.EpochEnd{Epoch: int32(d.Diverging.Epoch), EndOffset: d.Diverging.Offset}
	}
	data.Preferred = kafka.NoBroker
	return nil
}

// groupStore keeps the group coordinator's records in partitions of
// __consumer_offsets.
type groupStore struct{ m *replica.Manager }

// Append implements group.Store.
func (s groupStore) Append(partition int32, epoch kafka.LeaderEpoch, b []byte, timeout time.Duration, done func(error)) (int64, error) {
	tp := kafka.TopicPartition{Topic: kafka.ConsumerOffsetsTopic, Partition: partition}
	acks := int16(-1)
	if done == nil {
		acks = 1
	}
	a, err := s.m.AppendIn(tp, epoch, b, acks)
	if err != nil {
		return 0, err
	}
	switch {
	case done == nil:
	case a.Replicated:
		done(nil)
	default:
		s.m.AwaitReplicated(tp, a.LastOffset, a.Epoch, timeout, done)
	}
	return a.FirstOffset, nil
}

// Read implements group.Store.
func (s groupStore) Read(ctx context.Context, partition int32, fn func(b []byte) error) error {
	return s.m.Scan(ctx, kafka.TopicPartition{Topic: kafka.ConsumerOffsetsTopic, Partition: partition}, fn)
}

package broker

import (
	"context"
	"time"

	"barnabas/broker/replica"
	"barnabas/internal/kafka"
)

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

// Settled implements group.Store.
func (s groupStore) Settled(ctx context.Context, partition int32) error {
	return s.m.AwaitSettled(ctx, kafka.TopicPartition{Topic: kafka.ConsumerOffsetsTopic, Partition: partition})
}

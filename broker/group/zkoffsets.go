package group

import (
	"context"
	"errors"

	"barnabas/internal/kafka"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// ZooKeeperOffsets keeps LegacyOffsets where the consumers before 0.9 kept them.
type ZooKeeperOffsets struct {
	Client *session.Client
}

// Offset implements LegacyOffsets.
func (z ZooKeeperOffsets) Offset(ctx context.Context, group, topic string, partition int32) (int64, bool, error) {
	data, _, err := z.Client.Get(ctx, zkpaths.ConsumerOffsetPath(group, kafka.TopicPartition{Topic: topic, Partition: partition}))
	if errors.Is(err, session.ErrNoNode) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	offset, err := zkpaths.DecodeConsumerOffset(data)
	return offset, err == nil, err
}

// SetOffset implements LegacyOffsets.
func (z ZooKeeperOffsets) SetOffset(ctx context.Context, group, topic string, partition int32, offset int64) error {
	path := zkpaths.ConsumerOffsetPath(group, kafka.TopicPartition{Topic: topic, Partition: partition})
	data := zkpaths.EncodeConsumerOffset(offset)
	_, err := z.Client.Set(ctx, path, data, -1)
	if !errors.Is(err, session.ErrNoNode) {
		return err
	}
	_, err = z.Client.CreateAll(ctx, path, data, session.Persistent)
	if errors.Is(err, session.ErrNodeExists) {
		_, err = z.Client.Set(ctx, path, data, -1) // somebody committed first
	}
	return err
}

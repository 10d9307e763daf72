package group

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"barnabas/internal/kafka"
	"barnabas/log/batch"
)

// Store keeps the records of the partitions of __consumer_offsets that this
// broker leads.
type Store interface {
	// Append writes one batch at the end of the partition, if this broker leads
	// it in that epoch, and returns the batch's base offset. It does not wait
	// for replicas. If and only if the error is nil, done is called once, from
	// any goroutine and perhaps before Append returns: with nil when all in-sync
	// replicas have the batch and they are enough, else with the reason, at the
	// latest after timeout. b may be changed and is not kept. done may be nil:
	// nobody waits (acks=1). Errors carry a protocol.Error in their chain.
	Append(partition int32, epoch kafka.LeaderEpoch, b []byte, timeout time.Duration, done func(error)) (int64, error)
	// Read calls fn with each batch from the partition's log start to its end.
	// fn keeps nothing. An error of fn ends it and is returned.
	Read(ctx context.Context, partition int32, fn func(b []byte) error) error
	// Settled returns once all in-sync replicas have what was in the log of the
	// partition, which this broker leads, when it was called.
	Settled(ctx context.Context, partition int32) error
}

// LegacyOffsets are the offsets that OffsetCommit and OffsetFetch version 0 keep
// in ZooKeeper, under /consumers/<group>/offsets/<topic>/<partition>.
type LegacyOffsets interface {
	// Offset returns a committed offset; found is false if there is none.
	Offset(ctx context.Context, group, topic string, partition int32) (offset int64, found bool, err error)
	// SetOffset stores one, whatever was there.
	SetOffset(ctx context.Context, group, topic string, partition int32, offset int64) error
}

// Config are the limits and times of Kafka's group.* and offsets.* keys.
type Config struct {
	// MinSessionTimeout and MaxSessionTimeout bound what members may ask for;
	// default 6 s and 30 min.
	MinSessionTimeout, MaxSessionTimeout time.Duration
	// InitialRebalanceDelay is how long an empty group waits for more members
	// before its first generation. There is no default: 0 is no delay.
	InitialRebalanceDelay time.Duration
	// MaxSize is the most members a group may have; default 2³¹-1.
	MaxSize int
	// MaxMetadata is the longest metadata of a commit in UTF-16 units; default
	// 4096.
	MaxMetadata int
	// OffsetsRetention is how long offsets outlive their group's last member;
	// default 7 days.
	OffsetsRetention time.Duration
	// RetentionCheckInterval is the time between two looks for expired offsets;
	// default 10 min.
	RetentionCheckInterval time.Duration
	// CommitTimeout bounds the wait for replicas; default 5 s.
	CommitTimeout time.Duration
	// Codec compresses what is appended; default none.
	Codec batch.Codec
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&c.MinSessionTimeout, 6*time.Second)
	set(&c.MaxSessionTimeout, 30*time.Minute)
	set(&c.OffsetsRetention, 7*24*time.Hour)
	set(&c.RetentionCheckInterval, 10*time.Minute)
	set(&c.CommitTimeout, 5*time.Second)
	if c.MaxSize <= 0 {
		c.MaxSize = 1<<31 - 1
	}
	if c.MaxMetadata <= 0 {
		c.MaxMetadata = 4096
	}
	return c
}

// Options make a Coordinator.
type Options struct {
	// Store is required.
	Store Store
	// Partitions is the number of partitions of __consumer_offsets, 0 while it
	// does not exist. Required; asked on each request.
	Partitions func() int32
	// Legacy serves version 0 of OffsetCommit and OffsetFetch; without it those
	// are refused as not available.
	Legacy LegacyOffsets
	// Lags tells where partitions end; without it no lag is known.
	Lags   Lags
	Config Config
	// Codecs is required if Config.Codec compresses, and to load what was
	// compressed.
	Codecs *batch.Codecs
	// Logger is required.
	Logger *slog.Logger
}

func (o Options) validate() error {
	if o.Store == nil || o.Partitions == nil || o.Logger == nil {
		return errors.New("group: Options need Store, Partitions and Logger")
	}
	if o.Config.Codec != batch.None && o.Codecs == nil {
		return errors.New("group: Options need Codecs to compress")
	}
	return nil
}

package api

import (
	"log/slog"
	"time"

	"barnabas/broker/group"
	"barnabas/broker/purgatory"
	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/protocol"
)

// Options hands the rooms to the API. Each handler uses what it names; a nil
// room makes the handlers that need it panic, so the assembly sets all of them.
type Options struct {
	Logger *slog.Logger
	// BrokerID is this broker.
	BrokerID kafka.BrokerID
	// Image is the newest image of the cluster; never nil.
	Image func() *cluster.Image
	// FeatureEpoch is the version of the znode /feature; -1 or nil: unknown.
	FeatureEpoch func() int64

	// Replicas are the partitions of this broker.
	Replicas Replicas
	// Fetches parks fetches that wait for data; woken by partition whenever its
	// high watermark, last stable offset, log end (for followers) or leader
	// moves.
	Fetches *purgatory.Purgatory[kafka.TopicPartition]
	// Offsets answers questions about offsets of this broker's partitions.
	Offsets Offsets
	// ProducerIDs are for idempotent producers.
	ProducerIDs ProducerIDs
	// Groups coordinates consumer groups; Coordinators finds who does.
	Groups       *group.Coordinator
	Coordinators *group.Finder
	// FetchMaxBytes bounds any fetch answer (fetch.max.bytes). Default
	// 57671680.
	FetchMaxBytes int
	// FetchSessionSlots is max.incremental.fetch.session.cache.slots. Default
	// 1000; negative: no sessions.
	FetchSessionSlots int
}

// Replicas is what Produce and Fetch need of the partitions. Errors carry a
// protocol.Error or *protocol.Failure in their chain.
type Replicas interface {
	// Append stores a client's records, one whole batch of format 2, as leader
	// of tp. recs is changed in place and not kept; acks is -1, 0 or 1. The
	// topic of tp may be kept.
	Append(tp kafka.TopicPartition, recs []byte, acks int16) (Appended, error)
	// AwaitReplicated calls done exactly once, when all records before
	// a.NextOffset are replicated (nil), when that can't be any more, or after
	// wait (REQUEST_TIMED_OUT), unless cancel comes first. done may run before
	// AwaitReplicated returns, and must not block.
	AwaitReplicated(tp kafka.TopicPartition, a Appended, wait time.Duration, done func(error)) (cancel func())
	// Read looks for records of one partition and fills data, which is zero
	// before. On an error data holds no range.
	Read(f *FetchPartition, data *FetchData) error
}

// Appended is what a successful append says.
type Appended struct {
	// BaseOffset is that of the first record; for a duplicate, of the batch
	// stored before.
	BaseOffset int64
	// NextOffset is the offset after the last record.
	NextOffset int64
	// LogAppendTime in ms; -1 if the topic keeps the producer's times.
	LogAppendTime int64
	// LogStartOffset is the oldest offset that the log has.
	LogStartOffset int64
	// LeaderEpoch is the leadership that stored it.
	LeaderEpoch kafka.LeaderEpoch
	// Wait says that acks=-1 was asked and NextOffset is not replicated yet.
	Wait bool
}

// FetchPartition asks for records of one partition.
type FetchPartition struct {
	TP kafka.TopicPartition
	// TopicID is zero for clients that fetch by name.
	TopicID kafka.TopicID
	// Replica is the follower that asks, kafka.NoBroker for a consumer, and
	// ReplicaEpoch its registration, -1 if unknown.
	Replica      kafka.BrokerID
	ReplicaEpoch kafka.BrokerEpoch
	// Offset is where to read.
	Offset int64
	// CurrentEpoch is the leader epoch that the client knows, or -1.
	CurrentEpoch kafka.LeaderEpoch
	// LastFetchedEpoch is the epoch of the record before Offset, or -1.
	LastFetchedEpoch kafka.LeaderEpoch
	// LogStartOffset is a follower's own.
	LogStartOffset int64
	// MaxBytes limits the range.
	MaxBytes int
	// MinOne asks for one whole batch even when it is larger than MaxBytes.
	MinOne bool
	// Committed hides open and aborted transactions (read_committed): nothing
	// at or above the last stable offset is read, and Aborted is filled.
	Committed bool
	// ClientID and Rack serve the choice of a replica to read from. HasClient is
	// set from Fetch v11 on: only then may a follower answer.
	ClientID, Rack string
	HasClient      bool
}

// FetchData is what a partition has to say to a fetch.
type FetchData struct {
	HighWatermark, LastStableOffset, LogStartOffset int64
	// Records is the range to send; Length 0: none. The holder releases it.
	Records vfs.Range
	// Aborted lists the aborted transactions of the range for Committed.
	Aborted []protocol.AbortedTxn
	// Diverging is set when LastFetchedEpoch does not agree with the log.
	Diverging *protocol.EpochEnd
	// Preferred is the replica to read from instead; kafka.NoBroker (-1) for
	// none.
	Preferred kafka.BrokerID
	// Now asks for an answer without waiting for more: a follower whose high
	// watermark is behind.
	Now bool
}

// Package checkpoint reads and writes the small files beside the segments:
// offset checkpoints, leader epochs, partition.metadata, meta.properties and
// producer snapshots, in Kafka's exact bytes (log-format.md §1 and §5).
//
// Text files are replaced atomically and durably (vfs.WriteFileAtomic). Readers
// are strict and bounded: damage is ErrCorrupt, wrapped with file and line.
package checkpoint

import (
	"errors"
	"time"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
)

// ErrCorrupt: the file is not what it should be.
var ErrCorrupt = errors.New("checkpoint: corrupt")

// Names of the files in a log directory.
const (
	RecoveryPointFile  = "recovery-point-offset-checkpoint"
	LogStartFile       = "log-start-offset-checkpoint"
	HighWatermarkFile  = "replication-offset-checkpoint"
	CleanerFile        = "cleaner-offset-checkpoint"
	MetaPropertiesFile = "meta.properties"
	CleanShutdownFile  = ".kafka_cleanshutdown"
	LockFile           = ".lock"
)

// Names of the files in a partition's directory.
const (
	EpochsFile            = "leader-epoch-checkpoint"
	PartitionMetadataFile = "partition.metadata"
)

// CleanShutdownMarker is the content of CleanShutdownFile.
const CleanShutdownMarker = `{"version":0,"brokerEpoch":-1}`

// ReadOffsets reads an offset checkpoint. An empty file holds no entries; an
// absent one is fs.ErrNotExist.
func ReadOffsets(fs vfs.FS, name string) (map[kafka.TopicPartition]int64, error) { return nil, nil }

// WriteOffsets replaces an offset checkpoint, entries sorted.
func WriteOffsets(fs vfs.FS, name string, offsets map[kafka.TopicPartition]int64) error { return nil }

// Epoch says that the records from StartOffset on were appended by the leader of
// Epoch.
type Epoch struct {
	Epoch       kafka.LeaderEpoch
	StartOffset int64
}

// ReadEpochs reads a leader-epoch-checkpoint; epochs and offsets strictly
// increase.
func ReadEpochs(fs vfs.FS, name string) ([]Epoch, error) { return nil, nil }

// WriteEpochs replaces a leader-epoch-checkpoint.
func WriteEpochs(fs vfs.FS, name string, epochs []Epoch) error { return nil }

// ReadPartitionMetadata reads the topic id in a partition.metadata.
func ReadPartitionMetadata(fs vfs.FS, name string) (kafka.TopicID, error) {
	return kafka.TopicID{}, nil
}

// WritePartitionMetadata replaces a partition.metadata.
func WritePartitionMetadata(fs vfs.FS, name string, id kafka.TopicID) error { return nil }

// Meta is the content of a meta.properties.
type Meta struct {
	// Version 0 is ZooKeeper's, 1 is KRaft's (with node.id for BrokerID).
	Version int
	// BrokerID is -1 if absent.
	BrokerID kafka.BrokerID
	// ClusterID and DirectoryID are empty if absent.
	ClusterID, DirectoryID string
}

// ReadMeta reads a meta.properties; an absent one is fs.ErrNotExist.
func ReadMeta(fs vfs.FS, name string) (Meta, error) { return Meta{}, nil }

// WriteMeta replaces a meta.properties; now goes into its date comment.
func WriteMeta(fs vfs.FS, name string, m Meta, now time.Time) error { return nil }

// Producer is one entry of a producer snapshot. Absent numbers are -1.
type Producer struct {
	ID               kafka.ProducerID
	Epoch            kafka.ProducerEpoch
	LastSequence     int32
	LastOffset       int64
	OffsetDelta      int32 // last minus first offset of the last batch
	LastTimestamp    int64 // milliseconds
	CoordinatorEpoch int32
	TxnFirstOffset   int64 // of the open transaction
}

// EncodeSnapshot returns the bytes of a producer snapshot.
func EncodeSnapshot(producers []Producer) []byte { return nil }

// DecodeSnapshot reads them.
func DecodeSnapshot(b []byte) ([]Producer, error) { return nil, nil }

// ReadSnapshot reads a producer snapshot of at most 1 GiB.
func ReadSnapshot(fs vfs.FS, name string) ([]Producer, error) { return nil, nil }

// WriteSnapshot writes a producer snapshot; it is made durable only if sync.
func WriteSnapshot(fs vfs.FS, name string, producers []Producer, sync bool) error { return nil }

package log

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"time"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log/batch"
	"barnabas/log/index"
)

var errStub = errors.New("log: not yet")

// Log is one partition's log. Its methods may be called by many goroutines.
type Log struct{}

// Open loads the log in o.Dir, which is made if it does not exist, and recovers
// it unless o.Clean.
func Open(o OpenOptions) (*Log, error) { return nil, errStub }

// Origin says who made the batches that are appended.
type Origin int8

const (
	// Client batches are validated as the topic asks, and checked for duplicates.
	Client Origin = iota
	// Coordinator batches (groups, transactions, markers) are the broker's own.
	Coordinator
	// Replication batches come from a leader and are trusted but for their CRC.
	Replication
)

// AppendInfo tells what an append did.
type AppendInfo struct {
	// FirstOffset and LastOffset are those of the records appended, or of the
	// ones that a duplicate repeats.
	FirstOffset, LastOffset int64
	// MaxTimestamp is the largest timestamp, in milliseconds.
	MaxTimestamp int64
	// LogAppendTime is the time that the log gave the records, -1 if they keep
	// their own; for a duplicate the stored batch's largest timestamp.
	LogAppendTime int64
	// LogStartOffset at the time of the append.
	LogStartOffset int64
	// Duplicate says that nothing was written.
	Duplicate bool
	// Bytes and Records count what was written.
	Bytes, Records int
	// EndOffset is the log end offset after the append.
	EndOffset int64
}

// AppendAsLeader appends recs, whole batches of magic 2, giving them the next
// offsets and epoch in place. A client sends exactly one; a part of a second one
// is ignored. recs are changed but not kept.
func (l *Log) AppendAsLeader(recs []byte, epoch kafka.LeaderEpoch, origin Origin) (AppendInfo, error) {
	return AppendInfo{}, errStub
}

// AppendAsFollower appends batches that a leader has placed. A part of a batch
// at the end is ignored. Batches wholly below the end are refused.
func (l *Log) AppendAsFollower(recs []byte) (AppendInfo, error) { return AppendInfo{}, errStub }

// Guard permits one transaction's first batch; 0 is none.
type Guard uint64

// StartVerification begins to verify that the producer's transaction really
// includes this partition (KIP-890). It returns 0 if there is no need.
func (l *Log) StartVerification(id kafka.ProducerID, epoch kafka.ProducerEpoch, sequence int32) Guard {
	return 0
}

// AppendVerified is AppendAsLeader of a client's batch with a guard.
func (l *Log) AppendVerified(recs []byte, epoch kafka.LeaderEpoch, g Guard) (AppendInfo, error) {
	return AppendInfo{}, errStub
}

// ReadResult is what a Read found.
type ReadResult struct {
	// Range is the data, beginning with the batch that holds the offset asked
	// for. Length 0: nothing, and no reference. Release it otherwise.
	Range vfs.Range
	// FirstOffset is the base offset of the first batch.
	FirstOffset int64
	// FirstIncomplete says that the first batch is cut by the byte limit.
	FirstIncomplete bool
}

// Read returns data from offset on, below the offset upTo, of at most maxBytes;
// the last batch may be cut by that. With minOne the first batch is whole
// however large. It fails with ErrOffsetOutOfRange below the log start offset
// and above the log end offset.
func (l *Log) Read(offset int64, maxBytes int, upTo int64, minOne bool) (ReadResult, error) {
	return ReadResult{}, errStub
}

// AbortedTxn is an aborted transaction, see index.AbortedTxn.
type AbortedTxn = index.AbortedTxn

// AbortedTxns returns the aborted transactions that a reader of [from, upTo)
// must know.
func (l *Log) AbortedTxns(from, upTo int64) ([]AbortedTxn, error) { return nil, errStub }

// TimeOffset is a record found by time.
type TimeOffset struct {
	Offset, Timestamp int64
	// Epoch is that of the batch, -1 in old formats.
	Epoch kafka.LeaderEpoch
}

// OffsetForTime finds the first record below upTo with a timestamp ≥ ts
// (milliseconds).
func (l *Log) OffsetForTime(ts, upTo int64) (t TimeOffset, found bool, err error) {
	return TimeOffset{}, false, errStub
}

// MaxTimestampOffset finds the first record with the largest timestamp (KIP-734).
func (l *Log) MaxTimestampOffset() (t TimeOffset, found bool, err error) {
	return TimeOffset{}, false, errStub
}

// LegacyOffsetsBefore answers ListOffsets v0: base offsets of segments, newest
// first, at most max. ts is -1 for latest, -2 for earliest, else milliseconds.
func (l *Log) LegacyOffsetsBefore(ts int64, max int) ([]int64, error) { return nil, errStub }

// StartOffset is the log start offset: the first one that may be read.
func (l *Log) StartOffset() int64 { return 0 }

// EndOffset is the log end offset: the next one to be given.
func (l *Log) EndOffset() int64 { return 0 }

// HighWatermark is the offset below which records are replicated.
func (l *Log) HighWatermark() int64 { return 0 }

// LastStableOffset is the offset below which all transactions are decided.
func (l *Log) LastStableOffset() int64 { return 0 }

// RecoveryPoint is the offset below which all is known to be synced.
func (l *Log) RecoveryPoint() int64 { return 0 }

// SetHighWatermark moves the high watermark, clamped to [start, end]. It moves
// forwards only, and returns the one in force.
func (l *Log) SetHighWatermark(o int64) int64 { return 0 }

// ResetHighWatermark moves it anywhere within [start, end]: for a replica that
// becomes a follower.
func (l *Log) ResetHighWatermark(o int64) int64 { return 0 }

// AssignEpoch notes that epoch began at offset start.
func (l *Log) AssignEpoch(e kafka.LeaderEpoch, start int64) error { return errStub }

// LatestEpoch returns the last leader epoch, if any.
func (l *Log) LatestEpoch() (kafka.LeaderEpoch, bool) { return 0, false }

// EpochForOffset returns the leader epoch that offset was or would be written in.
func (l *Log) EpochForOffset(o int64) (kafka.LeaderEpoch, bool) { return 0, false }

// EndOffsetForEpoch answers OffsetsForLeaderEpoch (log-format.md §9): the largest
// epoch ≤ e and where it ends, (-1, -1) if unknown.
func (l *Log) EndOffsetForEpoch(e kafka.LeaderEpoch) (kafka.LeaderEpoch, int64) { return -1, -1 }

// TruncateTo removes everything from offset o on.
func (l *Log) TruncateTo(o int64) error { return errStub }

// TruncateFullyAndStartAt removes everything; the next offset is o.
func (l *Log) TruncateFullyAndStartAt(o int64) error { return errStub }

// IncrementStartOffset moves the log start offset up to o (DeleteRecords).
// ErrOffsetOutOfRange above the high watermark. Lower offsets do nothing.
func (l *Log) IncrementStartOffset(o int64) error { return errStub }

// ProducerState describes a producer that the log knows.
type ProducerState struct {
	ID               kafka.ProducerID
	Epoch            kafka.ProducerEpoch
	LastSequence     int32
	LastTimestamp    int64
	CoordinatorEpoch int32
	// TxnStartOffset is that of the open transaction, -1 if none.
	TxnStartOffset int64
}

// ActiveProducers lists the producers, by id.
func (l *Log) ActiveProducers() []ProducerState { return nil }

// Options are the present ones.
func (l *Log) Options() *Options { return nil }

// SetOptions replaces the options.
func (l *Log) SetOptions(o Options) {}

// TopicPartition names the partition.
func (l *Log) TopicPartition() kafka.TopicPartition { return kafka.TopicPartition{} }

// Dir is the log's directory.
func (l *Log) Dir() string { return "" }

// TopicID is the one in partition.metadata, zero if none.
func (l *Log) TopicID() kafka.TopicID { return kafka.TopicID{} }

// SetTopicID writes it, once; ErrTopicIDMismatch if there is another.
func (l *Log) SetTopicID(id kafka.TopicID) error { return errStub }

// Size is the bytes of all segments.
func (l *Log) Size() int64 { return 0 }

// Segments counts them.
func (l *Log) Segments() int { return 0 }

// Flush makes everything appended before the call durable.
func (l *Log) Flush() error { return errStub }

// Close flushes, and leaves what the next Open may trust.
func (l *Log) Close() error { return errStub }

// ManagerOptions configure a Manager. FS, Dirs and BootID are required.
type ManagerOptions struct {
	FS vfs.FS
	// Dirs are the log directories (log.dirs).
	Dirs []string
	// TopicOptions are a topic's settings; nil: Defaults.
	TopicOptions func(topic string) Options
	Defaults     Options
	Codecs       *batch.Codecs
	Logger       *slog.Logger
	// BootID names this run of the machine (/proc/sys/kernel/random/boot_id).
	BootID string
	// RecoveryThreads load logs, per directory (num.recovery.threads.per.data.dir);
	// default 1.
	RecoveryThreads int
	// CheckMeta judges the meta.properties before any log is touched.
	CheckMeta func(Meta) error
	// OnDirFailure is told once of each directory that goes offline. It must not
	// wait.
	OnDirFailure func(dir string, err error)
	// OnProgress is told of each log that is loaded.
	OnProgress func(Progress)

	// ProducerIDExpiration and its check (producer.id.expiration.ms, 24 h;
	// producer.id.expiration.check.interval.ms, 10 min).
	ProducerIDExpiration, ProducerIDExpirationCheck time.Duration
	VerifyTransactions                              bool
	// InitialDelay is how long retention waits after the start
	// (log.initial.task.delay.ms, 30 s); RetentionInterval how often it runs
	// (log.retention.check.interval.ms, 5 min).
	InitialDelay, RetentionInterval time.Duration
	// FlushCheckInterval is how often FlushInterval is looked at
	// (log.flush.scheduler.interval.ms); default 1 s, where a topic has one.
	FlushCheckInterval time.Duration
	// Intervals of the checkpoints (60 s, 60 s, 5 s).
	RecoveryPointInterval, StartOffsetInterval, HighWatermarkInterval time.Duration
	// DirDeleteDelay is how long deleted logs live (log.segment.delete.delay.ms,
	// 1 min).
	DirDeleteDelay time.Duration
	// SyncInterval and SyncBytes: data older than this, or more per directory
	// than this, is synced in the background (5 s, 256 MiB).
	SyncInterval time.Duration
	SyncBytes    int64
}

// Meta is what the meta.properties of the directories agree on.
type Meta struct {
	// BrokerID is -1 if none has one.
	BrokerID kafka.BrokerID
	// ClusterID is empty if none has one.
	ClusterID string
}

// Progress of loading.
type Progress struct {
	Dir                   string
	TopicPartition        kafka.TopicPartition
	LogsDone, LogsTotal   int
	BytesDone, BytesTotal int64
}

// Manager holds the log directories.
type Manager struct{}

// OpenManager locks the directories and loads all logs.
func OpenManager(ctx context.Context, o ManagerOptions) (*Manager, error) { return nil, errStub }

// ReadMeta returns what the meta.properties of the live directories agree on.
func (m *Manager) ReadMeta() Meta { return Meta{} }

// WriteMeta writes the meta.properties where they differ.
func (m *Manager) WriteMeta(meta Meta) error { return errStub }

// Crashed tells whether the machine (not only the process) went down without a
// clean shutdown of this broker: unsynced records may be missing. It stays so
// over restarts until ConfirmCrash.
func (m *Manager) Crashed() bool { return false }

// ConfirmCrash notes that the registration has told of the crash.
func (m *Manager) ConfirmCrash() error { return errStub }

// Get returns the log of a partition.
func (m *Manager) Get(tp kafka.TopicPartition) (*Log, bool) { return nil, false }

// GetOrCreate returns the log of a partition. If there is none it is made in the
// directory with the fewest, provided that isNew: a partition that existed but
// has no log is ErrNotFound, or ErrOffline if a directory is offline, in which it
// may be. A log of another topic id is ErrTopicIDMismatch.
func (m *Manager) GetOrCreate(tp kafka.TopicPartition, id kafka.TopicID, isNew bool) (*Log, error) {
	return nil, errStub
}

// Delete removes the log of a partition: its directory is renamed at once and
// removed later.
func (m *Manager) Delete(tp kafka.TopicPartition, reason string) error { return errStub }

// All ranges over the logs, in no order.
func (m *Manager) All() iter.Seq[*Log] { return func(func(*Log) bool) {} }

// DirStatus describes a log directory.
type DirStatus struct {
	Path string
	// Err is why it is offline, nil if it is not.
	Err  error
	Logs int
	// Bytes are the sizes of its logs.
	Bytes int64
	Usage vfs.Usage
}

// Dirs describes the log directories, in the order of the options.
func (m *Manager) Dirs() []DirStatus { return nil }

// Run does what happens in the background until ctx ends: sync, checkpoints,
// retention, deletion, expiry of producers.
func (m *Manager) Run(ctx context.Context) error { return errStub }

// CheckpointHighWatermarks writes the replication-offset-checkpoint files now.
func (m *Manager) CheckpointHighWatermarks() error { return errStub }

// Close closes all logs, writes the checkpoints and the clean-shutdown markers.
// Run must have ended.
func (m *Manager) Close() error { return errStub }

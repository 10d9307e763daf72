package log

import (
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log/batch"
)

// Options are the settings of one topic. They are immutable once given to a log;
// SetOptions replaces them as a whole. Begin with DefaultOptions: zero values
// mean what they say.
type Options struct {
	// SegmentBytes is the largest segment (segment.bytes, 1 GiB).
	SegmentBytes int64
	// SegmentAge is the record time after which a segment rolls (segment.ms, 7
	// days), less a random part of SegmentJitter (segment.jitter.ms, 0).
	SegmentAge, SegmentJitter time.Duration
	// RetentionAge and RetentionBytes bound what is kept (retention.ms, 7 days;
	// retention.bytes, -1). Negative is no bound. They apply if Delete.
	RetentionAge   time.Duration
	RetentionBytes int64
	// IndexIntervalBytes is how many bytes lie between two index entries
	// (index.interval.bytes, 4096).
	IndexIntervalBytes int
	// IndexMaxBytes bounds an index file (segment.index.bytes, 10 MiB).
	IndexMaxBytes int
	// MaxMessageBytes is the largest batch of a client (max.message.bytes,
	// 1048588).
	MaxMessageBytes int
	// Compact and Delete are the cleanup policy (delete).
	Compact, Delete bool
	// MinCleanableRatio is the part of a log that must be dirty before it is
	// compacted (min.cleanable.dirty.ratio, 0.5).
	MinCleanableRatio float64
	// DeleteRetention is how long a compaction keeps tombstones and the markers of
	// transactions after it has first met them (delete.retention.ms, 24 hours).
	DeleteRetention time.Duration
	// MinCompactionLag is how old a record must be to be compacted away
	// (min.compaction.lag.ms, 0).
	MinCompactionLag time.Duration
	// MaxCompactionLag also bounds the age of a segment of a compacted topic
	// (max.compaction.lag.ms, no bound = 0).
	MaxCompactionLag time.Duration
	// FlushMessages is how many records may be unflushed (flush.messages; 0 or
	// less: no bound).
	FlushMessages int64
	// FlushInterval is how long records may be unflushed (flush.ms; 0: no bound).
	FlushInterval time.Duration
	// FileDeleteDelay is how long a deleted file lives under another name
	// (file.delete.delay.ms, 1 minute).
	FileDeleteDelay time.Duration
	// LogAppendTime makes the log stamp batches (message.timestamp.type).
	LogAppendTime bool
	// TimestampBeforeMax and TimestampAfterMax bound CreateTime timestamps
	// (message.timestamp.before.max.ms, …after.max.ms; 0 or less: no bound).
	TimestampBeforeMax, TimestampAfterMax time.Duration
	// Preallocate reserves whole segments at their creation (preallocate).
	Preallocate bool
	// Recompress says that batches are stored with Codec and Level
	// (compression.type other than producer).
	Recompress bool
	Codec      batch.Codec
	Level      int
	// Validation is how closely compressed batches are looked at.
	Validation Validation
}

// Validation is how many compressed batches are opened before they are stored
// (record.validation).
type Validation int8

const (
	// ValidateSampled opens those of compacted topics, of transactions, small
	// ones, and one in 32. The default.
	ValidateSampled Validation = iota
	// ValidateFull opens all.
	ValidateFull
	// ValidateHeader opens none.
	ValidateHeader
)

// DefaultOptions are Kafka's.
func DefaultOptions() Options {
	return Options{
		SegmentBytes:       1 << 30,
		SegmentAge:         7 * 24 * time.Hour,
		RetentionAge:       7 * 24 * time.Hour,
		RetentionBytes:     -1,
		IndexIntervalBytes: 4096,
		IndexMaxBytes:      10 << 20,
		MaxMessageBytes:    1048588,
		Delete:             true,
		MinCleanableRatio:  0.5,
		DeleteRetention:    24 * time.Hour,
		FileDeleteDelay:    time.Minute,
	}
}

// rollAge is after how much record time a segment rolls, before jitter.
func (o *Options) rollAge() time.Duration {
	age := o.SegmentAge
	if age <= 0 {
		age = math.MaxInt64
	}
	if o.Compact && o.MaxCompactionLag > 0 {
		age = min(age, o.MaxCompactionLag)
	}
	return age
}

// OpenOptions say what log to open and how. FS, Dir, TopicPartition and Options
// are required.
type OpenOptions struct {
	FS             vfs.FS
	Dir            string
	TopicPartition kafka.TopicPartition
	Options        Options
	// Codecs opens compressed batches; default new pools.
	Codecs *batch.Codecs
	// RecoveryPoint is the first offset not known to be synced, from the
	// directory's checkpoint; -1 if it names none: all is scanned.
	RecoveryPoint int64
	// StartOffset is the log start offset from the checkpoint; -1 if there is
	// none.
	StartOffset int64
	// Clean says that the last shutdown was clean: nothing is scanned.
	Clean bool
	// ProducerIDExpiration forgets producers that have not written for this long
	// (producer.id.expiration.ms); default 24 hours.
	ProducerIDExpiration time.Duration
	// VerifyTransactions asks for a guard (KIP-890) before a transaction's first
	// batch; see Log.StartVerification.
	VerifyTransactions bool
	// Logger takes events; default discards.
	Logger *slog.Logger

	// OnFailure is told, once, of the first failed file operation. It is called
	// under the log's locks: it must not wait, nor call the log.
	OnFailure func(err error)
	// OnRoll is told that a segment is complete and should be synced by Flush
	// soon, by another goroutine. It is called under the append lock and must not
	// wait. nil: the caller of appends flushes.
	OnRoll func(l *Log)
	// OnFlush is told how long a successful flush took.
	OnFlush func(took time.Duration)
	// OnAppend is told how many bytes were written. Called under the append lock.
	OnAppend func(bytes int)
	// SaveRecoveryPoint makes the log's recovery point durable before a
	// truncation below the one saved last. nil: nothing is saved anywhere.
	SaveRecoveryPoint func(l *Log) error
	// Holes says that offsets may be missing between two segments of the log for
	// other reasons than a loss: compaction has been at work. What the topic wants
	// does not tell: when a broker starts, nobody may know it yet.
	Holes bool
	// SaveCompacted makes durable that the log is compacted, before a segment of it is
	// written anew for the first time: Holes is to be said of it from now on. nil:
	// nothing is saved anywhere.
	SaveCompacted func(l *Log) error
	// OnRecovery is told how much of the unsynced part has been read, in bytes.
	OnRecovery func(done, total int64)
	// Interrupted ends a recovery with the error that it returns; nil: nothing does.
	Interrupted func() error

	// room tells when clients are refused, and clock what stalls; both are a
	// directory's. nil: the log's own, which refuse nobody and find nothing.
	room  *room
	clock *atomic.Int64
	// files bounds the descriptors of several logs; nil: no bound.
	files *fileCache
	// expiration is ProducerIDExpiration of all logs of a manager, in nanoseconds,
	// which may change; nil: the log's own.
	expiration *atomic.Int64
	// offline and births are shared by the logs of one directory; nil: the log's own.
	offline *failure
	births  *births
}

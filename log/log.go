package log

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log/batch"
	"barnabas/log/checkpoint"
	"barnabas/log/index"

	"log/slog"
)

// Log is one partition's log. Its methods may be called by many goroutines.
type Log struct {
	o      OpenOptions // as given, with defaults; o.Options is only the first
	tp     kafka.TopicPartition
	logger *slog.Logger
	opts   atomic.Pointer[Options]
	// offline is set by the first failure; a Manager shares it among the logs of
	// a directory.
	offline *failure

	// Written under mu, read anywhere.
	start, end, highWatermark, lastStable atomic.Int64
	recoveryPoint                         atomic.Int64
	firstDirty                            atomic.Int64 // see Cleanable; only a hint may be too low
	producerCount                         atomic.Int64 // see ProducerCount
	compacted                             atomic.Bool  // compaction has been, or will soon be, at work
	size                                  atomic.Int64
	topicID                               atomic.Pointer[kafka.TopicID]
	onStart                               atomic.Pointer[func()]
	samples                               atomic.Uint32 // compressed batches seen, for ValidateSampled
	distrust                              atomic.Int32  // compressed batches that are opened all the same, since one lied
	buffers                               sync.Pool     // *[]byte of scanChunk, for lookups

	// writing and syncing tell the directory's watchdog since when a write or sync
	// is under way.
	writing, syncing stopwatch

	commit commit

	// maint serialises what changes files behind the end. Taken before mu.
	maint sync.Mutex
	// trash are deleted segments whose files still exist. Guarded by maint.
	trash []trash

	mu sync.Mutex // guards following
	// segments by base offset; never empty after Open. Appends add to the end
	// under mu; everything else that changes the list holds maint too.
	segments  []*segment
	tail      tail
	producers *producers
	epochs    epochCache
	// changing is set while a truncation works on the files: reads find nothing,
	// appends wait on changed.
	changing bool
	changed  *sync.Cond
	closed   bool
	// cuts counts truncations.
	cuts int64
	// namesUnsynced: the directory has names that are not durable. idUnsynced: nor
	// is the topic id, which must be before the first record; only where there is
	// none.
	namesUnsynced, idUnsynced bool
	unflushed                 int64     // records since the last flush
	flushed                   time.Time // when it was
}

// failure is why a directory is offline.
type failure struct{ err atomic.Pointer[error] }

// set notes the first failure and tells whether this was it.
func (f *failure) set(err error) bool { return f.err.CompareAndSwap(nil, &err) }

// failed tells whether there was one. Who asks before taking a lock does not
// wait for those who hold it in a write that never ends.
func (f *failure) failed() bool { return f.err.Load() != nil }

func (f *failure) get() error {
	if p := f.err.Load(); p != nil {
		return fmt.Errorf("%w: %w", ErrOffline, *p)
	}
	return nil
}

// failIf takes the log, and its directory, offline if a file operation failed:
// after that nobody knows what the file holds. It returns err as the callers
// should see it.
func (l *Log) failIf(err error) error {
	if err == nil || errors.Is(err, ErrOffline) || errors.Is(err, ErrNoRoom) {
		return err
	}
	if vfs.NoDescriptor(err) {
		return fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	if l.offline.set(err) {
		l.logger.Error("log directory failed", "dir", l.o.Dir, "err", err)
		if l.o.OnFailure != nil {
			l.o.OnFailure(err)
		}
	}
	return fmt.Errorf("%w: %w", ErrOffline, err)
}

// usableLocked fails if the log is offline or closed.
func (l *Log) usableLocked() error {
	if err := l.offline.get(); err != nil {
		return err
	}
	if l.closed {
		return ErrClosed
	}
	return nil
}

func (l *Log) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// tail remembers where the last batches of the active segment lie, so that
// readers near the end search no file.
type tail struct {
	n    int // batches noted since the reset
	ring [32]tailBatch
}

type tailBatch struct {
	base, last int64
	position   int64
	size       int
}

func (t *tail) reset() { t.n = 0 }

func (t *tail) add(b tailBatch) {
	t.ring[t.n%len(t.ring)] = b
	t.n++
}

// find returns the noted batch that holds offset; where compaction left a gap,
// the one after it.
func (t *tail) find(offset int64) (tailBatch, bool) {
	var found tailBatch
	ok := false
	for i := t.n - 1; i >= max(0, t.n-len(t.ring)); i-- {
		b := t.ring[i%len(t.ring)]
		if b.last < offset {
			return found, ok
		}
		found, ok = b, b.base <= offset
		if ok {
			return b, true
		}
	}
	return tailBatch{}, false
}

func (l *Log) active() *segment { return l.segments[len(l.segments)-1] }

// segmentIndexLocked is the index of the segment that holds offset: the last one
// with a base ≤ offset, 0 if there is none.
func (l *Log) segmentIndexLocked(offset int64) int {
	i, found := slices.BinarySearchFunc(l.segments, offset, func(s *segment, o int64) int {
		switch {
		case s.base < o:
			return -1
		case s.base > o:
			return 1
		}
		return 0
	})
	if !found && i > 0 {
		i--
	}
	return i
}

// StartOffset is the log start offset: the first one that may be read.
func (l *Log) StartOffset() int64 { return l.start.Load() }

// OnStart has moved called whenever the start offset has moved up, under the log's
// lock: it must not wait, nor call the log. Nil: nobody is told.
func (l *Log) OnStart(moved func()) {
	if moved == nil {
		l.onStart.Store(nil)
		return
	}
	l.onStart.Store(&moved)
}

// EndOffset is the log end offset: the next one to be given.
func (l *Log) EndOffset() int64 { return l.end.Load() }

// HighWatermark is the offset below which records are replicated.
func (l *Log) HighWatermark() int64 { return l.highWatermark.Load() }

// LastStableOffset is the offset below which all transactions are decided.
func (l *Log) LastStableOffset() int64 { return l.lastStable.Load() }

// RecoveryPoint is the offset below which all is known to be synced.
func (l *Log) RecoveryPoint() int64 { return l.recoveryPoint.Load() }

// SetHighWatermark moves the high watermark, clamped to [start, end]. It moves
// forwards only, and returns the one in force.
func (l *Log) SetHighWatermark(o int64) int64 {
	if now := l.highWatermark.Load(); o <= now || l.offline.failed() {
		return now
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if o > l.highWatermark.Load() {
		l.setHighWatermarkLocked(o)
	}
	return l.highWatermark.Load()
}

// ResetHighWatermark moves it anywhere within [start, end]: for a replica that
// becomes a follower.
func (l *Log) ResetHighWatermark(o int64) int64 {
	if l.offline.failed() {
		return l.highWatermark.Load()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setHighWatermarkLocked(o)
	return l.highWatermark.Load()
}

func (l *Log) setHighWatermarkLocked(o int64) {
	o = max(min(o, l.end.Load()), l.start.Load())
	l.highWatermark.Store(o)
	l.producers.replicated(o)
	l.updateStableLocked()
}

// updateStableLocked publishes the last stable offset.
func (l *Log) updateStableLocked() {
	l.lastStable.Store(min(max(l.producers.firstUnstable(), l.start.Load()), l.highWatermark.Load()))
}

// Options are the present ones. They must not be changed.
func (l *Log) Options() *Options { return l.opts.Load() }

// SetOptions replaces the options.
func (l *Log) SetOptions(o Options) { l.opts.Store(&o) }

// TopicPartition names the partition.
func (l *Log) TopicPartition() kafka.TopicPartition { return l.tp }

// Dir is the log's directory.
func (l *Log) Dir() string { return l.o.Dir }

// TopicID is the one in partition.metadata, zero if none.
func (l *Log) TopicID() kafka.TopicID { return *l.topicID.Load() }

// SetTopicID writes it, once; ErrTopicIDMismatch if there is another.
func (l *Log) SetTopicID(id kafka.TopicID) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usableLocked(); err != nil {
		return err
	}
	switch have := l.TopicID(); {
	case have == id:
		return nil
	case !have.IsZero():
		return fmt.Errorf("%w: %s has %s, not %s", ErrTopicIDMismatch, l.tp, have, id)
	}
	if err := checkpoint.WritePartitionMetadata(l.o.FS, path.Join(l.o.Dir, checkpoint.PartitionMetadataFile), id); err != nil {
		return l.failUnlessFull(err)
	}
	l.topicID.Store(&id)
	l.idUnsynced = true
	if l.end.Load() > l.start.Load() { // made by a version of Kafka that knew no ids
		return l.syncIDLocked()
	}
	return nil
}

// syncIDLocked makes the topic id durable. A log that takes records without it
// could be taken, after a crash of the machine, for that of a later topic of the
// same name.
func (l *Log) syncIDLocked() error {
	l.writing.start(l.o.clock)
	defer l.writing.stop()
	f, err := l.o.FS.OpenReadWrite(path.Join(l.o.Dir, checkpoint.PartitionMetadataFile))
	if err != nil {
		return l.failUnlessFull(err)
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return l.failUnlessFull(fmt.Errorf("%w: %w", vfs.ErrSync, err))
	}
	if err := errors.Join(f.Close(), l.o.FS.SyncDir(l.o.Dir)); err != nil {
		return l.failUnlessFull(err)
	}
	l.idUnsynced = false
	return nil
}

// Size is the bytes of all segments.
func (l *Log) Size() int64 { return l.size.Load() }

// Segments counts them.
func (l *Log) Segments() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.segments)
}

// withDefaults fills what may be left out.
func (o OpenOptions) withDefaults() OpenOptions {
	if o.Codecs == nil {
		o.Codecs = batch.NewCodecs(batch.Limits{})
	}
	if o.ProducerIDExpiration <= 0 {
		o.ProducerIDExpiration = 24 * time.Hour
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.room == nil {
		o.room = &room{}
	}
	if o.clock == nil {
		o.clock = &atomic.Int64{}
	}
	if o.files == nil {
		o.files = &fileCache{}
	}
	if o.offline == nil {
		o.offline = &failure{}
	}
	if o.births == nil {
		o.births = &births{}
	}
	return o
}

// buffer borrows a buffer for a lookup.
func (l *Log) buffer() *[]byte {
	if b, ok := l.buffers.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, scanChunk)
	return &b
}

// AbortedTxn is an aborted transaction, see index.AbortedTxn.
type AbortedTxn = index.AbortedTxn

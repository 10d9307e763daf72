package log

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"barnabas/internal/kafka"
	"barnabas/internal/metrics"
	"barnabas/internal/vfs"
	"barnabas/log/batch"
)

// ManagerOptions configure a Manager. FS, Dirs and BootID are required.
type ManagerOptions struct {
	FS vfs.FS
	// Dirs are the log directories (log.dirs).
	Dirs []string
	// TopicOptions are a topic's settings; nil: Defaults.
	TopicOptions func(topic string) Options
	Defaults     Options
	// Codecs opens compressed batches; default new pools.
	Codecs *batch.Codecs
	// Logger takes events; default discards.
	Logger *slog.Logger
	// BootID names this run of the machine (/proc/sys/kernel/random/boot_id).
	BootID string
	// RecoveryThreads load logs, per directory (num.recovery.threads.per.data.dir);
	// default 1.
	RecoveryThreads int
	// Background lets OpenManager return while logs are still being checked and
	// opened; see Manager.Opened.
	Background bool
	// CheckMeta judges the meta.properties before any log is touched.
	CheckMeta func(Meta) error
	// OnDirFailure is told once of each directory that goes offline. It must not
	// wait, nor call a log.
	OnDirFailure func(dir string, err error)
	// OnProgress is told of each log that is loaded, and of every 64 MiB scanned.
	// It is called by many goroutines.
	OnProgress func(Progress)

	// ProducerIDExpiration and its check (producer.id.expiration.ms, 24 h;
	// producer.id.expiration.check.interval.ms, 10 min).
	ProducerIDExpiration, ProducerIDExpirationCheck time.Duration
	// VerifyTransactions asks for guards (KIP-890), see OpenOptions.
	VerifyTransactions bool
	// InitialDelay is how long retention waits after the start
	// (log.initial.task.delay.ms, 30 s); RetentionInterval how often it runs
	// (log.retention.check.interval.ms, 5 min).
	InitialDelay, RetentionInterval time.Duration
	// FlushCheckInterval is how often FlushInterval is looked at
	// (log.flush.scheduler.interval.ms); default 1 s.
	FlushCheckInterval time.Duration
	// Intervals of the checkpoints (60 s, 60 s, 5 s).
	RecoveryPointInterval, StartOffsetInterval, HighWatermarkInterval time.Duration
	// DirDeleteDelay is how long deleted logs live (log.segment.delete.delay.ms,
	// 1 min).
	DirDeleteDelay time.Duration
	// StrayRetention is how long logs are kept that were set aside
	// (barnabas.log.stray.retention.ms); 0 or less: for ever.
	StrayRetention time.Duration
	// SyncInterval and SyncBytes: data older than this, or more per directory
	// than this, is synced in the background (5 s, 256 MiB), which bounds what a
	// recovery has to read.
	SyncInterval time.Duration
	SyncBytes    int64
	// MinFreeBytes is what is kept free on the disk of each directory: with less,
	// clients get ErrNoRoom (barnabas.log.dir.min.free.bytes). Negative: a hundredth of the
	// disk, at most 1 GiB; 0: nothing is kept, and a full disk refuses by itself.
	MinFreeBytes int64
	// StallTimeout is how long a write or sync may take before its directory goes
	// offline with ErrStalled (barnabas.log.dir.stall.timeout.ms); 0: for ever.
	StallTimeout time.Duration
	// MaxOpenFiles bounds the descriptors of segments that are not being written,
	// sent or waiting for a sync (barnabas.log.max.open.files); 0: no bound.
	MaxOpenFiles int
	// Cleaner is how compacted topics are compacted; SetCleaner changes it.
	Cleaner CleanerOptions
}

func (o ManagerOptions) withDefaults() ManagerOptions {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&o.ProducerIDExpiration, 24*time.Hour)
	def(&o.ProducerIDExpirationCheck, 10*time.Minute)
	def(&o.InitialDelay, 30*time.Second)
	def(&o.RetentionInterval, 5*time.Minute)
	def(&o.FlushCheckInterval, time.Second)
	def(&o.RecoveryPointInterval, time.Minute)
	def(&o.StartOffsetInterval, time.Minute)
	def(&o.HighWatermarkInterval, 5*time.Second)
	def(&o.DirDeleteDelay, time.Minute)
	def(&o.SyncInterval, 5*time.Second)
	if o.SyncBytes <= 0 {
		o.SyncBytes = 256 << 20
	}
	o.RecoveryThreads = max(o.RecoveryThreads, 1)
	if o.Codecs == nil {
		o.Codecs = batch.NewCodecs(batch.Limits{})
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.TopicOptions == nil {
		defaults := o.Defaults
		o.TopicOptions = func(string) Options { return defaults }
	}
	return o
}

// Manager holds the log directories and the logs in them. Run does what has to
// be done in the background; without it nothing is synced but by Flush and Close.
//
// A directory that fails is offline until the process ends: its logs answer
// ErrOffline, the others go on.
type Manager struct {
	o     ManagerOptions
	dirs  []*logDir
	files *fileCache

	mu   sync.RWMutex // guards following; held over no file operation
	logs map[kafka.TopicPartition]managed
	// futures are copies that are to take the place of a log in another directory.
	futures map[kafka.TopicPartition]managed
	// unopened were found at the start and are not open yet.
	unopened map[kafka.TopicPartition]*unopened
	// preferred are the directories for logs that are not made yet.
	preferred map[kafka.TopicPartition]*logDir
	onOpen    func(kafka.TopicPartition)
	// fresh: the directories were not the same at the start as before (dirsChanged).
	fresh bool
	// takenOut are directories that were in log.dirs before.
	takenOut []string

	opening  sync.WaitGroup
	stopOpen context.CancelFunc
	opened   chan struct{} // closed once all is open that can be

	// creating serialises the making of logs, so that two calls make one.
	creating sync.Mutex

	flushes metrics.Histogram // microseconds

	compaction *compaction
	// What Reconfigure changes, in nanoseconds.
	expiration, deleteDelay atomic.Int64
}

// Reconfigure changes, while the logs run, for how long producers are remembered
// and deleted logs live (ProducerIDExpiration and DirDeleteDelay of
// ManagerOptions). Deletions under way keep their time.
func (m *Manager) Reconfigure(producerIDExpiration, dirDeleteDelay time.Duration) {
	m.expiration.Store(int64(producerIDExpiration))
	m.deleteDelay.Store(int64(dirDeleteDelay))
}

// ProducerIDExpiration is for how long producers are remembered now.
func (m *Manager) ProducerIDExpiration() time.Duration { return time.Duration(m.expiration.Load()) }

// managed is a log and where it is.
type managed struct {
	log *Log
	dir *logDir
}

// Get returns the log of a partition.
func (m *Manager) Get(tp kafka.TopicPartition) (*Log, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	e, ok := m.logs[tp]
	return e.log, ok
}

// All ranges over the logs, in no order.
func (m *Manager) All() iter.Seq[*Log] {
	m.mu.RLock()
	logs := make([]*Log, 0, len(m.logs))
	for _, e := range m.logs {
		logs = append(logs, e.log)
	}
	m.mu.RUnlock()
	return slices.Values(logs)
}

// in returns the logs of a directory, with copies that are being made there.
func (m *Manager) in(d *logDir) []*Log {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var logs []*Log
	for _, all := range []map[kafka.TopicPartition]managed{m.logs, m.futures} {
		for _, e := range all {
			if e.dir == d {
				logs = append(logs, e.log)
			}
		}
	}
	return logs
}

// GetOrCreate returns the log of a partition. If there is none it is made, in the
// directory that was asked for or else that with the fewest, provided that isNew.
// One that existed but has no log is ErrOffline if a directory is offline, in
// which it may be, ErrMissing if there is evidence of it (Missing), and else
// ErrNotFound. One that is still being checked is ErrOpening. A log of another
// topic id is ErrTopicIDMismatch. The zero id is not compared.
func (m *Manager) GetOrCreate(tp kafka.TopicPartition, id kafka.TopicID, isNew bool) (*Log, error) {
	m.creating.Lock()
	defer m.creating.Unlock()
	if l, ok := m.Get(tp); ok {
		if err := l.Failure(); err != nil {
			return nil, err
		}
		if !id.IsZero() {
			return l, l.SetTopicID(id)
		}
		return l, nil
	}
	if err := m.Opening(tp); err != nil {
		return nil, err
	}
	if !isNew {
		return nil, m.whyAbsent(tp, id) // which changes nothing: see NoteMissing
	}
	return m.create(tp, id)
}

func (m *Manager) create(tp kafka.TopicPartition, id kafka.TopicID) (*Log, error) {
	d, err := m.placeFor(tp)
	if err != nil {
		return nil, err
	}
	var made *Log
	err = d.unlessDown(func() error {
		l, err := m.createIn(d, tp, id)
		made = l
		return err
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// createIn makes the log of a partition in a directory.
func (m *Manager) createIn(d *logDir, tp kafka.TopicPartition, id kafka.TopicID) (*Log, error) {
	if err := d.forget(m, tp); err != nil {
		return nil, err
	}
	o := m.openOptions(d, tp)
	o.Clean = true
	err := m.noteReplaces(o.Dir)
	var l *Log
	if err == nil {
		l, err = Open(o)
	}
	if vfs.NoSpace(err) {
		// What there is of it is taken up by the next try, or the next start.
		m.placeAgain(tp, d, o.Dir)
		return nil, fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	if err != nil {
		return nil, d.fail(m, err)
	}
	if !id.IsZero() {
		if err := l.SetTopicID(id); err != nil {
			m.placeAgain(tp, d, o.Dir)
			return nil, errors.Join(err, l.Abandon())
		}
	}
	m.mu.Lock()
	m.logs[tp] = managed{log: l, dir: d}
	m.noLongerMissingLocked(tp)
	m.mu.Unlock()
	return l, nil
}

// roomiest is the live directory with the fewest logs, the first of several.
func (m *Manager) roomiest() (*logDir, error) {
	live := m.live()
	switch len(live) {
	case 0:
		return nil, fmt.Errorf("%w: all of them", ErrOffline)
	case 1:
		return live[0], nil // the common case, without a walk over all logs
	}
	counts := map[*logDir]int{}
	m.mu.RLock()
	for _, e := range m.logs {
		counts[e.dir]++
	}
	for _, u := range m.unopened {
		counts[u.dir]++
	}
	m.mu.RUnlock()
	return slices.MinFunc(live, func(a, b *logDir) int { return cmp.Compare(counts[a], counts[b]) }), nil
}

// live are the directories that are not offline.
func (m *Manager) live() []*logDir {
	var live []*logDir
	for _, d := range m.dirs {
		if d.failure.get() == nil {
			live = append(live, d)
		}
	}
	return live
}

func (m *Manager) openOptions(d *logDir, tp kafka.TopicPartition) OpenOptions {
	return OpenOptions{
		FS: m.o.FS, Dir: path.Join(d.path, tp.String()), TopicPartition: tp, Options: m.o.TopicOptions(tp.Topic),
		Codecs: m.o.Codecs, StartOffset: -1, expiration: &m.expiration,
		VerifyTransactions: m.o.VerifyTransactions, Logger: m.o.Logger,
		OnFailure:         func(err error) { d.announce(m, err) },
		OnRoll:            d.noteRoll,
		OnFlush:           func(took time.Duration) { m.flushes.Update(took.Microseconds()) },
		OnAppend:          func(n int) { d.noteBytes(n, m.o.SyncBytes) },
		SaveRecoveryPoint: func(*Log) error { return d.saveRecoveryPoints(m) },
		Holes:             kafka.IsInternalTopic(tp.Topic),
		SaveCompacted:     func(*Log) error { return d.saveFirstDirty(m) },
		files:             m.files,
		room:              &d.room,
		clock:             &d.clock,
		offline:           d.failure,
		births:            &d.births,
	}
}

// maxName is the longest name of a directory.
const maxName = 255

// awayName is what a log's directory is renamed to, as LocalLog.logDeleteDirName
// and logStrayDirName: the topic is cut where the whole would be too long.
func awayName(tp kafka.TopicPartition, why string) string {
	var id [16]byte
	rand.Read(id[:])
	suffix := fmt.Sprintf("-%d.%s-%s", tp.Partition, hex.EncodeToString(id[:]), why)
	return tp.Topic[:min(len(tp.Topic), maxName-len(suffix))] + suffix
}

// DirStatus describes a log directory.
type DirStatus struct {
	Path string
	// Err is why it is offline, nil if it is not.
	Err  error
	Logs int
	// Bytes are the sizes of its logs.
	Bytes int64
	// Usage is zero if the directory is offline. While Run runs it is up to a
	// second old, so that a disk that does not answer keeps nobody waiting.
	Usage vfs.Usage
	// Full says that clients are refused for want of room.
	Full bool
}

// OpenFiles counts the descriptors of segments.
func (m *Manager) OpenFiles() int { return m.files.count() }

// Dirs describes the log directories, in the order of the options.
func (m *Manager) Dirs() []DirStatus {
	out := make([]DirStatus, len(m.dirs))
	for i, d := range m.dirs {
		st := DirStatus{Path: d.path, Err: d.failure.get()}
		for _, l := range m.in(d) {
			st.Logs++
			st.Bytes += l.Size()
		}
		if st.Err == nil {
			st.Full = d.room.low.Load()
			if seen := d.room.usage.Load(); seen != nil {
				st.Usage = *seen
			} else if usage, err := m.o.FS.Usage(d.path); err != nil {
				st.Err = d.fail(m, err)
			} else {
				st.Usage = usage
			}
		}
		out[i] = st
	}
	return out
}

// Close closes all logs, writes the checkpoints and the clean-shutdown markers.
// Run must have ended. It returns the errors of the directories that could not be
// left clean; those already offline have told theirs.
func (m *Manager) Close() error {
	m.endOpening()
	errs := make([]error, len(m.dirs))
	var wg sync.WaitGroup
	for i, d := range m.dirs {
		wg.Go(func() { errs[i] = d.close(m) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Crashed tells whether the machine (not only the process) went down without a
// clean shutdown of this broker: unsynced records may be missing. It stays so
// over restarts until ConfirmCrash.
func (m *Manager) Crashed() bool {
	return slices.ContainsFunc(m.dirs, func(d *logDir) bool { return d.crashed })
}

// ConfirmCrash notes that the registration has told of the crash. Not for use at
// the same time as Crashed or Close.
func (m *Manager) ConfirmCrash() error {
	var errs []error
	for _, d := range m.live() {
		if d.crashed {
			errs = append(errs, d.writeBootID(m))
		}
	}
	return errors.Join(errs...)
}

// OpenManager locks the directories, reads what they are, and opens all logs, or
// begins to (ManagerOptions.Background). A directory that can't be read is
// offline; if all are, that is the error. What the operator must put right is an
// error too: a directory locked by another process, contradicting
// meta.properties, a strange directory, one partition in two places.
func OpenManager(ctx context.Context, o ManagerOptions) (*Manager, error) {
	m := &Manager{
		o: o.withDefaults(), files: &fileCache{limit: o.MaxOpenFiles},
		logs: map[kafka.TopicPartition]managed{}, futures: map[kafka.TopicPartition]managed{}, unopened: map[kafka.TopicPartition]*unopened{},
		preferred: map[kafka.TopicPartition]*logDir{}, onOpen: func(kafka.TopicPartition) {},
		opened: make(chan struct{}), stopOpen: func() {},
	}
	m.compaction = newCompaction(o.Cleaner)
	m.Reconfigure(m.o.ProducerIDExpiration, m.o.DirDeleteDelay)
	if err := m.open(ctx); err != nil {
		m.endOpening()
		for _, all := range []map[kafka.TopicPartition]managed{m.logs, m.futures} {
			for _, l := range all {
				err = errors.Join(err, l.log.Abandon())
			}
		}
		for _, d := range m.dirs {
			d.unlock()
		}
		return nil, err
	}
	return m, nil
}

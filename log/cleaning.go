package log

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"barnabas/internal/kafka"
	"barnabas/log/cleaner"
)

// CleanerOptions are the settings of compaction in the background
// (kafka.log.LogCleaner). The zero value compacts nothing.
type CleanerOptions struct {
	// Threads is how many logs are compacted at a time (log.cleaner.threads).
	Threads int
	// DedupeBytes is the memory for keys and IOBytes that for reading and writing,
	// over all threads (log.cleaner.dedupe.buffer.size,
	// log.cleaner.io.buffer.size). It is taken when a log is compacted, as far as
	// its keys need it, and given back after.
	DedupeBytes, IOBytes int64
	// LoadFactor is how full the map of keys may get (log.cleaner.io.buffer.load.factor).
	LoadFactor float64
	// BytesPerSecond bounds what is read and written
	// (log.cleaner.io.max.bytes.per.second); 0: no bound.
	BytesPerSecond float64
	// Backoff is how often logs are looked at when there is nothing to do
	// (log.cleaner.backoff.ms); default 15 s.
	Backoff time.Duration
}

// CleanerStats tell how compaction goes.
type CleanerStats struct {
	// Runs, BytesRead, BytesKept, Unread are sums.
	Runs, BytesRead, BytesKept, Unread int64
	// Running is how many logs are being compacted.
	Running int
	// Uncleanable are the partitions that are damaged, with the reason: left out, or
	// compacted but for batches that can't be read. UncleanableBytes is their size.
	Uncleanable      map[kafka.TopicPartition]error
	UncleanableBytes int64
	// MaxDirtyRatio is the dirtiest log's, 0 to 1, MaxDelay by how much the largest
	// lag is exceeded most, LastDuration and MaxDuration are of runs, SinceLast is
	// the time since logs were looked at; all as of the last look.
	MaxDirtyRatio             float64
	MaxDelay                  time.Duration
	LastDuration, MaxDuration time.Duration
	SinceLast                 time.Duration
}

// compaction is the Manager's part that compacts.
type compaction struct {
	o        atomic.Pointer[CleanerOptions]
	throttle cleaner.Throttle
	wake     chan struct{}

	mu      sync.Mutex // guards following
	running map[kafka.TopicPartition]bool
	// idle are logs that were tried since the last look without getting cleaner.
	idle  map[kafka.TopicPartition]bool
	stats CleanerStats
	// damaged says which logs are left out, and since when: a log that was made anew
	// is tried again.
	damaged map[*Log]error
	// unread says which logs have batches that the last run could not read: they are
	// compacted all the same, but for these.
	unread map[*Log]error
	looked time.Time
}

func newCompaction(o CleanerOptions) *compaction {
	c := &compaction{wake: make(chan struct{}, 1), running: map[kafka.TopicPartition]bool{}, idle: map[kafka.TopicPartition]bool{}, damaged: map[*Log]error{}, unread: map[*Log]error{}}
	c.o.Store(&o)
	return c
}

// SetCleaner replaces the settings of compaction; runs under way go on with theirs.
func (m *Manager) SetCleaner(o CleanerOptions) {
	m.compaction.o.Store(&o)
	select {
	case m.compaction.wake <- struct{}{}:
	default:
	}
}

// Cleaner are the options of compaction now.
func (m *Manager) Cleaner() CleanerOptions { return *m.compaction.o.Load() }

// CleanerStats tells how compaction goes.
func (m *Manager) CleanerStats() CleanerStats {
	c := m.compaction
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.stats
	st.Running = len(c.running)
	st.Uncleanable = make(map[kafka.TopicPartition]error, len(c.damaged))
	for _, logs := range []map[*Log]error{c.unread, c.damaged} {
		for l, err := range logs {
			if _, ok := st.Uncleanable[l.tp]; !ok {
				st.UncleanableBytes += l.Size()
			}
			st.Uncleanable[l.tp] = err
		}
	}
	if !c.looked.IsZero() {
		st.SinceLast = time.Since(c.looked)
	}
	return st
}

// cleanLoop compacts the dirtiest logs until ctx ends. Each run belongs to the
// group of its directory, so that nobody waits for a disk that does not answer.
func (m *Manager) cleanLoop(ctx context.Context, groups map[*logDir]*sync.WaitGroup) {
	c := m.compaction
	done := make(chan struct{}, 1)
	for {
		o := *c.o.Load()
		c.throttle.SetRate(o.BytesPerSecond)
		for ctx.Err() == nil && c.begun() < o.Threads {
			l, d := m.dirtiest(time.Now())
			if l == nil {
				break
			}
			groups[d].Go(func() {
				m.clean(ctx, d, l, &o)
				select {
				case done <- struct{}{}:
				default: // the loop will look anyway
				}
			})
		}
		backoff := o.Backoff
		if backoff <= 0 {
			backoff = 15 * time.Second
		}
		timer := time.NewTimer(backoff)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-done:
		case <-c.wake:
		case <-timer.C:
			c.mu.Lock()
			clear(c.idle)
			c.mu.Unlock()
		}
		timer.Stop()
	}
}

// begun counts the runs under way.
func (c *compaction) begun() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.running)
}

// dirtiest chooses the log to compact next and marks it as running; nil if none
// is dirty enough.
func (m *Manager) dirtiest(now time.Time) (best *Log, dir *logDir) {
	c := m.compaction
	m.forgetDamaged()
	var ratio, maxRatio float64
	var delay, maxDelay time.Duration
	for _, d := range m.live() {
		for _, l := range m.in(d) {
			o := l.Options()
			if _, moving := m.Future(l.tp); moving || !o.Compact || c.leftOut(l) {
				continue
			}
			found, err := l.Cleanable(now)
			if isCorrupt(err) {
				c.quarantine(l, err)
			}
			if err != nil {
				continue
			}
			maxRatio, maxDelay = max(maxRatio, found.Ratio()), max(maxDelay, found.Delay)
			if found.DirtyBytes == 0 || found.Ratio() <= o.MinCleanableRatio && found.Delay == 0 {
				continue
			}
			if best == nil || found.Delay > delay || found.Delay == delay && found.Ratio() > ratio {
				best, dir, ratio, delay = l, d, found.Ratio(), found.Delay
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked, c.stats.MaxDirtyRatio, c.stats.MaxDelay = now, maxRatio, maxDelay
	if best != nil {
		c.running[best.tp] = true
	}
	return best, dir
}

func (c *compaction) leftOut(l *Log) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running[l.tp] || c.idle[l.tp] || c.damaged[l] != nil
}

// forgetDamaged forgets logs that are gone.
func (m *Manager) forgetDamaged() {
	c := m.compaction
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, logs := range []map[*Log]error{c.unread, c.damaged} {
		for l := range logs {
			if now, ok := m.Get(l.tp); !ok || now != l {
				delete(logs, l)
			}
		}
	}
}

// quarantine leaves a damaged log out and says so once.
func (c *compaction) quarantine(l *Log, err error) {
	c.mu.Lock()
	c.damaged[l] = err
	c.mu.Unlock()
	l.logger.Error("partition can't be compacted any more: it is damaged; the others are", "err", err)
}

// tellUnread notes whether a run found batches that it could not read, and says so
// when it is news. Nothing that is in them is known to be superseded, or supersedes
// anything, so that the rest of the log can be compacted: one bad batch must not let
// it grow for ever.
func (c *compaction) tellUnread(l *Log, done *Compaction) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if done.Unread == 0 {
		delete(c.unread, l)
		return
	}
	was := c.unread[l]
	err := fmt.Errorf("%d batches can't be read, the first at offset %d", done.Unread, done.FirstUnread)
	c.unread[l] = err
	if was == nil || was.Error() != err.Error() {
		l.logger.Error("partition can't be compacted as a whole: it has batches whose records can't be read, which stay as they are; the rest is", "err", err)
	}
}

// clean compacts one log.
func (m *Manager) clean(ctx context.Context, d *logDir, l *Log, o *CleanerOptions) {
	c := m.compaction
	threads := int64(max(o.Threads, 1))
	began := time.Now()
	first := l.firstDirty.Load()
	done, err := l.Compact(ctx, CompactOptions{
		Map: cleaner.NewMap(o.DedupeBytes/threads, o.LoadFactor), BufferBytes: int(o.IOBytes / threads / 2),
		Spend: c.throttle.Spend, Now: began,
	})
	took := time.Since(began)
	switch {
	case err == nil:
		d.saveFirstDirty(m) // what was cleaned is cleaned again if this fails
		l.logger.Info("log compacted", "to", done.FirstDirty, "keys", done.Keys,
			"read_bytes", done.BytesRead, "kept_bytes", done.BytesKept, "records", done.RecordsRead, "kept_records", done.RecordsKept,
			"segments", done.SegmentsIn, "kept_segments", done.SegmentsOut, "took", took.Round(time.Millisecond))
		c.tellUnread(l, &done)
	case isCorrupt(err):
		c.quarantine(l, err)
	case errors.Is(err, context.Canceled), errors.Is(err, ErrClosed), errors.Is(err, ErrOffline):
	default:
		l.logger.Log(ctx, slog.LevelWarn, "compaction ended early and is tried again", "err", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.running, l.tp)
	if err != nil || l.firstDirty.Load() == first {
		c.idle[l.tp] = true
	}
	c.stats.Runs++
	c.stats.BytesRead += done.BytesRead
	c.stats.BytesKept += done.BytesKept
	c.stats.Unread += int64(done.Unread)
	c.stats.LastDuration, c.stats.MaxDuration = took, max(took, c.stats.MaxDuration)
}

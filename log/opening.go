package log

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"barnabas/internal/kafka"
	"barnabas/log/checkpoint"
)

// unopened is a log that was found at the start and is not open yet. Guarded by
// Manager.mu.
type unopened struct {
	dir   *logDir
	begun bool
	// away is how it is to be moved away once it is open, and why; "" if it is not.
	away, why string
	// short: there was no room to open it, or to move it away. It is tried again.
	short bool
}

// prepare reads how the directories were left, all but the logs.
func (m *Manager) prepare() {
	for _, d := range m.live() {
		if err := d.prepare(m); err != nil {
			d.fail(m, err)
		}
		for _, tp := range d.found {
			m.unopened[tp] = &unopened{dir: d}
		}
	}
	m.findMissing()
}

func (d *logDir) prepare(m *Manager) error {
	if err := d.readState(m); err != nil {
		return err
	}
	points, err := d.readOffsets(m, checkpoint.RecoveryPointFile)
	if err != nil {
		m.o.Logger.Warn("recovery points unreadable: everything is scanned", "dir", d.path, "err", err)
	}
	d.points, d.ids = splitIDs(points)
	if d.starts, err = d.readOffsets(m, checkpoint.LogStartFile); err != nil {
		m.o.Logger.Warn("log start offsets unreadable: logs begin at their first segment", "dir", d.path, "err", err)
	}
	if d.watermarks, err = d.readOffsets(m, checkpoint.HighWatermarkFile); err != nil { // leaders find them anew
		m.o.Logger.Warn("high watermarks unreadable: they begin at the log start offsets", "dir", d.path, "err", err)
	}
	if d.dirty, err = d.readOffsets(m, checkpoint.CleanerFile); err != nil { // everything is compacted once more
		m.o.Logger.Warn("cleaner's offsets unreadable: compaction begins anew", "dir", d.path, "err", err)
	}
	for _, name := range d.dead {
		d.buryLater(path.Join(d.path, name), time.Now().Add(time.Duration(m.deleteDelay.Load())))
	}
	d.noteStrays(m)
	return nil
}

// startOpening opens the logs, those of each directory by threads of its own. In the
// background it outlives the caller's context, which bounds a start, until Close.
func (m *Manager) startOpening(ctx context.Context) {
	if m.o.Background {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, m.stopOpen = context.WithCancel(ctx)
	for _, d := range m.live() {
		m.opening.Go(func() { d.load(ctx, m) })
	}
	go func() {
		m.opening.Wait()
		close(m.opened)
	}()
}

// Opened is closed when every log is open that can be.
func (m *Manager) Opened() <-chan struct{} { return m.opened }

// Unopened counts the logs that are still to be checked and opened.
func (m *Manager) Unopened() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.unopened)
}

// OnOpen is told from now on of each log that was opened in the background, or
// that will not be: its directory went offline. It must not wait.
func (m *Manager) OnOpen(f func(kafka.TopicPartition)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.onOpen = f
}

// openingGrace is how long a stop waits for what is being read: one log of a disk
// that answers notices at its next batch.
const openingGrace = 10 * time.Second

// endOpening stops the opening. What is not open by then stays as it was.
func (m *Manager) endOpening() {
	m.stopOpen()
	ended := make(chan struct{})
	go func() {
		m.opening.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(openingGrace):
		m.o.Logger.Warn("a log that is being opened in a directory that does not answer is left behind")
	}
}

// Opening is why a log that was found at the start can't be used yet; nil
// if there is no such.
func (m *Manager) Opening(tp kafka.TopicPartition) error {
	m.mu.RLock()
	u := m.unopened[tp]
	m.mu.RUnlock()
	if u == nil {
		return nil
	}
	if err := u.dir.failure.get(); err != nil {
		return err
	}
	return fmt.Errorf("%w: %s", ErrOpening, tp)
}

// addUnopened keeps in a checkpoint what it said of logs that are not open yet,
// and in the recovery points those that are missing.
func (m *Manager) addUnopened(d *logDir, file string, offsets map[kafka.TopicPartition]int64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for tp, u := range m.unopened {
		if old, ok := d.saved[file][tp]; ok && u.dir == d {
			offsets[tp] = old
		}
	}
	if file == checkpoint.RecoveryPointFile {
		for tp := range d.missing {
			offsets[tp] = 0
		}
		d.nameIDsLocked(m, offsets)
	}
}

func (m *Manager) unopenedIn(d *logDir) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, u := range m.unopened {
		if u.dir == d {
			return true
		}
	}
	return false
}

// load opens the logs of a directory; one that fails is offline.
func (d *logDir) load(ctx context.Context, m *Manager) {
	err := d.loadLogs(ctx, m)
	if err == nil || ctx.Err() != nil {
		return
	}
	d.fail(m, err)
	if n := len(d.found); m.o.OnProgress != nil && n > 0 { // nothing is left to do
		m.o.OnProgress(Progress{Dir: d.path, LogsDone: n, LogsTotal: n, Share: 1})
	}
	m.mu.RLock()
	told := m.onOpen
	var waiting []kafka.TopicPartition
	for tp, u := range m.unopened {
		if u.dir == d {
			waiting = append(waiting, tp)
		}
	}
	m.mu.RUnlock()
	for _, tp := range waiting {
		told(tp)
	}
}

func (d *logDir) loadLogs(ctx context.Context, m *Manager) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(m.o.RecoveryThreads)
	r := newRecovery(m, d, d.points)
	r.begin()
	var reporting sync.WaitGroup
	reportCtx, stop := context.WithCancel(ctx)
	reporting.Go(func() { r.report(reportCtx) })
	defer reporting.Wait()
	defer stop()
	for _, tp := range d.found {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			err := d.openFound(ctx, m, tp, r.scanning(tp))
			if err == nil {
				r.loaded(tp)
			}
			return err
		})
	}
	for _, name := range d.futures {
		g.Go(func() error { return d.openFuture(m, name) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return d.initCheckpoints(m)
}

// openFound opens a log that was found at the start. If there is no room for what
// that has to write, it waits for some (retryShort); the others go on.
func (d *logDir) openFound(ctx context.Context, m *Manager, tp kafka.TopicPartition, scanned func(done, total int64)) error {
	if !m.beginOpening(tp) { // deleted meanwhile
		return nil
	}
	o := d.loadOptions(m, tp)
	o.OnRecovery, o.Interrupted = scanned, ctx.Err
	l, err := Open(o)
	if d.shortOfRoom(err) {
		m.o.Logger.Warn("no room to open a log: tried again", "partition", tp.String(), "dir", d.path, "err", err)
		m.mu.Lock()
		u := m.unopened[tp]
		u.begun, u.short = false, true
		m.mu.Unlock()
		return nil
	}
	if err != nil {
		return err
	}
	l.ResetHighWatermark(d.watermarks[tp])
	d.resumeCompaction(l)
	return m.publish(tp, d, l)
}

// retryShort opens, or moves away, the logs for which there was no room.
func (d *logDir) retryShort(ctx context.Context, m *Manager) {
	if !m.creating.TryLock() { // another directory's disk may be slow
		return
	}
	defer m.creating.Unlock()
	m.mu.Lock()
	var short []kafka.TopicPartition
	for tp, u := range m.unopened {
		if u.dir == d && u.short {
			short = append(short, tp)
		}
	}
	futures := d.shortFutures
	d.shortFutures = nil
	told := m.onOpen
	m.mu.Unlock()
	for _, tp := range short {
		m.mu.Lock()
		u := m.unopened[tp]
		m.mu.Unlock()
		var err error
		if u.away != "" {
			if err = m.putUnopenedAway(tp, u); err == nil {
				told(tp)
			}
		} else {
			err = d.openFound(ctx, m, tp, nil)
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, ErrNoRoom) {
			d.fail(m, err)
		}
		if err != nil {
			return
		}
	}
	for _, name := range futures {
		if err := d.openFuture(m, name); err != nil {
			d.fail(m, err)
			return
		}
	}
}

// loadOptions are those of a log that was there at the start.
func (d *logDir) loadOptions(m *Manager, tp kafka.TopicPartition) OpenOptions {
	o := m.openOptions(d, tp)
	o.Clean, o.RecoveryPoint = d.clean, -1
	if point, ok := d.points[tp]; ok {
		o.RecoveryPoint = point
	}
	if start, ok := d.starts[tp]; ok {
		o.StartOffset = start
	}
	o.Holes = o.Holes || d.mayHaveHoles(tp)
	return o
}

// resumeCompaction lets compaction go on where a log's directory says.
func (d *logDir) resumeCompaction(l *Log) {
	dirty, compacted := d.dirty[l.tp]
	l.firstDirty.Store(dirty)
	l.compacted.Store(compacted)
}

// mayHaveHoles tells whether segments of a log may be apart since it was compacted
// once, or since Apache Kafka wrote it: the base of a segment of Kafka's followers
// is that of its first record, and its cleaner tells of its work only after it.
func (d *logDir) mayHaveHoles(tp kafka.TopicPartition) bool {
	_, cleaned := d.dirty[tp]
	return cleaned || d.dirty == nil || !d.ours
}

func (m *Manager) beginOpening(tp kafka.TopicPartition) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.unopened[tp]
	if u != nil {
		u.begun = true
	}
	return u != nil
}

// publish makes a log known that was opened, or moves it away if that was asked
// for meanwhile.
func (m *Manager) publish(tp kafka.TopicPartition, d *logDir, l *Log) error {
	m.mu.Lock()
	u := m.unopened[tp]
	delete(m.unopened, tp)
	if u.away == "" {
		m.logs[tp] = managed{log: l, dir: d}
	}
	told := m.onOpen
	m.mu.Unlock()
	var err error
	if u.away != "" {
		if err = l.Abandon(); err == nil {
			err = m.putUnopenedAway(tp, u)
		}
		if errors.Is(err, ErrNoRoom) { // it is tried again
			err = nil
		}
	}
	told(tp)
	return err
}

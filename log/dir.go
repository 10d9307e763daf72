package log

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log/checkpoint"
)

// bootIDFile is a small file of ours: the run of the machine in which the
// directory was last in use.
const bootIDFile = ".barnabas-boot-id"

// logDir is one of log.dirs.
type logDir struct {
	path    string
	lock    io.Closer
	failure *failure
	meta    checkpoint.Meta
	hasMeta bool
	clean   bool // the clean-shutdown marker was there
	crashed bool // the machine went down; not yet confirmed
	ours    bool // it was in use by this program before

	// What was found at the start: partitions, and the names of directories of
	// deleted ones, of those set aside, and of copies that are being made.
	found                 []kafka.TopicPartition
	dead, strays, futures []string
	// What the checkpoints say, for the opening.
	points, starts, watermarks, dirty map[kafka.TopicPartition]int64
	// ids are the topics of what the recovery points named at the start, by name;
	// none: not known.
	ids map[string][]kafka.TopicID
	// missing are partitions that a checkpoint names and that have no directory, and
	// the topics that they may be of; none: any. Guarded by Manager.mu.
	missing map[kafka.TopicPartition][]kafka.TopicID
	// shortFutures are copies for whose opening there was no room. Guarded by
	// Manager.mu.
	shortFutures []string

	// unsynced is the bytes appended since the last background sync; wake asks for
	// one.
	unsynced atomic.Int64
	wake     chan struct{}
	room     room
	births   births
	// clock is the watchdog's, in ticks; making and storing are what else it
	// watches: new and deleted logs, and checkpoints. down is closed when the
	// directory goes offline.
	clock           atomic.Int64
	making, storing stopwatch
	down            chan struct{}
	rollMu          sync.Mutex // guards following
	rolled          map[*Log]bool

	buryMu sync.Mutex // guards following
	graves []grave

	saving sync.Mutex // guards following; held while a checkpoint is written
	saved  map[string]map[kafka.TopicPartition]int64
}

// grave is a deleted log's directory that is to be removed.
type grave struct {
	path string
	due  time.Time
}

// announce tells of a failure that a log has met.
func (d *logDir) announce(m *Manager, err error) {
	close(d.down)
	if m.o.OnDirFailure != nil {
		m.o.OnDirFailure(d.path, err)
	}
}

// fail takes the directory offline and returns err as callers should see it.
func (d *logDir) fail(m *Manager, err error) error {
	if errors.Is(err, ErrOffline) || errors.Is(err, ErrNoRoom) {
		return err
	}
	if vfs.NoDescriptor(err) {
		return fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	if d.failure.set(err) {
		m.o.Logger.Error("log directory failed", "dir", d.path, "err", err)
		d.announce(m, err)
	}
	return fmt.Errorf("%w: %w", ErrOffline, err)
}

// shortOfRoom tells whether err, of something that can be done again as a whole, says
// that there was no room for it.
func (d *logDir) shortOfRoom(err error) bool {
	return (vfs.NoSpace(err) || errors.Is(err, ErrNoRoom)) && d.failure.get() == nil
}

func (d *logDir) unlock() {
	if d.lock != nil {
		d.lock.Close()
		d.lock = nil
	}
}

// noteRoll asks for a sync of a log that has a complete segment.
func (d *logDir) noteRoll(l *Log) {
	d.rollMu.Lock()
	d.rolled[l] = true
	d.rollMu.Unlock()
	d.signal()
}

// noteBytes counts appended bytes and asks for a sync if there are many.
func (d *logDir) noteBytes(n int, limit int64) {
	if sum := d.unsynced.Add(int64(n)); sum >= limit && sum-int64(n) < limit {
		d.signal()
	}
	d.room.note(n)
}

func (d *logDir) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// takeRolled returns and forgets the logs that rolled.
func (d *logDir) takeRolled() map[*Log]bool {
	d.rollMu.Lock()
	defer d.rollMu.Unlock()
	out := d.rolled
	d.rolled = map[*Log]bool{}
	return out
}

func (d *logDir) buryLater(name string, due time.Time) {
	d.buryMu.Lock()
	defer d.buryMu.Unlock()
	d.graves = append(d.graves, grave{path: name, due: due})
}

// bury removes the deleted directories whose delay is over.
func (d *logDir) bury(m *Manager, now time.Time) error {
	d.buryMu.Lock()
	var due []grave
	kept := d.graves[:0]
	for _, g := range d.graves {
		if g.due.After(now) {
			kept = append(kept, g)
		} else {
			due = append(due, g)
		}
	}
	d.graves = kept
	d.buryMu.Unlock()
	for _, g := range due {
		if err := m.o.FS.RemoveAll(g.path); err != nil {
			return d.fail(m, err)
		}
	}
	return nil
}

// save writes an offset checkpoint if it differs from what it holds.
func (d *logDir) save(m *Manager, file string, offset func(*Log) (int64, bool)) error {
	if err := d.failure.get(); err != nil {
		return err
	}
	d.saving.Lock()
	defer d.saving.Unlock()
	offsets := map[kafka.TopicPartition]int64{}
	for _, l := range m.in(d) {
		if o, ok := offset(l); ok {
			offsets[l.tp] = o
		}
	}
	m.addUnopened(d, file, offsets)
	if old, ok := d.saved[file]; ok && maps.Equal(old, offsets) {
		return nil
	}
	d.storing.start(&d.clock)
	if file == checkpoint.RecoveryPointFile { // what it names and is not there is missing
		if err := d.births.sync(m.o.FS, d.path); err != nil {
			d.storing.stop()
			return d.fail(m, err)
		}
	}
	err := checkpoint.WriteOffsets(m.o.FS, path.Join(d.path, file), offsets)
	d.storing.stop()
	if vfs.NoSpace(err) {
		// The old one is still there. The offsets in it are lower, or belong to logs
		// that are gone: who can't live with that waits.
		return fmt.Errorf("%w: %s: %w", ErrNoRoom, file, err)
	}
	if err != nil {
		return d.fail(m, err)
	}
	d.saved[file] = offsets
	return nil
}

func (d *logDir) saveRecoveryPoints(m *Manager) error {
	return d.save(m, checkpoint.RecoveryPointFile, func(l *Log) (int64, bool) { return l.RecoveryPoint(), true })
}

func (d *logDir) saveStartOffsets(m *Manager) error {
	return d.save(m, checkpoint.LogStartFile, func(l *Log) (int64, bool) { return l.StartOffset(), l.startInside() })
}

func (d *logDir) saveHighWatermarks(m *Manager) error {
	return d.save(m, checkpoint.HighWatermarkFile, func(l *Log) (int64, bool) { return l.HighWatermark(), true })
}

// saveFirstDirty writes where compaction goes on, and by that which logs it has
// been at work on: see mayHaveHoles.
func (d *logDir) saveFirstDirty(m *Manager) error {
	return d.save(m, checkpoint.CleanerFile, func(l *Log) (int64, bool) {
		o := l.firstDirty.Load()
		return o, o > 0 || l.compacted.Load()
	})
}

// startInside tells whether the log start offset is above the first segment's
// base, so that a restart would not find it.
func (l *Log) startInside() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.segments) > 0 && l.start.Load() > l.segments[0].base
}

// forget makes sure that no checkpoint on disk speaks of an earlier log of tp: a
// new one of that name must not inherit its recovery point.
func (d *logDir) forget(m *Manager, tp kafka.TopicPartition) error {
	d.saving.Lock()
	stale := false
	for file, offsets := range d.saved {
		// 0 is where a new log begins; it stands for what is missing, so that thousands
		// may be made with it. In the cleaner's file a name says something by itself.
		if o, ok := offsets[tp]; ok && (o != 0 || file == checkpoint.CleanerFile) {
			stale = true
		}
	}
	d.saving.Unlock()
	if !stale {
		return nil
	}
	for _, save := range []func(*Manager) error{d.saveRecoveryPoints, d.saveStartOffsets, d.saveHighWatermarks, d.saveFirstDirty} {
		if err := save(m); err != nil {
			return err
		}
	}
	return nil
}

// readOffsets reads an offset checkpoint; none is empty.
func (d *logDir) readOffsets(m *Manager, file string) (map[kafka.TopicPartition]int64, error) {
	offsets, err := checkpoint.ReadOffsets(m.o.FS, path.Join(d.path, file))
	if errors.Is(err, fs.ErrNotExist) {
		return map[kafka.TopicPartition]int64{}, nil
	}
	if err == nil {
		d.saved[file] = offsets
	}
	return offsets, err
}

// readState finds out how the directory was left, and takes the clean-shutdown
// marker away.
func (d *logDir) readState(m *Manager) error {
	marker := path.Join(d.path, checkpoint.CleanShutdownFile)
	var err error
	if d.clean, err = exists(m.o.FS, marker); err != nil {
		return err
	}
	recorded, err := vfs.ReadFile(m.o.FS, path.Join(d.path, bootIDFile), 1<<10)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	same := strings.TrimSpace(string(recorded)) == m.o.BootID
	d.ours = len(recorded) > 0
	d.crashed = !d.clean && !same && (len(d.found) > 0 || len(recorded) > 0)
	if !d.crashed && !same {
		if err := d.writeBootID(m); err != nil && !errors.Is(err, ErrNoRoom) {
			return err
		}
	}
	if d.clean {
		if err := m.o.FS.Remove(marker); err != nil {
			return err
		}
	}
	// Without the marker: what a killed process named, nobody may have synced.
	return m.o.FS.SyncDir(d.path)
}

// writeBootID records the present run of the machine: from now on the page cache
// is what a crash of the process leaves.
func (d *logDir) writeBootID(m *Manager) error {
	if err := vfs.WriteFileAtomic(m.o.FS, path.Join(d.path, bootIDFile), []byte(m.o.BootID+"\n")); err != nil {
		if vfs.NoSpace(err) {
			return fmt.Errorf("%w: %w", ErrNoRoom, err)
		}
		return d.fail(m, err)
	}
	d.crashed = false
	return nil
}

// close leaves the directory as a clean shutdown should, if it is online.
func (d *logDir) close(m *Manager) error {
	defer d.unlock()
	if errors.Is(d.failure.get(), ErrStalled) {
		// Whatever is tried there may never return.
		return nil
	}
	offline := d.failure.get() != nil
	var errs []error
	for _, l := range m.in(d) {
		if err := l.Close(); err != nil && !offline {
			errs = append(errs, err)
		}
	}
	if offline {
		return nil
	}
	if len(errs) == 0 {
		errs = append(errs, d.saveRecoveryPoints(m), d.saveStartOffsets(m), d.saveHighWatermarks(m), d.saveFirstDirty(m))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if d.crashed || !d.clean && m.unopenedIn(d) {
		// Nobody has been told yet, or not all is checked: the next start must find
		// out again.
		return nil
	}
	err := vfs.WriteFileAtomic(m.o.FS, path.Join(d.path, checkpoint.CleanShutdownFile), []byte(checkpoint.CleanShutdownMarker))
	if vfs.NoSpace(err) {
		return fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	if err != nil {
		return d.fail(m, err)
	}
	return nil
}

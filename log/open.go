package log

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log/checkpoint"
)

// Open loads the log in o.Dir, which is made if it does not exist, and recovers
// it unless o.Clean. Damage below the recovery point, or after a clean shutdown,
// is found where it is met and treated as after a crash.
func Open(o OpenOptions) (*Log, error) {
	o = o.withDefaults()
	l := &Log{
		o: o, tp: o.TopicPartition, offline: o.offline,
		logger: o.Logger.With("partition", o.TopicPartition.String()),
		epochs: epochCache{fs: o.FS, file: path.Join(o.Dir, checkpoint.EpochsFile)},
	}
	l.opts.Store(&o.Options)
	l.topicID.Store(new(kafka.TopicID))
	l.changed = sync.NewCond(&l.mu)
	l.commit.done.L = &l.commit.mu
	if err := l.load(); err != nil {
		l.closeFiles()
		return nil, fmt.Errorf("log: open %s: %w", o.Dir, err)
	}
	return l, nil
}

// loading is what Open finds out on its way.
type loading struct {
	names     []string
	snapshots []int64 // offsets of the snapshot files, ascending
	hasIndex  map[string]bool
	clean     bool
	// rebuildEpochs: the leader-epoch-checkpoint is missing or damaged.
	rebuildEpochs bool
	// scanFrom is the first offset not trusted.
	scanFrom    int64
	done, total int64 // bytes scanned, for progress
}

func (l *Log) load() error {
	ld := &loading{clean: l.o.Clean, scanFrom: l.o.RecoveryPoint}
	if err := l.makeDir(); err != nil {
		return err
	}
	if err := l.settleFiles(ld); err != nil {
		return err
	}
	if err := l.loadSmallFiles(ld); err != nil {
		return err
	}
	if err := l.loadSegments(ld); err != nil {
		return err
	}
	if err := l.recover(ld); err != nil {
		return err
	}
	return l.settleOffsets(ld)
}

// makeDir makes the directory if there is none. Its name becomes durable with the
// first flush: before that there is nothing in it that anybody may rely on.
func (l *Log) makeDir() error {
	if ok, err := exists(l.o.FS, l.o.Dir); err != nil || ok {
		return err
	}
	if err := l.o.FS.MkdirAll(l.o.Dir); err != nil {
		return err
	}
	l.o.births.note()
	return nil
}

// settleFiles finishes or undoes what deletion, compaction and splitting left
// half done (kafka.log.LogLoader): what is left are plain files.
func (l *Log) settleFiles(ld *loading) error {
	names, err := l.o.FS.List(l.o.Dir)
	if err != nil {
		return err
	}
	minCleaned := int64(-1)
	changed := false
	for _, name := range names {
		base, suffix, ok := parseFileName(name)
		switch {
		case strings.HasSuffix(name, deletedSuffix), strings.HasSuffix(name, tmpSuffix):
			if err := l.o.FS.Remove(path.Join(l.o.Dir, name)); err != nil {
				return err
			}
			changed = true
		case ok && strings.HasSuffix(suffix, cleanedSuffix):
			if minCleaned < 0 || base < minCleaned {
				minCleaned = base
			}
		}
	}
	for _, name := range names {
		base, suffix, ok := parseFileName(name)
		// A swap file at or above an unfinished output belongs to a split that did
		// not come to its end.
		if ok && (strings.HasSuffix(suffix, cleanedSuffix) || strings.HasSuffix(suffix, swapSuffix) && minCleaned >= 0 && base >= minCleaned) {
			if err := l.o.FS.Remove(path.Join(l.o.Dir, name)); err != nil {
				return err
			}
			changed = true
		}
	}
	swapped, err := l.finishSwaps()
	if err != nil {
		return err
	}
	if changed || swapped {
		if err := l.o.FS.SyncDir(l.o.Dir); err != nil {
			return err
		}
	}
	ld.names, err = l.o.FS.List(l.o.Dir)
	return err
}

// finishSwaps lets complete outputs take the place of the segments that they
// were made from.
func (l *Log) finishSwaps() (changed bool, err error) {
	names, err := l.o.FS.List(l.o.Dir)
	if err != nil {
		return false, err
	}
	from, to := int64(-1), int64(-1)
	for _, name := range names {
		base, suffix, ok := parseFileName(name)
		if !ok || suffix != logSuffix+swapSuffix {
			continue
		}
		next, err := l.nextOffsetIn(path.Join(l.o.Dir, name), base)
		if err != nil {
			return false, err
		}
		if from < 0 || base < from {
			from = base
		}
		to = max(to, next)
	}
	for _, name := range names {
		base, suffix, ok := parseFileName(name)
		if !ok || suffix == snapshotSuffix || strings.HasSuffix(suffix, cutSuffix) {
			continue
		}
		old := path.Join(l.o.Dir, name)
		switch {
		case strings.HasSuffix(suffix, swapSuffix):
			err = l.o.FS.Rename(old, strings.TrimSuffix(old, swapSuffix))
			changed = true
		case base >= from && base < to && !slices.Contains(names, name+swapSuffix):
			err = l.o.FS.Remove(old)
			changed = true
		}
		if err != nil {
			return false, err
		}
	}
	return changed, nil
}

// nextOffsetIn walks a segment file to its end.
func (l *Log) nextOffsetIn(name string, base int64) (int64, error) {
	f, err := l.o.FS.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	next := base
	for sc := newScanner(f, 0, size, nil); ; {
		h, _, err := sc.next()
		if err == io.EOF || isCorrupt(err) {
			return next, nil
		}
		if err != nil {
			return 0, err
		}
		next = h.NextOffset()
	}
}

// loadSmallFiles reads topic id, leader epochs and the list of snapshots.
func (l *Log) loadSmallFiles(ld *loading) error {
	id, err := checkpoint.ReadPartitionMetadata(l.o.FS, path.Join(l.o.Dir, checkpoint.PartitionMetadataFile))
	switch {
	case err == nil:
		l.topicID.Store(&id)
	case errors.Is(err, checkpoint.ErrCorrupt):
		// Synced before the first append: a torn one has no records behind it, and
		// the controller's answer is written again.
		l.logger.Warn("partition.metadata unreadable", "err", err)
		if err := l.o.FS.Remove(path.Join(l.o.Dir, checkpoint.PartitionMetadataFile)); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	l.epochs.entries, err = checkpoint.ReadEpochs(l.o.FS, l.epochs.file)
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		ld.rebuildEpochs = true
	case errors.Is(err, checkpoint.ErrCorrupt):
		l.logger.Warn("leader epochs unreadable, made anew from the batches", "err", err)
		ld.rebuildEpochs = true
	default:
		return err
	}
	for _, name := range ld.names {
		if base, suffix, ok := parseFileName(name); ok && suffix == snapshotSuffix {
			ld.snapshots = append(ld.snapshots, base)
		}
	}
	slices.Sort(ld.snapshots)
	return nil
}

// cutLifetime is how long recovery's cuttings are kept.
const cutLifetime = 7 * 24 * time.Hour

// loadSegments opens every segment, removes indexes that belong to none and
// cuttings that are old.
func (l *Log) loadSegments(ld *loading) error {
	bases := map[int64]bool{}
	for _, name := range ld.names {
		if base, suffix, ok := parseFileName(name); ok && suffix == logSuffix {
			bases[base] = true
		}
	}
	ld.hasIndex = map[string]bool{}
	for _, name := range ld.names {
		base, suffix, ok := parseFileName(name)
		switch {
		case !ok:
		case suffix == offsetSuffix || suffix == timeSuffix || suffix == txnSuffix:
			if bases[base] {
				ld.hasIndex[name] = true
			} else if err := l.o.FS.Remove(path.Join(l.o.Dir, name)); err != nil {
				return err
			}
		case strings.HasSuffix(suffix, cutSuffix):
			if err := l.removeOldCut(name); err != nil {
				return err
			}
		}
	}
	for _, name := range ld.names {
		base, suffix, ok := parseFileName(name)
		if !ok || suffix != logSuffix {
			continue
		}
		s, err := openSegment(l.o.FS, l.o.Dir, base, l.opts.Load(), l.o.files)
		if err != nil {
			return err
		}
		l.segments = append(l.segments, s)
	}
	return nil
}

func (l *Log) removeOldCut(name string) error {
	full := path.Join(l.o.Dir, name)
	st, err := l.o.FS.Stat(full)
	if err != nil {
		return err
	}
	if time.Since(st.ModTime()) < cutLifetime {
		return nil
	}
	return l.o.FS.Remove(full)
}

// settleOffsets fixes start, end, recovery point and epochs once the segments
// are right (docs/format/log.md).
func (l *Log) settleOffsets(ld *loading) error {
	start := max(l.o.StartOffset, 0)
	if len(l.segments) > 0 && l.o.StartOffset < 0 {
		start = l.segments[0].base
	}
	if n := len(l.segments); n > 0 && l.end.Load() < start {
		l.logger.Warn("log ends before its start offset, begun anew there", "end", l.end.Load(), "start", start)
		if err := l.dropAllFiles(); err != nil {
			return err
		}
		ld.clean = false
	}
	// What a killed process named, nobody may have synced.
	l.namesUnsynced = !ld.clean
	l.idUnsynced = !ld.clean && l.end.Load() <= start && !l.TopicID().IsZero()
	if len(l.segments) == 0 {
		s, err := openSegment(l.o.FS, l.o.Dir, start, l.opts.Load(), l.o.files)
		if err != nil {
			return err
		}
		l.segments = []*segment{s}
		l.end.Store(start)
		l.producers = newProducers(&l.o, start)
		l.namesUnsynced = true
	}
	start = max(start, l.segments[0].base)
	l.start.Store(start)
	l.highWatermark.Store(start)
	l.updateStableLocked()
	l.recoveryPoint.Store(max(min(l.o.RecoveryPoint, l.end.Load()), 0))
	if ld.clean {
		l.recoveryPoint.Store(l.end.Load())
	}
	if err := l.settleSynced(); err != nil {
		return err
	}
	l.sumSizes()
	l.flushed = time.Now()
	l.preallocateAll(l.active())
	if l.epochs.dropFrom(l.end.Load()) { // once more at the next start, if not saved before
		l.epochs.unsaved = true
	}
	return l.epochs.truncateFromStart(start)
}

// settleSynced notes which segments the recovery point covers.
func (l *Log) settleSynced() error {
	for i, s := range l.segments {
		last := i == len(l.segments)-1
		if next := l.end.Load(); last && next > l.recoveryPoint.Load() || !last && l.segments[i+1].base > l.recoveryPoint.Load() {
			return nil
		}
		s.synced = s.size.Load()
		if last {
			return nil
		}
		if err := s.sealIndexes(); vfs.NoSpace(err) {
			continue // indexes made anew stay in memory
		} else if err != nil {
			return err
		}
		s.sealed = true
	}
	return nil
}

// sumSizes computes the size of the log anew.
func (l *Log) sumSizes() {
	var sum int64
	for _, s := range l.segments {
		sum += s.size.Load()
	}
	l.size.Store(sum)
}

// dropAllFiles removes all segments, snapshots and epochs: nothing refers to
// them any more.
func (l *Log) dropAllFiles() error {
	for _, s := range l.segments {
		s.unref()
		if err := s.remove(); err != nil {
			return err
		}
	}
	l.segments = nil
	if err := l.removeSnapshots(func(int64) bool { return true }); err != nil {
		return err
	}
	return l.epochs.clear()
}

// removeSnapshots removes the snapshot files whose offsets are named by drop.
func (l *Log) removeSnapshots(drop func(offset int64) bool) error {
	names, err := l.o.FS.List(l.o.Dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		offset, suffix, ok := parseFileName(name)
		if ok && suffix == snapshotSuffix && drop(offset) {
			if err := removeIfExists(l.o.FS, path.Join(l.o.Dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// closeFiles gives up all segments of a log that could not be opened.
func (l *Log) closeFiles() {
	for _, s := range l.segments {
		s.unref()
	}
	l.segments = nil
}

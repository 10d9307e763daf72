package log

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"time"

	"barnabas/internal/vfs"
)

// drainTime is how long a truncation waits for readers.
const drainTime = time.Second

// TruncateTo removes everything from offset o on. A batch that holds o goes as a
// whole, and the end offset is then where it began, so that no hole is left.
//
// The order that makes it safe against a crash: the recovery point is lowered
// and saved, then files change and are synced. No range that a reader holds ever
// changes: new ones are refused, the present ones are waited for up to a second;
// after that the readers keep the old file, and the log goes on with a copy.
func (l *Log) TruncateTo(o int64) error {
	l.maint.Lock()
	defer l.maint.Unlock()
	l.mu.Lock()
	if err := l.usableLocked(); err != nil {
		l.mu.Unlock()
		return err
	}
	if o < 0 {
		l.mu.Unlock()
		return rangeError(l.tp, o, l.start.Load(), l.end.Load())
	}
	if o >= l.end.Load() {
		// An epoch that began at the end has no records: the leader may not know it.
		err := l.failIf(l.epochs.truncateFromEnd(l.end.Load()))
		l.mu.Unlock()
		return err
	}
	if o < l.segments[0].base {
		l.mu.Unlock()
		return l.restart(o, o)
	}
	l.beginChangeLocked()
	segments := append([]*segment(nil), l.segments...)
	l.mu.Unlock()
	kept, end, err := l.truncateFiles(segments, o)
	return l.endChange(err, kept != nil, func() error { return l.truncatedLocked(kept, end) })
}

// TruncateFullyAndStartAt removes everything; the next offset is o.
func (l *Log) TruncateFullyAndStartAt(o int64) error {
	l.maint.Lock()
	defer l.maint.Unlock()
	return l.restart(o, o)
}

// restartAt removes everything; the next offset is base, the log start offset
// start.
func (l *Log) restartAt(base, start int64) error {
	l.maint.Lock()
	defer l.maint.Unlock()
	return l.restart(base, start)
}

// beginChangeLocked refuses reads and appends until endChange.
func (l *Log) beginChangeLocked() { l.changing = true }

// endChange runs finish under mu, if the files have changed, and lets reads and
// appends go on. err is why they did not, or not as far as they should; on a full
// disk the log is usable all the same.
func (l *Log) endChange(err error, changed bool, finish func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if changed {
		if ferr := finish(); ferr != nil {
			err = ferr
		}
	}
	l.changing = false
	l.changed.Broadcast()
	return l.failUnlessFull(err)
}

// lowerRecoveryPoint makes sure that no crash finds a recovery point above o.
func (l *Log) lowerRecoveryPoint(o int64) error {
	was := l.recoveryPoint.Load()
	if was <= o {
		return nil
	}
	l.recoveryPoint.Store(o)
	if l.o.SaveRecoveryPoint == nil {
		return nil
	}
	err := l.o.SaveRecoveryPoint(l)
	if err != nil {
		l.recoveryPoint.Store(was) // nothing was cut, and another try must save it
	}
	return err
}

// truncateFiles shrinks the files to what is below o and returns the segments
// that are left, and their end offset. On a full disk an error may come with
// segments: those above the one to be shrunk are gone, and the rest is for another
// time.
func (l *Log) truncateFiles(segments []*segment, o int64) (kept []*segment, end int64, err error) {
	n := len(segments)
	for n > 1 && segments[n-1].base > o {
		n--
	}
	s := segments[n-1]
	b, found, err := s.find(o, s.size.Load(), make([]byte, scanChunk))
	if err != nil {
		return nil, 0, err
	}
	position := s.size.Load()
	if found {
		position, o = b.position, min(o, b.base)
	}
	if err := l.lowerRecoveryPoint(o); err != nil {
		return nil, 0, err
	}
	// First, while what they tell of is there: less of them makes a recovery read more.
	if err := l.removeSnapshots(func(at int64) bool { return at > o }); err != nil {
		return nil, 0, err
	}
	if err := l.discardNewest(segments[n:]); err != nil {
		return nil, 0, err
	}
	shrunk, err := l.shrink(s, position)
	if vfs.NoSpace(err) && n < len(segments) {
		return segments[:n:n], segments[n].base, err
	}
	if err != nil {
		return nil, 0, err
	}
	s = shrunk
	if err := s.truncateIndexes(o, position); err != nil {
		return nil, 0, err
	}
	if err := l.o.FS.SyncDir(l.o.Dir); err != nil {
		return nil, 0, err
	}
	return append(segments[:n-1:n-1], s), o, nil
}

// discardNewest discards segments from the end of the log, durably before
// anything below them shrinks: whatever a crash leaves has no hole.
func (l *Log) discardNewest(segments []*segment) error {
	if len(segments) == 0 {
		return nil
	}
	segments = slices.Clone(segments)
	slices.Reverse(segments)
	if err := l.discard(segments); err != nil {
		return err
	}
	return l.o.FS.SyncDir(l.o.Dir)
}

// truncateIndexes drops what points at or beyond o, and finds the largest
// timestamp of what is left.
func (s *segment) truncateIndexes(o, position int64) error {
	if err := s.offsets.TruncateTo(o); err != nil {
		return err
	}
	if err := s.times.TruncateTo(o); err != nil {
		return err
	}
	if err := s.txns.TruncateTo(o); err != nil {
		return err
	}
	s.maxTimestamp, s.maxTimeOffset, s.sealed, s.sinceIndex = -1, s.base, false, 0
	if e := s.times.Last(); s.times.Len() > 0 {
		s.maxTimestamp, s.maxTimeOffset = e.Timestamp, e.Offset
	}
	sc := newScanner(s.file, s.offsets.Last().Position, position, nil)
	for {
		h, _, err := sc.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if h.MaxTimestamp > s.maxTimestamp && s.indexable(&h) {
			s.maxTimestamp, s.maxTimeOffset = h.MaxTimestamp, h.LastOffset()
		}
	}
	if position == 0 {
		s.firstTimestamp = -1
	}
	return nil
}

// shrink cuts the segment's file at position, or puts a copy of that length in
// its place while readers hold on to it. It returns the segment to go on with. Where
// there is no room, for the copy or what the file system needs to cut, nothing has
// changed.
func (l *Log) shrink(s *segment, position int64) (*segment, error) {
	if s.drain(drainTime) {
		s.ahead = reservation{}
		if err := s.file.Truncate(position); err != nil {
			if size, serr := s.file.Size(); serr != nil || size < s.size.Load() {
				err = fmt.Errorf("log: %s is cut in part: %v", s.path, err)
			}
			return nil, err
		}
		s.size.Store(position)
		return s, s.syncCut(position)
	}
	l.logger.Warn("readers hold a segment that is truncated: copied", "segment", s.path, "bytes", position)
	next, err := l.copySegment(s, position)
	if err != nil {
		return nil, err
	}
	s.unref()
	return next, nil
}

// copySegment puts a copy of the first bytes of a segment in its place. All that may
// find no room or descriptor comes before the copy gets the name.
func (l *Log) copySegment(s *segment, position int64) (next *segment, err error) {
	// The copy has the same index files: the old segment must not write them.
	if err := s.sealIndexes(); err != nil {
		return nil, err
	}
	tmp := s.path + tmpSuffix
	err = copyFile(l.o.FS, s.file, tmp, position)
	if err == nil {
		// Its files are opened when they are needed, by the names that they have then.
		next, err = openSegment(l.o.FS, path.Dir(s.path), s.base, l.opts.Load(), l.o.files)
	}
	if err == nil {
		if err = s.file.replaceBy(tmp); err != nil {
			next.unref()
		}
	}
	if err != nil {
		return nil, errors.Join(err, removeIfExists(l.o.FS, tmp))
	}
	next.size.Store(position)
	next.firstTimestamp, next.synced, next.jitter, next.created = s.firstTimestamp, position, s.jitter, s.created
	return next, nil
}

// syncCut syncs a file just cut to position, be it empty.
func (s *segment) syncCut(position int64) error {
	if err := s.file.Sync(); err != nil {
		return err
	}
	s.synced = position
	return nil
}

func copyFile(fs vfs.FS, from vfs.File, to string, n int64) error {
	out, err := fs.Create(to)
	if err != nil {
		return err
	}
	buf := make([]byte, 256<<10)
	for at := int64(0); at < n; {
		got, err := from.ReadAt(buf[:min(int64(len(buf)), n-at)], at)
		if got == 0 {
			out.Close()
			return fmt.Errorf("log: copy of %s: %w", from.Name(), err)
		}
		if _, err := out.WriteAt(buf[:got], at); err != nil {
			out.Close()
			return err
		}
		at += int64(got)
	}
	if err := out.Sync(); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// truncatedLocked takes over the segments that a truncation to o left.
func (l *Log) truncatedLocked(kept []*segment, o int64) error {
	l.segments = kept
	l.end.Store(o)
	l.firstDirty.Store(min(l.firstDirty.Load(), o))
	l.cuts++
	l.tail.reset()
	l.unflushed = 0
	l.sumSizes()
	if err := l.epochs.truncateFromEnd(o); err != nil {
		return err
	}
	if o < l.start.Load() {
		l.start.Store(o)
	}
	if err := l.reloadProducersLocked(o); err != nil {
		return err
	}
	l.setHighWatermarkLocked(min(l.highWatermark.Load(), o))
	return nil
}

// reloadProducersLocked rebuilds the producers as of offset o, the end of the log.
func (l *Log) reloadProducersLocked(o int64) error {
	pending, guard := l.producers.pending, l.producers.lastGuard
	names, err := l.o.FS.List(l.o.Dir)
	if err != nil {
		return err
	}
	ld := &loading{}
	for _, name := range names { // sorted
		if at, suffix, ok := parseFileName(name); ok && suffix == snapshotSuffix {
			ld.snapshots = append(ld.snapshots, at)
		}
	}
	ps, err := l.producersAt(ld, o)
	if err != nil {
		return err
	}
	ps.pending, ps.lastGuard = pending, guard
	l.producers = ps
	return nil
}

// restart removes everything: the next offset is base, the log start offset
// start. The caller holds maint.
func (l *Log) restart(base, start int64) error {
	l.mu.Lock()
	if err := l.usableLocked(); err != nil {
		l.mu.Unlock()
		return err
	}
	l.beginChangeLocked()
	segments := append([]*segment(nil), l.segments...)
	l.mu.Unlock()
	s, err := l.restartFiles(segments, base)
	return l.endChange(err, err == nil, func() error {
		l.segments = []*segment{s}
		l.end.Store(base)
		l.start.Store(start)
		l.firstDirty.Store(0)
		l.cuts++
		l.tail.reset()
		l.unflushed = 0
		l.sumSizes()
		l.producers = newProducers(&l.o, base)
		l.recoveryPoint.Store(min(l.recoveryPoint.Load(), base))
		if base < start {
			// As far as its start the log counts as replicated: nothing there is read.
			l.highWatermark.Store(base)
		} else {
			l.highWatermark.Store(start)
		}
		l.lastStable.Store(l.highWatermark.Load())
		return l.epochs.clear()
	})
}

// restartFiles replaces all segments by an empty one, whose file is made before any
// of the others goes: on a full disk nothing has changed.
func (l *Log) restartFiles(segments []*segment, base int64) (*segment, error) {
	if err := l.lowerRecoveryPoint(min(base, l.start.Load())); err != nil {
		return nil, err
	}
	// What an earlier try has left would be taken for its content.
	if err := removeIfExists(l.o.FS, path.Join(l.o.Dir, fileName(base, logSuffix+tmpSuffix))); err != nil {
		return nil, err
	}
	s, err := openSegmentAs(l.o.FS, l.o.Dir, base, tmpSuffix, l.opts.Load(), l.o.files)
	if err != nil {
		return nil, err
	}
	if err := l.removeSnapshots(func(int64) bool { return true }); err != nil {
		return nil, err
	}
	if err := l.discardNewest(segments); err != nil {
		return nil, err
	}
	err = l.withRoom(func() error { return s.renameTo("") })
	if vfs.NoSpace(err) { // without a segment there is no log
		err = fmt.Errorf("log: %s can't be renamed: %v", s.path, err)
	}
	if err != nil {
		return nil, err
	}
	return s, l.o.FS.SyncDir(l.o.Dir)
}

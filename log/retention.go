package log

import (
	"errors"
	"fmt"
	"path"
	"time"

	"barnabas/internal/vfs"
)

// trash is a deleted segment whose files still exist under another name. The log
// keeps its reference until it is removed.
type trash struct {
	segment *segment
	due     time.Time
}

// discard renames the files of segments that nobody may find any more; they are
// removed after the topic's delay. Readers keep what they hold. It needs no room:
// where there is none for the longer names the files are removed at once, and only
// readers that have them open keep them. The caller holds maint and takes the
// segments out of the list.
func (l *Log) discard(segments []*segment) error {
	due := time.Now().Add(l.opts.Load().FileDeleteDelay)
	for _, s := range segments {
		// So nothing is written to their names when the last reader goes.
		if err := s.freezeIndexes(); err != nil {
			return err
		}
		err := s.renameTo(deletedSuffix)
		switch {
		case err == nil:
			l.trash = append(l.trash, trash{segment: s, due: due})
		case vfs.NoSpace(err):
			if rerr := l.removeSegment(s); rerr != nil {
				// No error that passes for a full disk: nobody knows what is there.
				return fmt.Errorf("log: %s can neither be renamed (%v) nor removed (%v)", s.path, err, rerr)
			}
		default:
			return err
		}
	}
	return nil
}

// removeSegment removes the files of a segment that is not in the list any more.
func (l *Log) removeSegment(s *segment) error {
	s.file.retire()
	s.unref()
	return s.remove()
}

// withRoom does what gives a file its name; where there is no room for that, it is
// made by removing what waits for its deletion. The caller holds maint.
func (l *Log) withRoom(name func() error) error {
	if err := name(); !vfs.NoSpace(err) {
		return err
	}
	for len(l.trash) > 0 {
		s := l.trash[0].segment
		l.trash = l.trash[1:]
		if err := l.removeSegment(s); err != nil {
			return err
		}
	}
	return name()
}

// emptyTrash removes the files whose delay is over.
func (l *Log) emptyTrash(now time.Time) error {
	l.maint.Lock()
	defer l.maint.Unlock()
	kept := l.trash[:0]
	for i, t := range l.trash {
		if t.due.After(now) {
			kept = append(kept, t)
			continue
		}
		if err := l.removeSegment(t.segment); err != nil {
			l.trash = append(kept, l.trash[i+1:]...)
			return l.failIf(err)
		}
	}
	l.trash = kept
	return nil
}

// IncrementStartOffset moves the log start offset up to o (DeleteRecords).
// ErrOffsetOutOfRange above the high watermark. Lower offsets do nothing. Files
// go with the next retention.
func (l *Log) IncrementStartOffset(o int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usableLocked(); err != nil {
		return err
	}
	if o > l.highWatermark.Load() {
		return fmt.Errorf("%w: %s has its high watermark at %d, records are to be deleted up to %d", ErrOffsetOutOfRange, l.tp, l.highWatermark.Load(), o)
	}
	return l.failIf(l.raiseStartLocked(o))
}

func (l *Log) raiseStartLocked(o int64) error {
	if o <= l.start.Load() {
		return nil
	}
	l.start.Store(o)
	if l.highWatermark.Load() < o {
		l.setHighWatermarkLocked(o)
	}
	l.updateStableLocked()
	err := l.epochs.truncateFromStart(o)
	if moved := l.onStart.Load(); moved != nil {
		(*moved)()
	}
	return err
}

// deletion says why a segment goes.
type deletion string

const (
	belowStart deletion = "below the log start offset"
	bySize     deletion = "retention by size"
	byTime     deletion = "retention by time"
)

// Retain deletes the segments that the topic does not keep any more, oldest
// first, and returns how many. Nothing at or above the high watermark
// goes.
func (l *Log) Retain(now time.Time) (int, error) {
	l.maint.Lock()
	defer l.maint.Unlock()
	l.mu.Lock()
	if err := l.usableLocked(); err != nil {
		l.mu.Unlock()
		return 0, err
	}
	segments := append([]*segment(nil), l.segments...)
	hw, end, start, size := l.highWatermark.Load(), l.end.Load(), l.start.Load(), l.size.Load()
	l.mu.Unlock()
	o := l.opts.Load()
	n := 0
	for i, s := range segments {
		next := end
		if i < len(segments)-1 {
			next = segments[i+1].base
		}
		if next > hw || i == len(segments)-1 && s.size.Load() == 0 {
			break
		}
		why, err := l.expired(s, next, start, size, i == len(segments)-1, o, now)
		if err != nil {
			return 0, l.failIf(err)
		}
		if why == "" {
			break
		}
		l.logger.Info("segment deleted", "segment", s.path, "why", string(why), "bytes", s.size.Load())
		size -= s.size.Load()
		n++
	}
	if n == 0 {
		return 0, nil
	}
	return n, l.failIf(l.deleteOldest(n))
}

// expired says why a segment may go, or "".
func (l *Log) expired(s *segment, next, start, total int64, active bool, o *Options, now time.Time) (deletion, error) {
	if !active && next <= start {
		return belowStart, nil
	}
	if !o.Delete {
		return "", nil
	}
	if o.RetentionBytes >= 0 && total-o.RetentionBytes >= s.size.Load() {
		return bySize, nil
	}
	if o.RetentionAge < 0 {
		return "", nil
	}
	largest, err := l.largestTime(s, now)
	if err != nil {
		return "", err
	}
	if now.Sub(largest) > o.RetentionAge {
		return byTime, nil
	}
	return "", nil
}

// clockSkew is by how much clocks may differ before that is worth a warning.
const clockSkew = time.Minute

// largestTime is the time of the newest record of a segment: its largest
// timestamp, or the file's time if there is none or it lies in the future. A
// record dated in the future must not keep a segment for ever (KAFKA-18929); it
// is named once. A clock that is a little ahead, or a record that came since the
// pass began, keeps its segment a little longer and is nothing to name.
func (l *Log) largestTime(s *segment, now time.Time) (time.Time, error) {
	l.mu.Lock()
	timestamp, offset := s.maxTimestamp, s.maxTimeOffset
	l.mu.Unlock()
	if timestamp >= 0 && timestamp <= now.Add(clockSkew).UnixMilli() {
		return time.UnixMilli(timestamp), nil
	}
	modified, err := s.file.ModTime()
	if err != nil || timestamp < 0 {
		return modified, err
	}
	if !s.futureWarned {
		s.futureWarned = true
		l.logger.Warn("record dated in the future: retention goes by the file's time",
			"segment", s.path, "offset", offset, "timestamp", timestamp, "file_time", modified)
	}
	return modified, nil
}

// deleteOldest takes the first n segments out of the log. If that is all, an
// empty one is begun first.
func (l *Log) deleteOldest(n int) error {
	l.mu.Lock()
	if n == len(l.segments) {
		err := l.rollLocked(l.end.Load())
		if errors.Is(err, ErrNoRoom) && n > 1 {
			n, err = n-1, nil // the others make the room that the last one needs
		}
		if err != nil {
			l.mu.Unlock()
			return err
		}
	}
	gone := append([]*segment(nil), l.segments[:n]...)
	l.segments = append([]*segment(nil), l.segments[n:]...)
	first := l.segments[0].base
	l.sumSizes()
	err := l.raiseStartLocked(first)
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if err := l.discard(gone); err != nil {
		return err
	}
	for _, s := range gone {
		if err := removeIfExists(l.o.FS, path.Join(l.o.Dir, fileName(s.base, snapshotSuffix))); err != nil {
			return err
		}
	}
	return nil
}

// expireProducers forgets producers that have not written for long.
func (l *Log) expireProducers(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.producers.expire(now)
}

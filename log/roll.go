package log

import (
	"math"
	"path"
	"time"

	"barnabas/log/checkpoint"
)

// rollDueLocked tells whether the active segment is full or old (docs/format/log.md).
func (l *Log) rollDueLocked(n int, maxTimestamp, last int64, now time.Time, o *Options) bool {
	s := l.active()
	size := s.size.Load()
	if size > o.SegmentBytes-int64(n) && size > 0 || last-s.base > math.MaxInt32 {
		return true
	}
	if size == 0 {
		return false
	}
	if s.offsets.Full() || s.times.Full() {
		return true
	}
	waited := now.Sub(s.created)
	if s.firstTimestamp >= 0 && maxTimestamp >= 0 {
		waited = millis(maxTimestamp - s.firstTimestamp)
	}
	return waited > o.rollAge()-s.jitter
}

// millis is n milliseconds, at most the largest duration.
func millis(n int64) time.Duration {
	if n > math.MaxInt64/int64(time.Millisecond) {
		return math.MaxInt64
	}
	return time.Duration(n) * time.Millisecond
}

// rollLocked ends the active segment and begins one at base. Nothing is synced
// here: that is Flush's, which OnRoll asks for.
func (l *Log) rollLocked(base int64) error {
	old := l.active()
	if old.base == base {
		// Empty, or it could not be due: replaced by itself.
		return nil
	}
	if err := old.finishTimes(); err != nil {
		return l.failUnlessFull(err)
	}
	if err := l.takeSnapshotLocked(base, false); err != nil {
		return l.failUnlessFull(err)
	}
	s, err := openSegment(l.o.FS, l.o.Dir, base, l.opts.Load(), l.o.files)
	if err != nil {
		return l.failUnlessFull(err)
	}
	l.preallocateAll(s)
	l.segments = append(l.segments, s)
	l.tail.reset()
	l.namesUnsynced = true
	if l.o.OnRoll != nil {
		l.o.OnRoll(l)
	}
	return nil
}

// preallocateAll reserves a whole segment, where the topic wants that.
func (l *Log) preallocateAll(s *segment) {
	o := l.opts.Load()
	if o.Preallocate && s.file.Preallocate(0, o.SegmentBytes) == nil {
		s.ahead = reservation{end: o.SegmentBytes, at: time.Now()}
	}
}

// takeSnapshotLocked writes a producer snapshot named by offset, if anything came
// after the last one.
func (l *Log) takeSnapshotLocked(offset int64, sync bool) error {
	if l.producers.next <= l.producers.snapshot {
		return nil
	}
	name := path.Join(l.o.Dir, fileName(offset, snapshotSuffix))
	if err := checkpoint.WriteSnapshot(l.o.FS, name, l.producers.entries(), sync); err != nil {
		return err
	}
	l.producers.snapshot = offset
	return nil
}

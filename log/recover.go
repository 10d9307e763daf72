package log

import (
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log/batch"
	"barnabas/log/index"
)

// recover brings the segments, their indexes, the producers and the epochs into
// a state that holds together, and finds the end of the log.
func (l *Log) recover(ld *loading) error {
	if len(l.segments) == 0 {
		return nil
	}
	first := len(l.segments) // the first segment to scan
	if !ld.clean {
		first = l.segmentIndexLocked(ld.scanFrom)
	}
	for i := 0; i < first; i++ {
		ok, err := l.trustSegment(ld, i)
		if err != nil {
			return err
		}
		if !ok {
			first = i
			ld.scanFrom = min(ld.scanFrom, l.segments[i].base)
		}
	}
	if first < len(l.segments) {
		if err := l.compareEpochs(ld, first-1); err != nil {
			return err
		}
		if err := l.scanFrom(ld, first); err != nil {
			return err
		}
	} else if err := l.loadProducers(ld); err != nil {
		return err
	}
	if err := l.completeEpochs(ld); err != nil {
		return err
	}
	return l.removeStraySnapshots()
}

// trustSegment looks at a segment that need not be scanned: its indexes must be
// possible, or they are made anew. Of the last one it finds the end. ok is false
// if the segment must be scanned after all.
func (l *Log) trustSegment(ld *loading, i int) (ok bool, err error) {
	s := l.segments[i]
	size := s.size.Load()
	if err := s.txns.Check(); errors.Is(err, index.ErrCorrupt) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	rebuild := l.indexesMissing(ld, s)
	for _, err := range []error{s.offsets.Check(size), s.times.Check()} {
		if errors.Is(err, index.ErrCorrupt) {
			l.logger.Warn("index made anew", "segment", s.path, "err", err)
			rebuild = true
		} else if err != nil {
			return false, err
		}
	}
	if rebuild {
		if ok, err := l.rebuildIndexes(s); err != nil || !ok {
			return false, err
		}
		// They will be trusted as the segment is.
		if err := errors.Join(s.offsets.Sync(), s.times.Sync()); err != nil && !vfs.NoSpace(err) {
			return false, err
		}
	}
	if e := s.times.Last(); s.times.Len() > 0 {
		s.maxTimestamp, s.maxTimeOffset = e.Timestamp, e.Offset
	}
	if i < len(l.segments)-1 {
		return true, nil
	}
	return l.findEnd(s)
}

// indexesMissing tells whether a segment large enough to have entries has no
// index files.
func (l *Log) indexesMissing(ld *loading, s *segment) bool {
	size := s.size.Load()
	return size > 0 && !ld.hasIndex[fileName(s.base, timeSuffix)] ||
		size > int64(l.opts.Load().IndexIntervalBytes) && !ld.hasIndex[fileName(s.base, offsetSuffix)]
}

// rebuildIndexes makes offset and time index anew from the headers. ok is false
// where there is damage.
func (l *Log) rebuildIndexes(s *segment) (ok bool, err error) {
	if err := errors.Join(s.offsets.Reset(), s.times.Reset()); err != nil {
		return false, err
	}
	s.maxTimestamp, s.maxTimeOffset, s.sinceIndex = -1, s.base, 0
	sc := newScanner(s.file, 0, s.size.Load(), nil)
	for {
		h, pos, err := sc.next()
		if err == io.EOF {
			return true, s.finishTimes()
		}
		if isCorrupt(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if err := l.indexBatch(s, &h, pos); err != nil {
			return false, err
		}
	}
}

// indexBatch adds a scanned batch to the indexes, as LogSegment.recover does.
func (l *Log) indexBatch(s *segment, h *batch.Header, pos int64) error {
	if !s.indexable(h) {
		return nil // lookups scan more
	}
	if pos == 0 {
		s.firstTimestamp = h.MaxTimestamp
	}
	if h.MaxTimestamp > s.maxTimestamp {
		s.maxTimestamp, s.maxTimeOffset = h.MaxTimestamp, h.LastOffset()
	}
	err := s.indexAppend(h.LastOffset(), pos, h.Size(), l.opts.Load().IndexIntervalBytes)
	if errors.Is(err, index.ErrFull) {
		return nil // a smaller limit than when it was written; lookups scan more
	}
	return err
}

// indexable tells whether the offsets of a batch fit the indexes of the segment.
// Old versions of Kafka wrote segments whose offsets span more than 2^31.
func (s *segment) indexable(h *batch.Header) bool {
	return h.BaseOffset >= s.base && h.LastOffset()-s.base <= math.MaxInt32
}

// findEnd walks the last segment from its last index entry on. ok is false where
// there is damage.
func (l *Log) findEnd(s *segment) (ok bool, err error) {
	size := s.size.Load()
	l.end.Store(s.base)
	sc := newScanner(s.file, 0, size, nil)
	if h, _, err := sc.next(); err == nil {
		s.firstTimestamp = h.MaxTimestamp
	}
	sc.pos = s.offsets.Last().Position
	for {
		h, _, err := sc.next()
		switch {
		case err == io.EOF:
			return true, nil
		case isCorrupt(err):
			return false, nil
		case err != nil:
			return false, err
		case h.NextOffset() <= l.end.Load():
			return false, nil // offsets that go backwards
		}
		if h.MaxTimestamp > s.maxTimestamp && s.indexable(&h) {
			s.maxTimestamp, s.maxTimeOffset = h.MaxTimestamp, h.LastOffset()
		}
		l.end.Store(h.NextOffset())
	}
}

// scanFrom reads the segments from the ith on to the first bad batch, and makes
// everything derived anew.
func (l *Log) scanFrom(ld *loading, i int) error {
	began := time.Now()
	for _, s := range l.segments[i:] {
		ld.total += s.size.Load()
	}
	base := l.segments[i].base
	ps, err := l.producersAt(ld, base)
	if err != nil {
		return err
	}
	l.producers = ps
	l.end.Store(base)
	scanned := 0
	for ; i < len(l.segments); i++ {
		s := l.segments[i]
		if end := l.end.Load(); s.base < end || s.base > end && l.holeIsLoss() {
			// Offsets that go backwards are not of this history; a hole is what the
			// machine lost of the segment before, though this one's name survived.
			if err := l.cutAt(i-1, l.segments[i-1].size.Load()); err != nil {
				return err
			}
			break
		}
		if scanned > 0 {
			if err := l.scannedRoll(l.segments[i-1], s.base); err != nil {
				return err
			}
		}
		// As if the snapshot before this segment had been loaded: what expired by
		// then is not in the next one.
		l.producers.expire(began)
		good, err := l.scanSegment(ld, s)
		if err != nil {
			return err
		}
		scanned++
		if good < s.size.Load() {
			if err := l.cutAt(i, good); err != nil {
				return err
			}
			break
		}
	}
	l.producers.next = max(l.producers.next, l.end.Load())
	if l.end.Load() > l.segments[0].base {
		if err := l.takeSnapshotLocked(l.end.Load(), false); err != nil && !vfs.NoSpace(err) {
			return err
		}
	}
	if ld.total > 0 {
		l.logger.Info("log recovered", "segments", scanned, "bytes", ld.total, "end", l.end.Load(), "took", time.Since(began))
	}
	return nil
}

// scannedRoll does what a roll from s to the segment at base had done.
func (l *Log) scannedRoll(s *segment, base int64) error {
	if err := s.finishTimes(); err != nil {
		return err
	}
	l.producers.next = max(l.producers.next, base)
	if err := l.takeSnapshotLocked(base, false); !vfs.NoSpace(err) {
		return err
	}
	return nil // the next recovery reads more
}

// holeIsLoss tells whether offsets missing between two segments above the
// recovery point were lost. Compaction leaves holes too, also above it: a segment
// may be compacted before a checkpoint tells that it is synced. Where no recovery
// point is known, all of the log is scanned, with what compaction did long ago.
func (l *Log) holeIsLoss() bool {
	return !l.o.Holes && !l.opts.Load().Compact && l.o.RecoveryPoint >= 0
}

// scanSegment checks the batches of a segment and rebuilds its indexes. It
// returns the bytes of good ones. Batches below ld.scanFrom are known to be
// synced: only their headers are read.
func (l *Log) scanSegment(ld *loading, s *segment) (good int64, err error) {
	if err := errors.Join(s.offsets.Reset(), s.times.Reset(), s.txns.Reset()); err != nil {
		return 0, err
	}
	s.maxTimestamp, s.maxTimeOffset, s.firstTimestamp, s.sinceIndex = -1, s.base, -1, 0
	l.end.Store(max(l.end.Load(), s.base))
	sc := newScanner(s.file, 0, s.size.Load(), make([]byte, 256<<10))
	for {
		h, pos, err := sc.next()
		if err == io.EOF {
			return pos, nil
		}
		if err == nil {
			err = l.scanBatch(ld, s, sc, &h, pos)
		}
		if isCorrupt(err) {
			l.logger.Warn("bad batch", "segment", s.path, "position", pos, "err", err)
			return pos, nil
		}
		if err != nil {
			return 0, err
		}
		ld.done += int64(h.Size())
		if l.o.OnRecovery != nil {
			l.o.OnRecovery(ld.done, ld.total)
		}
		if l.o.Interrupted != nil {
			if err := l.o.Interrupted(); err != nil {
				return 0, err
			}
		}
	}
}

// scanBatch checks one batch and takes it into account. Damage is a
// *CorruptionError.
func (l *Log) scanBatch(ld *loading, s *segment, sc *scanner, h *batch.Header, pos int64) error {
	if low := h.BaseOffset; low < l.end.Load() {
		return sc.corrupt(pos, fmt.Errorf("offset %d where %d or more is due", low, l.end.Load()))
	}
	if h.LastOffset() >= ld.scanFrom {
		ok, err := sc.checkCRC(h, pos)
		if err != nil {
			return err
		}
		if !ok {
			return sc.corrupt(pos, fmt.Errorf("%w: CRC", batch.ErrCorrupt))
		}
	}
	if err := l.indexBatch(s, h, pos); err != nil {
		return err
	}
	if h.LeaderEpoch >= 0 {
		if latest, ok := l.epochs.latest(); !ok || kafka.LeaderEpoch(h.LeaderEpoch) > latest.Epoch {
			l.epochs.note(kafka.LeaderEpoch(h.LeaderEpoch), h.BaseOffset)
		}
		ld.rebuildEpochs = ld.rebuildEpochs || !l.epochs.holds(h)
	}
	l.end.Store(h.NextOffset())
	var b []byte
	if h.Control() {
		var err error
		if b, err = sc.whole(h, pos); err != nil {
			return err
		}
	}
	return l.applyBatchLocked(s, h, b)
}

// compareEpochs decides that the leader epochs are made anew if the file's are not that
// of the last batch of segment i; of -1, which there is none of, it says nothing. On a
// full disk the file stays as it was while the recovery point moves on, so it may lack
// epochs of segments that are not scanned, or have one that no record came of and that
// was taken back, above records of the epoch before. What follows from such a cache is
// for ever: followers would copy what the next answer makes them cut.
func (l *Log) compareEpochs(ld *loading, i int) error {
	if ld.rebuildEpochs || i < 0 {
		return nil
	}
	h, ok, err := lastHeader(l.segments[i])
	if err == nil && ok {
		ld.rebuildEpochs = !l.epochs.holds(&h)
	}
	return err
}

// completeEpochs makes the leader epochs anew if the file was missing or damaged, or
// did not agree with the batches.
func (l *Log) completeEpochs(ld *loading) error {
	before := len(l.epochs.entries)
	if err := l.compareEpochs(ld, len(l.segments)-1); err != nil {
		return err
	}
	if !ld.rebuildEpochs {
		// What a killed process wrote, or a scan found, is saved with the next flush.
		l.epochs.unsaved = !ld.clean && before > 0
		return nil
	}
	l.epochs.entries = nil
	for _, s := range l.segments {
		sc := newScanner(s.file, 0, s.size.Load(), nil)
		for {
			h, _, err := sc.next()
			if err == io.EOF || isCorrupt(err) {
				break
			}
			if err != nil {
				return err
			}
			if h.Magic < 2 {
				l.epochs.entries = nil
			} else if latest, ok := l.epochs.latest(); !ok || kafka.LeaderEpoch(h.LeaderEpoch) > latest.Epoch {
				l.epochs.note(kafka.LeaderEpoch(h.LeaderEpoch), h.BaseOffset)
			}
		}
	}
	l.epochs.unsaved = len(l.epochs.entries) > 0 || before > 0
	return nil
}

// lastHeader returns that of the last batch of a segment, if it has one.
func lastHeader(s *segment) (h batch.Header, ok bool, err error) {
	sc := newScanner(s.file, s.offsets.Last().Position, s.size.Load(), nil)
	for {
		next, _, err := sc.next()
		if err == io.EOF || isCorrupt(err) {
			return h, ok, nil
		}
		if err != nil {
			return h, ok, err
		}
		h, ok = next, true
	}
}

// removeStraySnapshots removes the snapshots that belong to no segment; the one
// at the end, from a clean close, stays.
func (l *Log) removeStraySnapshots() error {
	keep := map[int64]bool{l.end.Load(): true}
	for _, s := range l.segments {
		keep[s.base] = true
	}
	return l.removeSnapshots(func(o int64) bool { return !keep[o] })
}

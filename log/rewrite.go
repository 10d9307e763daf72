package log

import (
	"errors"
	"path"
	"time"

	"barnabas/log/batch"
	"barnabas/log/cleaner"
	"barnabas/log/index"
)

// rewriting makes one segment of a group of them, without what is superseded.
//
// The new files get the names of the first segment with .cleaned added. When all
// is synced they become .swap, which is durable before anything else: from there
// on a crash ends with the new segment, before with the old ones (settleFiles).
// Then the old ones become .deleted, and the new one loses its suffix.
type rewriting struct {
	*compactRun
	txns          *cleaner.Txns
	legacyHorizon time.Time
	filter        batch.Filter
	last          map[int64]lastBatch
	out           *segment
	pending       []byte // not written yet
	next          int64  // what is added next has no smaller offset
	changed       bool
}

// lastBatch is the last that a producer has written.
type lastBatch struct {
	offset int64 // of its last record, -1 if only markers are known
	epoch  int16
}

// lastBatches tells which batches must keep at least their headers, so that a
// producer's sequence is found again.
func (l *Log) lastBatches() map[int64]lastBatch {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[int64]lastBatch, len(l.producers.byID))
	for id, p := range l.producers.byID {
		b := lastBatch{offset: -1, epoch: p.epoch}
		if p.n > 0 {
			b.offset = p.sent[p.n-1].lastOffset
		}
		out[id] = b
	}
	return out
}

func (w *rewriting) rewrite(group []source) error {
	w.filter.Codecs = w.l.o.Codecs
	w.last = w.l.lastBatches()
	if err := w.create(group[0].s.base); err != nil {
		return err
	}
	err := w.fill(group)
	if err == nil && !w.changed && len(group) == 1 {
		w.count(group, group[0].size)
		return w.discardOutput()
	}
	if err == nil {
		err = w.finish(&group[len(group)-1])
	}
	swapped := false
	if err == nil {
		swapped, err = w.l.swap(w.out, group)
	}
	if swapped {
		w.count(group, w.out.size.Load())
	}
	if !swapped {
		err = errors.Join(err, w.discardOutput())
	}
	return err
}

func (w *rewriting) count(group []source, kept int64) {
	for i := range group {
		w.done.BytesRead += group[i].size
	}
	w.done.BytesKept += kept
	w.done.SegmentsIn += len(group)
	w.done.SegmentsOut++
}

// create makes the files of the output, after removing what an earlier run may
// have left.
func (w *rewriting) create(base int64) error {
	for _, suffix := range []string{logSuffix, offsetSuffix, timeSuffix, txnSuffix} {
		if err := removeIfExists(w.l.o.FS, path.Join(w.l.o.Dir, fileName(base, suffix+cleanedSuffix))); err != nil {
			return err
		}
	}
	var err error
	w.out, err = openSegmentAs(w.l.o.FS, w.l.o.Dir, base, cleanedSuffix, w.opts, w.l.o.files)
	return err
}

// discardOutput removes what was written.
func (w *rewriting) discardOutput() error {
	if err := w.out.freezeIndexes(); err != nil {
		return err
	}
	return w.l.removeSegment(w.out)
}

func (w *rewriting) fill(group []source) error {
	for i := range group {
		s := &group[i]
		if err := w.announce(w.txns, s); err != nil {
			return err
		}
		keepLegacy := w.legacyHorizon.IsZero() || s.modified.After(w.legacyHorizon)
		err := w.eachBatch(s, 0, func(h *batch.Header, b []byte) (bool, error) { return true, w.take(h, b, keepLegacy) })
		if err != nil {
			return err
		}
	}
	return w.write()
}

// take decides what is left of one batch.
func (w *rewriting) take(h *batch.Header, b []byte, keepLegacyTombstones bool) error {
	if h.Magic < 2 {
		return w.takeLegacy(h, b, keepLegacyTombstones)
	}
	now := w.o.Now.UnixMilli()
	passed := h.HasDeleteHorizon() && h.BaseTimestamp <= now
	o := batch.FilterOptions{Horizon: now + w.opts.DeleteRetention.Milliseconds(), KeepEmpty: w.mustStay(h)}
	if h.Control() {
		kind, ok := controlType(h, b)
		spent, txn := w.txns.Marker(h, kind, ok)
		if txn != nil {
			if err := w.out.txns.Append(index.AbortedTxn(*txn)); err != nil && !errors.Is(err, index.ErrOrder) {
				return err
			}
		}
		o.NeedsHorizon = spent
		o.Keep = func(int64, []byte, bool) bool { return !spent || !passed }
	} else {
		aborted := w.txns.Data(h)
		o.Keep = func(offset int64, key []byte, tombstone bool) bool {
			return !aborted && w.keep(offset, key) && (!tombstone || !passed || offset > w.o.Map.Latest())
		}
	}
	f, err := w.filter.Apply(h, b, &o)
	if err != nil {
		return w.unread(h, b)
	}
	return w.takeFiltered(&f)
}

// keep tells whether a record is the last of its key. What has no key is not kept.
func (w *rewriting) keep(offset int64, key []byte) bool {
	return offset > w.o.Map.Latest() || key != nil && offset >= w.o.Map.Get(key)
}

// mustStay tells whether a batch is the last of an active producer.
func (w *rewriting) mustStay(h *batch.Header) bool {
	if !h.HasProducer() {
		return false
	}
	last, ok := w.last[h.ProducerID]
	switch {
	case !ok:
		return false
	case last.offset >= 0:
		return h.LastOffset() == last.offset
	}
	return h.Control() && h.ProducerEpoch == last.epoch
}

// takeLegacy decides what is left of one message of the old formats.
func (w *rewriting) takeLegacy(h *batch.Header, b []byte, keepTombstones bool) error {
	f, err := w.filter.ApplyLegacy(h, b, func(offset int64, key []byte, tombstone bool) bool {
		return w.keep(offset, key) && (!tombstone || keepTombstones || offset > w.o.Map.Latest())
	})
	if err != nil || f.Bytes != nil && f.Header.LastOffset() < w.next {
		return w.unread(h, b)
	}
	return w.takeFiltered(&f)
}

// takeFiltered counts what is left of a batch, and stores it.
func (w *rewriting) takeFiltered(f *batch.Filtered) error {
	w.done.RecordsRead += int64(f.Read)
	w.done.RecordsKept += int64(f.Kept)
	w.changed = w.changed || !f.Unchanged
	if f.Bytes == nil {
		return nil
	}
	return w.add(&f.Header, f.Bytes)
}

// unread keeps a batch whose checksum is right and whose records can't be read:
// it is not compaction's to judge.
func (w *rewriting) unread(h *batch.Header, b []byte) error {
	w.done.Unread++
	if w.done.FirstUnread < 0 {
		w.done.FirstUnread = h.BaseOffset
	}
	return w.add(h, b)
}

// add puts a batch at the end of the output.
func (w *rewriting) add(h *batch.Header, b []byte) error {
	s := w.out
	position := s.size.Load()
	s.noteTimes(h.MaxTimestamp, h.LastOffset())
	// A full index is sparser than it could be, and right all the same.
	if err := s.indexAppend(h.LastOffset(), position, len(b), w.opts.IndexIntervalBytes); err != nil && !errors.Is(err, index.ErrFull) {
		return err
	}
	w.pending = append(w.pending, b...)
	w.next = h.NextOffset()
	s.size.Store(position + int64(len(b)))
	if len(w.pending) >= w.o.BufferBytes {
		return w.write()
	}
	return nil
}

// write writes what is pending.
func (w *rewriting) write() error {
	n := len(w.pending)
	if n == 0 {
		return nil
	}
	if _, err := w.out.file.WriteAt(w.pending, w.out.size.Load()-int64(n)); err != nil {
		return err
	}
	w.pending = w.pending[:0]
	return w.spend(n)
}

// finish syncs the output; it gets the file time of the last source, which is the
// time of its newest record where records have none.
func (w *rewriting) finish(last *source) error {
	s := w.out
	if err := s.finishTimes(); err != nil {
		return err
	}
	if s.size.Load() == 0 {
		s.synced = -1 // an empty file has a name to be synced
	}
	if err := s.seal(false); err != nil {
		return err
	}
	s.created, s.jitter = last.s.created, 0
	return w.l.o.FS.Chtimes(s.path, last.modified)
}

// swap puts out in the place of the group, if all of it is still there as it was.
func (l *Log) swap(out *segment, group []source) (bool, error) {
	l.maint.Lock()
	defer l.maint.Unlock()
	if _, ok, err := l.locate(group); err != nil || !ok {
		return false, err
	}
	if err := out.renameTo(swapSuffix); err != nil {
		// Some of it may have the name: a start takes what is not whole away.
		return false, l.failUnlessFull(err)
	}
	if err := l.o.FS.SyncDir(l.o.Dir); err != nil {
		return false, l.failIf(err)
	}
	old := make([]*segment, len(group))
	for i := range group {
		old[i] = group[i].s
	}
	i, ok, err := l.locate(group) // appends alone may have come between: maint is held
	if err != nil || !ok {
		return false, err
	}
	l.mu.Lock()
	next := append(append(append([]*segment(nil), l.segments[:i]...), out), l.segments[i+len(group):]...)
	l.segments = next
	l.sumSizes()
	l.mu.Unlock()
	if err := l.discard(old); err != nil {
		return true, l.failIf(err)
	}
	if err := l.withRoom(func() error { return out.renameTo("") }); err != nil {
		return true, l.failIf(err)
	}
	for _, s := range old[1:] {
		if err := removeIfExists(l.o.FS, path.Join(l.o.Dir, fileName(s.base, snapshotSuffix))); err != nil {
			return true, l.failIf(err)
		}
	}
	return true, l.failIf(l.o.FS.SyncDir(l.o.Dir))
}

// locate finds the group in the list of segments; ok is false if it is not there,
// or not as it was.
func (l *Log) locate(group []source) (at int, ok bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usableLocked(); err != nil {
		return 0, false, err
	}
	at = l.segmentIndexLocked(group[0].s.base)
	if l.changing || at+len(group) >= len(l.segments) {
		return 0, false, nil
	}
	for i := range group {
		s := l.segments[at+i]
		if s != group[i].s || s.size.Load() != group[i].size {
			return 0, false, nil
		}
	}
	return at, true, nil
}

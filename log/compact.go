package log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"barnabas/log/batch"
	"barnabas/log/cleaner"
)

// Cleanable is what compaction would find in a log. Only whole segments are
// cleaned: never the active one, nothing at or above the last stable offset, and
// nothing younger than the topic's least lag.
type Cleanable struct {
	// FirstDirty is the first offset that no compaction has looked at; from
	// Uncleanable on none may yet.
	FirstDirty, Uncleanable int64
	// CleanBytes lie before FirstDirty, DirtyBytes from there to Uncleanable.
	CleanBytes, DirtyBytes int64
	// Delay is by how much the topic's largest lag is exceeded, 0 if it is not.
	Delay time.Duration
}

// Ratio is the part of the bytes that is dirty, 0 to 1.
func (c *Cleanable) Ratio() float64 {
	if c.DirtyBytes == 0 {
		return 0
	}
	return float64(c.DirtyBytes) / float64(c.CleanBytes+c.DirtyBytes)
}

// source is a segment that compaction reads, with a reference.
type source struct {
	s            *segment
	next         int64 // where the next segment begins
	size         int64
	maxTimestamp int64
	modified     time.Time
}

// sources returns the segments that may be cleaned, with references, where the
// first dirty offset is, and how often the log was cut until now.
func (l *Log) sources() (list []source, firstDirty, cuts int64, err error) {
	if err := l.offline.get(); err != nil {
		return nil, 0, 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usableLocked(); err != nil || l.changing {
		return nil, 0, 0, err
	}
	firstDirty = l.firstDirty.Load()
	if start := l.start.Load(); firstDirty < start || firstDirty > l.end.Load() {
		firstDirty = start
	}
	stable := l.lastStable.Load()
	for i, s := range l.segments[:len(l.segments)-1] {
		next := l.segments[i+1].base
		if next > stable {
			break
		}
		s.ref()
		list = append(list, source{s: s, next: next, size: s.size.Load(), maxTimestamp: s.maxTimestamp})
	}
	return list, firstDirty, l.cuts, nil
}

func releaseSources(list []source) {
	for _, s := range list {
		s.s.unref()
	}
}

// cleanable judges the sources; it returns those that may be cleaned now.
func (l *Log) cleanable(list []source, firstDirty int64, now time.Time) ([]source, Cleanable, error) {
	o := l.opts.Load()
	c := Cleanable{FirstDirty: firstDirty, Uncleanable: firstDirty}
	for i := range list {
		s := &list[i]
		if s.next <= firstDirty {
			c.CleanBytes += s.size
			continue
		}
		if o.MinCompactionLag > 0 {
			newest, err := s.newest(now)
			if err != nil {
				return nil, c, err
			}
			if now.Sub(newest) < o.MinCompactionLag {
				return list[:i], c, nil
			}
		}
		if o.MaxCompactionLag > 0 && c.Delay == 0 {
			first, err := l.firstTime(s)
			if err != nil {
				return nil, c, err
			}
			c.Delay = max(now.Sub(first)-o.MaxCompactionLag, 0)
		}
		c.DirtyBytes += s.size
		c.Uncleanable = s.next
	}
	return list, c, nil
}

// newest is the time of the newest record: the largest timestamp, or the file's
// time if there is none or it lies in the future.
func (s *source) newest(now time.Time) (time.Time, error) {
	if s.maxTimestamp >= 0 && s.maxTimestamp <= now.UnixMilli() {
		return time.UnixMilli(s.maxTimestamp), nil
	}
	return s.s.file.ModTime()
}

// firstTime is the timestamp of a segment's first batch, or the time of the file.
func (l *Log) firstTime(s *source) (time.Time, error) {
	if s.size >= batch.HeaderSize {
		h, _, err := newScanner(s.s.file, 0, s.size, make([]byte, batch.HeaderSize)).next()
		if err != nil {
			return time.Time{}, err
		}
		if h.MaxTimestamp >= 0 {
			return time.UnixMilli(h.MaxTimestamp), nil
		}
	}
	return s.s.file.ModTime()
}

// Cleanable tells what compaction would find now.
func (l *Log) Cleanable(now time.Time) (Cleanable, error) {
	list, first, _, err := l.sources()
	if err != nil {
		return Cleanable{}, err
	}
	defer releaseSources(list)
	_, c, err := l.cleanable(list, first, now)
	return c, l.compactError(err)
}

// CompactOptions are what one run of compaction works with.
type CompactOptions struct {
	// Map is emptied first; required.
	Map *cleaner.Map
	// BufferBytes is how much is read and written at a time; default 256 KiB.
	BufferBytes int
	// Spend is told of bytes read and written and may wait; an error ends the run.
	Spend func(ctx context.Context, bytes int) error
	// Now is the time of the run.
	Now time.Time
}

// Compaction is what a run has done.
type Compaction struct {
	// FirstDirty is where the next run begins.
	FirstDirty              int64
	Keys                    int
	BytesRead, BytesKept    int64
	RecordsRead             int64
	RecordsKept             int64
	SegmentsIn, SegmentsOut int
	// Unread counts batches whose records could not be read; they stay as they are.
	// FirstUnread is the offset of the first of them.
	Unread      int
	FirstUnread int64
}

// Compact keeps of each key the record with the largest offset
// (kafka.log.Cleaner.clean): first the dirty part is read into o.Map, then all
// that is older is written anew without what the map has superseded. Appends and
// reads go on meanwhile; each group of segments is swapped at once, and if the
// log was truncated or cut meanwhile, what was written for it is thrown away.
//
// A run that ends early, with an error or without memory for all keys, has done
// what it has done: nothing that must be kept is ever lost by it. Damage (a
// *CorruptionError) is returned; the log serves on.
func (l *Log) Compact(ctx context.Context, o CompactOptions) (Compaction, error) {
	list, first, cuts, err := l.sources()
	if err != nil {
		return Compaction{FirstDirty: first}, err
	}
	defer releaseSources(list)
	r := &compactRun{l: l, o: o, ctx: ctx, opts: l.opts.Load(), firstDirty: first, cuts: cuts, done: Compaction{FirstDirty: first, FirstUnread: -1}}
	r.keys.Codecs = l.o.Codecs
	list, _, err = l.cleanable(list, first, o.Now)
	if err == nil && len(list) > 0 && list[len(list)-1].next > first {
		err = r.run(list)
	}
	return r.done, l.compactError(err)
}

// compactError takes the directory offline for what its disk could not do.
func (l *Log) compactError(err error) error {
	switch {
	case err == nil, isCorrupt(err), errors.Is(err, context.Canceled), errors.Is(err, ErrClosed), errors.Is(err, errRetired):
		return err
	case l.isClosed():
		return fmt.Errorf("%w: %w", ErrClosed, err) // deleted meanwhile
	}
	return l.failUnlessFull(err)
}

// compactRun is one run.
type compactRun struct {
	l          *Log
	o          CompactOptions
	ctx        context.Context
	opts       *Options
	firstDirty int64
	cuts       int64
	done       Compaction
	buf        []byte
	keys       batch.Filter // reads them for the map
}

func (r *compactRun) run(list []source) error {
	if r.o.BufferBytes < scanChunk {
		r.o.BufferBytes = 256 << 10
	}
	r.buf = make([]byte, r.o.BufferBytes)
	for i := range list {
		var err error
		if list[i].modified, err = list[i].s.file.ModTime(); err != nil {
			return err
		}
	}
	if err := r.fillMap(list); err != nil {
		return err
	}
	end := r.o.Map.Latest() + 1
	r.done.Keys = r.o.Map.Len()
	n := 0
	for n < len(list) && list[n].s.base < end {
		n++
	}
	if err := r.l.expectHoles(); err != nil {
		return err
	}
	txns := cleaner.NewTxns()
	horizon := r.legacyHorizon(list)
	for _, group := range r.group(list[:n]) {
		rw := &rewriting{compactRun: r, txns: txns, legacyHorizon: horizon}
		if err := rw.rewrite(group); err != nil {
			return err
		}
	}
	if end > r.firstDirty {
		r.done.FirstDirty = end
		r.l.advanceDirty(r.cuts, end)
	}
	return nil
}

// expectHoles makes sure that a recovery does not take the holes that a first
// compaction leaves for a loss, and everything behind them with it.
func (l *Log) expectHoles() error {
	if l.compacted.Swap(true) || l.o.SaveCompacted == nil {
		return nil
	}
	if err := l.o.SaveCompacted(l); err != nil {
		l.compacted.Store(false)
		return err
	}
	return nil
}

// advanceDirty notes that all below end was cleaned, unless the log was cut since
// cuts was counted.
func (l *Log) advanceDirty(cuts, end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cuts == cuts {
		l.firstDirty.Store(end)
	}
}

// legacyHorizon is the file time up to which tombstones of the old formats go:
// they have no horizon of their own.
func (r *compactRun) legacyHorizon(list []source) time.Time {
	var last time.Time
	for i := range list {
		if list[i].next <= r.firstDirty {
			last = list[i].modified
		}
	}
	if last.IsZero() {
		return last
	}
	return last.Add(-r.opts.DeleteRetention)
}

// spend counts bytes, and ends the run if the log is gone or the caller wants it.
func (r *compactRun) spend(n int) error {
	if r.l.isClosed() {
		return ErrClosed
	}
	if r.o.Spend == nil {
		return r.ctx.Err()
	}
	return r.o.Spend(r.ctx, n)
}

// eachBatch calls fn with the batches of a segment, which are valid until it
// returns. A wrong checksum is a *CorruptionError.
func (r *compactRun) eachBatch(s *source, from int64, fn func(h *batch.Header, b []byte) (more bool, err error)) error {
	sc := newScanner(s.s.file, from, s.size, r.buf)
	spent := from
	for {
		h, pos, err := sc.next()
		if errors.Is(err, io.EOF) {
			return r.spend(int(sc.pos - spent))
		}
		if err != nil {
			return err
		}
		if ok, err := sc.checkCRC(&h, pos); err != nil || !ok {
			if err == nil {
				err = sc.corrupt(pos, fmt.Errorf("%w: checksum of the batch at offset %d", batch.ErrCorrupt, h.BaseOffset))
			}
			return err
		}
		b, err := sc.whole(&h, pos)
		if err != nil {
			return err
		}
		r.buf = sc.buf
		if more, err := fn(&h, b); err != nil || !more {
			return err
		}
		if sc.pos-spent >= int64(r.o.BufferBytes) {
			if err := r.spend(int(sc.pos - spent)); err != nil {
				return err
			}
			spent = sc.pos
		}
	}
}

// fillMap reads the keys of the dirty part, until it ends or the map is full.
func (r *compactRun) fillMap(list []source) error {
	r.o.Map.Reset()
	r.o.Map.Passed(r.firstDirty - 1)
	txns := cleaner.NewTxns()
	full := false
	for i := range list {
		s := &list[i]
		if s.next <= r.firstDirty {
			continue
		}
		if err := r.announce(txns, s); err != nil {
			return err
		}
		err := r.eachBatch(s, 0, func(h *batch.Header, b []byte) (bool, error) {
			full = !r.mapBatch(h, b, txns)
			return !full, nil
		})
		if err != nil || full {
			return err
		}
		r.o.Map.Passed(s.next - 1)
	}
	return nil
}

// announce tells txns which transactions with data in a segment were aborted.
func (r *compactRun) announce(txns *cleaner.Txns, s *source) error {
	aborted, err := r.l.AbortedTxns(max(s.s.base, r.l.start.Load()), s.next)
	list := make([]cleaner.Aborted, len(aborted))
	for i, a := range aborted {
		list[i] = cleaner.Aborted(a)
	}
	txns.Add(list)
	return err
}

// mapBatch puts the keys of a batch into the map; false if it is full. A batch of
// which not all can be read has no keys: nothing is superseded by it.
func (r *compactRun) mapBatch(h *batch.Header, b []byte, txns *cleaner.Txns) bool {
	m := r.o.Map
	if h.Control() {
		kind, ok := controlType(h, b)
		txns.Marker(h, kind, ok)
	} else if !txns.Data(h) && h.LastOffset() >= r.firstDirty {
		more, err := r.keys.Keys(h, b, func(offset int64, key []byte) bool {
			return key == nil || offset < r.firstDirty || m.Put(key, offset)
		})
		if err == nil && !more {
			return false
		}
	}
	if h.LastOffset() >= r.firstDirty {
		m.Passed(h.LastOffset())
	}
	return true
}

// controlType reads the record of a control batch; ok is false if it has none.
func controlType(h *batch.Header, b []byte) (kind batch.ControlType, ok bool) {
	const unknown = batch.ControlType(-1) // is kept
	if h.Count == 0 {
		return unknown, false
	}
	for rec, err := range batch.Records(b, nil) {
		if err != nil {
			return unknown, true
		}
		if kind, err = batch.ParseControlType(rec.Key); err != nil {
			return unknown, true
		}
		return kind, true
	}
	return unknown, false
}

// maxOffsetSpan is how far offsets of one segment may lie apart.
const maxOffsetSpan = 1<<31 - 1

// group puts neighbours together that fit one segment.
func (r *compactRun) group(list []source) [][]source {
	var groups [][]source
	for len(list) > 0 {
		n := 1
		first := &list[0]
		size, offsets, times := first.size, first.s.offsets.Len(), first.s.times.Len()
		for n < len(list) {
			s := &list[n]
			size, offsets, times = size+s.size, offsets+s.s.offsets.Len(), times+s.s.times.Len()
			if size > r.opts.SegmentBytes || offsets*8 > r.opts.IndexMaxBytes || times*12 > r.opts.IndexMaxBytes || s.next-1-first.s.base > maxOffsetSpan {
				break
			}
			n++
		}
		groups = append(groups, slices.Clip(list[:n]))
		list = list[n:]
	}
	return groups
}

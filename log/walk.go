package log

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"barnabas/log/batch"
)

const (
	// walkPiece is how much of a segment a Walk reads while it holds on to it.
	walkPiece = 1 << 20
	// maxSearch bounds the bytes whose checksums are computed in search of where one
	// damaged place ends: bytes that look like many headers must not cost hours.
	maxSearch = 1 << 30
)

// Damage is a place of a log that a Walk passed over.
type Damage struct {
	File string
	// Position is where it begins, and Next where the walk went on.
	Position, Next int64
	// From and To are the first and last offset that are lost, so far as what is
	// around tells; compaction may have emptied some. To is From-1 if there is none.
	From, To int64
	Err      error
}

// Walk goes through all batches of a log in the order of its files, for who must
// not lose what can be read: it checks every batch, and where one is damaged it goes
// on at the next whole one. (Read, for consumers and followers, ends there.) What
// tells where that is: the length of the damaged batch if its header is whole, then
// the offset index, and else whatever looks like a batch, has the right checksum,
// offsets that fit, and another batch or the segment's end behind it.
//
// A Walk is used by one goroutine; compaction, rolls and appends may go on.
type Walk struct {
	l         *Log
	onDamage  func(Damage)
	end       int64 // it ends here
	floor     int64 // batches below were given before
	due       int64 // the offset that the next batch has, or less
	beforeDue int64 // what was due before the last batch
	segment   *segment
	pos       int64 // in segment
	buf       []byte
}

// NewWalk walks from offset from to the end that the log has now. onDamage hears of
// each place that was passed over; it is called before the batch that follows.
func (l *Log) NewWalk(from int64, onDamage func(Damage)) *Walk {
	return &Walk{l: l, onDamage: onDamage, end: l.EndOffset(), floor: max(from, l.StartOffset())}
}

// Offset is the one after the last batch that was given.
func (w *Walk) Offset() int64 { return max(w.floor, w.due) }

// Piece gives the next batches to fn, a MiB or so, and tells whether there may be
// more. fn keeps nothing of b; an error of it ends the walk, as any other does.
func (w *Walk) Piece(fn func(b []byte) error) (more bool, err error) {
	s, size, limit, err := w.place()
	if err != nil || s == nil {
		return false, err
	}
	defer s.unref()
	if w.buf == nil {
		w.buf = make([]byte, walkPiece)
	}
	sc := newScanner(s.file, w.pos, size, w.buf)
	more, err = w.piece(s, sc, limit, fn)
	w.buf = sc.buf
	var failed *walkError
	switch {
	case !errors.As(err, &failed):
		return more, err
	case s.gone(failed.err):
		w.leave()
		return true, nil
	}
	return false, w.l.readError(failed.err)
}

// walkError is what the disk said, as opposed to fn.
type walkError struct{ err error }

func (e *walkError) Error() string { return e.err.Error() }

// place tells where to go on, in a segment with a reference; nil at the end. limit is
// above all offsets that can be in it.
func (w *Walk) place() (s *segment, size, limit int64, err error) {
	l := w.l
	if err := l.offline.get(); err != nil {
		return nil, 0, 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usableLocked(); err != nil {
		return nil, 0, 0, err
	}
	if w.segment == nil && w.Offset() >= min(w.end, l.end.Load()) || l.changing {
		return nil, 0, 0, nil
	}
	i := slices.Index(l.segments, w.segment)
	switch {
	case i < 0: // the first, or compaction put another into the place of the last
		i = l.segmentIndexLocked(w.Offset())
		w.enter(l.segments[i], l.segments[i].base)
	case w.pos < w.segment.size.Load():
	case i == len(l.segments)-1:
		return nil, 0, 0, nil // nothing there: compaction emptied the tail
	default:
		i++
		w.enter(l.segments[i], max(w.due, l.segments[i].base))
	}
	limit = l.end.Load()
	if i < len(l.segments)-1 {
		limit = l.segments[i+1].base
	}
	s = l.segments[i]
	s.ref()
	return s, s.size.Load(), limit, nil
}

func (w *Walk) enter(s *segment, due int64) {
	w.segment, w.pos, w.due, w.beforeDue = s, 0, due, due
}

// leave forgets the segment: the next piece looks for where its offset is now.
func (w *Walk) leave() {
	w.floor = w.Offset()
	w.segment = nil
}

func (w *Walk) piece(s *segment, sc *scanner, limit int64, fn func([]byte) error) (more bool, err error) {
	for begin := w.pos; w.pos-begin < walkPiece; {
		h, pos, err := sc.next()
		if err == io.EOF {
			return true, nil
		}
		q := search{s: s, sc: sc, low: w.due, limit: limit, left: maxSearch}
		if err == nil {
			err = q.check(&h, pos)
		}
		if isCorrupt(err) {
			if err := w.pass(&q, &h, pos, err); err != nil {
				return false, &walkError{err}
			}
			continue
		}
		if err != nil {
			return false, &walkError{err}
		}
		if h.BaseOffset >= w.end && h.LastOffset() < limit { // appended since
			return false, nil
		}
		b, err := w.follow(&q, &h, pos)
		if err != nil {
			return false, &walkError{err}
		}
		w.pos = sc.pos
		if b == nil {
			continue
		}
		if err := fn(b); err != nil {
			return false, err
		}
	}
	return true, nil
}

// follow takes a batch with the right checksum into account and returns its bytes; nil
// if it is not to be given. The checksum does not cover the base offset. One that
// can't be is mended where the batch fills the hole before the next one. Where offsets
// go back to what was due before the last batch, it was that one whose offset lied.
// Any other is not of this place, like a block that the file system has put here
// again: what is old must not undo what is newer.
func (w *Walk) follow(q *search, h *batch.Header, pos int64) ([]byte, error) {
	due := w.due
	if h.BaseOffset < due || h.LastOffset() >= q.limit {
		behind, ok, err := q.at(q.sc.pos)
		if err != nil {
			return nil, err
		}
		if !ok {
			behind = due
		}
		d := Damage{File: q.sc.file.Name(), Position: pos, Next: q.sc.pos, From: due, To: behind - 1,
			Err: fmt.Errorf("%w: offset %d where it is to be from %d to below %d", batch.ErrCorrupt, h.BaseOffset, due, q.limit)}
		switch {
		case behind == due+int64(h.LastOffsetDelta)+1:
			d.Next, d.To = pos, due-1
			h.BaseOffset = due
		case h.BaseOffset >= w.beforeDue && h.LastOffset() < q.limit:
			d.Next, d.From, d.To = pos, w.beforeDue, h.BaseOffset-1
			due = h.BaseOffset
		default:
			w.tell(d)
			return nil, nil
		}
		w.tell(d)
	}
	w.beforeDue, w.due = due, h.NextOffset()
	if w.due <= w.floor {
		return nil, nil
	}
	b, err := q.sc.whole(h, pos)
	if err != nil {
		return nil, err
	}
	batch.SetOffset(b, h.BaseOffset)
	return b, nil
}

// tell tells of damage, unless what is behind it was given before: then it was told.
func (w *Walk) tell(d Damage) {
	lost := d.From <= d.To
	if d.To >= w.floor || !lost && d.From >= w.floor {
		if lost {
			d.From = max(d.From, w.floor)
		}
		w.onDamage(d)
	}
}

// pass goes on at the next whole batch after damage at pos, or at the segment's end.
func (w *Walk) pass(q *search, h *batch.Header, pos int64, damage error) error {
	next, offset, err := q.resume(h, pos)
	if err != nil {
		return err
	}
	w.tell(Damage{File: q.sc.file.Name(), Position: pos, Next: next, From: w.due, To: offset - 1, Err: damage})
	w.pos, w.due, w.beforeDue, q.sc.pos = next, offset, offset, next
	return nil
}

// A search looks for a whole batch with offsets in [low, limit) in the segment that
// sc scans.
type search struct {
	s          *segment
	sc         *scanner
	low, limit int64
	left       int64 // bytes whose checksum it may still compute
	parsed     bool  // the header at the place where it begins can be one
}

// check fails if the checksum of the batch with this header is wrong.
func (q *search) check(h *batch.Header, pos int64) error {
	q.parsed = true
	ok, err := q.sc.checkCRC(h, pos)
	if err == nil && !ok {
		err = q.sc.corrupt(pos, fmt.Errorf("%w: CRC of the batch at offset %d", batch.ErrCorrupt, h.BaseOffset))
	}
	return err
}

// resume returns the position and base offset of the first batch after the one at
// pos that is damaged; the end of the segment and limit if there is none.
func (q *search) resume(h *batch.Header, pos int64) (next, offset int64, err error) {
	claimed := int64(-1) // where the damaged batch says it ends, if that can be
	if q.parsed && h.BaseOffset >= q.low && h.LastOffset() < q.limit {
		claimed = pos + int64(h.Size())
		offset, ok, err := q.at(claimed)
		// What follows without a hole was not swallowed by a length that lies.
		if err != nil || ok && offset == h.NextOffset() {
			return claimed, offset, err
		}
	}
	for from := pos + 1; from < q.sc.end; {
		to, known := q.sc.end, false
		// An index that can't be read, or is wrong, is no help, and not what is asked for.
		if e, ok, err := q.s.offsets.Above(from); err == nil && ok && e.Position >= from && e.Position < to {
			to, known = e.Position, true
		}
		p, offset, found, err := q.between(from, to, claimed)
		if err != nil || found {
			return p, offset, err
		}
		if known {
			if offset, ok, err := q.at(to); err != nil || ok {
				return to, offset, err
			}
		}
		from = to + 1
	}
	return q.sc.end, q.limit, nil
}

// at tells the offset of the whole batch that begins at pos, or limit if the segment
// ends there.
func (q *search) at(pos int64) (offset int64, ok bool, err error) {
	if pos == q.sc.end {
		return q.limit, true, nil
	}
	h, ok, err := q.whole(pos, q.low)
	return h.BaseOffset, ok, err
}

// whole returns the header of the batch at pos, if one is there and right.
func (q *search) whole(pos, low int64) (h batch.Header, ok bool, err error) {
	back := q.sc.pos
	q.sc.pos = pos
	h, _, err = q.sc.next()
	q.sc.pos = back // what is found is not passed yet
	if err == nil && h.BaseOffset >= low && h.LastOffset() < q.limit {
		ok, err = q.sc.checkCRC(&h, pos)
		q.left -= int64(h.Size())
	}
	if err == io.EOF || isCorrupt(err) {
		return h, false, nil
	}
	return h, ok, err
}

// between looks for a batch at each position in [from, to). One that begins at
// claimed, where the length of the damaged one leads, is believed by itself; others
// must have a batch or the segment's end behind them, for what looks like a batch
// within a record must not be taken for one.
func (q *search) between(from, to, claimed int64) (pos, offset int64, found bool, err error) {
	for from < to {
		n := int(min(int64(len(q.sc.buf)), to-from+batch.HeaderSize-1, q.sc.end-from))
		b, err := q.sc.bytes(from, n)
		if isCorrupt(err) { // the file is shorter than it was
			b = q.sc.buf[:min(n, q.sc.n)]
		} else if err != nil {
			return 0, 0, false, err
		}
		i, ok := q.candidate(b)
		if from += int64(i); !ok {
			if i == 0 { // too little for a batch
				return 0, 0, false, nil
			}
			continue
		}
		h, ok, err := q.whole(from, q.low)
		if ok && err == nil && from != claimed {
			behind := from + int64(h.Size())
			if behind != q.sc.end {
				_, ok, err = q.whole(behind, h.NextOffset())
			}
		}
		if err != nil || ok {
			return from, h.BaseOffset, ok, err
		}
		if q.left < 0 {
			return 0, 0, false, nil
		}
		from++
	}
	return 0, 0, false, nil
}

// candidate returns the first position in b where a batch may begin, or how many have
// room for a header but can't.
func (q *search) candidate(b []byte) (int, bool) {
	n := max(len(b)-batch.HeaderSize+1, 0)
	for i := range n {
		if o := int64(binary.BigEndian.Uint64(b[i:])); o < q.low || o >= q.limit || b[i+batch.MinParse-1] != 2 {
			continue
		}
		if _, err := batch.ParseHeader(b[i : i+batch.HeaderSize]); err == nil {
			return i, true
		}
	}
	return n, false
}

package log

import (
	"errors"
	"fmt"
	"io"

	"barnabas/internal/vfs"
)

// ReadResult is what a Read found.
type ReadResult struct {
	// Range is the data, beginning with the batch that holds the offset asked
	// for. Length 0: nothing, and no reference. Release it otherwise.
	Range vfs.Range
	// FirstOffset is the base offset of the first batch.
	FirstOffset int64
	// FirstIncomplete says that the first batch is cut by the byte limit.
	FirstIncomplete bool
}

// Read returns data from offset on, below the offset upTo, of at most maxBytes;
// the last batch may be cut by that, but seldom is. With minOne the first batch is whole
// however large. It fails with ErrOffsetOutOfRange below the log start offset
// and above the log end offset. While a truncation is under way it finds
// nothing.
func (l *Log) Read(offset int64, maxBytes int, upTo int64, minOne bool) (ReadResult, error) {
	for from := offset; ; {
		p, err := l.place(offset, from, upTo)
		if err != nil || p.segment == nil {
			return ReadResult{}, err
		}
		res, more, err := l.readPlaced(&p, from, maxBytes, minOne)
		if err != nil {
			p.segment.unref()
			if p.segment.gone(err) {
				from = offset
				continue
			}
			return ReadResult{}, l.readError(err)
		}
		if res.Range.Length > 0 {
			return res, nil
		}
		p.segment.unref()
		if !more {
			return ReadResult{}, nil
		}
		// Compaction left nothing from here to the end of the segment.
		from = p.next
	}
}

// readError takes the directory offline for what the disk could not read; damage
// concerns the reader alone.
func (l *Log) readError(err error) error {
	if isCorrupt(err) || errors.Is(err, ErrClosed) {
		return err
	}
	if l.isClosed() {
		return fmt.Errorf("%w: %w", ErrClosed, err) // deleted under the reader
	}
	return l.failIf(err)
}

// placed is where a read begins: a segment with a reference, and what the append
// lock knew of positions in it.
type placed struct {
	segment *segment
	size    int64 // of the segment
	next    int64 // base offset of the next segment; the log's end in the last
	upTo    int64
	first   tailBatch // if known
	found   bool
	limit   int64 // position of upTo; -1 unknown
}

// place finds the segment for offset from and takes a reference. asked is what
// the reader asked for. A nil segment: there is nothing to read.
func (l *Log) place(asked, from, upTo int64) (placed, error) {
	if err := l.offline.get(); err != nil {
		return placed{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usableLocked(); err != nil {
		return placed{}, err
	}
	start, end := l.start.Load(), l.end.Load()
	if asked < start || asked > end {
		return placed{}, rangeError(l.tp, asked, start, end)
	}
	upTo = min(upTo, end)
	if from >= upTo || l.changing {
		return placed{}, nil
	}
	i := l.segmentIndexLocked(from)
	s := l.segments[i]
	p := placed{segment: s, size: s.size.Load(), next: end, upTo: upTo, limit: -1}
	if i < len(l.segments)-1 {
		p.next = l.segments[i+1].base
	} else {
		p.first, p.found = l.tail.find(from)
	}
	if upTo >= p.next {
		p.limit = p.size
	} else if i == len(l.segments)-1 {
		if b, ok := l.tail.find(upTo); ok {
			p.limit = b.position
		}
	}
	s.ref()
	return p, nil
}

// readPlaced makes the range. more tells that it is empty because the segment has
// nothing from offset on, so that the next one should be asked.
func (l *Log) readPlaced(p *placed, offset int64, maxBytes int, minOne bool) (res ReadResult, more bool, err error) {
	s := p.segment
	if !p.found {
		buf := l.buffer()
		p.first, p.found, err = s.find(offset, p.size, *buf)
		l.buffers.Put(buf)
		if err != nil || !p.found {
			return res, err == nil && p.next < p.upTo, err
		}
	}
	want := int64(max(maxBytes, 0))
	if minOne {
		want = max(want, int64(p.first.size))
	}
	if p.limit < 0 {
		if p.limit, err = l.limit(p, p.first.position+want); err != nil {
			return res, false, err
		}
	}
	length := min(want, p.limit-p.first.position)
	if length <= 0 {
		return res, false, nil
	}
	if length < p.limit-p.first.position && length > int64(p.first.size) {
		if length, err = p.whole(length); err != nil {
			return res, false, err
		}
	}
	file, err := s.file.pin()
	if err != nil {
		return res, false, err
	}
	return ReadResult{
		Range:           vfs.Range{File: file, Offset: p.first.position, Length: length, OnRelease: s.release},
		FirstOffset:     p.first.base,
		FirstIncomplete: length < int64(p.first.size),
	}, false, nil
}

// whole shortens a read that its byte limit cuts to an end of a batch that the
// index knows: readers throw a part of a batch away and ask for it again. Where
// the index has few entries it gives up, rather than half of the data.
func (p *placed) whole(length int64) (int64, error) {
	e, err := p.segment.offsets.Below(p.first.position + length)
	if err != nil {
		return 0, err
	}
	if n := e.Position - p.first.position; n >= length/2 && n >= int64(p.first.size) {
		return n, nil
	}
	return length, nil
}

// limit is the position where the batch that holds upTo begins, or one at or
// beyond enough that is known to be below it.
func (l *Log) limit(p *placed, enough int64) (int64, error) {
	e, err := p.segment.offsets.Lookup(p.upTo)
	if err != nil {
		return 0, err
	}
	if e.Position >= enough && e.Position <= p.size {
		return e.Position, nil
	}
	buf := l.buffer()
	defer l.buffers.Put(buf)
	b, ok, err := p.segment.find(p.upTo, p.size, *buf)
	if err != nil {
		return 0, err
	}
	if !ok {
		return p.size, nil
	}
	return b.position, nil
}

// find returns the first batch in [0, size) of the segment whose last offset is
// at least offset.
func (s *segment) find(offset, size int64, buf []byte) (tailBatch, bool, error) {
	e, err := s.offsets.Lookup(offset)
	if err != nil {
		return tailBatch{}, false, err
	}
	if e.Position > size {
		return tailBatch{}, false, &CorruptionError{File: s.offsets.Name(), Err: fmt.Errorf("position %d in a segment of %d bytes", e.Position, size)}
	}
	sc := newScanner(s.file, e.Position, size, buf)
	for {
		h, pos, err := sc.next()
		if err == io.EOF {
			return tailBatch{}, false, nil
		}
		if err != nil {
			return tailBatch{}, false, err
		}
		if h.LastOffset() >= offset {
			return tailBatch{base: h.BaseOffset, last: h.LastOffset(), position: pos, size: h.Size()}, true, nil
		}
	}
}

// AbortedTxns returns the aborted transactions that a reader of [from, upTo)
// must know, in the order of their markers.
func (l *Log) AbortedTxns(from, upTo int64) (txns []AbortedTxn, err error) {
	for again := true; again; {
		txns, again, err = l.abortedTxns(from, upTo)
	}
	return txns, err
}

// abortedTxns is AbortedTxns; again tells that a segment went meanwhile.
func (l *Log) abortedTxns(from, upTo int64) (txns []AbortedTxn, again bool, err error) {
	segments, err := l.referenced(from)
	if err != nil {
		return nil, false, err
	}
	defer unrefAll(segments)
	var out []AbortedTxn
	for _, s := range segments {
		var complete bool
		if out, complete, err = s.txns.Collect(out, from, upTo); err != nil {
			if s.gone(err) {
				return nil, true, nil
			}
			return nil, false, l.readError(err)
		}
		if complete {
			break
		}
	}
	return out, false, nil
}

// referenced returns the segments from the one that holds offset on, each with a
// reference.
func (l *Log) referenced(offset int64) ([]*segment, error) {
	if err := l.offline.get(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usableLocked(); err != nil {
		return nil, err
	}
	if l.changing {
		return nil, nil
	}
	segments := append([]*segment(nil), l.segments[l.segmentIndexLocked(offset):]...)
	for _, s := range segments {
		s.ref()
	}
	return segments, nil
}

func unrefAll(segments []*segment) {
	for _, s := range segments {
		s.unref()
	}
}

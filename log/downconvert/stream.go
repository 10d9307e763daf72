package downconvert

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log/batch"
)

// maxSpare is the largest buffer of a batch that is kept for the next one while the
// client reads what it became.
const maxSpare = 64 << 10

// stream is one converted range.
type stream struct {
	c     *Converter
	tp    kafka.TopicPartition
	src   vfs.Range
	rules batch.DownRules
	hold  func(n int64) (Memory, error)

	// next is where the next batch begins in src.
	next int64
	// ended: there is no more to convert.
	ended bool
	// in is the batch that was read last, out what it became, from which taken
	// bytes have been read.
	in, out []byte
	taken   int
	// memory is for held bytes of in and out.
	memory Memory
	held   int64

	// at is how many of the length bytes have been read.
	at, length int64
	// filled is how many bytes of the filler have been read, and filler its begin.
	filled int64
	filler [batch.FillerHead]byte
}

// open finds the first batch that becomes something, and returns how many bytes
// the stream has; 0 if there is no whole batch. What it needs for that is not asked
// for: the slot bounds it.
func (s *stream) open(keep func(n int64) bool) (int64, error) {
	s.c.slots <- struct{}{}
	defer func() { <-s.c.slots }()
	var damage error
	var first int64
	for {
		first = s.next
		b, err := s.peek()
		if err == nil {
			err = s.convert(b)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		var bad *damaged
		if errors.As(err, &bad) {
			if damage == nil {
				damage = bad.err
			}
			continue
		}
		if err != nil {
			return 0, err
		}
		if len(s.out) > 0 {
			return s.keepFirst(first, keep), nil
		}
	}
	s.in, s.out = nil, nil
	switch {
	case first == 0:
		return 0, nil
	case damage != nil:
		return 0, fmt.Errorf("%w: %w", ErrNothing, damage)
	}
	// All of it is of a kind that old clients don't see. They are told that there
	// is something by a message that is too long.
	s.ended = true
	return batch.FillerHead, nil
}

// keepFirst keeps what the first batch became, if that is allowed; else it is
// made again when its turn has come.
func (s *stream) keepFirst(first int64, keep func(n int64) bool) int64 {
	n := len(s.out)
	s.in = nil
	if keep == nil || !keep(int64(cap(s.out))) {
		s.next, s.out = first, nil
	}
	return max(s.src.Length, int64(n))
}

// damaged is a batch that can't be converted.
type damaged struct {
	offset int64
	err    error
}

func (d *damaged) Error() string { return fmt.Sprintf("batch at offset %d: %v", d.offset, d.err) }

// peeked is the head of the next batch.
type peeked struct {
	offset, size int64
	records      int64 // at most, of a batch that is not compressed
}

// memory is what the batch and what it becomes take, as far as its head tells.
func (b *peeked) memory() int64 { return 2*b.size + b.records*batch.DownOverhead }

// peek looks at the head of the next batch. It fails with io.EOF at the end, with
// *damaged if the rest can't be read, and with errors of reading the file.
func (s *stream) peek() (b peeked, err error) {
	left := s.src.Length - s.next
	if left < batch.MinParse {
		return b, io.EOF
	}
	var head [batch.HeaderSize]byte
	n := min(left, int64(len(head)))
	if err := s.readAt(head[:n], s.next); err != nil {
		return b, err
	}
	b.offset = int64(binary.BigEndian.Uint64(head[:]))
	b.size = int64(int32(binary.BigEndian.Uint32(head[8:]))) + batch.LengthPrefix
	if b.size < batch.MinParse {
		// Where the next batch begins can't be known.
		s.next = s.src.Length
		err := fmt.Errorf("%w: length %d", batch.ErrCorrupt, b.size-batch.LengthPrefix)
		s.c.skip(s.tp, b.offset, err)
		return b, &damaged{b.offset, err}
	}
	if b.size > left {
		return b, io.EOF
	}
	if h, err := batch.ParseHeader(head[:n]); err == nil && h.Magic == 2 && h.Codec() == batch.None {
		b.records = min(max(int64(h.Count), 0), b.size/batch.MinRecord+1)
	}
	return b, nil
}

// convert converts the batch that was peeked at into out, which is empty if nothing
// of it is left, and moves on. The caller has a slot. It fails with *damaged after a
// batch that is, with batch.ErrNoOldForm, and with errors of reading the file.
func (s *stream) convert(b peeked) error {
	s.out, s.taken = s.out[:0], 0
	if int64(cap(s.in)) < b.size {
		s.in = make([]byte, b.size)
	}
	s.in = s.in[:b.size]
	if err := s.readAt(s.in, s.next); err != nil {
		return err
	}
	s.next += b.size
	if most := b.memory() - b.size; b.records > 0 && int64(cap(s.out)) < most {
		s.out = make([]byte, 0, most)
	}
	var err error
	s.out, err = batch.AppendDown(s.out, s.in, &s.rules)
	if err == nil || errors.Is(err, batch.ErrNoOldForm) {
		return err
	}
	s.c.skip(s.tp, b.offset, err)
	return &damaged{b.offset, err}
}

// convertNext converts the next batch, with memory for it.
func (s *stream) convertNext() error {
	b, err := s.peek()
	if err != nil {
		return err
	}
	if need := b.memory(); need > s.held && s.hold != nil {
		s.drop() // so that nobody waits who has something
		if s.memory, err = s.hold(need); err != nil {
			s.memory = nil
			return fmt.Errorf("downconvert: %w", err)
		}
		s.held = need
	}
	s.c.slots <- struct{}{}
	err = s.convert(b)
	<-s.c.slots
	if cap(s.in) > maxSpare {
		s.in = nil
	}
	if s.memory != nil {
		s.held = int64(cap(s.in) + cap(s.out))
		s.memory.Resize(s.held)
	}
	return err
}

// drop gives up the buffers.
func (s *stream) drop() {
	s.in, s.out, s.taken, s.held = nil, nil, 0, 0
	if s.memory != nil {
		s.memory.Release()
		s.memory = nil
	}
}

func (s *stream) readAt(p []byte, at int64) error {
	n, err := s.src.File.ReadAt(p, s.src.Offset+at)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("downconvert: read %s at %d: %w", s.src.File.Name(), s.src.Offset+at, err)
}

// read fills p with what comes next.
func (s *stream) read(p []byte) (int, error) {
	p = p[:min(int64(len(p)), s.length-s.at)]
	n := 0
	for n < len(p) {
		if s.taken == len(s.out) {
			if err := s.refill(); err != nil {
				return n, err
			}
		}
		if s.ended {
			s.fill(p[n:])
			n = len(p)
			break
		}
		k := copy(p[n:], s.out[s.taken:])
		s.taken += k
		n += k
		s.at += int64(k)
	}
	if s.at == s.length {
		s.drop()
	}
	return n, nil
}

// refill converts until there is something, or ends the stream: at the end, and
// where a batch has no old form. The client asks for that one next, and is told.
func (s *stream) refill() error {
	for !s.ended && s.taken == len(s.out) {
		err := s.convertNext()
		var bad *damaged
		switch {
		case err == nil || errors.As(err, &bad):
		case errors.Is(err, io.EOF) || errors.Is(err, batch.ErrNoOldForm):
			s.ended = true
			s.drop()
		default:
			return err
		}
	}
	return nil
}

// fill fills p with the filler.
func (s *stream) fill(p []byte) {
	if s.filled == 0 {
		s.filler = batch.Filler(int(s.length - s.at))
	}
	n := 0
	if s.filled < batch.FillerHead {
		n = copy(p, s.filler[s.filled:])
	}
	clear(p[n:])
	s.filled += int64(len(p))
	s.at += int64(len(p))
}

// release ends the stream.
func (s *stream) release() {
	s.ended = true
	s.drop()
	s.src.Release()
}

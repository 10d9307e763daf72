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

// maxSpare is the largest buffer for batches that is kept for the next one while
// the client reads.
const maxSpare = 64 << 10

// stream is one converted range.
type stream struct {
	c     *Converter
	tp    kafka.TopicPartition
	src   vfs.Range
	rules batch.DownRules

	// next is where the next batch begins in src.
	next int64
	// ended: there is no more to convert.
	ended bool
	// in is the batch that was read last, out what it became, from which taken
	// bytes have been read.
	in, out []byte
	taken   int

	// at is how many of the length bytes have been read.
	at, length int64
	// filled is how many bytes of the filler have been read, and filler its begin.
	filled int64
	filler [batch.FillerHead]byte
}

// open finds the first batch that becomes something, and returns how many bytes
// the stream has; 0 if there is no whole batch.
func (s *stream) open(keep *int) (int64, error) {
	var damage error
	var first int64
	for {
		first = s.next
		err := s.convertNext()
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
func (s *stream) keepFirst(first int64, keep *int) int64 {
	n := len(s.out)
	if n <= *keep {
		*keep -= n
		s.in = nil
	} else {
		s.next, s.in, s.out = first, nil, nil
	}
	return max(s.src.Length, int64(n))
}

// damaged is a batch that can't be converted.
type damaged struct {
	offset int64
	err    error
}

func (d *damaged) Error() string { return fmt.Sprintf("batch at offset %d: %v", d.offset, d.err) }

// convertNext converts the next batch into out, which is empty if nothing of it
// is left. It fails with io.EOF at the end, with *damaged after a batch that is,
// with batch.ErrNoOldForm, and with errors of reading the file.
func (s *stream) convertNext() error {
	s.out, s.taken = s.out[:0], 0
	offset, err := s.readBatch()
	if err != nil {
		return err
	}
	s.out, err = s.c.convert(s.out, s.in, &s.rules)
	if cap(s.in) > maxSpare {
		s.in = nil
	}
	if err == nil || errors.Is(err, batch.ErrNoOldForm) {
		return err
	}
	s.c.skip(s.tp, offset, err)
	return &damaged{offset, err}
}

// readBatch reads the next whole batch into in and moves on.
func (s *stream) readBatch() (offset int64, err error) {
	left := s.src.Length - s.next
	if left < batch.MinParse {
		return 0, io.EOF
	}
	var head [batch.MinParse]byte
	if err := s.readAt(head[:], s.next); err != nil {
		return 0, err
	}
	offset = int64(binary.BigEndian.Uint64(head[:]))
	size := int64(int32(binary.BigEndian.Uint32(head[8:]))) + batch.LengthPrefix
	if size < batch.MinParse {
		// Where the next batch begins can't be known.
		s.next = s.src.Length
		err := fmt.Errorf("%w: length %d", batch.ErrCorrupt, size-batch.LengthPrefix)
		s.c.skip(s.tp, offset, err)
		return 0, &damaged{offset, err}
	}
	if size > left {
		return 0, io.EOF
	}
	if int64(cap(s.in)) < size {
		s.in = make([]byte, size)
	}
	s.in = s.in[:size]
	if err := s.readAt(s.in, s.next); err != nil {
		return 0, err
	}
	s.next += size
	return offset, nil
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
		s.in, s.out, s.taken = nil, nil, 0
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
			s.in, s.out, s.taken = nil, nil, 0
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
	s.in, s.out, s.taken, s.ended = nil, nil, 0, true
	s.src.Release()
}

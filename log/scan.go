package log

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"

	"barnabas/internal/vfs"
	"barnabas/log/batch"
)

// scanChunk is how much a scanner reads at a time.
const scanChunk = 16 << 10

// A scanner walks the batches of a file. It reads headers, and of large batches
// nothing else unless asked.
type scanner struct {
	file vfs.File
	pos  int64 // of the next header
	end  int64 // no batch reaches beyond
	buf  []byte
	// at and n say what buf holds: n bytes from file position at.
	at int64
	n  int
}

// newScanner walks [pos, end) of the file; buf is reused if it is large enough.
func newScanner(file vfs.File, pos, end int64, buf []byte) *scanner {
	if len(buf) < batch.HeaderSize {
		buf = make([]byte, scanChunk)
	}
	return &scanner{file: file, pos: pos, end: end, buf: buf}
}

// next returns the header of the next batch and its position; io.EOF at the end,
// a *CorruptionError where no batch can be.
func (s *scanner) next() (batch.Header, int64, error) {
	pos := s.pos
	if pos >= s.end {
		return batch.Header{}, pos, io.EOF
	}
	need := int(min(batch.HeaderSize, s.end-pos))
	b, err := s.bytes(pos, need)
	if err != nil {
		return batch.Header{}, pos, err
	}
	h, err := batch.ParseHeader(b)
	if err != nil {
		return batch.Header{}, pos, s.corrupt(pos, err)
	}
	if int64(h.Size()) > s.end-pos {
		return batch.Header{}, pos, s.corrupt(pos, fmt.Errorf("%w: %d bytes of %d", batch.ErrShort, s.end-pos, h.Size()))
	}
	s.pos = pos + int64(h.Size())
	return h, pos, nil
}

func (s *scanner) corrupt(pos int64, err error) error {
	return &CorruptionError{File: s.file.Name(), Position: pos, Err: err}
}

// bytes returns n bytes at pos, valid until the next call. n ≤ len(s.buf).
func (s *scanner) bytes(pos int64, n int) ([]byte, error) {
	if pos < s.at || pos+int64(n) > s.at+int64(s.n) {
		want := int(min(int64(len(s.buf)), s.end-pos))
		got, err := s.file.ReadAt(s.buf[:want], pos)
		s.at, s.n = pos, got
		if got < n {
			if err == nil || errors.Is(err, io.EOF) {
				return nil, s.corrupt(pos, io.ErrUnexpectedEOF)
			}
			return nil, err
		}
	}
	return s.buf[pos-s.at:][:n], nil
}

// whole returns the bytes of the batch at pos, valid until the next call.
func (s *scanner) whole(h *batch.Header, pos int64) ([]byte, error) {
	if h.Size() > len(s.buf) {
		s.buf = make([]byte, h.Size())
		s.n = 0
	}
	return s.bytes(pos, h.Size())
}

// maxWhole is the largest batch that checkCRC reads at once.
const maxWhole = 4 << 20

// checkCRC tells whether the checksum of the batch at pos is right. A length
// that lies costs no memory: large batches are read in pieces.
func (s *scanner) checkCRC(h *batch.Header, pos int64) (bool, error) {
	if h.Size() <= maxWhole {
		b, err := s.whole(h, pos)
		if err != nil {
			return false, err
		}
		return batch.CheckCRC(b), nil
	}
	table, from := crc32.MakeTable(crc32.Castagnoli), int64(21)
	if h.Magic < 2 {
		table, from = crc32.IEEETable, 16
	}
	var sum uint32
	for at, end := pos+from, pos+int64(h.Size()); at < end; {
		b, err := s.bytes(at, int(min(end-at, int64(len(s.buf)))))
		if err != nil {
			return false, err
		}
		sum = crc32.Update(sum, table, b)
		at += int64(len(b))
	}
	want := h.CRC
	return sum == want, nil
}

// removeIfExists removes a file that may not be there.
func removeIfExists(f vfs.FS, name string) error {
	if err := f.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// exists tells whether there is such a file or directory.
func exists(f vfs.FS, name string) (bool, error) {
	_, err := f.Stat(name)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	}
	return false, err
}

// isCorrupt tells damage from failing hardware.
func isCorrupt(err error) bool {
	var c *CorruptionError
	return errors.As(err, &c)
}

package downconvert

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log/batch"
)

var testTP = kafka.TopicPartition{Topic: "t", Partition: 3}

// before is what stands in the file before the range.
const before = 1000

// segment is a file in memory with a range of it.
type segment struct {
	t        testing.TB
	codecs   *batch.Codecs
	fs       vfs.FS
	next     int64 // offset
	data     []byte
	released int
}

func newSegment(t testing.TB) *segment {
	return &segment{t: t, codecs: batch.NewCodecs(batch.Limits{}), fs: vfs.NewMem(), next: 10}
}

// add appends a batch of n records with values of size bytes.
func (s *segment) add(codec batch.Codec, n, size int) *segment {
	s.t.Helper()
	b := batch.NewBuilder(batch.BuilderOptions{Codec: codec, Codecs: s.codecs, BaseOffset: s.next})
	for range n {
		b.Append(7, nil, make([]byte, size))
	}
	out, err := b.Bytes()
	if err != nil {
		s.t.Fatal(err)
	}
	return s.put(out, n)
}

func (s *segment) put(b []byte, n int) *segment {
	s.data = append(s.data, b...)
	s.next += int64(n)
	return s
}

// marker appends a control batch.
func (s *segment) marker() *segment {
	b := batch.EndTxnMarker(batch.Marker{ProducerID: 1})
	batch.SetOffset(b, s.next)
	return s.put(b, 1)
}

// damage changes the last byte.
func (s *segment) damage() *segment {
	s.data[len(s.data)-1]++
	return s
}

// cut takes n bytes off the end.
func (s *segment) cut(n int) *segment {
	s.data = s.data[:len(s.data)-n]
	return s
}

func (s *segment) file() vfs.File {
	s.t.Helper()
	f, err := s.fs.Create("/segment")
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := f.WriteAt(slices.Concat(make([]byte, before), s.data, []byte("what follows")), 0); err != nil {
		s.t.Fatal(err)
	}
	return f
}

func (s *segment) rng() vfs.Range {
	return vfs.Range{File: s.file(), Offset: before, Length: int64(len(s.data)), OnRelease: func() { s.released++ }}
}

// upTo keeps n bytes in all.
func upTo(n int64) func(int64) bool {
	return func(more int64) bool {
		if more > n {
			return false
		}
		n -= more
		return true
	}
}

func (s *segment) request(magic int8, from int64) *Request {
	return &Request{TP: testTP, Range: s.rng(), Magic: magic, From: from, Keep: upTo(1 << 20)}
}

// readAll reads a range as a socket's writer does, in pieces.
func readAll(t testing.TB, r vfs.Range, piece int) []byte {
	t.Helper()
	var all []byte
	for off := r.Offset; off < r.Offset+r.Length; {
		p := make([]byte, min(int64(piece), r.Offset+r.Length-off))
		if n, err := r.File.ReadAt(p, off); n != len(p) {
			t.Fatalf("at %d: %d of %d bytes, %v", off, n, len(p), err)
		}
		all = append(all, p...)
		off += int64(len(p))
	}
	return all
}

// describe tells the messages of a record field, and what is after the last
// whole one: a filler, or a part.
func describe(t testing.TB, set []byte) string {
	t.Helper()
	var out []string
	for len(set) > 0 {
		if bytes.HasPrefix([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, set[:min(8, len(set))]) {
			if len(set) >= 12 {
				if n := binary.BigEndian.Uint32(set[8:]); int(n) <= len(set)-12 || !bytes.Equal(set[12:], make([]byte, len(set)-12)) {
					t.Errorf("a filler of %d bytes says %d: %x", len(set), n, set)
				}
			}
			out = append(out, fmt.Sprintf("filler %d", len(set)))
			break
		}
		h, whole, rest, err := batch.Next(set)
		if errors.Is(err, batch.ErrShort) {
			out = append(out, fmt.Sprintf("part %d", len(set)))
			break
		}
		if err != nil || !batch.CheckCRC(whole) {
			t.Fatalf("%v, or checksum: %x", err, set)
		}
		text := fmt.Sprintf("v%d", h.Magic)
		if h.Codec() != batch.None {
			text += " " + h.Codec().String()
		}
		for r, err := range batch.Records(whole, batch.NewCodecs(batch.Limits{})) {
			if err != nil {
				t.Fatal(err)
			}
			text += fmt.Sprint(" ", r.Offset)
		}
		out = append(out, text)
		set = rest
	}
	return strings.Join(out, ", ")
}

func TestConvert(t *testing.T) {
	const n, g, z = batch.None, batch.Gzip, batch.Zstd
	seg := func() *segment { return newSegment(t) }
	// A message of 100 bytes has 61 + 8 + 100 in a batch of one and 34 + 100 in
	// format 1; an empty one 7 in a batch and 34.
	for _, tc := range []struct {
		name  string
		s     *segment
		magic int8
		from  int64
		want  string
		more  int // bytes more than in the log
	}{
		{"format 1", seg().add(n, 1, 100).add(n, 1, 100), 1, 10, "v1 10, v1 11, filler 72", 0},
		{"format 0", seg().add(n, 1, 100).add(n, 1, 100), 0, 10, "v0 10, v0 11, filler 88", 0},
		{"the first grows", seg().add(n, 10, 0), 1, 10, "v1 10, v1 11, v1 12, v1 13, v1 14, v1 15, v1 16, v1 17, v1 18, v1 19", 340 - 131},
		{"the second grows", seg().add(n, 1, 100).add(n, 10, 0), 1, 10, "v1 10, v1 11, v1 12, v1 13, v1 14, part 31", 0},
		{"in the middle", seg().add(n, 3, 100), 1, 11, "v1 11, v1 12, filler 120", 0},
		{"in the middle, compressed", seg().add(g, 3, 100).add(n, 1, 100), 1, 11, "v1 gzip 10 11 12, v1 13, filler", 0},
		{"a part of a batch at the end", seg().add(n, 1, 100).add(n, 1, 100).cut(1), 1, 10, "v1 10, filler 205", 0},
		{"a part of a head at the end", seg().add(n, 1, 100).add(n, 1, 100).cut(170 - 16), 1, 10, "v1 10, filler 52", 0},
		{"a filler too short to say so", seg().add(n, 1, 100).add(n, 2, 0).cut(71), 1, 10, "v1 10, filler 40", 0},
		{"markers between", seg().add(n, 1, 100).marker().add(n, 1, 100), 1, 10, "v1 10, v1 12, filler 150", 0},
		{"a marker first, nothing twice", seg().marker().add(n, 1, 100).add(n, 1, 100), 1, 10, "v1 11, v1 12, filler 150", 0},
		{"nothing but markers", seg().marker().marker(), 1, 10, "filler 12", 12 - 2*78},
		{"all before", seg().add(n, 3, 100), 1, 13, "filler 12", 12 - 3*109 - 61},
		{"zstd later", seg().add(n, 1, 100).add(n, 1, 100).add(z, 1, 100).add(n, 1, 0), 1, 10, "v1 10, v1 11, filler", 0},
		{"damage first", seg().add(n, 1, 100).damage().add(n, 1, 100), 1, 10, "v1 11, filler 206", 0},
		{"damage later", seg().add(n, 1, 100).add(n, 1, 100).damage().add(n, 1, 100), 1, 10, "v1 10, v1 12, filler 242", 0},
		{"damage between markers", seg().marker().add(n, 1, 100).damage().marker().add(n, 1, 100), 1, 10, "v1 13, filler 362", 0},
	} {
		var first []byte
		for _, piece := range []int{1, 7, 64 << 10} {
			for _, keep := range []int64{1 << 20, 0} {
				c := New(Options{Codecs: tc.s.codecs})
				q := tc.s.request(tc.magic, tc.from)
				q.Keep = upTo(keep)
				r, err := c.Convert(q)
				if err != nil {
					t.Errorf("%s: %v", tc.name, err)
					continue
				}
				got := readAll(t, r, piece)
				r.Release()
				if first == nil {
					first = got
					text := describe(t, got)
					if strings.HasSuffix(tc.want, "filler") { // after something compressed
						text = strings.TrimRight(text, " 0123456789")
					}
					if text != tc.want || len(got) != len(tc.s.data)+tc.more {
						t.Errorf("%s: got %s, %d bytes more than in the log, want %s, %d", tc.name, text, len(got)-len(tc.s.data), tc.want, tc.more)
					}
				}
				if !bytes.Equal(got, first) {
					t.Errorf("%s: in pieces of %d, keep %d: %s", tc.name, piece, keep, describe(t, got))
				}
			}
		}
		if tc.s.released != 6 {
			t.Errorf("%s: released %d of 6 times", tc.name, tc.s.released)
		}
	}
}

func TestConvertNothing(t *testing.T) {
	for name, s := range map[string]*segment{
		"empty":           newSegment(t),
		"part of a head":  newSegment(t).add(batch.None, 1, 10).cut(79 - 16),
		"part of a batch": newSegment(t).add(batch.Zstd, 1, 10).cut(1),
	} {
		r, err := New(Options{Codecs: s.codecs}).Convert(s.request(1, 10))
		if err != nil || r.Length != 0 || s.released != 1 {
			t.Errorf("%s: %+v, %v, released %d times", name, r, err, s.released)
		}
	}
}

func TestConvertFails(t *testing.T) {
	length := newSegment(t).add(batch.None, 1, 100)
	copy(length.data[8:], []byte{0x80, 0, 0, 0})
	for _, tc := range []struct {
		name string
		s    *segment
		want error
	}{
		{"zstd", newSegment(t).add(batch.Zstd, 1, 10).add(batch.None, 1, 10), batch.ErrNoOldForm},
		{"zstd after a marker", newSegment(t).marker().add(batch.Zstd, 1, 10), batch.ErrNoOldForm},
		{"damage", newSegment(t).add(batch.None, 1, 10).damage(), ErrNothing},
		{"damage, by its kind", newSegment(t).marker().add(batch.None, 1, 10).damage(), batch.ErrCorrupt},
		{"damaged length", length, ErrNothing},
	} {
		var log strings.Builder
		c := New(Options{Codecs: tc.s.codecs, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		for range 2 {
			if r, err := c.Convert(tc.s.request(1, 10)); !errors.Is(err, tc.want) || r.Length != 0 {
				t.Errorf("%s: %+v, %v, want %v", tc.name, r, err, tc.want)
			}
		}
		if tc.s.released != 2 {
			t.Errorf("%s: released %d times", tc.name, tc.s.released)
		}
		damaged := int64(0)
		if tc.want != batch.ErrNoOldForm {
			damaged = 2
		}
		if lines := strings.Count(log.String(), "damaged batch"); c.Skipped() != damaged || lines > 1 || damaged > 0 && lines != 1 {
			t.Errorf("%s: counted %d, told %d times", tc.name, c.Skipped(), lines)
		}
	}
}

func TestReadErrors(t *testing.T) {
	broken := errors.New("broken")
	s := newSegment(t).add(batch.None, 1, 100).add(batch.None, 1, 100)
	failing := false
	s.fs = vfs.NewFailing(vfs.NewMem(), func(op vfs.Op) error {
		if failing && op.Kind == vfs.OpRead {
			return broken
		}
		return nil
	})
	c := New(Options{Codecs: s.codecs})
	r, err := c.Convert(s.request(1, 10))
	if err != nil {
		t.Fatal(err)
	}
	failing = true
	p := make([]byte, r.Length)
	if n, err := r.File.ReadAt(p, 0); !errors.Is(err, broken) || n != 134 {
		t.Errorf("%d bytes, %v", n, err)
	}
	r.Release()
	failing = false
	q := s.request(1, 10)
	failing = true
	if _, err := c.Convert(q); !errors.Is(err, broken) || s.released != 2 {
		t.Errorf("%v, released %d times", err, s.released)
	}

	failing = false
	s.data = append(s.data, make([]byte, 100)...) // the range is longer than the file
	q = s.request(1, 10)
	if err := q.Range.File.Truncate(before + 100); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Convert(q); !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, fs.ErrClosed) {
		t.Errorf("a file that is too short: %v", err)
	}
}

func TestReadOutOfOrder(t *testing.T) {
	s := newSegment(t).add(batch.None, 1, 100)
	r, err := New(Options{Codecs: s.codecs}).Convert(s.request(1, 10))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	p := make([]byte, 10)
	for _, off := range []int64{1, -1, 1 << 40} {
		if _, err := r.File.ReadAt(p, off); !errors.Is(err, ErrOrder) {
			t.Errorf("at %d: %v", off, err)
		}
	}
	if n, err := r.File.ReadAt(make([]byte, r.Length+5), 0); int64(n) != r.Length || err != io.EOF {
		t.Errorf("beyond the end: %d of %d bytes, %v", n, r.Length, err)
	}
}

// TestKeep: an answer of many partitions keeps little before it is sent.
func TestKeep(t *testing.T) {
	s := newSegment(t).add(batch.Gzip, 10, 10<<10)
	left, kept := int64(5000), 0
	for range 20 {
		q := s.request(1, 10)
		q.Keep = func(n int64) bool {
			if n > left {
				return false
			}
			left -= n
			return true
		}
		r, err := New(Options{Codecs: s.codecs}).Convert(q)
		if err != nil {
			t.Fatal(err)
		}
		st := r.File.(*file).s
		kept += cap(st.in) + cap(st.out)
		r.Release()
	}
	if kept == 0 || kept > 5000 || left != int64(5000-kept) {
		t.Errorf("kept %d bytes, %d left of 5000", kept, left)
	}
}

// given is the memory of one range, of which it may hold one piece at a time.
type given struct {
	t         *testing.T
	held      bool
	n, waited int64 // bytes, times
	err       error
}

func (g *given) hold(n int64) (Memory, error) {
	if g.held {
		g.t.Error("waits for memory while it has some")
	}
	if g.err != nil {
		return nil, g.err
	}
	g.held, g.n = true, n
	g.waited++
	return g, nil
}

func (g *given) Resize(n int64) { g.n = n }
func (g *given) Release()       { g.held, g.n = false, 0 }

// TestHold: what batches become is in memory that was asked for, which is given back
// at the end, or earlier with the range.
func TestHold(t *testing.T) {
	s := newSegment(t)
	for i := range 12 {
		s.add([]batch.Codec{batch.None, batch.Gzip, batch.LZ4, batch.None}[i%4], 1000*(1+i%5), 100*(i%3))
	}
	for _, whole := range []bool{true, false} {
		g := &given{t: t}
		q := s.request(1, 10)
		q.Keep, q.Hold = upTo(0), g.hold
		r, err := New(Options{Codecs: s.codecs}).Convert(q)
		if err != nil {
			t.Fatal(err)
		}
		st := r.File.(*file).s
		end := r.Length
		if !whole {
			end /= 2
		}
		for p, off := make([]byte, 4<<10), int64(0); off < end; off += int64(len(p)) {
			p = p[:min(int64(len(p)), end-off)]
			if _, err := r.File.ReadAt(p, off); err != nil {
				t.Fatal(err)
			}
			if has := int64(cap(st.in) + cap(st.out)); has > g.n {
				t.Fatalf("has %d bytes at %d, asked for %d", has, off, g.n)
			}
		}
		if g.held == whole || g.waited < 3 {
			t.Errorf("whole %v: holds %v after %d batches", whole, g.held, g.waited)
		}
		r.Release()
		if g.held {
			t.Error("holds memory at the end")
		}
	}
	g := &given{t: t, err: io.ErrClosedPipe}
	q := s.request(1, 10)
	q.Keep, q.Hold = upTo(0), g.hold
	r, err := New(Options{Codecs: s.codecs}).Convert(q)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.File.ReadAt(make([]byte, 10), 0); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("without memory: %v", err)
	}
	r.Release()
}

// TestMemory: a long range is held a batch at a time, and nothing at its end.
func TestMemory(t *testing.T) {
	s := newSegment(t)
	for i := range 40 {
		s.add([]batch.Codec{batch.None, batch.Gzip, batch.LZ4}[i%3], 100, 1000)
	}
	r, err := New(Options{Codecs: s.codecs}).Convert(s.request(1, 10))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	st := r.File.(*file).s
	p := make([]byte, 4<<10)
	most := 0
	for off := int64(0); off < r.Length; {
		n, err := r.File.ReadAt(p[:min(int64(len(p)), r.Length-off)], off)
		if err != nil {
			t.Fatal(err)
		}
		off += int64(n)
		most = max(most, cap(st.in)+cap(st.out))
	}
	// The batch and what it became, with the room that slices grow by.
	if most == 0 || most > 100*1000+2*(100*1034)+maxSpare {
		t.Errorf("%d bytes were held, of a range of %d", most, r.Length)
	}
	if st.in != nil || st.out != nil {
		t.Error("something is held at the end")
	}
}

// TestConcurrent: many readers, few open batches.
func TestConcurrent(t *testing.T) {
	s := newSegment(t)
	for range 20 {
		s.add(batch.Gzip, 50, 100)
	}
	c := New(Options{Codecs: s.codecs, Concurrent: 1})
	f := s.file()
	var wg sync.WaitGroup
	results := make([]string, 8)
	for i := range results {
		wg.Go(func() {
			r, err := c.Convert(&Request{TP: testTP, Range: vfs.Range{File: f, Offset: before, Length: int64(len(s.data))}, Magic: int8(i % 2), From: 10})
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Release()
			all := make([]byte, r.Length)
			if _, err := r.File.ReadAt(all, 0); err != nil {
				t.Error(err)
			}
			results[i] = string(all)
		})
	}
	wg.Wait()
	for i := range results {
		if results[i] != results[i%2] || results[i] == "" {
			t.Errorf("reader %d has read something else", i)
		}
	}
}

// FuzzConvert: whatever is in a segment, a range is as long as it says, and its
// messages are whole, up to a filler.
func FuzzConvert(f *testing.F) {
	f.Add(newSegment(f).add(batch.None, 2, 10).marker().add(batch.Gzip, 3, 10).add(batch.Zstd, 1, 1).data, int64(11), true, uint8(7))
	f.Add(newSegment(f).add(batch.LZ4, 2, 10).damage().add(batch.None, 3, 0).cut(3).data, int64(0), false, uint8(100))
	codecs := batch.NewCodecs(batch.Limits{Absolute: 1 << 20, Floor: 1 << 16})
	f.Fuzz(func(t *testing.T, data []byte, from int64, one bool, piece uint8) {
		s := newSegment(t)
		s.data = data
		q := s.request(0, from)
		if one {
			q.Magic = 1
		}
		r, err := New(Options{Codecs: codecs}).Convert(q)
		if err != nil || r.Length == 0 {
			if s.released != 1 {
				t.Fatalf("released %d times", s.released)
			}
			return
		}
		got := readAll(t, r, 1+int(piece))
		r.Release()
		if s.released != 1 || len(got) < min(len(data), batch.FillerHead) {
			t.Fatalf("released %d times, %d bytes of %d", s.released, len(got), len(data))
		}
		for len(got) >= 12 && binary.BigEndian.Uint64(got) != 1<<64-1 {
			h, whole, rest, err := batch.Next(got)
			if errors.Is(err, batch.ErrShort) {
				return
			}
			if err != nil || !batch.CheckCRC(whole) || h.Magic > q.Magic {
				t.Fatalf("%v, format %d, or checksum: %x", err, h.Magic, got)
			}
			got = rest
		}
	})
}

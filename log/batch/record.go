package batch

import (
	"encoding/binary"
	"fmt"
	"iter"
)

// Record is one record of a batch. Null keys and values are nil, empty ones are
// not. All bytes alias the batch, or what it decompressed to.
type Record struct {
	Offset int64
	// Timestamp in milliseconds; -1 if none.
	Timestamp  int64
	Key, Value []byte
	Headers    []RecordHeader
}

// RecordHeader is a name and a value; the value may be nil.
type RecordHeader struct {
	Key, Value []byte
}

// Records ranges over the records of b, one whole batch or legacy message, and
// opens it if it is compressed, within the limits of c. It ends with an error
// (ErrInvalidRecord, ErrDecompress, ErrLimit, …) where the bytes are bad or
// fewer or more than the header says. The CRC is not checked. A control batch
// yields its markers; a batch emptied by compaction nothing.
//
// c may be nil if b is known to be uncompressed. Records and their bytes stay
// valid as long as b is left alone.
func Records(b []byte, c *Codecs) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		h, b, _, err := Next(b)
		if err != nil {
			yield(Record{}, err)
			return
		}
		if h.Magic < 2 {
			legacyRecords(b, &h, c, yield)
			return
		}
		p := b[HeaderSize:]
		if h.Codec() != None && h.Count > 0 {
			if p, err = c.Decompress(h.Codec(), nil, p, 0); err != nil {
				yield(Record{}, err)
				return
			}
		}
		eachRecord(&h, p, yield)
	}
}

// eachRecord yields the records of a magic-2 batch from p, opened.
func eachRecord(h *Header, p []byte, yield func(Record, error) bool) {
	w := walker{p: p, left: h.Count}
	for w.next() {
		r := Record{
			Offset:    h.BaseOffset + w.rec.offsetDelta,
			Timestamp: h.timestamp(w.rec.timestampDelta),
			Key:       w.rec.key,
			Value:     w.rec.value,
		}
		if w.rec.headers > 0 {
			r.Headers = w.rec.parseHeaders()
		}
		if !yield(r, nil) {
			return
		}
	}
	if w.err != nil {
		yield(Record{}, w.err)
	}
}

// timestamp is a record's own, from its delta.
func (h *Header) timestamp(delta int64) int64 {
	if h.LogAppendTime() {
		return h.MaxTimestamp
	}
	return h.BaseTimestamp + delta
}

// rawRecord is a record as it stands in a batch.
type rawRecord struct {
	timestampDelta int64
	offsetDelta    int64
	key, value     []byte // nil is null
	headers        int32
	headerBytes    []byte
}

// walker goes over the records of an opened batch, allocating nothing unless
// they are bad.
type walker struct {
	p    []byte
	left int32
	// index of rec, from 0.
	index int32
	begun bool
	rec   rawRecord
	size  int // of rec, its length included
	err   error
}

// next moves to the next record. At the end or at bad bytes it returns false;
// then err tells which.
func (w *walker) next() bool {
	if w.err != nil {
		return false
	}
	if w.left <= 0 {
		if len(w.p) != 0 {
			w.err = fmt.Errorf("%w: %d bytes after the last record", ErrInvalidRecord, len(w.p))
		}
		return false
	}
	size, n := varint(w.p)
	if n <= 0 || size < 0 || size > int64(len(w.p)-n) {
		w.err = w.bad("its size")
		return false
	}
	body := w.p[n : n+int(size)]
	if what := w.rec.parse(body); what != "" {
		w.err = w.bad(what)
		return false
	}
	w.size = n + int(size)
	w.p = w.p[w.size:]
	w.left--
	if w.begun {
		w.index++
	}
	w.begun = true
	return true
}

func (w *walker) bad(what string) error {
	i := w.index
	if w.begun {
		i++
	}
	return fmt.Errorf("%w: record %d: %s is wrong", ErrInvalidRecord, i, what)
}

// parse reads the body of a record, which must be exactly filled. It returns
// what is wrong, "" if nothing. It is the inner loop of validation, so it moves
// an index instead of cutting slices.
func (r *rawRecord) parse(p []byte) string {
	i := 1 // past the attributes, all unused
	if len(p) < i {
		return "its size"
	}
	var n int
	if r.timestampDelta, n = varint(p[i:]); n <= 0 {
		return "the timestamp"
	}
	i += n
	if r.offsetDelta, n = varint(p[i:]); n <= 0 || r.offsetDelta != int64(int32(r.offsetDelta)) {
		return "the offset"
	}
	i += n
	r.key, r.value = nil, nil
	size, n := varint(p[i:])
	if i += n; n <= 0 || size < -1 || size > int64(len(p)-i) {
		return "the key's length"
	}
	if size >= 0 {
		end := i + int(size)
		r.key = p[i:end:end]
		i = end
	}
	size, n = varint(p[i:])
	if i += n; n <= 0 || size < -1 || size > int64(len(p)-i) {
		return "the value's length"
	}
	if size >= 0 {
		end := i + int(size)
		r.value = p[i:end:end]
		i = end
	}
	headers, n := varint(p[i:])
	// A header has at least two bytes.
	if i += n; n <= 0 || headers < 0 || headers > int64(len(p)-i)/2 {
		return "the number of headers"
	}
	r.headers = int32(headers)
	if headers == 0 {
		if i != len(p) {
			return "its size"
		}
		return ""
	}
	r.headerBytes = p[i:]
	return checkHeaders(p[i:], int(headers))
}

// checkHeaders walks the headers, which must fill p.
func checkHeaders(p []byte, headers int) string {
	i := 0
	for range headers {
		size, n := varint(p[i:])
		if i += n; n <= 0 || size < 0 || size > int64(len(p)-i) {
			return "a header's key"
		}
		i += int(size)
		size, n = varint(p[i:])
		if i += n; n <= 0 || size < -1 || size > int64(len(p)-i) {
			return "a header's value"
		}
		i += int(max(size, 0))
	}
	if i != len(p) {
		return "its size"
	}
	return ""
}

// parseHeaders decodes the headers, which parse has checked.
func (r *rawRecord) parseHeaders() []RecordHeader {
	hs := make([]RecordHeader, r.headers)
	p := r.headerBytes
	for i := range hs {
		hs[i].Key, p, _ = nullableBytes(p)
		hs[i].Value, p, _ = nullableBytes(p)
	}
	return hs
}

// nullableBytes reads a varint length (-1 null) and as many bytes.
func nullableBytes(p []byte) (b, rest []byte, ok bool) {
	size, n := varint(p)
	if n <= 0 || size > int64(len(p)-n) || size < -1 {
		return nil, nil, false
	}
	p = p[n:]
	if size < 0 {
		return nil, p, true
	}
	return p[:size:size], p[size:], true
}

// varint reads a zig-zag number; n is 0 or less if there is none. Most numbers
// have one byte or two.
func varint(p []byte) (v int64, n int) {
	if len(p) > 0 && p[0] < 0x80 {
		return int64(p[0]>>1) ^ -int64(p[0]&1), 1
	}
	if len(p) > 1 && p[1] < 0x80 {
		u := uint64(p[0]&0x7f) | uint64(p[1])<<7
		return int64(u>>1) ^ -int64(u&1), 2
	}
	u, n := binary.Uvarint(p)
	return int64(u>>1) ^ -int64(u&1), n
}

func appendVarint(b []byte, v int64) []byte { return binary.AppendVarint(b, v) }

// varintSize is the number of bytes of v.
func varintSize(v int64) int {
	u := uint64(v)<<1 ^ uint64(v>>63)
	n := 1
	for u >= 0x80 {
		u >>= 7
		n++
	}
	return n
}

func bytesSize(b []byte) int {
	if b == nil {
		return 1
	}
	return varintSize(int64(len(b))) + len(b)
}

func appendBytes(dst, b []byte) []byte {
	if b == nil {
		return appendVarint(dst, Absent)
	}
	return append(appendVarint(dst, int64(len(b))), b...)
}

package batch

import (
	"encoding/binary"
	"fmt"
)

// Filter takes records out of stored batches, for compaction. What is left keeps
// its offsets, sequences and timestamps; a batch keeps its base offset and its last
// offset delta, messages of the old formats don't. It is not for use by many
// goroutines.
type Filter struct {
	// Codecs opens and makes compressed batches; required.
	Codecs *Codecs

	opened, kept, out []byte
	spans             []span
}

// span is a record that stays: its bytes in the opened batch, and its
// timestamp.
type span struct {
	from, to  int
	timestamp int64
}

// FilterOptions say what is to stay of one batch.
type FilterOptions struct {
	// Keep judges a record; tombstone says that its value is null. The key is nil
	// if it has none, and must not be kept.
	Keep func(offset int64, key []byte, tombstone bool) bool
	// KeepEmpty keeps the header of a batch from which every record goes.
	KeepEmpty bool
	// Horizon, in milliseconds, is written as the delete horizon (KIP-534) of a
	// batch that has none and keeps a tombstone, or that is NeedsHorizon.
	Horizon      int64
	NeedsHorizon bool
}

// Filtered is what became of a batch.
type Filtered struct {
	// Bytes are the batch as it is to be stored: the one given if Unchanged, nil
	// if nothing is left, else valid until the next call.
	Bytes     []byte
	Unchanged bool
	// Header is that of Bytes.
	Header Header
	// Read and Kept count records.
	Read, Kept int
}

// Apply filters b, one whole batch of magic 2 with a right checksum, whose header
// is h. It fails, as Records does, where the records can't be read.
func (f *Filter) Apply(h *Header, b []byte, o *FilterOptions) (Filtered, error) {
	if h.Magic != 2 {
		return Filtered{}, fmt.Errorf("%w: message format %d", ErrInvalidRecord, h.Magic)
	}
	p, err := f.open(h, b)
	if err != nil {
		return Filtered{}, err
	}
	tombstones, read, err := f.choose(h, p, o.Keep)
	if err != nil {
		return Filtered{}, err
	}
	stamp := o.Horizon > 0 && !h.HasDeleteHorizon() && (tombstones || o.NeedsHorizon) && len(f.spans) > 0
	res := Filtered{Read: read, Kept: len(f.spans)}
	switch {
	case len(f.spans) == read && !stamp && (read > 0 || o.KeepEmpty && h.Codec() == None):
		res.Bytes, res.Unchanged, res.Header = b, true, *h
	case len(f.spans) > 0:
		res.Bytes, err = f.rewrite(h, p, stamp, o.Horizon)
	case o.KeepEmpty:
		res.Bytes = f.empty(h)
	}
	if err == nil && res.Bytes != nil && !res.Unchanged {
		res.Header, err = ParseHeader(res.Bytes)
	}
	return res, err
}

// Keys calls fn with offset and key (nil if it has none) of each record of b, one
// whole batch or message of any format with the header h, until fn returns false;
// more is what it returned last. It calls nobody, and fails as Apply does, if not
// all of the records can be read: what half a batch says is not to be acted upon.
func (f *Filter) Keys(h *Header, b []byte, fn func(offset int64, key []byte) bool) (more bool, err error) {
	if h.Magic < 2 {
		return f.legacyKeys(h, b, fn)
	}
	p, err := f.open(h, b)
	if err != nil {
		return true, err
	}
	w := walker{p: p, left: h.Count}
	for w.next() {
		if err := h.holds(&w.rec); err != nil {
			return true, err
		}
	}
	if w.err != nil {
		return true, w.err
	}
	for w = (walker{p: p, left: h.Count}); w.next(); {
		if !fn(h.BaseOffset+w.rec.offsetDelta, w.rec.key) {
			return false, nil
		}
	}
	return true, nil
}

// legacyKeys opens a wrapper twice: nobody makes them any more.
func (f *Filter) legacyKeys(h *Header, b []byte, fn func(offset int64, key []byte) bool) (more bool, err error) {
	previous := int64(Absent)
	for rec, err := range Records(b, f.Codecs) {
		if err == nil {
			err = h.follows(rec.Offset, previous)
		}
		if err != nil {
			return true, err
		}
		previous = rec.Offset
	}
	for rec, err := range Records(b, f.Codecs) {
		if err != nil || !fn(rec.Offset, rec.Key) {
			return false, err
		}
	}
	return true, nil
}

// holds tells whether a record has one of the batch's own offsets. Produce stores
// them as sent; compaction would take a larger one for the last of its key, and
// remove what came after.
func (h *Header) holds(r *rawRecord) error {
	if r.offsetDelta < 0 || r.offsetDelta > int64(h.LastOffsetDelta) {
		return fmt.Errorf("%w: offset delta %d in a batch of %d offsets", ErrInvalidRecord, r.offsetDelta, int64(h.LastOffsetDelta)+1)
	}
	return nil
}

// open returns the records of b, decompressed.
func (f *Filter) open(h *Header, b []byte) ([]byte, error) {
	p := b[HeaderSize:h.Size()]
	if h.Codec() == None || h.Count == 0 {
		return p, nil
	}
	var err error
	f.opened, err = f.Codecs.Decompress(h.Codec(), f.opened[:0], p, 0)
	return f.opened, err
}

// choose notes the records that stay, and whether a tombstone is among them.
func (f *Filter) choose(h *Header, p []byte, keep func(int64, []byte, bool) bool) (tombstones bool, read int, err error) {
	f.spans = f.spans[:0]
	w := walker{p: p, left: h.Count}
	for w.next() {
		read++
		if err := h.holds(&w.rec); err != nil {
			return false, read, err
		}
		if !keep(h.BaseOffset+w.rec.offsetDelta, w.rec.key, w.rec.value == nil) {
			continue
		}
		if w.rec.value == nil {
			tombstones = true
		}
		to := len(p) - len(w.p)
		f.spans = append(f.spans, span{to - w.size, to, h.timestamp(w.rec.timestampDelta)})
	}
	return tombstones && !h.Control(), read, w.err
}

// rewrite makes a batch of the records chosen.
func (f *Filter) rewrite(h *Header, p []byte, stamp bool, horizon int64) ([]byte, error) {
	out := *h
	out.Count = int32(len(f.spans))
	if stamp {
		out.Attributes |= AttrDeleteHorizon
		out.BaseTimestamp = horizon
	}
	if !h.LogAppendTime() {
		out.MaxTimestamp = Absent
		for i := range f.spans {
			out.MaxTimestamp = max(out.MaxTimestamp, f.spans[i].timestamp)
		}
	}
	f.kept = f.kept[:0]
	for i := range f.spans {
		s := &f.spans[i]
		if !stamp {
			f.kept = append(f.kept, p[s.from:s.to]...)
			continue
		}
		f.kept = appendMoved(f.kept, s.timestamp-horizon, p[s.from:s.to])
	}
	if cap(f.out) < HeaderSize {
		f.out = make([]byte, HeaderSize, HeaderSize+len(f.kept))
	}
	f.out = f.out[:HeaderSize]
	if h.Codec() == None {
		f.out = append(f.out, f.kept...)
	} else {
		var err error
		if f.out, err = f.Codecs.Compress(h.Codec(), DefaultLevel, f.out, f.kept); err != nil {
			return nil, err
		}
	}
	if len(f.out) > maxBatchBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(f.out))
	}
	return f.finish(&out), nil
}

// appendMoved is the record rec with another timestamp delta.
func appendMoved(dst []byte, delta int64, rec []byte) []byte {
	_, n := varint(rec)
	body := rec[n:]
	_, old := varint(body[1:])
	rest := body[1+old:]
	dst = appendVarint(dst, int64(1+varintSize(delta)+len(rest)))
	dst = append(dst, body[0])
	dst = appendVarint(dst, delta)
	return append(dst, rest...)
}

// empty is the header of a batch without records (DefaultRecordBatch.writeEmptyHeader).
// It names no codec: Apache Kafka's cleaner opens what is named, and nothing is there.
func (f *Filter) empty(h *Header) []byte {
	out := *h
	out.Count, out.BaseTimestamp = 0, Absent
	out.Attributes &^= AttrDeleteHorizon | AttrCodecMask
	if cap(f.out) < HeaderSize {
		f.out = make([]byte, HeaderSize)
	}
	f.out = f.out[:HeaderSize]
	return f.finish(&out)
}

// finish puts the header before what f.out has.
func (f *Filter) finish(h *Header) []byte {
	h.Length = int32(len(f.out) - LengthPrefix)
	h.put(f.out)
	binary.BigEndian.PutUint32(f.out[posCRC:], checksum(f.out))
	return f.out
}

package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Producer is the identity of an idempotent or transactional producer.
type Producer struct {
	ID       int64
	Epoch    int16
	Sequence int32 // of the batch's first record; -1 in markers
}

// BuilderOptions describe the batches that a Builder makes. The zero value is
// an uncompressed batch at offset 0 without producer.
type BuilderOptions struct {
	Codec Codec
	// Level of the compression; 0 is the codec's default.
	Level int
	// Codecs is required if Codec is not None.
	Codecs      *Codecs
	BaseOffset  int64
	LeaderEpoch int32
	// Producer is nil for plain batches.
	Producer      *Producer
	Transactional bool
	Control       bool
	// LogAppendTime, if > 0, makes the batch carry that time in milliseconds.
	LogAppendTime int64
}

// Builder makes one magic-2 batch. It is not for use by many goroutines.
type Builder struct {
	o BuilderOptions
	// buf is room for the header and the records so far.
	buf           []byte
	count         int32
	baseTimestamp int64
	maxTimestamp  int64
}

// NewBuilder returns a Builder for one batch.
func NewBuilder(o BuilderOptions) *Builder {
	b := &Builder{}
	b.Reset(o)
	return b
}

// Reset begins a new batch; what Bytes returned stays valid.
func (b *Builder) Reset(o BuilderOptions) {
	*b = Builder{o: o, buf: make([]byte, HeaderSize, 512), maxTimestamp: Absent}
}

// reserve makes room for n bytes of records, so that buf need not grow: messages of
// the old formats become smaller as records.
func (b *Builder) reserve(n int) {
	b.buf = append(make([]byte, 0, len(b.buf)+n), b.buf...)
}

// Append adds a record with the next offset. key, value and headers are copied;
// nil is null. ts is in milliseconds.
func (b *Builder) Append(ts int64, key, value []byte, headers ...RecordHeader) {
	if b.count == 0 {
		b.baseTimestamp = ts
	}
	b.maxTimestamp = max(b.maxTimestamp, ts)
	b.buf = appendRecord(b.buf, ts-b.baseTimestamp, int64(b.count), key, value, headers)
	b.count++
}

// appendRecord encodes one record.
func appendRecord(dst []byte, timestampDelta, offsetDelta int64, key, value []byte, headers []RecordHeader) []byte {
	size := 1 + varintSize(timestampDelta) + varintSize(offsetDelta) + bytesSize(key) + bytesSize(value) + varintSize(int64(len(headers)))
	for _, h := range headers {
		size += headerKeySize(h.Key) + bytesSize(h.Value)
	}
	dst = slices.Grow(dst, size+5)
	dst = appendVarint(dst, int64(size))
	dst = append(dst, 0)
	dst = appendVarint(dst, timestampDelta)
	dst = appendVarint(dst, offsetDelta)
	dst = appendBytes(dst, key)
	dst = appendBytes(dst, value)
	dst = appendVarint(dst, int64(len(headers)))
	for _, h := range headers {
		dst = append(appendVarint(dst, int64(len(h.Key))), h.Key...)
		dst = appendBytes(dst, h.Value)
	}
	return dst
}

// headerKeySize: a header's key is never null.
func headerKeySize(key []byte) int { return varintSize(int64(len(key))) + len(key) }

// Count is the number of records so far.
func (b *Builder) Count() int { return int(b.count) }

// Size is the size that the batch would have, uncompressed.
func (b *Builder) Size() int { return len(b.buf) }

// errEmpty: there is no batch of no records but what compaction leaves.
var errEmpty = errors.New("batch: no records")

// Bytes finishes and returns the batch. The Builder may then be Reset.
func (b *Builder) Bytes() ([]byte, error) {
	if b.count == 0 {
		return nil, errEmpty
	}
	out := b.buf
	if b.o.Codec != None {
		var err error
		out, err = b.o.Codecs.Compress(b.o.Codec, b.o.Level, make([]byte, HeaderSize, HeaderSize+len(b.buf)/2), b.buf[HeaderSize:])
		if err != nil {
			return nil, err
		}
	}
	if len(out) > maxBatchBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(out))
	}
	h := b.header()
	h.Length = int32(len(out) - LengthPrefix)
	h.put(out)
	binary.BigEndian.PutUint32(out[posCRC:], checksum(out))
	return out, nil
}

func (b *Builder) header() Header {
	h := Header{
		BaseOffset:      b.o.BaseOffset,
		LeaderEpoch:     b.o.LeaderEpoch,
		Magic:           2,
		Attributes:      int16(b.o.Codec),
		LastOffsetDelta: b.count - 1,
		BaseTimestamp:   b.baseTimestamp,
		MaxTimestamp:    b.maxTimestamp,
		ProducerID:      Absent,
		ProducerEpoch:   Absent,
		BaseSequence:    Absent,
		Count:           b.count,
	}
	if p := b.o.Producer; p != nil {
		h.ProducerID, h.ProducerEpoch, h.BaseSequence = p.ID, p.Epoch, p.Sequence
	}
	if b.o.Transactional {
		h.Attributes |= AttrTransactional
	}
	if b.o.Control {
		h.Attributes |= AttrControl
	}
	if b.o.LogAppendTime > 0 {
		h.Attributes |= AttrLogAppendTime
		h.MaxTimestamp = b.o.LogAppendTime
	}
	return h
}

// Marker ends a transaction in a partition.
type Marker struct {
	ProducerID       int64
	ProducerEpoch    int16
	Commit           bool // else abort
	CoordinatorEpoch int32
	Timestamp        int64 // milliseconds
}

// EndTxnMarker makes the control batch (78 bytes) that ends a transaction. Its
// leader epoch is 0 and its base offset 0.
func EndTxnMarker(m Marker) []byte {
	kind := ControlAbort
	if m.Commit {
		kind = ControlCommit
	}
	key := binary.BigEndian.AppendUint16(make([]byte, 2, 4), uint16(kind)) // version 0
	value := binary.BigEndian.AppendUint32(make([]byte, 2, 6), uint32(m.CoordinatorEpoch))
	b := NewBuilder(BuilderOptions{
		Producer:      &Producer{ID: m.ProducerID, Epoch: m.ProducerEpoch, Sequence: Absent},
		Transactional: true,
		Control:       true,
	})
	b.Append(m.Timestamp, key, value)
	out, _ := b.Bytes() // one record, uncompressed: it can't fail
	return out
}

// ControlType is the kind of a control record.
type ControlType int16

// The control records of a broker's log; 2 to 6 are Raft's.
const (
	ControlAbort  ControlType = 0
	ControlCommit ControlType = 1
)

// String is the name that Kafka's tools print.
func (t ControlType) String() string {
	switch t {
	case ControlAbort:
		return "ABORT"
	case ControlCommit:
		return "COMMIT"
	}
	return fmt.Sprintf("UNKNOWN(%d)", int16(t))
}

// ParseControlType reads the key of a control record.
func ParseControlType(key []byte) (ControlType, error) {
	if len(key) < 4 {
		return 0, fmt.Errorf("%w: the key of a control record has %d bytes", ErrInvalidRecord, len(key))
	}
	if version := int16(binary.BigEndian.Uint16(key)); version < 0 {
		return 0, fmt.Errorf("%w: version %d of a control record", ErrInvalidRecord, version)
	}
	return ControlType(binary.BigEndian.Uint16(key[2:])), nil
}

// ParseMarker reads the record of a control batch. ok is false for kinds that do
// not end a transaction.
func ParseMarker(r *Record) (commit bool, coordinatorEpoch int32, ok bool, err error) {
	kind, err := ParseControlType(r.Key)
	if err != nil {
		return false, 0, false, err
	}
	if kind != ControlAbort && kind != ControlCommit {
		return false, 0, false, nil
	}
	if len(r.Value) < 6 {
		return false, 0, false, fmt.Errorf("%w: the value of a marker has %d bytes", ErrInvalidRecord, len(r.Value))
	}
	return kind == ControlCommit, int32(binary.BigEndian.Uint32(r.Value[2:])), true, nil
}

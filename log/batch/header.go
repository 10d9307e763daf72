package batch

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

const (
	// HeaderSize is the size in bytes of the header of a magic-2 batch.
	HeaderSize = 61
	// LengthPrefix is what stands before the bytes that Header.Length counts:
	// base offset and the length itself, in all formats.
	LengthPrefix = 12
	// MinParse is how many bytes ParseHeader needs at least: up to the magic.
	MinParse = 17

	minLength = HeaderSize - LengthPrefix
	// maxBatchBytes keeps Size() within an int32.
	maxBatchBytes = math.MaxInt32
)

// Positions of the fields of a magic-2 header.
const (
	posBaseOffset      = 0
	posLength          = 8
	posLeaderEpoch     = 12
	posMagic           = 16
	posCRC             = 17
	posAttributes      = 21 // the CRC covers all from here
	posLastOffsetDelta = 23
	posBaseTimestamp   = 27
	posMaxTimestamp    = 35
	posProducerID      = 43
	posProducerEpoch   = 51
	posBaseSequence    = 53
	posCount           = 57
)

// Attribute bits of a batch.
const (
	AttrCodecMask     int16 = 0x07
	AttrLogAppendTime int16 = 0x08
	AttrTransactional int16 = 0x10
	AttrControl       int16 = 0x20
	AttrDeleteHorizon int16 = 0x40
	attrReserved            = ^(AttrCodecMask | AttrLogAppendTime | AttrTransactional | AttrControl | AttrDeleteHorizon)
)

// Absent stands for no timestamp, producer id, producer epoch or sequence.
const Absent = -1

// Header is the decoded header of a batch. Of a legacy message (Magic 0 or 1)
// BaseOffset is its own offset, which for a compressed wrapper is that of the
// last message inside; Count is 1, or -1 for a wrapper; the producer fields and
// the leader epoch are -1; both timestamps are the message's, -1 for magic 0.
type Header struct {
	BaseOffset int64
	// Length is the number of bytes after the length field; the whole has
	// Size() = 12 + Length bytes.
	Length          int32
	LeaderEpoch     int32
	Magic           int8
	CRC             uint32
	Attributes      int16
	LastOffsetDelta int32
	// BaseTimestamp is the delete horizon if HasDeleteHorizon. Milliseconds.
	BaseTimestamp int64
	MaxTimestamp  int64
	ProducerID    int64
	ProducerEpoch int16
	BaseSequence  int32
	// Count is the number of records; 0 in a batch that compaction emptied.
	Count int32
}

// Size is the size of the whole batch in bytes.
func (h *Header) Size() int { return LengthPrefix + int(h.Length) }

// LastOffset is the offset of the last record that the batch was written with.
func (h *Header) LastOffset() int64 { return h.BaseOffset + int64(h.LastOffsetDelta) }

// NextOffset is where the next batch begins.
func (h *Header) NextOffset() int64 { return h.LastOffset() + 1 }

// Codec is how the records are compressed. It may be one that does not exist.
func (h *Header) Codec() Codec { return Codec(h.Attributes & AttrCodecMask) }

// Transactional tells whether the batch belongs to a transaction.
func (h *Header) Transactional() bool { return h.Attributes&AttrTransactional != 0 }

// Control tells whether the batch is a marker of the broker's.
func (h *Header) Control() bool { return h.Attributes&AttrControl != 0 }

// LogAppendTime tells whether every record has MaxTimestamp for its own.
func (h *Header) LogAppendTime() bool { return h.Attributes&AttrLogAppendTime != 0 }

// HasDeleteHorizon tells whether BaseTimestamp is a delete horizon.
func (h *Header) HasDeleteHorizon() bool { return h.Attributes&AttrDeleteHorizon != 0 }

// HasProducer tells whether an idempotent or transactional producer wrote it.
func (h *Header) HasProducer() bool { return h.ProducerID > Absent }

// LastSequence is the sequence of the last record, -1 if there is none; past
// 2^31-1 sequences begin again at 0.
func (h *Header) LastSequence() int32 {
	if h.BaseSequence == Absent {
		return Absent
	}
	return AddSequence(h.BaseSequence, h.LastOffsetDelta)
}

// AddSequence is sequence + n, where 0 follows 2^31-1.
func AddSequence(sequence, n int32) int32 {
	if sequence > math.MaxInt32-n {
		return n - (math.MaxInt32 - sequence) - 1
	}
	return sequence + n
}

// ParseHeader decodes the header at the begin of b; the records need not be
// there. It fails with ErrShort if b ends before the header does, and with
// ErrCorrupt for a length that no batch can have or an unknown magic, and with
// ErrInvalidRecord for offsets that none can have: in a stored log all of them
// are damage. Legacy messages (magic 0 and 1) are decoded too: see Header.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < MinParse {
		return Header{}, ErrShort
	}
	h := Header{
		BaseOffset: int64(binary.BigEndian.Uint64(b[posBaseOffset:])),
		Length:     int32(binary.BigEndian.Uint32(b[posLength:])),
		Magic:      int8(b[posMagic]),
	}
	if h.Magic != 2 {
		return parseLegacyHeader(b, h)
	}
	if h.Length < minLength || h.Length > math.MaxInt32-LengthPrefix {
		return Header{}, fmt.Errorf("%w: batch length %d", ErrCorrupt, h.Length)
	}
	if len(b) < HeaderSize {
		return Header{}, ErrShort
	}
	_ = b[HeaderSize-1]
	h.LeaderEpoch = int32(binary.BigEndian.Uint32(b[posLeaderEpoch:]))
	h.CRC = binary.BigEndian.Uint32(b[posCRC:])
	h.Attributes = int16(binary.BigEndian.Uint16(b[posAttributes:]))
	h.LastOffsetDelta = int32(binary.BigEndian.Uint32(b[posLastOffsetDelta:]))
	h.BaseTimestamp = int64(binary.BigEndian.Uint64(b[posBaseTimestamp:]))
	h.MaxTimestamp = int64(binary.BigEndian.Uint64(b[posMaxTimestamp:]))
	h.ProducerID = int64(binary.BigEndian.Uint64(b[posProducerID:]))
	h.ProducerEpoch = int16(binary.BigEndian.Uint16(b[posProducerEpoch:]))
	h.BaseSequence = int32(binary.BigEndian.Uint32(b[posBaseSequence:]))
	h.Count = int32(binary.BigEndian.Uint32(b[posCount:]))
	if h.LastOffsetDelta < 0 || h.BaseOffset < 0 || h.BaseOffset > math.MaxInt64-int64(h.LastOffsetDelta)-1 {
		return Header{}, fmt.Errorf("%w: base offset %d, last offset delta %d", ErrInvalidRecord, h.BaseOffset, h.LastOffsetDelta)
	}
	return h, nil
}

// Next splits the first batch off b: its header, its bytes, what follows. At the
// end of b, or where only a part of a batch is left, it fails with ErrShort.
func Next(b []byte) (h Header, whole, rest []byte, err error) {
	h, err = ParseHeader(b)
	if err != nil {
		return Header{}, nil, b, err
	}
	if h.Size() > len(b) {
		return Header{}, nil, b, ErrShort
	}
	return h, b[:h.Size():h.Size()], b[h.Size():], nil
}

// CheckCRC tells whether the checksum of b, one whole batch or legacy message,
// is right: CRC-32C over all after the field, or CRC-32 (IEEE) in old formats.
func CheckCRC(b []byte) bool {
	if len(b) < MinParse {
		return false
	}
	if b[posMagic] != 2 {
		return checkLegacyCRC(b)
	}
	return len(b) >= HeaderSize && binary.BigEndian.Uint32(b[posCRC:]) == checksum(b)
}

func checksum(b []byte) uint32 { return crc32.Checksum(b[posAttributes:], castagnoli) }

// castagnoli is what hash/crc32 itself keeps one of; it is never written.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// SetOffset gives the batch b its base offset. The CRC does not cover it.
func SetOffset(b []byte, base int64) { binary.BigEndian.PutUint64(b[posBaseOffset:], uint64(base)) }

// SetLeaderEpoch sets the epoch of the leader that appends the magic-2 batch b.
// The CRC does not cover it.
func SetLeaderEpoch(b []byte, epoch int32) {
	binary.BigEndian.PutUint32(b[posLeaderEpoch:], uint32(epoch))
}

// SetMaxTimestamp sets the largest timestamp (milliseconds) and the timestamp
// type of the magic-2 batch b, and computes its CRC anew.
func SetMaxTimestamp(b []byte, logAppendTime bool, ts int64) {
	attributes := int16(binary.BigEndian.Uint16(b[posAttributes:])) &^ AttrLogAppendTime
	if logAppendTime {
		attributes |= AttrLogAppendTime
	}
	binary.BigEndian.PutUint16(b[posAttributes:], uint16(attributes))
	binary.BigEndian.PutUint64(b[posMaxTimestamp:], uint64(ts))
	binary.BigEndian.PutUint32(b[posCRC:], checksum(b))
}

// put writes all of h but the CRC into the first HeaderSize bytes of b.
func (h *Header) put(b []byte) {
	_ = b[HeaderSize-1]
	binary.BigEndian.PutUint64(b[posBaseOffset:], uint64(h.BaseOffset))
	binary.BigEndian.PutUint32(b[posLength:], uint32(h.Length))
	binary.BigEndian.PutUint32(b[posLeaderEpoch:], uint32(h.LeaderEpoch))
	b[posMagic] = byte(h.Magic)
	binary.BigEndian.PutUint16(b[posAttributes:], uint16(h.Attributes))
	binary.BigEndian.PutUint32(b[posLastOffsetDelta:], uint32(h.LastOffsetDelta))
	binary.BigEndian.PutUint64(b[posBaseTimestamp:], uint64(h.BaseTimestamp))
	binary.BigEndian.PutUint64(b[posMaxTimestamp:], uint64(h.MaxTimestamp))
	binary.BigEndian.PutUint64(b[posProducerID:], uint64(h.ProducerID))
	binary.BigEndian.PutUint16(b[posProducerEpoch:], uint16(h.ProducerEpoch))
	binary.BigEndian.PutUint32(b[posBaseSequence:], uint32(h.BaseSequence))
	binary.BigEndian.PutUint32(b[posCount:], uint32(h.Count))
}

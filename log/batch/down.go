package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
)

// ErrNoOldForm: the batch is compressed with zstd, which the formats 0 and 1
// do not have (KIP-110).
var ErrNoOldForm = errors.New("batch: zstd does not exist in the old formats")

// DownRules say what an old client is to read.
type DownRules struct {
	// Magic is the format wanted, 0 or 1.
	Magic int8
	// From is the offset that the client asked for. Records below it are left out
	// where they are not compressed: messages of the old formats come one by one,
	// and some clients take the first for the one that they asked for.
	From int64
	// Codecs is required.
	Codecs *Codecs
}

const (
	// DownOverhead is the most that an old message has beside key and value.
	DownOverhead = legacyPosBody1 + 8
	// MinRecord is the size of the smallest record of a batch.
	MinRecord = 7
)

// AppendDown appends the records of b, one whole batch or legacy message, to dst
// as messages of an older format: one by one, or in a wrapper of the batch's own
// codec. Headers are lost, and in format 0 timestamps. What is old enough is
// appended as it is. Nothing is appended for control batches and where no record
// is left (RecordsUtil.downConvert of Kafka).
//
// b's checksum is checked first, since it is not the one that the client sees.
// Errors leave dst as long as it was: ErrNoOldForm, ErrShort, ErrCorrupt,
// ErrInvalidRecord, ErrUnsupportedCodec, ErrDecompress, ErrLimit.
func AppendDown(dst, b []byte, r *DownRules) ([]byte, error) {
	h, whole, _, err := Next(b)
	switch {
	case err != nil:
		return dst, err
	case h.Control():
		return dst, nil
	case h.Codec() == Zstd && h.Count != 0:
		return dst, ErrNoOldForm
	case !CheckCRC(whole):
		return dst, fmt.Errorf("%w: checksum of the batch at offset %d", ErrCorrupt, h.BaseOffset)
	case h.Magic <= r.Magic:
		return append(dst, whole...), nil
	}
	d := downgrade{h: &h, r: r, out: dst}
	if h.Codec() != None && h.Count != 0 {
		err = d.wrapped(whole)
	} else {
		err = d.oneByOne(whole)
	}
	if err != nil {
		return dst, err
	}
	return d.out, nil
}

// downgrade is the conversion of one batch.
type downgrade struct {
	h   *Header
	r   *DownRules
	out []byte // what is converted, after what was there
}

// oneByOne converts a batch that is not compressed.
func (d *downgrade) oneByOne(whole []byte) error {
	return d.each(whole[min(HeaderSize, len(whole)):], whole, func(offset, ts int64, key, value []byte) error {
		if offset >= d.r.From {
			d.out = d.appendMessage(d.out, offset, ts, None, key, value)
		}
		return nil
	})
}

// wrapped converts a compressed batch: the messages are made in one buffer and
// compressed into the value of the wrapper.
func (d *downgrade) wrapped(whole []byte) error {
	c := d.r.Codecs
	src := inside(d.h, whole)
	opened := c.most(d.h.Codec(), src)
	// Old messages have more around a record than new ones, so that the limit
	// must hold once more.
	limit := c.limits.of(len(whole))
	room := c.enterBytes(max(opened, min(limit, opened/MinRecord*DownOverhead)))
	defer c.leave(room)
	inside := c.getScratch()
	defer c.putScratch(inside)
	var plain []byte
	if d.h.Magic == 2 {
		scratch := c.getScratch()
		defer c.putScratch(scratch)
		var err error
		if plain, err = c.Decompress(d.h.Codec(), (*scratch)[:0], src, 0); err != nil {
			return err
		}
		*scratch = plain
		records := min(max(int(d.h.Count), 0), len(plain)/MinRecord+1)
		*inside = slices.Grow((*inside)[:0], min(limit, len(plain)+records*DownOverhead))
	}
	set, base, last, newest := (*inside)[:0], int64(Absent), int64(Absent), int64(Absent)
	err := d.each(plain, whole, func(offset, ts int64, key, value []byte) error {
		if base == Absent {
			base = offset
		}
		last, newest = offset, max(newest, ts)
		if d.r.Magic > 0 {
			offset -= base
		}
		if len(set)+d.messageSize(key, value) > limit {
			return ErrLimit
		}
		set = d.appendMessage(set, offset, ts, None, key, value)
		return nil
	})
	*inside = set
	if err != nil || base == Absent {
		return err
	}
	return d.appendWrapper(last, newest, set)
}

// each calls fn with the records: of plain if the batch is one of magic 2, else
// of the legacy message whole. Clients may send any offsets inside a batch; an
// old reader goes on after the last one that it saw, so that they must be right.
func (d *downgrade) each(plain, whole []byte, fn func(offset, ts int64, key, value []byte) error) error {
	if d.h.Magic < 2 {
		var err error
		legacyRecords(whole, d.h, d.r.Codecs, func(r Record, e error) bool {
			if err = e; err == nil {
				err = fn(r.Offset, r.Timestamp, r.Key, r.Value)
			}
			return err == nil
		})
		return err
	}
	w := walker{p: plain, left: d.h.Count}
	next := int64(0)
	for w.next() {
		if w.rec.offsetDelta < next || w.rec.offsetDelta > int64(d.h.LastOffsetDelta) {
			return fmt.Errorf("%w: record %d of the batch at offset %d has the offset delta %d", ErrInvalidRecord, w.index, d.h.BaseOffset, w.rec.offsetDelta)
		}
		next = w.rec.offsetDelta + 1
		if err := fn(d.h.BaseOffset+w.rec.offsetDelta, d.h.timestamp(w.rec.timestampDelta), w.rec.key, w.rec.value); err != nil {
			return err
		}
	}
	return w.err
}

// overhead is the size of a message without key and value.
func (d *downgrade) overhead() int {
	if d.r.Magic == 0 {
		return legacyPosBody0 + 8
	}
	return legacyPosBody1 + 8
}

func (d *downgrade) messageSize(key, value []byte) int { return d.overhead() + len(key) + len(value) }

// appendMessage appends one message.
func (d *downgrade) appendMessage(dst []byte, offset, ts int64, codec Codec, key, value []byte) []byte {
	at := len(dst)
	dst = slices.Grow(dst, d.messageSize(key, value))
	dst = d.appendHead(dst, offset, ts, codec)
	dst = appendLegacyBytes(dst, key)
	dst = appendLegacyBytes(dst, value)
	finishMessage(dst[at:])
	return dst
}

// appendWrapper compresses set into the value of a message.
func (d *downgrade) appendWrapper(offset, ts int64, set []byte) error {
	at := len(d.out)
	out := d.appendHead(d.out, offset, ts, d.h.Codec())
	out = appendLegacyBytes(out, nil)
	value := len(out) + 4
	out = append(out, 0, 0, 0, 0)
	out, err := d.r.Codecs.Compress(d.h.Codec(), DefaultLevel, out, set)
	if err != nil {
		return err
	}
	if len(out)-at > maxBatchBytes {
		return ErrTooLarge
	}
	if d.h.Codec() == LZ4 && d.r.Magic == 0 {
		breakLZ4Header(out[value:])
	}
	binary.BigEndian.PutUint32(out[value-4:], uint32(len(out)-value))
	finishMessage(out[at:])
	d.out = out
	return nil
}

// appendHead appends a message up to its key, without length and checksum.
func (d *downgrade) appendHead(dst []byte, offset, ts int64, codec Codec) []byte {
	attributes := byte(codec)
	if d.r.Magic > 0 && d.h.LogAppendTime() {
		attributes |= byte(AttrLogAppendTime)
		ts = d.h.MaxTimestamp
	}
	dst = binary.BigEndian.AppendUint64(dst, uint64(offset))
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0, byte(d.r.Magic), attributes)
	if d.r.Magic > 0 {
		dst = binary.BigEndian.AppendUint64(dst, uint64(ts))
	}
	return dst
}

// finishMessage sets length and checksum of the message b.
func finishMessage(b []byte) {
	binary.BigEndian.PutUint32(b[posLength:], uint32(len(b)-LengthPrefix))
	binary.BigEndian.PutUint32(b[legacyPosCRC:], crc32.ChecksumIEEE(b[posMagic:]))
}

// appendLegacyBytes appends an int32 length (-1 null) and b.
func appendLegacyBytes(dst, b []byte) []byte {
	if b == nil {
		return append(dst, 0xff, 0xff, 0xff, 0xff)
	}
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(b))), b...)
}

// FillerHead is the size of what a filler is recognized by: offset and length.
const FillerHead = LengthPrefix

// Filler returns the begin of what follows the converted messages in a record
// field that has n more bytes; the rest of it is zeros. Its length says that it
// is longer than what is left, so that readers take it for a message that was
// cut (LazyDownConversionRecordsSend of Kafka, KIP-283).
func Filler(n int) [FillerHead]byte {
	var b [FillerHead]byte
	for i := range posLength {
		b[i] = 0xff
	}
	binary.BigEndian.PutUint32(b[posLength:], uint32(max(n+1, HeaderSize)))
	return b
}

package batch

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
)

// Positions in a legacy message: offset and size as in a batch, then crc, magic,
// attributes, in format 1 the timestamp, key and value with int32 lengths.
const (
	legacyPosCRC        = 12
	legacyPosAttributes = 17
	legacyPosTimestamp  = 18
	legacyPosBody0      = 18
	legacyPosBody1      = 26
)

// legacyAttributes are the bits that formats 0 and 1 know.
const legacyAttributes = byte(AttrCodecMask | AttrLogAppendTime)

// parseLegacyHeader completes h, of which offset, length and magic are known.
func parseLegacyHeader(b []byte, h Header) (Header, error) {
	body := legacyPosBody0
	switch h.Magic {
	case 0:
	case 1:
		body = legacyPosBody1
	default:
		return Header{}, fmt.Errorf("%w: magic %d", ErrCorrupt, h.Magic)
	}
	if int(h.Length) < body+8-LengthPrefix || h.Length > math.MaxInt32-LengthPrefix {
		return Header{}, fmt.Errorf("%w: message length %d", ErrCorrupt, h.Length)
	}
	if h.BaseOffset < 0 || h.BaseOffset == math.MaxInt64 {
		return Header{}, fmt.Errorf("%w: offset %d", ErrInvalidRecord, h.BaseOffset)
	}
	if len(b) < body {
		return Header{}, ErrShort
	}
	h.LeaderEpoch = Absent
	h.CRC = binary.BigEndian.Uint32(b[legacyPosCRC:])
	h.Attributes = int16(b[legacyPosAttributes] & legacyAttributes)
	h.BaseTimestamp = Absent
	if h.Magic == 1 {
		h.BaseTimestamp = int64(binary.BigEndian.Uint64(b[legacyPosTimestamp:]))
	}
	h.MaxTimestamp = h.BaseTimestamp
	h.ProducerID, h.ProducerEpoch, h.BaseSequence = Absent, Absent, Absent
	h.Count = 1
	if h.Codec() != None {
		h.Count = -1
	}
	return h, nil
}

func checkLegacyCRC(b []byte) bool {
	return crc32.ChecksumIEEE(b[posMagic:]) == binary.BigEndian.Uint32(b[legacyPosCRC:])
}

// legacyKeyValue reads key and value of one whole message.
func legacyKeyValue(b []byte, h *Header) (key, value []byte, err error) {
	p := b[legacyPosBody0:]
	if h.Magic == 1 {
		p = b[legacyPosBody1:]
	}
	key, p, ok := legacyBytes(p)
	if ok {
		value, p, ok = legacyBytes(p)
	}
	if !ok || len(p) != 0 {
		return nil, nil, fmt.Errorf("%w: key and value do not fill the message at offset %d", ErrInvalidRecord, h.BaseOffset)
	}
	return key, value, nil
}

// legacyBytes reads an int32 length (-1 null) and as many bytes.
func legacyBytes(p []byte) (b, rest []byte, ok bool) {
	if len(p) < 4 {
		return nil, nil, false
	}
	n := int64(int32(binary.BigEndian.Uint32(p)))
	p = p[4:]
	if n < -1 || n > int64(len(p)) {
		return nil, nil, false
	}
	if n < 0 {
		return nil, p, true
	}
	return p[:n:n], p[n:], true
}

// legacyRecords yields the record of a message, or those of a wrapper.
func legacyRecords(b []byte, h *Header, c *Codecs, yield func(Record, error) bool) {
	key, value, err := legacyKeyValue(b, h)
	if err != nil {
		yield(Record{}, err)
		return
	}
	if h.Codec() == None {
		yield(Record{Offset: h.BaseOffset, Timestamp: h.MaxTimestamp, Key: key, Value: value}, nil)
		return
	}
	set, first, err := OpenWrapper(b, h, c)
	if err != nil {
		yield(Record{}, err)
		return
	}
	for len(set) > 0 {
		ih, message, rest, _ := Next(set) // OpenWrapper has walked them
		set = rest
		key, value, err := legacyKeyValue(message, &ih)
		if err != nil {
			yield(Record{}, err)
			return
		}
		r := Record{Offset: first + ih.BaseOffset, Timestamp: ih.MaxTimestamp, Key: key, Value: value}
		if h.LogAppendTime() {
			r.Timestamp = h.MaxTimestamp
		}
		if !yield(r, nil) {
			return
		}
	}
}

// OpenWrapper decompresses the messages inside b, a whole compressed legacy
// message with the header h. add is to be added to their offsets: in format 1
// these are relative and the wrapper has the last one's (KIP-31); in format 0
// they are absolute. The set holds at least one message, all whole, of the
// wrapper's format and not compressed; their checksums are not looked at.
func OpenWrapper(b []byte, h *Header, c *Codecs) (set []byte, add int64, err error) {
	_, value, err := legacyKeyValue(b, h)
	if err != nil {
		return nil, 0, err
	}
	if set, err = decompressWrapper(value, h, c); err != nil {
		return nil, 0, err
	}
	last := int64(Absent)
	for rest := set; len(rest) > 0; {
		var ih Header
		ih, _, rest, err = Next(rest)
		if err != nil || ih.Magic != h.Magic || ih.Codec() != None {
			return nil, 0, fmt.Errorf("%w: inside the message at offset %d", ErrInvalidRecord, h.BaseOffset)
		}
		last = ih.BaseOffset
	}
	if last == Absent {
		return nil, 0, fmt.Errorf("%w: nothing inside the message at offset %d", ErrInvalidRecord, h.BaseOffset)
	}
	if h.Magic == 1 {
		add = h.BaseOffset - last
	}
	return set, add, nil
}

func decompressWrapper(value []byte, h *Header, c *Codecs) ([]byte, error) {
	switch {
	case value == nil:
		return nil, fmt.Errorf("%w: a compressed message without value", ErrInvalidRecord)
	case h.Codec() == LZ4 && h.Magic == 0 && c != nil:
		o := opened{limit: c.limits.of(len(value))}
		err := unlz4To(&o, value, true)
		return o.b, err
	case h.Codec() > LZ4:
		return nil, fmt.Errorf("%w: %s in message format %d", ErrUnsupportedCodec, h.Codec(), h.Magic)
	}
	return c.Decompress(h.Codec(), nil, value, 0)
}

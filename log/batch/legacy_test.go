package batch

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
)

// old makes message sets of formats 0 and 1 by the book, independently of what
// is tested.
type old struct {
	magic      byte
	attributes byte
	offset     int64
	ts         int64
	key, value []byte
}

func (o old) bytes() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(o.offset))
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, o.magic, o.attributes)
	if o.magic == 1 {
		b = binary.BigEndian.AppendUint64(b, uint64(o.ts))
	}
	for _, f := range [][]byte{o.key, o.value} {
		if f == nil {
			b = append(b, 0xff, 0xff, 0xff, 0xff)
			continue
		}
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(f))), f...)
	}
	return o.seal(b)
}

// seal makes length and checksum right.
func (old) seal(b []byte) []byte {
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[12:], crc32.ChecksumIEEE(b[16:]))
	return b
}

// set joins messages.
func set(messages ...old) []byte {
	var b []byte
	for _, m := range messages {
		b = append(b, m.bytes()...)
	}
	return b
}

// wrap compresses a set into a message.
func wrap(w old, codec Codec, inside []byte) []byte {
	c := NewCodecs(Limits{})
	value, err := c.Compress(codec, DefaultLevel, nil, inside)
	if err != nil {
		panic(err)
	}
	if codec == LZ4 && w.magic == 0 {
		value[6]++ // readers of format 0 take any checksum there
	}
	w.value = value
	w.attributes |= byte(codec)
	return w.bytes()
}

// edited is b with one byte changed, and the checksum right again.
func (o old) edited(at int, v byte) []byte {
	b := slices.Clone(o.bytes())
	b[at] = v
	binary.BigEndian.PutUint32(b[12:], crc32.ChecksumIEEE(b[16:]))
	return b
}

package batch

import (
	"context"
	"encoding/binary"

	"github.com/klauspost/compress/s2"
)

// freeRoom is up to how many bytes a batch is opened without asking for room.
const freeRoom = 64 << 10

// enter waits until there is room to open src, which all that are opened at the same
// time for clients share: twice Limits.Absolute bytes, so that one of the largest is
// open at a time, or many of the usual ones. Twice, since what is opened becomes
// something else, or moves to a larger buffer. leave gives back what is returned. Who
// is in waits for nothing until then, no lock, no file and no second room; so everybody
// gets in.
func (c *Codecs) enter(codec Codec, src []byte) int64 {
	if codec == None || c == nil {
		return 0
	}
	return c.enterBytes(c.most(codec, src))
}

// enterBytes is enter for n bytes that become about as many others.
func (c *Codecs) enterBytes(n int) int64 {
	if n <= freeRoom || c == nil {
		return 0
	}
	room := 2 * int64(min(n, c.limits.Absolute))
	// Without an end of its context it can't fail.
	_ = c.room.Acquire(context.Background(), room)
	c.open.Add(room)
	return room
}

// Room is how many bytes of the room for batches that are open are taken, and how
// many there are.
func (c *Codecs) Room() (used, limit int64) { return c.open.Load(), 2 * int64(c.limits.Absolute) }

func (c *Codecs) leave(n int64) {
	if n > 0 {
		c.open.Add(-n)
		c.room.Release(n)
	}
}

// inside is what is compressed in a batch, or in a message of an old format; nil if
// that is damaged, and so not opened.
func inside(h *Header, b []byte) []byte {
	if h.Magic >= 2 {
		return b[min(HeaderSize, len(b)):]
	}
	_, value, _ := legacyKeyValue(b, h)
	return value
}

// Opening calls f while there is room to open src and to compress it anew.
func (c *Codecs) Opening(codec Codec, src []byte, f func() error) error {
	n := c.enter(codec, src)
	defer c.leave(n)
	return f()
}

// most is how many bytes src may make: what the headers of its blocks say, as far
// as that is cheap to know, at most the limit. The bytes need not be valid.
func (c *Codecs) most(codec Codec, src []byte) int {
	limit := c.limits.of(len(src))
	n := limit
	switch codec {
	case Zstd:
		if bound, err := zstdBound(src); err == nil {
			n = bound
		}
	case LZ4:
		n = lz4Bound(src)
	case Snappy:
		n = snappyBound(src)
	case Gzip:
		n = 1032 * len(src) // what deflate can do at most
	}
	return min(max(n, 0), limit)
}

// lz4Bound adds up what the blocks of a frame can make: a byte at most 255, and no
// block more than its frame allows.
func lz4Bound(src []byte) int {
	_, blockSize, src, err := lz4Header(src, true)
	if err != nil {
		return 0 // and it is not opened
	}
	total := 0
	for len(src) >= 4 {
		n := int(min(uint32(len(src)-4), binary.LittleEndian.Uint32(src)&^lz4Uncompressed))
		total += min(blockSize, 255*n)
		src = src[4+n:]
	}
	return total
}

// snappyBound adds up the lengths that snappy's blocks claim. unsnappyTo opens no
// block that can't make as much.
func snappyBound(src []byte) int {
	block := func(b []byte) int {
		n, err := s2.DecodedLen(b)
		if err != nil {
			return 0
		}
		return min(n, 32*len(b)+64)
	}
	if len(src) < len(xerialHeader) || string(src[:len(xerialMagic)]) != xerialMagic {
		return block(src)
	}
	total := 0
	for src = src[len(xerialHeader):]; len(src) >= 4; {
		n := int(min(uint32(len(src)-4), binary.BigEndian.Uint32(src)))
		total += block(src[4 : 4+n])
		src = src[4+n:]
	}
	return total
}

package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/klauspost/compress/s2"
)

// xerialHeader begins the framing of snappy-java's SnappyOutputStream: magic,
// version 1, compatible with 1. After it come blocks, each an int32 length and a
// raw snappy block.
const xerialHeader = "\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"

const (
	xerialMagic     = "\x82SNAPPY\x00"
	xerialBlockSize = 32 << 10
)

var errXerialBlock = errors.New("the length of a block is wrong")

func unsnappyTo(o *opened, src []byte) error {
	if !bytes.HasPrefix(src, []byte(xerialMagic)) {
		return unsnappyBlock(o, src)
	}
	if len(src) < len(xerialHeader) {
		return badBytes(Snappy, errXerialBlock)
	}
	src = src[len(xerialHeader):]
	for len(src) > 0 {
		if len(src) < 4 {
			return badBytes(Snappy, errXerialBlock)
		}
		n := binary.BigEndian.Uint32(src)
		src = src[4:]
		if uint64(n) > uint64(len(src)) {
			return badBytes(Snappy, errXerialBlock)
		}
		if err := unsnappyBlock(o, src[:n]); err != nil {
			return err
		}
		src = src[n:]
	}
	return nil
}

func unsnappyBlock(o *opened, block []byte) error {
	n, err := s2.DecodedLen(block)
	if err != nil {
		return badBytes(Snappy, err)
	}
	// Snappy makes at most 64 bytes of 3, so that a lying length is noticed
	// before room is made for it.
	if n > 32*len(block)+64 {
		return badBytes(Snappy, errXerialBlock)
	}
	room, err := o.room(n)
	if err != nil {
		return err
	}
	if _, err := s2.Decode(room, block); err != nil {
		return badBytes(Snappy, err)
	}
	o.took(n)
	return nil
}

// compressSnappy writes what Java's producer does: blocks of 32 KiB in xerial's
// framing. Snappy has no levels.
func compressSnappy(dst, src []byte) []byte {
	dst = append(dst, xerialHeader...)
	for len(src) > 0 {
		block := src[:min(len(src), xerialBlockSize)]
		src = src[len(block):]
		at := len(dst)
		dst = slices.Grow(dst, 4+s2.MaxEncodedLen(len(block)))
		out := s2.EncodeSnappy(dst[at+4:cap(dst)], block)
		dst = dst[:at+4+len(out)]
		binary.BigEndian.PutUint32(dst[at:], uint32(len(out)))
	}
	return dst
}

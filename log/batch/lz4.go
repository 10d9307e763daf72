package batch

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"slices"

	"github.com/pierrec/lz4/v4"
)

// The frame format of LZ4 (lz4_Frame_format.md), as far as Kafka's
// Lz4BlockInputStream takes it: independent blocks, no dictionary. We read and
// write frames ourselves and leave the blocks to pierrec/lz4, so that the bytes
// go straight into a bounded buffer.
const (
	lz4Magic           = 0x184D2204
	lz4FlagVersion     = 0x40
	lz4FlagVersionMask = 0xc0
	lz4FlagIndependent = 0x20
	lz4FlagBlockSum    = 0x10
	lz4FlagContentSize = 0x08
	lz4FlagReserved    = 0x03 // dictionary id, and a bit that must be 0
	lz4Uncompressed    = 1 << 31
	lz4BlockSize       = 64 << 10
	lz4BlockSizeID     = 4 << 4 // 64 KiB
)

var (
	errLZ4Header = errors.New("not the header of a frame that Kafka reads")
	errLZ4Block  = errors.New("the length of a block is wrong")
	errLZ4Sum    = errors.New("a checksum is wrong")
)

// unlz4To decompresses a frame. anyHeaderSum is for message format 0, whose
// writers computed the header's checksum over the wrong bytes (KIP-57).
func unlz4To(o *opened, src []byte, anyHeaderSum bool) error {
	flags, blockSize, src, err := lz4Header(src, anyHeaderSum)
	if err != nil {
		return badBytes(LZ4, err)
	}
	for {
		if len(src) < 4 {
			return badBytes(LZ4, errLZ4Block)
		}
		size := binary.LittleEndian.Uint32(src)
		src = src[4:]
		if size == 0 {
			return nil // the content's checksum is not read by Kafka either
		}
		raw := size&lz4Uncompressed != 0
		n := int(size &^ lz4Uncompressed)
		if n > len(src) || n > blockSize {
			return badBytes(LZ4, errLZ4Block)
		}
		block := src[:n]
		src = src[n:]
		if flags&lz4FlagBlockSum != 0 {
			if len(src) < 4 || binary.LittleEndian.Uint32(src) != xxhash32(block) {
				return badBytes(LZ4, errLZ4Sum)
			}
			src = src[4:]
		}
		if err := unlz4Block(o, block, raw, blockSize); err != nil {
			return err
		}
	}
}

func unlz4Block(o *opened, block []byte, raw bool, blockSize int) error {
	if raw {
		room, err := o.room(len(block))
		if err != nil {
			return err
		}
		o.took(copy(room, block))
		return nil
	}
	// A byte of LZ4 makes at most 255, but mostly a few; and the frames of some
	// clients allow blocks of 4 MiB whatever the size of their batches. So the
	// first attempt is with the room that there is, or four times the block, and
	// each further one with four times as much.
	want := min(blockSize, 255*len(block))
	for size := min(want, max(4*len(block), cap(o.b)-len(o.b))); ; size = min(want, 4*size) {
		room, err := o.room(min(size, o.left()))
		if err != nil {
			return err
		}
		n, err := lz4.UncompressBlock(block, room)
		switch {
		case err == nil:
			o.took(n)
			return nil
		case len(room) < size:
			return ErrLimit
		case size == want:
			return badBytes(LZ4, err)
		}
	}
}

// lz4Header reads a frame's header; rest are the blocks.
func lz4Header(src []byte, anySum bool) (flags byte, blockSize int, rest []byte, err error) {
	if len(src) < 7 || binary.LittleEndian.Uint32(src) != lz4Magic {
		return 0, 0, nil, errLZ4Header
	}
	flags = src[4]
	id := src[5] >> 4
	if flags&lz4FlagVersionMask != lz4FlagVersion || flags&lz4FlagIndependent == 0 || flags&lz4FlagReserved != 0 || id < 4 || id > 7 || src[5]&0x8f != 0 {
		return 0, 0, nil, errLZ4Header
	}
	end := 6
	if flags&lz4FlagContentSize != 0 {
		end += 8
	}
	if len(src) < end+1 {
		return 0, 0, nil, errLZ4Header
	}
	if !anySum && src[end] != byte(xxhash32(src[4:end])>>8) {
		return 0, 0, nil, errLZ4Sum
	}
	return flags, 1 << (8 + 2*id), src[end+1:], nil
}

// breakLZ4Header gives a frame that compressLZ4 made the checksum that message
// format 0 wants: over the magic number too (KIP-57).
func breakLZ4Header(frame []byte) {
	if len(frame) >= 7 {
		frame[6] = byte(xxhash32(frame[:6]) >> 8)
	}
}

// lz4Compressor is a reusable compressor.
type lz4Compressor struct {
	fast lz4.Compressor
	high lz4.CompressorHC
}

// lz4FastLevel is Kafka's default of compression.lz4.level, and stands for the
// fast compressor; all other levels mean the one that searches (KIP-390).
const lz4FastLevel = 9

// compressLZ4 writes what Java's producer does: independent blocks of 64 KiB,
// no checksums.
func (c *Codecs) compressLZ4(level int, dst, src []byte) ([]byte, error) {
	z, ok := c.lz4.Get().(*lz4Compressor)
	if !ok {
		z = new(lz4Compressor)
	}
	defer c.lz4.Put(z)
	dst = binary.LittleEndian.AppendUint32(dst, lz4Magic)
	dst = append(dst, lz4FlagVersion|lz4FlagIndependent, lz4BlockSizeID)
	dst = append(dst, byte(xxhash32(dst[len(dst)-2:])>>8))
	for len(src) > 0 {
		block := src[:min(len(src), lz4BlockSize)]
		src = src[len(block):]
		at := len(dst)
		dst = slices.Grow(dst, 4+lz4.CompressBlockBound(len(block)))
		room := dst[at+4 : at+4+lz4.CompressBlockBound(len(block))]
		n, err := z.compress(level, room, block)
		if err != nil {
			return dst[:at], err
		}
		size := uint32(n)
		if n == 0 || n >= len(block) {
			n = copy(room, block)
			size = uint32(n) | lz4Uncompressed
		}
		dst = dst[:at+4+n]
		binary.LittleEndian.PutUint32(dst[at:], size)
	}
	return append(dst, 0, 0, 0, 0), nil
}

func (z *lz4Compressor) compress(level int, dst, block []byte) (int, error) {
	if level == DefaultLevel || level == lz4FastLevel {
		return z.fast.CompressBlock(block, dst)
	}
	// How many candidates are looked at, as in lz4-java.
	z.high.Level = lz4.CompressionLevel(1 << (min(max(level, 1), 17) - 1))
	return z.high.CompressBlock(block, dst)
}

// xxhash32 is XXH32 with seed 0.
func xxhash32(b []byte) uint32 {
	const (
		prime1 uint32 = 2654435761
		prime2 uint32 = 2246822519
		prime3 uint32 = 3266489917
		prime4 uint32 = 668265263
		prime5 uint32 = 374761393
	)
	n := uint32(len(b))
	h := prime5
	if len(b) >= 16 {
		p1, p2 := prime1, prime2
		v := [4]uint32{p1 + p2, p2, 0, -p1}
		for ; len(b) >= 16; b = b[16:] {
			for i := range v {
				v[i] = bits.RotateLeft32(v[i]+binary.LittleEndian.Uint32(b[4*i:])*prime2, 13) * prime1
			}
		}
		h = bits.RotateLeft32(v[0], 1) + bits.RotateLeft32(v[1], 7) + bits.RotateLeft32(v[2], 12) + bits.RotateLeft32(v[3], 18)
	}
	h += n
	for ; len(b) >= 4; b = b[4:] {
		h = bits.RotateLeft32(h+binary.LittleEndian.Uint32(b)*prime3, 17) * prime4
	}
	for _, c := range b {
		h = bits.RotateLeft32(h+uint32(c)*prime5, 11) * prime1
	}
	h = (h ^ h>>15) * prime2
	h = (h ^ h>>13) * prime3
	return h ^ h>>16
}

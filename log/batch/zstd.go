package batch

import (
	"bytes"
	"errors"

	"github.com/klauspost/compress/zstd"
)

// zstdLevels is how many levels klauspost/compress has, and so how many pools.
const zstdLevels = int(zstd.SpeedBestCompression) + 1

const (
	// zstdMaxWindow is what the C library decodes by default.
	zstdMaxWindow = 128 << 20
	// zstdStreamWindow bounds the window where one must be allocated.
	zstdStreamWindow = 8 << 20
	// zstdMaxBlock is the most that one block decompresses to.
	zstdMaxBlock = 128 << 10
)

var (
	errZstdBlock = errors.New("a block's header is wrong")
	errZstdSize  = errors.New("the content's size is wrong")
)

// unzstdTo decodes into one buffer if the headers of the blocks show that the
// limit will hold, which they do for all that producers make; else through a
// window, stopping at the limit.
func (c *Codecs) unzstdTo(o *opened, src []byte) error {
	most, err := zstdBound(src)
	if err != nil {
		return badBytes(Zstd, err)
	}
	if most > o.limit {
		return c.unzstdStream(o, src)
	}
	d, ok := c.unzstd.Get().(*zstd.Decoder)
	if !ok {
		d, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdMaxWindow))
		if err != nil {
			return badBytes(Zstd, err)
		}
	}
	defer c.unzstd.Put(d)
	out, err := d.DecodeAll(src, o.b)
	if err != nil {
		return badBytes(Zstd, err)
	}
	o.b = out
	return nil
}

// zstdBound is an upper bound of what src decompresses to. It reads the headers
// of frames and blocks only. A size of the content that the blocks can't reach
// is an error, so that nothing is allocated for it.
func zstdBound(src []byte) (int, error) {
	total := 0
	for len(src) > 0 {
		var h zstd.Header
		if err := h.Decode(src); err != nil {
			return 0, err
		}
		src = src[h.HeaderSize:]
		if h.Skippable {
			if uint64(h.SkippableSize) > uint64(len(src)) {
				return 0, errZstdBlock
			}
			src = src[h.SkippableSize:]
			continue
		}
		most, rest, err := zstdBlocks(src)
		if err != nil {
			return 0, err
		}
		if h.HasFCS {
			if h.FrameContentSize > uint64(most) {
				return 0, errZstdSize
			}
			most = int(h.FrameContentSize)
		}
		total += most
		if h.HasCheckSum {
			rest = rest[min(4, len(rest)):]
		}
		src = rest
	}
	return total, nil
}

// zstdBlocks walks the blocks of a frame: how much they make at most, and what
// follows the last one.
func zstdBlocks(src []byte) (most int, rest []byte, err error) {
	for last := false; !last; {
		if len(src) < 3 {
			return 0, nil, errZstdBlock
		}
		header := uint32(src[0]) | uint32(src[1])<<8 | uint32(src[2])<<16
		src = src[3:]
		last = header&1 != 0
		size := int(header >> 3)
		stored := size
		switch header >> 1 & 3 {
		case 0: // raw
		case 1: // one byte, repeated
			stored = 1
		case 2: // compressed
			size = zstdMaxBlock
		default:
			return 0, nil, errZstdBlock
		}
		if stored > len(src) || size > zstdMaxBlock {
			return 0, nil, errZstdBlock
		}
		src = src[stored:]
		most += size
	}
	return most, src, nil
}

// zstdStream is a reusable stream decoder with its source.
type zstdStream struct {
	src bytes.Reader
	d   *zstd.Decoder
}

func (c *Codecs) unzstdStream(o *opened, src []byte) error {
	s, ok := c.zstdStream.Get().(*zstdStream)
	if !ok {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdStreamWindow))
		if err != nil {
			return badBytes(Zstd, err)
		}
		s = &zstdStream{d: d}
	}
	defer func() {
		s.src.Reset(nil)
		c.zstdStream.Put(s)
	}()
	s.src.Reset(src)
	if err := s.d.Reset(&s.src); err != nil {
		return badBytes(Zstd, err)
	}
	return readTo(o, s.d, Zstd, 4*len(src))
}

func (c *Codecs) compressZstd(level int, dst, src []byte) ([]byte, error) {
	speed := zstd.SpeedDefault
	if level != DefaultLevel {
		speed = zstd.EncoderLevelFromZstd(level)
	}
	pool := &c.zstd[speed]
	e, ok := pool.Get().(*zstd.Encoder)
	if !ok {
		var err error
		e, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(speed), zstd.WithEncoderCRC(false))
		if err != nil {
			return dst, err
		}
	}
	defer pool.Put(e)
	return e.EncodeAll(src, dst), nil
}

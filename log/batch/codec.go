package batch

import (
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"barnabas/internal/invariant"
)

// Codec is how the records of a batch are compressed.
type Codec int8

// The codecs of the format. Snappy is in xerial's framing or raw.
const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

// String is the name that Kafka's configuration uses: none, gzip, snappy, lz4,
// zstd.
func (c Codec) String() string {
	switch c {
	case None:
		return "none"
	case Gzip:
		return "gzip"
	case Snappy:
		return "snappy"
	case LZ4:
		return "lz4"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("codec(%d)", int8(c))
}

// Valid tells whether there is such a codec.
func (c Codec) Valid() bool { return c >= None && c <= Zstd }

// ParseCodec reads what String prints; "uncompressed" is none too.
func ParseCodec(name string) (Codec, error) {
	if name == "uncompressed" {
		return None, nil
	}
	for c := None; c <= Zstd; c++ {
		if c.String() == name {
			return c, nil
		}
	}
	return 0, fmt.Errorf("batch: unknown compression type %q", name)
}

// MaxOpen is the default of Limits.Absolute, 128 MiB.
const MaxOpen = 128 << 20

// Limits bound what a batch may decompress to, in bytes. Zero fields have the
// default.
type Limits struct {
	// Absolute is the most, whatever the input. All batches together that are open for
	// clients at a time have twice as much, each of them two bytes for each that it may
	// open to; default MaxOpen.
	Absolute int
	// Ratio is how many times its compressed size a batch may grow to, unless
	// that stays below Floor; default 1000.
	Ratio int
	// Floor is always allowed; default 16 MiB.
	Floor int
}

func (l Limits) withDefaults() Limits {
	if l.Absolute <= 0 {
		l.Absolute = MaxOpen
	}
	if l.Ratio <= 0 {
		l.Ratio = 1000
	}
	if l.Floor <= 0 {
		l.Floor = 16 << 20
	}
	return l
}

// of is the limit for so many compressed bytes.
func (l Limits) of(compressed int) int {
	most := l.Absolute
	if compressed < most/l.Ratio {
		most = compressed * l.Ratio
	}
	return min(max(most, l.Floor), l.Absolute)
}

// Codecs holds reusable compressors and decompressors. It starts no goroutine;
// many goroutines may use it. A broker has one, made by NewCodecs.
type Codecs struct {
	limits Limits
	room   *semaphore.Weighted // of 2*limits.Absolute bytes, see enter
	open   atomic.Int64        // what is taken of it

	gunzip     sync.Pool // *gunzipper
	gzip       sync.Pool // *gzipper, of any level
	lz4        sync.Pool // *lz4Compressor
	unzstd     sync.Pool // *zstd.Decoder, for DecodeAll
	zstdStream sync.Pool // *zstdStream
	zstd       [zstdLevels]sync.Pool
	scratch    sync.Pool // *[]byte
}

// NewCodecs returns empty pools.
func NewCodecs(l Limits) *Codecs {
	l = l.withDefaults()
	return &Codecs{limits: l, room: semaphore.NewWeighted(2 * int64(l.Absolute))}
}

// DefaultLevel leaves the compression level to the codec.
const DefaultLevel = 0

// Compress appends src, compressed in Kafka's framing, to dst. level is that of
// compression.<codec>.level (KIP-390): gzip 1 to 9 or -1, its default; lz4 1 to
// 17, where 9 is the fast default and all others search harder; zstd up to 22,
// 3 being the default. Levels outside are moved inside. DefaultLevel is the
// codec's default.
func (c *Codecs) Compress(codec Codec, level int, dst, src []byte) ([]byte, error) {
	switch codec {
	case None:
		return append(dst, src...), nil
	case Gzip:
		return c.compressGzip(level, dst, src)
	case Snappy:
		return compressSnappy(dst, src), nil
	case LZ4:
		return c.compressLZ4(level, dst, src)
	case Zstd:
		return c.compressZstd(level, dst, src)
	}
	return dst, fmt.Errorf("%w: %d", ErrUnsupportedCodec, codec)
}

// Decompress appends what src decompresses to to dst. It fails with ErrDecompress
// for bad bytes and with ErrLimit rather than append more than max bytes; max 0
// leaves only the Limits.
func (c *Codecs) Decompress(codec Codec, dst, src []byte, max int) ([]byte, error) {
	if codec == None {
		return append(dst, src...), nil
	}
	if c == nil {
		return dst, fmt.Errorf("%w: no decompressors at hand for %s", ErrDecompress, codec)
	}
	limit := c.limits.of(len(src))
	if max > 0 {
		limit = min(limit, max)
	}
	o := opened{b: dst, begin: len(dst), limit: limit}
	var err error
	switch codec {
	case Gzip:
		err = c.gunzipTo(&o, src)
	case Snappy:
		err = unsnappyTo(&o, src)
	case LZ4:
		err = unlz4To(&o, src, false)
	case Zstd:
		err = c.unzstdTo(&o, src)
	default:
		return dst, fmt.Errorf("%w: %d", ErrUnsupportedCodec, codec)
	}
	return o.b, err
}

// opened is a buffer that decompressed bytes are appended to, up to a limit.
type opened struct {
	b            []byte
	begin, limit int
}

// left is how many bytes may still come.
func (o *opened) left() int { return o.limit - (len(o.b) - o.begin) }

// room returns n free bytes after the end of the buffer, or ErrLimit.
func (o *opened) room(n int) ([]byte, error) {
	if n > o.left() {
		return nil, ErrLimit
	}
	if need := len(o.b) + n; need > cap(o.b) {
		// Doubling leaves less behind than append, which grows large slices by a
		// quarter, and the limit keeps the rest small. Growing may not make a buffer too
		// large to be kept if what is needed is not.
		size := max(need, min(2*cap(o.b), o.begin+o.limit))
		if need <= maxScratch && size > maxScratch {
			size = maxScratch
		}
		o.b = append(make([]byte, 0, size), o.b...)
	}
	return o.b[len(o.b) : len(o.b)+n], nil
}

// took notes that the first n bytes of room have been filled.
func (o *opened) took(n int) { o.b = o.b[:len(o.b)+n] }

func badBytes(codec Codec, err error) error {
	return fmt.Errorf("%w: %s: %v", ErrDecompress, codec, err)
}

// maxScratch is the largest buffer that is kept for reuse.
const maxScratch = 4 << 20

func (c *Codecs) getScratch() *[]byte {
	if b, ok := c.scratch.Get().(*[]byte); ok {
		return b
	}
	return new([]byte)
}

func (c *Codecs) putScratch(b *[]byte) {
	if cap(*b) > maxScratch {
		return
	}
	invariant.Poison(*b)
	*b = (*b)[:0]
	c.scratch.Put(b)
}

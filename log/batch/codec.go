package batch

import "fmt"

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

// Limits bound what a batch may decompress to, in bytes. Zero fields have the
// default.
type Limits struct {
	// Absolute is the most, whatever the input; default 128 MiB.
	Absolute int
	// Ratio is how many times its compressed size a batch may grow to, unless
	// that stays below Floor; default 1000.
	Ratio int
	// Floor is always allowed; default 16 MiB.
	Floor int
}

// Codecs holds reusable compressors and decompressors. It starts no goroutine;
// many goroutines may use it. A broker has one; the zero value is not usable.
type Codecs struct {
	limits Limits
}

// NewCodecs returns empty pools.
func NewCodecs(l Limits) *Codecs { return &Codecs{limits: l} }

// DefaultLevel leaves the compression level to the codec.
const DefaultLevel = -1 << 31

// Compress appends src, compressed in Kafka's framing, to dst. level is the
// codec's own scale (gzip 1 to 9, lz4 1 to 17, zstd 1 to 22) or DefaultLevel.
func (c *Codecs) Compress(codec Codec, level int, dst, src []byte) ([]byte, error) {
	return nil, ErrUnsupportedCodec
}

// Decompress appends what src decompresses to to dst. It fails with ErrDecompress
// for bad bytes and with ErrLimit rather than append more than max bytes; max 0
// leaves only the Limits.
func (c *Codecs) Decompress(codec Codec, dst, src []byte, max int) ([]byte, error) {
	return nil, ErrUnsupportedCodec
}

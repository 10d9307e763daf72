package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// payloads have sizes around the block sizes of the codecs, and are compressible,
// constant or random.
func payloads() map[string][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	all := map[string][]byte{"empty": {}}
	for _, n := range []int{1, 15, 16, 1000, 32 << 10, 64<<10 - 1, 64 << 10, 64<<10 + 1, 1 << 20} {
		random := make([]byte, n)
		for i := range random {
			random[i] = byte(r.Uint32())
		}
		all[fmt.Sprint("random ", n)] = random
		all[fmt.Sprint("constant ", n)] = bytes.Repeat([]byte{'x'}, n)
		all[fmt.Sprint("text ", n)] = []byte(strings.Repeat("someone must have slandered Josef K. ", n/37+1))[:n]
	}
	return all
}

func TestCodecs(t *testing.T) {
	c := NewCodecs(Limits{})
	for codec := None; codec <= Zstd; codec++ {
		for name, p := range payloads() {
			for _, level := range []int{DefaultLevel, 1, 9, 22} {
				if level != DefaultLevel && len(p) > 64<<10+1 {
					continue
				}
				packed, err := c.Compress(codec, level, []byte("head"), p)
				if err != nil || !bytes.HasPrefix(packed, []byte("head")) {
					t.Fatalf("%s %s: %v", codec, name, err)
				}
				got, err := c.Decompress(codec, []byte("dst"), packed[4:], 0)
				if err != nil || string(got[:3]) != "dst" || !bytes.Equal(got[3:], p) {
					t.Fatalf("%s level %d, %s: %v, %d bytes of %d", codec, level, name, err, len(got)-3, len(p))
				}
			}
		}
	}
}

func TestDecompressLimits(t *testing.T) {
	c := NewCodecs(Limits{})
	for codec := Gzip; codec <= Zstd; codec++ {
		for _, n := range []int{1, 1000, 100_000, 5 << 20} {
			p := bytes.Repeat([]byte{'x'}, n)
			packed, err := c.Compress(codec, DefaultLevel, nil, p)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Decompress(codec, nil, packed, n); err != nil {
				t.Errorf("%s: %d bytes at a limit of as many: %v", codec, n, err)
			}
			if n == 1 {
				continue // 0 would be no limit
			}
			out, err := c.Decompress(codec, nil, packed, n-1)
			if !errors.Is(err, ErrLimit) {
				t.Errorf("%s: %d bytes at a limit of one less: %v", codec, n, err)
			}
			if cap(out) > 4*n+64<<10 {
				t.Errorf("%s: %d bytes were allocated for a limit of %d", codec, cap(out), n-1)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	l := Limits{Absolute: 1000, Ratio: 10, Floor: 50}
	for compressed, want := range map[int]int{0: 50, 1: 50, 5: 50, 6: 60, 99: 990, 100: 1000, 101: 1000, 1 << 40: 1000} {
		if got := l.of(compressed); got != want {
			t.Errorf("%d compressed bytes: %d, want %d", compressed, got, want)
		}
	}
	small := NewCodecs(Limits{Absolute: 100 << 10, Floor: 1, Ratio: 10})
	for codec := Gzip; codec <= Zstd; codec++ {
		packed, _ := small.Compress(codec, DefaultLevel, nil, make([]byte, 90<<10))
		if _, err := small.Decompress(codec, nil, packed, 0); !errors.Is(err, ErrLimit) {
			t.Errorf("%s: a ratio of %d: %v", codec, (90<<10)/len(packed), err)
		}
	}
}

// TestDecompressForeign opens what other writers make of the formats.
func TestDecompressForeign(t *testing.T) {
	p := []byte(strings.Repeat("before the law stands a doorkeeper. ", 10_000))
	lz4Frame := func(options ...lz4.Option) []byte {
		var b bytes.Buffer
		w := lz4.NewWriter(&b)
		if err := w.Apply(options...); err != nil {
			t.Fatal(err)
		}
		w.Write(p)
		w.Close()
		return b.Bytes()
	}
	var streamed bytes.Buffer
	z, err := zstd.NewWriter(&streamed, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	z.Write(p[:1000])
	z.Flush()
	z.Write(p[1000:])
	z.Close()
	c := NewCodecs(Limits{})
	gz, _ := c.Compress(Gzip, 1, nil, p[:1000])
	gz, _ = c.Compress(Gzip, 1, gz, p[1000:])
	for _, test := range []struct {
		name  string
		codec Codec
		bytes []byte
	}{
		{"raw snappy", Snappy, s2.EncodeSnappy(nil, p)},
		{"lz4 with block checksums", LZ4, lz4Frame(lz4.BlockChecksumOption(true))},
		{"lz4 with a content checksum and large blocks", LZ4, lz4Frame(lz4.ChecksumOption(true), lz4.BlockSizeOption(lz4.Block4Mb))},
		{"lz4 with its size", LZ4, lz4Frame(lz4.SizeOption(uint64(len(p))))},
		{"zstd without its size", Zstd, streamed.Bytes()},
		{"gzip of two members", Gzip, gz},
	} {
		got, err := c.Decompress(test.codec, nil, test.bytes, 0)
		if err != nil || !bytes.Equal(got, p) {
			t.Errorf("%s: %v, %d bytes", test.name, err, len(got))
		}
	}
}

func TestCompressIsReadByOthers(t *testing.T) {
	p := []byte(strings.Repeat("before the law stands a doorkeeper. ", 10_000))
	c := NewCodecs(Limits{})
	packed, err := c.Compress(LZ4, DefaultLevel, nil, p)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(lz4.NewReader(bytes.NewReader(packed))); err != nil || !bytes.Equal(got, p) {
		t.Errorf("lz4: %v, %d bytes", err, len(got))
	}
}

// TestDecompressDamage: no byte changed, cut or inserted is worse than an error.
func TestDecompressDamage(t *testing.T) {
	c := NewCodecs(Limits{Absolute: 1 << 20, Floor: 1 << 16})
	p := []byte(strings.Repeat("like a dog! ", 400))
	for codec := Gzip; codec <= Zstd; codec++ {
		packed, _ := c.Compress(codec, DefaultLevel, nil, p)
		for i := range packed {
			if _, err := c.Decompress(codec, nil, packed[:i], 0); err == nil && codec != Snappy && i > 0 {
				t.Errorf("%s: cut to %d of %d bytes: no error", codec, i, len(packed))
			}
			bad := slices.Clone(packed)
			bad[i] ^= 0x55
			_, err := c.Decompress(codec, nil, bad, 0)
			if err != nil && !errors.Is(err, ErrDecompress) && !errors.Is(err, ErrLimit) {
				t.Errorf("%s: byte %d: %v", codec, i, err)
			}
		}
	}
	for codec := Codec(5); codec < 8; codec++ {
		if _, err := c.Decompress(codec, nil, p, 0); !errors.Is(err, ErrUnsupportedCodec) {
			t.Errorf("%s: %v", codec, err)
		}
	}
}

// TestLyingLengths: little is allocated for sizes that are only claimed.
func TestLyingLengths(t *testing.T) {
	c := NewCodecs(Limits{})
	snappyLie := append(binary.AppendUvarint(nil, 1<<30), 0, 'x')
	xerialLie := append([]byte(xerialHeader), 0x7f, 0xff, 0xff, 0xff, 1)
	zstdLie := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0xff, 0xff, 0xff, 0x06, 1, 0, 0} // single segment of 117 MB
	for codec, b := range map[Codec][][]byte{Snappy: {snappyLie, xerialLie}, Zstd: {zstdLie}} {
		for _, b := range b {
			out, err := c.Decompress(codec, nil, b, 0)
			if err == nil || cap(out) > 32<<20 {
				t.Errorf("%s %x: %v, %d bytes allocated", codec, b, err, cap(out))
			}
		}
	}
}

func TestXXHash32(t *testing.T) {
	// Values of the reference implementation.
	for s, want := range map[string]uint32{
		"":    0x02cc5d05,
		"a":   0x550d7456,
		"abc": 0x32d153ff,
		"Nobody inspects the spammish repetition": 0xe2293b2f,
	} {
		if got := xxhash32([]byte(s)); got != want {
			t.Errorf("%q: %08x, want %08x", s, got, want)
		}
	}
}

func TestCodecNames(t *testing.T) {
	for c := None; c <= Zstd; c++ {
		if got, err := ParseCodec(c.String()); err != nil || got != c {
			t.Errorf("%s: %v, %v", c, got, err)
		}
	}
	if _, err := ParseCodec("brotli"); err == nil {
		t.Error("brotli is no codec")
	}
}

func FuzzDecompress(f *testing.F) {
	c := NewCodecs(Limits{Absolute: 1 << 20, Floor: 1 << 16, Ratio: 50})
	for codec := Gzip; codec <= Zstd; codec++ {
		packed, _ := c.Compress(codec, DefaultLevel, nil, []byte(strings.Repeat("K. ", 100)))
		f.Add(byte(codec), packed)
	}
	f.Fuzz(func(t *testing.T, codec byte, b []byte) {
		out, err := c.Decompress(Codec(codec%8), nil, b, 0)
		if codec%8 != 0 && len(out) > c.limits.of(len(b)) {
			t.Errorf("%d bytes from %d, limit %d (%v)", len(out), len(b), c.limits.of(len(b)), err)
		}
	})
}

// TestLevels: levels are those of compression.<codec>.level, whose defaults are
// the codecs' own (KIP-390).
func TestLevels(t *testing.T) {
	c := NewCodecs(Limits{})
	var p []byte
	for i := range 3000 {
		p = fmt.Appendf(p, "line %d of about %d, or %d\n", i, i*i%917, i%31)
	}
	pack := func(codec Codec, level int) []byte {
		packed, err := c.Compress(codec, level, nil, p)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Decompress(codec, nil, packed, 0); err != nil || !bytes.Equal(got, p) {
			t.Fatalf("%s level %d: %v", codec, level, err)
		}
		return packed
	}
	for _, tc := range []struct {
		codec Codec
		level int
	}{{Gzip, -1}, {LZ4, 9}, {Zstd, 3}} {
		if !bytes.Equal(pack(tc.codec, tc.level), pack(tc.codec, DefaultLevel)) {
			t.Errorf("%s: level %d is not the default", tc.codec, tc.level)
		}
	}
	for _, tc := range []struct {
		codec        Codec
		worse, level int
	}{{Gzip, 1, 9}, {LZ4, 9, 17}, {LZ4, 1, 17}, {LZ4, 9, 8}, {Zstd, 1, 22}} {
		if w, b := len(pack(tc.codec, tc.worse)), len(pack(tc.codec, tc.level)); b >= w {
			t.Errorf("%s: level %d makes %d bytes, level %d %d", tc.codec, tc.worse, w, tc.level, b)
		}
	}
}

// goFrame is data as Go's clients compress it by LZ4: in blocks of 4 MiB.
func goFrame(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := lz4.NewWriter(&b)
	if err := w.Apply(lz4.BlockSizeOption(lz4.Block4Mb)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestLZ4LargeBlocks: what a block makes is not known before; no more room is
// made than it needs, and the limit holds in each attempt.
func TestLZ4LargeBlocks(t *testing.T) {
	codecs := NewCodecs(Limits{})
	for _, size := range []int{1, 1000, 1 << 20, 5 << 20} {
		for _, period := range []int{1, 7, 1000} { // compresses by up to 250
			data := make([]byte, size)
			for i := range data {
				data[i] = byte(i % period * 37)
			}
			frame := goFrame(t, data)
			for _, dst := range [][]byte{nil, make([]byte, 3, 100), make([]byte, 0, 8<<20)} {
				got, err := codecs.Decompress(LZ4, dst, frame, size)
				if err != nil || !bytes.Equal(got[len(dst):], data) {
					t.Errorf("%d bytes, period %d: %d bytes, %v", size, period, len(got)-len(dst), err)
				}
				if _, err := codecs.Decompress(LZ4, dst, frame, size-1); size > 1 && !errors.Is(err, ErrLimit) {
					t.Errorf("%d bytes, period %d, one too many: %v", size, period, err)
				}
			}
		}
	}
	// A literal, and then a match at distance 0.
	frame := append(goFrame(t, nil)[:7], 4, 0, 0, 0, 0x10, 'a', 0, 0, 0, 0, 0, 0)
	if _, err := codecs.Decompress(LZ4, nil, frame, 0); !errors.Is(err, ErrDecompress) {
		t.Errorf("a bad block: %v", err)
	}
}

// partlyRandom compresses to about 60 %.
func partlyRandom(n int) []byte {
	data, random := make([]byte, n), rand.NewChaCha8([32]byte{1})
	for i := range data {
		if data[i] = 'a' + byte(i%7); i%12 < 5 {
			data[i] = byte(random.Uint64())
		}
	}
	return data
}

// TestScratchIsKept: batches of growing sizes leave a buffer that is kept for
// the next one, as long as none needs more.
func TestScratchIsKept(t *testing.T) {
	codecs := NewCodecs(Limits{})
	data := partlyRandom(2 << 20)
	for codec := Gzip; codec <= Zstd; codec++ {
		var dst []byte
		for size := 512 << 10; size <= len(data); size += 150_000 {
			packed, err := codecs.Compress(codec, DefaultLevel, nil, data[:size])
			if codec == LZ4 {
				packed = goFrame(t, data[:size])
			}
			if err != nil {
				t.Fatal(err)
			}
			if dst, err = codecs.Decompress(codec, dst[:0], packed, 0); err != nil || cap(dst) > maxScratch {
				t.Fatalf("%s: %d bytes in a buffer of %d: %v", codec, size, cap(dst), err)
			}
		}
	}
}

// BenchmarkDecompress opens 64 KiB, of which nearly half is random, into a
// buffer that was used before and into a new one, as readers of records do.
func BenchmarkDecompress(b *testing.B) {
	data := partlyRandom(64 << 10)
	codecs := NewCodecs(Limits{})
	for codec := Gzip; codec <= Zstd; codec++ {
		packed, err := codecs.Compress(codec, DefaultLevel, nil, data)
		if codec == LZ4 {
			packed = goFrame(b, data)
		}
		if err != nil {
			b.Fatal(err)
		}
		for _, reuse := range []bool{true, false} {
			b.Run(fmt.Sprintf("%s/reuse=%v", codec, reuse), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(data)))
				var dst []byte
				for b.Loop() {
					if !reuse {
						dst = nil
					}
					if dst, err = codecs.Decompress(codec, dst[:0], packed, 0); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

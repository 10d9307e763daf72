package batch

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"barnabas/internal/golden"
)

func upRules() *UpRules { return &UpRules{MaxBytes: 1 << 20, Codecs: NewCodecs(Limits{})} }

// describeBatch is a batch and its records as text.
func describeBatch(t testing.TB, b []byte) string {
	t.Helper()
	h, whole, rest, err := Next(b)
	if err != nil || len(rest) != 0 || h.BaseOffset != 0 || h.Magic != 2 || h.HasProducer() || h.LeaderEpoch != -1 {
		t.Fatalf("not one batch of a client: %v, %d bytes more, %+v", err, len(rest), h)
	}
	if !CheckCRC(whole) {
		t.Fatal("CRC")
	}
	var s strings.Builder
	fmt.Fprintf(&s, "%s", h.Codec())
	if h.LogAppendTime() {
		h.Attributes &^= AttrLogAppendTime // show the records' own
		h.put(whole)
		s.WriteString(" LogAppendTime")
	}
	newest := int64(Absent)
	for r, err := range Records(whole, NewCodecs(Limits{})) {
		if err != nil {
			t.Fatal(err)
		}
		text := func(b []byte) string {
			if b == nil {
				return "null"
			}
			return string(b)
		}
		fmt.Fprintf(&s, " %d@%d %s=%s", r.Offset, r.Timestamp, text(r.Key), text(r.Value))
		newest = max(newest, r.Timestamp)
	}
	if newest != h.MaxTimestamp {
		t.Errorf("largest timestamp %d, of the records %d", h.MaxTimestamp, newest)
	}
	return s.String()
}

func TestConvertUp(t *testing.T) {
	k, v := []byte("k"), []byte("v")
	v0 := func(offset int64) old { return old{offset: offset, key: k, value: v} }
	v1 := func(offset, ts int64) old { return old{magic: 1, offset: offset, ts: ts, key: k, value: v} }
	lat := func(o old) old { o.attributes |= byte(AttrLogAppendTime); return o }
	cat := func(b ...[]byte) []byte { return slices.Concat(b...) }
	one := v1(0, 5).bytes()
	for _, tc := range []struct {
		name string
		set  []byte
		want string
	}{
		{"format 0 has no time", set(v0(0), v0(1)), "none 0@-1 k=v 1@-1 k=v"},
		{"format 1", set(v1(0, 7), v1(1, 5)), "none 0@7 k=v 1@5 k=v"},
		{"timestamp -1", set(v1(0, -1)), "none 0@-1 k=v"},
		{"null and empty", set(old{}, old{magic: 0, key: []byte{}, value: []byte{}}), "none 0@-1 null=null 1@-1 ="},
		{"offsets are ours", set(v1(70, 1), v1(3, 2), v1(-9, 3)), "none 0@1 k=v 1@2 k=v 2@3 k=v"},
		{"a part of one more", cat(one, one[:len(one)-1]), "none 0@5 k=v"},
		{"a part of a head", cat(one, one[:16]), "none 0@5 k=v"},
		{"a part that claims too much", cat(one, one[:8], []byte{0x7f, 0xff, 0xff, 0xff}, one[12:]), "none 0@5 k=v"},
		{"LogAppendTime", set(v1(0, 3), lat(v1(1, 8))), "none LogAppendTime 0@3 k=v 1@8 k=v"},
		{"attributes that mean nothing", v1(0, 5).edited(17, 0xf0), "none 0@5 k=v"},
		{"wrapper of format 0", wrap(v0(1), Gzip, set(v0(0), v0(1))), "gzip 0@-1 k=v 1@-1 k=v"},
		{"broken LZ4 header", wrap(v0(1), LZ4, set(v0(0), v0(1))), "lz4 0@-1 k=v 1@-1 k=v"},
		{"wrapper of format 1", wrap(v1(1, 9), Snappy, set(v1(0, 9), v1(1, 4))), "snappy 0@9 k=v 1@4 k=v"},
		{"wrapper at 0 by librdkafka", wrap(v1(0, 9), LZ4, set(v1(0, 9), v1(1, 4))), "lz4 0@9 k=v 1@4 k=v"},
		{"wrapper with LogAppendTime", wrap(lat(v1(1, 9)), Gzip, set(v1(0, 2), v1(1, 4))), "gzip LogAppendTime 0@9 k=v 1@9 k=v"},
		{"LogAppendTime only inside", wrap(v1(1, 9), Gzip, set(lat(v1(0, 2)), v1(1, 4))), "gzip 0@2 k=v 1@4 k=v"},
		{"a part of one after a wrapper", cat(wrap(v1(0, 9), Gzip, set(v1(0, 9))), one[:30]), "gzip 0@9 k=v"},
	} {
		before := bytes.Clone(tc.set)
		b, err := ConvertUp(tc.set, upRules())
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if !bytes.Equal(before, tc.set) {
			t.Errorf("%s: the set has changed", tc.name)
		}
		if got := describeBatch(t, b); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestConvertUpRefuses(t *testing.T) {
	k, v := []byte("k"), []byte("v")
	v0 := old{key: k, value: v}
	v1 := old{magic: 1, ts: 5, key: k, value: v}
	at := func(offset int64) old { o := v1; o.offset = offset; return o }
	lat := v1
	lat.attributes, lat.ts = byte(AttrLogAppendTime), -1
	cat := func(b ...[]byte) []byte { return slices.Concat(b...) }
	broken := func(b []byte, at int) []byte { b = bytes.Clone(b); b[at]++; return b }
	past := v1
	past.ts = -2
	null := v1
	null.attributes, null.value = byte(Gzip), nil
	for _, tc := range []struct {
		name string
		set  []byte
		want error
	}{
		{"nothing", nil, ErrShort},
		{"a part", v1.bytes()[:33], ErrShort},
		{"checksum", broken(v1.bytes(), 12), ErrCorrupt},
		{"checksum of the second", cat(v0.bytes(), broken(v0.bytes(), 25)), ErrCorrupt},
		{"length below format 0", cat(make([]byte, 8), []byte{0, 0, 0, 13}, make([]byte, 13)), ErrCorrupt},
		{"length below format 1", cat(make([]byte, 8), []byte{0, 0, 0, 21}, []byte{0, 0, 0, 0, 1}, make([]byte, 20)), ErrCorrupt},
		{"negative length", cat(make([]byte, 8), []byte{0xff, 0, 0, 0}, make([]byte, 30)), ErrCorrupt},
		{"magic 3", v1.edited(16, 3), ErrCorrupt},
		{"magic -1", v1.edited(16, 0xff), ErrCorrupt},
		{"formats mixed", set(v0, v1), ErrInvalidRecord},
		{"a batch after a message", cat(v1.bytes(), sent(t, BuilderOptions{}, 1)), ErrInvalidRecord},
		{"two wrappers", cat(wrap(v1, Gzip, set(v1)), wrap(v1, Gzip, set(v1))), ErrInvalidRecord},
		{"a wrapper after a message", cat(v1.bytes(), wrap(v1, Gzip, set(v1))), ErrInvalidRecord},
		{"a message after a wrapper", cat(wrap(v1, Gzip, set(v1)), v1.bytes()), ErrInvalidRecord},
		{"nothing inside", wrap(v1, Gzip, nil), ErrInvalidRecord},
		{"no value to open", null.bytes(), ErrInvalidRecord},
		{"part of a message inside", wrap(v1, Gzip, cat(v1.bytes(), v1.bytes()[:20])), ErrInvalidRecord},
		{"another format inside", wrap(v1, Gzip, set(v0)), ErrInvalidRecord},
		{"a batch inside", wrap(v1, Gzip, sent(t, BuilderOptions{}, 1)), ErrInvalidRecord},
		{"a wrapper inside", wrap(v1, Gzip, wrap(v1, Gzip, set(v1))), ErrInvalidRecord},
		{"checksum inside", wrap(v1, Gzip, broken(set(v1, v1), 50)), ErrCorrupt},
		{"wrapper before what is inside", wrap(at(1), Gzip, set(at(0), at(1), at(2))), ErrInvalidRecord},
		{"zstd", wrap(v1, Zstd, set(v1)), ErrInvalidRecord},
		{"codec 5", v1.edited(17, 5), ErrUnsupportedCodec},
		{"gzip bit, plain data", v1.edited(17, 1), ErrDecompress},
		{"before the epoch", past.bytes(), ErrInvalidTimestamp},
		{"LogAppendTime without a time", lat.bytes(), ErrInvalidTimestamp},
		{"key length", v1.edited(26, 0x70), ErrInvalidRecord},
		{"key length -2", cat(v1.edited(26, 0xff)), ErrInvalidRecord},
		{"bytes after the value", old{}.seal(append(v1.bytes(), 0)), ErrInvalidRecord},
		{"too large", set(old{magic: 1, ts: 5, value: make([]byte, 1<<20)}), ErrTooLarge},
	} {
		if _, err := ConvertUp(tc.set, upRules()); !errors.Is(err, tc.want) {
			t.Errorf("%s: got %v, want %v", tc.name, err, tc.want)
		}
	}
}

// TestConvertUpIsBounded: what a wrapper decompresses to has a limit.
func TestConvertUpIsBounded(t *testing.T) {
	r := upRules()
	r.Codecs = NewCodecs(Limits{Absolute: 1 << 20, Floor: 1 << 20})
	bomb := old{magic: 1, value: make([]byte, 2<<20)}
	for _, codec := range []Codec{Gzip, Snappy, LZ4} {
		if _, err := ConvertUp(wrap(old{magic: 1}, codec, set(bomb)), r); !errors.Is(err, ErrLimit) {
			t.Errorf("%s: got %v, want %v", codec, err, ErrLimit)
		}
	}
}

// TestConvertUpRecompresses: the topic's codec is used at once.
func TestConvertUpRecompresses(t *testing.T) {
	message := old{magic: 1, ts: 5, value: []byte(strings.Repeat("K. ", 100))}
	for codec := None; codec <= Zstd; codec++ {
		for _, b := range [][]byte{set(message, message), wrap(old{magic: 1, offset: 1}, Gzip, set(message, message))} {
			r := upRules()
			r.Recompress, r.Codec, r.Level = true, codec, 5
			got, err := ConvertUp(b, r)
			if err != nil {
				t.Fatal(err)
			}
			want := fmt.Sprintf("%s 0@5 null=%s 1@5 null=%[2]s", codec, message.value)
			if text := describeBatch(t, got); text != want {
				t.Errorf("got %s, want %s", text, want)
			}
		}
	}
}

// TestConvertUpOfKafkasTraffic converts the records of Produce requests that
// Apache Kafka took, versions 0 to 2; and to what it stored.
func TestConvertUpOfKafkasTraffic(t *testing.T) {
	for _, tc := range []struct{ set, stored string }{
		{"0000000000000000000000101fecd70a0000000000016b0000000176000000000000000100000010d5960a780000ffffffff000000027632",
			"00000000000000020000004300000000028114dd61000000000001ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff0000000210000000026b027600100000020104763200"},
		{"000000000000000000000018553b6ce80100000001a1fb981fdf000000016b00000001760000000000000001000000187a66e7e20100000001a1fb981fe0000000026b32ffffffff",
			"00000000000000000000004300000000026707f5e7000000000001000001a1fb981fdf000001a1fb981fe0ffffffffffffffffffffffffffff0000000210000000026b02760010000202046b320100"},
	} {
		in, _ := hex.DecodeString(tc.set)
		got, err := ConvertUp(in, upRules())
		if err != nil {
			t.Fatal(err)
		}
		want, _ := hex.DecodeString(tc.stored)
		h, err := ParseHeader(want)
		if err != nil {
			t.Fatal(err)
		}
		SetOffset(got, h.BaseOffset)
		SetLeaderEpoch(got, 0)
		if !bytes.Equal(got, want) {
			t.Errorf("\ngot  %x\nwant %x", got, want)
		}
	}
}

// TestConvertUpGolden: every message and wrapper that Kafka stored in formats 0
// and 1 keeps its records and its codec, and passes for a client's batch.
func TestConvertUpGolden(t *testing.T) {
	codecs := NewCodecs(Limits{})
	counts := map[string]int{}
	for file, data := range golden.Files(t, "log-legacy") {
		if !strings.HasSuffix(file, ".log") || strings.Contains(file, "fmt-v2") {
			continue
		}
		for rest := data; len(rest) > 0; {
			h, whole, more, err := Next(rest)
			if err != nil {
				t.Fatal(err)
			}
			rest = more
			got, err := ConvertUp(whole, &UpRules{MaxBytes: len(whole), Codecs: codecs})
			if err != nil {
				t.Fatalf("%s, offset %d: %v", file, h.BaseOffset, err)
			}
			gh, _, _, _ := Next(got)
			r := rules()
			if err := Validate(got, &gh, r); err != nil || gh.Codec() != h.Codec() {
				t.Fatalf("%s, offset %d: %v, codec %s of %s", file, h.BaseOffset, err, gh.Codec(), h.Codec())
			}
			want := slices.Collect(values(t, whole, codecs))
			if g := slices.Collect(values(t, got, codecs)); !slices.Equal(g, want) {
				t.Fatalf("%s, offset %d:\ngot  %s\nwant %s", file, h.BaseOffset, g, want)
			}
			counts[fmt.Sprint(h.Magic, h.Codec())] += len(want)
		}
	}
	for _, kind := range []string{"0 none", "0 gzip", "0 snappy", "0 lz4"} {
		if counts[kind] != 60 {
			t.Errorf("%s: %d records", kind, counts[kind])
		}
	}
	for _, kind := range []string{"1 none", "1 gzip", "1 snappy", "1 lz4"} {
		if counts[kind] < 60 {
			t.Errorf("%s: %d records", kind, counts[kind])
		}
	}
}

// values are the records of a batch without their offsets.
func values(t testing.TB, b []byte, c *Codecs) func(func(string) bool) {
	return func(yield func(string) bool) {
		for r, err := range Records(b, c) {
			if err != nil {
				t.Fatal(err)
			}
			if !yield(fmt.Sprintf("%d %t %x %t %x", r.Timestamp, r.Key == nil, r.Key, r.Value == nil, r.Value)) {
				return
			}
		}
	}
}

// FuzzConvertUp: whatever a client sends, there is an error, or a batch that
// Validate takes, not much larger than what came in decompressed.
func FuzzConvertUp(f *testing.F) {
	m := old{magic: 1, ts: 5, key: []byte("k"), value: []byte("v")}
	for _, magic := range []byte{0, 1} {
		m.magic = magic
		f.Add(set(m, m), false)
		for _, codec := range []Codec{Gzip, Snappy, LZ4} {
			f.Add(wrap(old{magic: magic, offset: 1}, codec, set(m, m)), true)
		}
	}
	codecs := NewCodecs(Limits{Absolute: 1 << 20, Floor: 1 << 16})
	f.Fuzz(func(t *testing.T, in []byte, recompress bool) {
		// Most inputs would end at the first checksum.
		in = bytes.Clone(in)
		for rest := in; ; {
			m, more, err := nextMessage(rest)
			if err != nil {
				break
			}
			old{}.seal(m.whole)
			rest = more
		}
		got, err := ConvertUp(in, &UpRules{MaxBytes: 1 << 20, Recompress: recompress, Codec: Zstd, Codecs: codecs})
		if err != nil {
			return
		}
		h, whole, rest, err := Next(got)
		if err != nil || len(rest) != 0 {
			t.Fatal(err, len(rest))
		}
		r := rules()
		r.MaxBytes = 4 << 20
		if err := Validate(whole, &h, r); err != nil {
			t.Fatalf("%x becomes %x: %v", in, whole, err)
		}
		if recompress && h.Codec() != Zstd {
			t.Fatalf("codec %s", h.Codec())
		}
	})
}

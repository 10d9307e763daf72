package batch

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"barnabas/internal/invariant"
)

// describeSet is a message set as text: each message with its format, and of a
// wrapper the offset and timestamp before what is inside.
func describeSet(t testing.TB, set []byte) string {
	t.Helper()
	var out []string
	for len(set) > 0 {
		h, whole, rest, err := Next(set)
		if err != nil || !checkLegacyCRC(whole) {
			t.Fatalf("%v, or a wrong checksum: %x", err, set)
		}
		var s strings.Builder
		fmt.Fprintf(&s, "v%d", h.Magic)
		if h.Codec() != None {
			fmt.Fprintf(&s, " %s(%d@%d", h.Codec(), h.BaseOffset, h.MaxTimestamp)
		}
		if h.LogAppendTime() {
			s.WriteString(" LogAppendTime")
		}
		for r, err := range Records(whole, NewCodecs(Limits{})) {
			if err != nil {
				t.Fatal(err)
			}
			key, value := "null", "null"
			if r.Key != nil {
				key = string(r.Key)
			}
			if r.Value != nil {
				value = string(r.Value)
			}
			fmt.Fprintf(&s, " %d@%d %s=%s", r.Offset, r.Timestamp, key, value)
		}
		if h.Codec() != None {
			s.WriteString(")")
		}
		out = append(out, s.String())
		set = rest
	}
	return strings.Join(out, ", ")
}

func TestAppendDown(t *testing.T) {
	codecs := NewCodecs(Limits{})
	// made is a batch with offsets from 100 on, with headers, one record a
	// millisecond earlier than the one before.
	made := func(o BuilderOptions, n int) []byte {
		o.BaseOffset, o.LeaderEpoch, o.Codecs = 100, 3, codecs
		b := NewBuilder(o)
		for i := range n {
			b.Append(50-int64(i), []byte{'k', byte('0' + i)}, []byte("v"), RecordHeader{Key: []byte("h")})
		}
		out, err := b.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	nulls := func() []byte {
		b := NewBuilder(BuilderOptions{})
		b.Append(-1, nil, nil)
		b.Append(-1, []byte{}, []byte{})
		out, _ := b.Bytes()
		return out
	}()
	gaps := func(codec Codec) []byte { // what compaction leaves
		records := appendRecord(nil, -50, 2, []byte("a"), []byte("x"), nil)
		records = appendRecord(records, -49, 7, []byte("b"), nil, nil)
		records, _ = codecs.Compress(codec, DefaultLevel, nil, records)
		b := append(make([]byte, HeaderSize), records...)
		h := Header{BaseOffset: 100, Length: int32(len(b) - LengthPrefix), Magic: 2, Attributes: int16(codec) | AttrDeleteHorizon,
			LastOffsetDelta: 9, BaseTimestamp: 60, MaxTimestamp: 11, ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1, Count: 2}
		h.put(b)
		return edit(b, func([]byte) {})
	}
	empty := edit(gaps(None)[:HeaderSize], func(b []byte) { copy(b[posCount:], []byte{0, 0, 0, 0}); b[11] = HeaderSize - LengthPrefix })
	old1 := old{magic: 1, offset: 100, ts: 5, key: []byte("k"), value: []byte("v")}
	inside := set(old{magic: 1, ts: 5, key: []byte("a")}, old{magic: 1, offset: 3, ts: 6, key: []byte("b")})
	for _, tc := range []struct {
		name  string
		b     []byte
		magic int8
		from  int64
		want  string
	}{
		{"to 1, headers are lost", made(BuilderOptions{}, 2), 1, 0, "v1 100@50 k0=v, v1 101@49 k1=v"},
		{"to 0, timestamps too", made(BuilderOptions{}, 2), 0, 0, "v0 100@-1 k0=v, v0 101@-1 k1=v"},
		{"null and empty", nulls, 1, 0, "v1 0@-1 null=null, v1 1@-1 ="},
		{"from the middle", made(BuilderOptions{}, 3), 1, 101, "v1 101@49 k1=v, v1 102@48 k2=v"},
		{"from beyond", made(BuilderOptions{}, 3), 1, 103, ""},
		{"from the middle of a compressed one", made(BuilderOptions{Codec: Gzip}, 3), 1, 101, "v1 gzip(102@50 100@50 k0=v 101@49 k1=v 102@48 k2=v)"},
		{"gzip to 0", made(BuilderOptions{Codec: Gzip}, 2), 0, 0, "v0 gzip(101@-1 100@-1 k0=v 101@-1 k1=v)"},
		{"snappy", made(BuilderOptions{Codec: Snappy}, 2), 1, 0, "v1 snappy(101@50 100@50 k0=v 101@49 k1=v)"},
		{"lz4", made(BuilderOptions{Codec: LZ4}, 2), 1, 0, "v1 lz4(101@50 100@50 k0=v 101@49 k1=v)"},
		{"lz4 to 0", made(BuilderOptions{Codec: LZ4}, 2), 0, 0, "v0 lz4(101@-1 100@-1 k0=v 101@-1 k1=v)"},
		{"LogAppendTime", made(BuilderOptions{LogAppendTime: 77}, 1), 1, 0, "v1 LogAppendTime 100@77 k0=v"},
		{"LogAppendTime, to 0", made(BuilderOptions{LogAppendTime: 77}, 1), 0, 0, "v0 100@-1 k0=v"},
		{"LogAppendTime, gzip", made(BuilderOptions{LogAppendTime: 77, Codec: Gzip}, 2), 1, 0, "v1 gzip(101@77 LogAppendTime 100@77 k0=v 101@77 k1=v)"},
		{"idempotent and transactional", made(BuilderOptions{Producer: &Producer{ID: 7}, Transactional: true}, 1), 1, 0, "v1 100@50 k0=v"},
		{"a marker is no message", EndTxnMarker(Marker{ProducerID: 7, Commit: true}), 1, 0, ""},
		{"compacted", gaps(None), 1, 0, "v1 102@10 a=x, v1 107@11 b=null"},
		{"compacted, gzip", gaps(Gzip), 1, 0, "v1 gzip(107@11 102@10 a=x 107@11 b=null)"},
		{"emptied by compaction", empty, 1, 0, ""},
		{"emptied, its codec zstd", edit(empty, setAttributes(int16(Zstd))), 1, 0, ""},
		{"old enough already", old1.bytes(), 1, 0, "v1 100@5 k=v"},
		{"old enough, from beyond", old1.bytes(), 1, 101, "v1 100@5 k=v"},
		{"1 to 0", old1.bytes(), 0, 0, "v0 100@-1 k=v"},
		{"1 to 0, from beyond", old1.bytes(), 0, 101, ""},
		{"a wrapper from 1 to 0", wrap(old{magic: 1, offset: 203}, Gzip, inside), 0, 0, "v0 gzip(203@-1 200@-1 a=null 203@-1 b=null)"},
		{"a wrapper stays", wrap(old{magic: 1, offset: 203, ts: 6}, Gzip, inside), 1, 0, "v1 gzip(203@6 200@5 a=null 203@6 b=null)"},
	} {
		before := bytes.Clone(tc.b)
		got, err := AppendDown([]byte("head"), tc.b, &DownRules{Magic: tc.magic, From: tc.from, Codecs: codecs})
		if err != nil || string(got[:4]) != "head" {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if text := describeSet(t, got[4:]); text != tc.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tc.name, text, tc.want)
		}
		if !bytes.Equal(before, tc.b) {
			t.Errorf("%s: the batch has changed", tc.name)
		}
	}
}

func TestAppendDownRefuses(t *testing.T) {
	codecs := NewCodecs(Limits{})
	good := sent(t, BuilderOptions{Codecs: codecs}, 3)
	delta := func(deltas ...int64) []byte {
		var records []byte
		for _, d := range deltas {
			records = appendRecord(records, 0, d, nil, nil, nil)
		}
		return withRecords(sent(t, BuilderOptions{}, len(deltas)), records)
	}
	for _, tc := range []struct {
		name string
		b    []byte
		want error
	}{
		{"zstd", sent(t, BuilderOptions{Codec: Zstd, Codecs: codecs}, 1), ErrNoOldForm},
		{"nothing", nil, ErrShort},
		{"a part", good[:len(good)-1], ErrShort},
		{"checksum", func() []byte { b := bytes.Clone(good); b[len(b)-1]++; return b }(), ErrCorrupt},
		{"checksum of an old one", func() []byte { b := old{magic: 1}.bytes(); b[20]++; return b }(), ErrCorrupt},
		{"gzip bit, plain data", edit(good, setAttributes(int16(Gzip))), ErrDecompress},
		{"codec 5", edit(good, setAttributes(5)), ErrUnsupportedCodec},
		{"records cut", withRecords(good, good[HeaderSize:len(good)-1]), ErrInvalidRecord},
		{"the same offset twice", delta(0, 0), ErrInvalidRecord},
		{"offsets backwards", delta(1, 0), ErrInvalidRecord},
		{"an offset beyond the batch", delta(0, 2), ErrInvalidRecord},
		{"a negative offset", delta(-1, 0), ErrInvalidRecord},
	} {
		got, err := AppendDown([]byte("head"), tc.b, &DownRules{Magic: 1, Codecs: codecs})
		if !errors.Is(err, tc.want) || string(got) != "head" {
			t.Errorf("%s: %v, %q, want %v", tc.name, err, got, tc.want)
		}
	}
}

// TestAppendDownIsBounded: many small records are much larger as old messages.
func TestAppendDownIsBounded(t *testing.T) {
	plenty := NewCodecs(Limits{})
	b := NewBuilder(BuilderOptions{Codec: Gzip, Codecs: plenty})
	for range 30_000 {
		b.Append(1, nil, nil)
	}
	packed, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	limit := b.Size() + 1000 // enough for the records, not for the messages
	codecs := NewCodecs(Limits{Absolute: limit, Floor: limit})
	if _, err := AppendDown(nil, packed, &DownRules{Magic: 1, Codecs: codecs}); !errors.Is(err, ErrLimit) {
		t.Errorf("got %v, want %v", err, ErrLimit)
	}
	if _, err := AppendDown(nil, packed, &DownRules{Magic: 1, Codecs: plenty}); err != nil {
		t.Error(err)
	}
}

// TestUpAndDown: what an old client sends is what it reads.
func TestUpAndDown(t *testing.T) {
	codecs := NewCodecs(Limits{})
	for _, magic := range []byte{0, 1} {
		var messages []old
		for i := range 50 {
			m := old{magic: magic, offset: int64(i), ts: int64(i * 7 % 13), key: []byte("key"), value: bytes.Repeat([]byte("v"), i*i)}
			if i%5 == 0 {
				m.key = nil
			}
			messages = append(messages, m)
		}
		plain := set(messages...)
		for _, codec := range []Codec{None, Gzip, Snappy, LZ4} {
			in := plain
			if codec != None {
				in = wrap(old{magic: magic, offset: 49, ts: 12}, codec, plain)
			}
			up, err := ConvertUp(in, upRules())
			if err != nil {
				t.Fatal(err)
			}
			down, err := AppendDown(nil, up, &DownRules{Magic: int8(magic), Codecs: codecs})
			if err != nil {
				t.Fatal(err)
			}
			if got, want := describeSet(t, down), describeSet(t, in); got != want {
				t.Errorf("format %d, %s:\ngot  %s\nwant %s", magic, codec, got, want)
			}
		}
	}
}

func TestFiller(t *testing.T) {
	for _, tc := range []struct {
		n    int
		want string
	}{
		{12, "ffffffffffffffff0000003d"},
		{1753, "ffffffffffffffff000006da"},
		{1, "ffffffffffffffff0000003d"},
	} {
		if got := fmt.Sprintf("%x", Filler(tc.n)); got != tc.want {
			t.Errorf("%d: got %s, want %s", tc.n, got, tc.want)
		}
	}
}

func TestAppendDownAllocations(t *testing.T) {
	codecs := NewCodecs(Limits{})
	dst := make([]byte, 0, 1<<20)
	for _, codec := range []Codec{None, Gzip, Snappy, LZ4} {
		b := sent(t, BuilderOptions{Codec: codec, Codecs: codecs}, 100)
		r := &DownRules{Magic: 1, Codecs: codecs}
		n := testing.AllocsPerRun(50, func() {
			if _, err := AppendDown(dst, b, r); err != nil {
				t.Fatal(err)
			}
		})
		if n > 12 && !invariant.Enabled { // with the race detector, pools forget at random
			t.Errorf("%s: %v allocations for 100 records", codec, n)
		}
	}
}

// FuzzAppendDown: whatever is stored, there is an error, or messages that can be
// read, with offsets that go up and stay within the batch.
func FuzzAppendDown(f *testing.F) {
	codecs := NewCodecs(Limits{Absolute: 1 << 20, Floor: 1 << 16})
	for _, codec := range []Codec{None, Gzip, Snappy, LZ4, Zstd} {
		f.Add(sent(f, BuilderOptions{Codec: codec, Codecs: codecs}, 3), true, int64(1))
	}
	f.Add(set(old{magic: 1, offset: 4, ts: 5}), false, int64(0))
	f.Add(wrap(old{magic: 1, offset: 5}, Gzip, set(old{magic: 1}, old{magic: 1, offset: 1})), false, int64(0))
	f.Fuzz(func(t *testing.T, b []byte, one bool, from int64) {
		h, whole, _, err := Next(b)
		if err != nil {
			return
		}
		if h.Magic == 2 {
			whole = edit(whole, func([]byte) {})
		} else {
			whole = old{}.seal(bytes.Clone(whole))
		}
		r := &DownRules{From: from, Codecs: codecs}
		if one {
			r.Magic = 1
		}
		got, err := AppendDown(nil, whole, r)
		if err != nil {
			if len(got) != 0 {
				t.Fatalf("%d bytes with %v", len(got), err)
			}
			return
		}
		if h.Magic <= r.Magic {
			return // as it was, whatever that was
		}
		next := int64(-1)
		for rest := got; len(rest) > 0; {
			mh, m, more, err := Next(rest)
			if err != nil || mh.Magic > r.Magic || !CheckCRC(m) {
				t.Fatalf("%x becomes %x: %v", whole, got, err)
			}
			rest = more
			for rec, err := range Records(m, codecs) {
				if err != nil {
					t.Fatalf("%x becomes %x: %v", whole, got, err)
				}
				if h.Magic == 2 && (rec.Offset <= next || rec.Offset < h.BaseOffset || rec.Offset > h.LastOffset()) {
					t.Fatalf("offset %d after %d in a batch from %d to %d", rec.Offset, next, h.BaseOffset, h.LastOffset())
				}
				next = rec.Offset
			}
		}
	})
}

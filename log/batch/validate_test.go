package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"barnabas/internal/golden"
	"barnabas/internal/kafka"
)

const now = 1_700_000_000_000

func rules() *Rules {
	return &Rules{MaxBytes: 1 << 20, Now: time.UnixMilli(now), Codecs: NewCodecs(Limits{}), Partition: kafka.TopicPartition{Topic: "t", Partition: 3}}
}

// sent is a batch as producers send it, with n records.
func sent(t testing.TB, o BuilderOptions, n int) []byte {
	t.Helper()
	o.LeaderEpoch = -1
	b := NewBuilder(o)
	for i := range n {
		b.Append(now+int64(i), []byte("key"), bytes.Repeat([]byte("v"), 100), RecordHeader{Key: []byte("h"), Value: nil})
	}
	out, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// edit changes a batch's bytes and makes the CRC right again.
func edit(b []byte, fn func(b []byte)) []byte {
	b = slices.Clone(b)
	fn(b)
	binary.BigEndian.PutUint32(b[posCRC:], checksum(b))
	return b
}

func setAttributes(bits int16) func(b []byte) {
	return func(b []byte) {
		binary.BigEndian.PutUint16(b[posAttributes:], binary.BigEndian.Uint16(b[posAttributes:])|uint16(bits))
	}
}

// withRecords replaces the record bytes of a batch of n records.
func withRecords(b []byte, records []byte) []byte {
	b = append(slices.Clone(b[:HeaderSize]), records...)
	return edit(b, func(b []byte) { binary.BigEndian.PutUint32(b[posLength:], uint32(len(b)-LengthPrefix)) })
}

func TestValidate(t *testing.T) {
	codecs := NewCodecs(Limits{})
	good := sent(t, BuilderOptions{}, 3)
	gz := sent(t, BuilderOptions{Codec: Gzip, Codecs: codecs}, 3)
	idempotent := BuilderOptions{Producer: &Producer{ID: 7, Epoch: 0, Sequence: 0}}
	noKey := func() []byte {
		b := NewBuilder(BuilderOptions{})
		b.Append(now, []byte("k"), nil)
		b.Append(now, nil, nil)
		out, _ := b.Bytes()
		return out
	}()
	one := func(body ...byte) []byte {
		return withRecords(sent(t, BuilderOptions{}, 1), append([]byte{byte(len(body) << 1)}, body...))
	}
	put32 := func(pos int, v int32) func([]byte) {
		return func(b []byte) { binary.BigEndian.PutUint32(b[pos:], uint32(v)) }
	}
	for _, test := range []struct {
		name  string
		b     []byte
		rules func(r *Rules)
		want  error // nil: valid
	}{
		{"plain", good, nil, nil},
		{"gzip", gz, nil, nil},
		{"gzip, unopened", gz, func(r *Rules) { r.Depth = HeaderOnly }, nil},
		{"idempotent", sent(t, idempotent, 2), nil, nil},
		{"compacted with keys", good, func(r *Rules) { r.Compacted = true }, nil},
		{"as large as allowed", good, func(r *Rules) { r.MaxBytes = len(good) }, nil},
		{"too large", good, func(r *Rules) { r.MaxBytes = len(good) - 1 }, ErrTooLarge},
		{"bad crc", func() []byte { b := slices.Clone(good); b[len(b)-1]++; return b }(), nil, ErrCorrupt},
		{"base offset 5", edit(good, func(b []byte) { SetOffset(b, 5) }), nil, ErrInvalidRecord},
		{"last offset delta too large", edit(good, put32(posLastOffsetDelta, 3)), nil, ErrInvalidRecord},
		{"zero records", withRecords(edit(edit(good, put32(posCount, 0)), put32(posLastOffsetDelta, 0)), nil), nil, ErrInvalidRecord},
		{"count MaxInt32", edit(edit(good, put32(posCount, math.MaxInt32)), put32(posLastOffsetDelta, math.MaxInt32-1)), nil, ErrInvalidRecord},
		{"negative count", edit(good, put32(posCount, -1)), nil, ErrInvalidRecord},
		{"control", edit(good, setAttributes(AttrControl)), nil, ErrInvalidRecord},
		{"reserved bit 15", edit(good, setAttributes(math.MinInt16)), nil, ErrInvalidRecord},
		{"reserved bit 7", edit(good, setAttributes(0x80)), nil, ErrInvalidRecord},
		{"delete horizon", edit(good, setAttributes(AttrDeleteHorizon)), nil, ErrInvalidRecord},
		{"transactional without producer", edit(good, setAttributes(AttrTransactional)), nil, ErrInvalidRecord},
		{"negative sequence", edit(sent(t, idempotent, 1), put32(posBaseSequence, -1)), nil, ErrInvalidRecord},
		{"negative epoch", edit(sent(t, idempotent, 1), func(b []byte) { b[posProducerEpoch] = 0xff }), nil, ErrInvalidRecord},
		{"codec 5", edit(good, setAttributes(5)), nil, ErrUnsupportedCodec},
		{"codec 7", edit(good, setAttributes(7)), nil, ErrUnsupportedCodec},
		{"gzip bit, plain data", edit(good, setAttributes(1)), nil, ErrDecompress},
		{"LogAppendTime bit", edit(good, setAttributes(AttrLogAppendTime)), nil, nil},
		{"LogAppendTime bit to such a topic", edit(good, setAttributes(AttrLogAppendTime)), func(r *Rules) { r.LogAppendTime = true }, ErrInvalidTimestamp},
		{"to a LogAppendTime topic", good, func(r *Rules) { r.LogAppendTime = true }, nil},
		{"key missing", noKey, nil, nil},
		{"key missing, compacted", noKey, func(r *Rules) { r.Compacted = true }, ErrInvalidRecord},
		{"timestamp in bounds", good, func(r *Rules) { r.AfterMax = time.Second; r.BeforeMax = time.Second }, nil},
		{"timestamp ahead", good, func(r *Rules) { r.AfterMax = time.Millisecond }, ErrInvalidTimestamp},
		{"timestamp ahead, gzip unopened", gz, func(r *Rules) { r.AfterMax = time.Millisecond; r.Depth = HeaderOnly }, ErrInvalidTimestamp},
		{"timestamp behind", good, func(r *Rules) { r.Now = r.Now.Add(time.Hour); r.BeforeMax = time.Minute }, ErrInvalidTimestamp},
		{"timestamp behind, LogAppendTime", good, func(r *Rules) { r.Now = r.Now.Add(time.Hour); r.BeforeMax = time.Minute; r.LogAppendTime = true }, nil},
		{"bytes after the records", withRecords(good, append(slices.Clone(good[HeaderSize:]), 0)), nil, ErrInvalidRecord},
		{"last record cut", withRecords(good, good[HeaderSize:len(good)-1]), nil, ErrInvalidRecord},
		{"minimal record", one(0, 0, 0, 1, 1, 0), nil, nil},
		{"key length -2", one(0, 0, 0, 3, 1, 0), nil, ErrInvalidRecord},
		{"key length too large", one(0, 0, 0, 100, 1, 0), nil, ErrInvalidRecord},
		{"value length too large", one(0, 0, 0, 1, 100, 0), nil, ErrInvalidRecord},
		{"negative header count", one(0, 0, 0, 1, 1, 1), nil, ErrInvalidRecord},
		{"header count too large", one(0, 0, 0, 1, 1, 2), nil, ErrInvalidRecord},
		{"null header key", one(0, 0, 0, 1, 1, 2, 1, 1), nil, ErrInvalidRecord},
		{"header", one(0, 0, 0, 1, 1, 2, 0, 1), nil, nil},
		{"byte after the headers", one(0, 0, 0, 1, 1, 0, 0), nil, ErrInvalidRecord},
		{"varint without end", withRecords(sent(t, BuilderOptions{}, 1), bytes.Repeat([]byte{0xff}, 20)), nil, ErrInvalidRecord},
		{"empty body", one(), nil, ErrInvalidRecord},
		{"wrong offset delta is stored as sent", one(0, 0, 14, 1, 1, 0), nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := slices.Clone(test.b)
			h, err := ParseHeader(b)
			r := rules()
			if test.rules != nil {
				test.rules(r)
			}
			if err == nil {
				err = Validate(b, &h, r)
			}
			if !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if err != nil {
				return
			}
			if again, err := ParseHeader(b); err != nil || again != h {
				t.Errorf("the header is %+v, %v, and was said to be %+v", again, err, h)
			}
			if !CheckCRC(b) || h.LogAppendTime() != r.LogAppendTime {
				t.Errorf("CRC %v, LogAppendTime %v", CheckCRC(b), h.LogAppendTime())
			}
		})
	}
}

func TestValidateTimestamps(t *testing.T) {
	r := rules()
	// A largest timestamp that the records do not have is corrected …
	for _, o := range []BuilderOptions{{}, {Codec: Zstd, Codecs: r.Codecs}} {
		b := edit(sent(t, o, 3), func(b []byte) { binary.BigEndian.PutUint64(b[posMaxTimestamp:], 5) })
		h, _ := ParseHeader(b)
		if err := Validate(b, &h, r); err != nil || h.MaxTimestamp != now+2 {
			t.Errorf("%s: %d, %v", o.Codec, h.MaxTimestamp, err)
		}
	}
	// … also in an unopened batch, if it is far ahead.
	r.Depth = HeaderOnly
	b := edit(sent(t, BuilderOptions{Codec: LZ4, Codecs: r.Codecs}, 3), func(b []byte) { binary.BigEndian.PutUint64(b[posMaxTimestamp:], math.MaxInt64) })
	h, _ := ParseHeader(b)
	if err := Validate(b, &h, r); err != nil || h.MaxTimestamp != now+2 {
		t.Errorf("%d, %v", h.MaxTimestamp, err)
	}
	// On a LogAppendTime topic all records have the time of the append.
	r.LogAppendTime, r.Now = true, time.UnixMilli(now+1000)
	h, _ = ParseHeader(b)
	if err := Validate(b, &h, r); err != nil || h.MaxTimestamp != now+1000 || !h.LogAppendTime() {
		t.Fatalf("%d, %v", h.MaxTimestamp, err)
	}
	for rec, err := range Records(b, r.Codecs) {
		if err != nil || rec.Timestamp != now+1000 {
			t.Errorf("%d, %v", rec.Timestamp, err)
		}
	}
}

// TestRecordErrors: the words are Kafka's (KIP-467).
func TestRecordErrors(t *testing.T) {
	b := NewBuilder(BuilderOptions{})
	for i := range 300 {
		b.Append(now+int64(i)*1000, nil, nil)
	}
	out, _ := b.Bytes()
	h, _ := ParseHeader(out)
	r := rules()
	r.Compacted = true
	e, ok := AsRecordErrors(Validate(out, &h, r))
	if !ok || e.Total != 300 || len(e.Records) != 100 || e.Records[1] != (RecordError{1, "Compacted topic cannot accept message without key in topic partition t-3"}) {
		t.Fatalf("got %+v", e)
	}
	if !strings.HasPrefix(e.Error(), "One or more records have been rejected due to 300 record errors in total, and only showing the first three errors at most: [RecordError(batchIndex=0, message='Compacted topic cannot accept message without key in topic partition t-3'), RecordError(batchIndex=1") {
		t.Errorf("got %s", e)
	}
	r.Compacted, r.AfterMax = false, 298*time.Second
	e, ok = AsRecordErrors(Validate(out, &h, r))
	if !ok || e.Total != 1 || e.Error() != "One or more records have been rejected due to invalid timestamp" ||
		e.Records[0].Message != "Timestamp 1700000299000 of message with offset 299 is out of range. The timestamp should be within [-9223372036854775808, 1700000298000]" {
		t.Errorf("got %+v", e)
	}
}

func TestSequences(t *testing.T) {
	for _, test := range [][3]int32{{0, 0, 0}, {5, 4, 9}, {math.MaxInt32, 0, math.MaxInt32}, {math.MaxInt32, 1, 0}, {math.MaxInt32 - 1, 5, 3}} {
		if got := AddSequence(test[0], test[1]); got != test[2] {
			t.Errorf("%d + %d: %d, want %d", test[0], test[1], got, test[2])
		}
	}
	h := Header{BaseSequence: Absent, LastOffsetDelta: 5}
	if h.LastSequence() != Absent {
		t.Errorf("no sequence: %d", h.LastSequence())
	}
}

// TestHotPathAllocates nothing: an uncompressed batch is parsed, judged, walked
// and placed without garbage.
func TestHotPathAllocatesNothing(t *testing.T) {
	b := sent(t, BuilderOptions{}, 50)
	r := rules()
	r.Compacted, r.AfterMax = true, time.Hour
	allocs := testing.AllocsPerRun(100, func() {
		SetOffset(b, 0)
		h, err := ParseHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := Validate(b, &h, r); err != nil {
			t.Fatal(err)
		}
		SetOffset(b, 1000)
		SetLeaderEpoch(b, 7)
		if !CheckCRC(b) {
			t.Fatal("CRC")
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func FuzzBatch(f *testing.F) {
	codecs := NewCodecs(Limits{Absolute: 1 << 20, Floor: 1 << 16, Ratio: 50})
	for codec := None; codec <= Zstd; codec++ {
		f.Add(sent(f, BuilderOptions{Codec: codec, Codecs: codecs}, 3))
	}
	f.Add(EndTxnMarker(Marker{ProducerID: 1, Commit: true}))
	seen := map[[2]int8]bool{} // one of Kafka's of each format and codec
	for _, name := range golden.Names() {
		files := golden.Files(f, name)
		for _, b := range golden.Batches(f, name) {
			whole := files[b.File][b.Position : b.Position+b.Size]
			if kind := [2]int8{b.Magic, int8(b.Attributes & AttrCodecMask)}; !seen[kind] {
				seen[kind] = true
				f.Add(whole)
			}
		}
	}
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0e\xaa\xaa\xaa\xaa\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = slices.Clone(b)
		h, whole, rest, err := Next(b)
		if err != nil {
			return
		}
		if len(whole)+len(rest) != len(b) || h.NextOffset() <= h.BaseOffset {
			t.Fatalf("%d + %d bytes of %d, offsets %d to %d", len(whole), len(rest), len(b), h.BaseOffset, h.LastOffset())
		}
		count := int32(0)
		var failed error
		for rec, err := range Records(whole, codecs) {
			if err != nil {
				failed = err
				break
			}
			count++
			ParseMarker(&rec)
		}
		if h.Magic < 2 {
			return
		}
		if failed == nil && count != h.Count && h.Count > 0 {
			t.Errorf("%d records where the header says %d", count, h.Count)
		}
		SetOffset(whole, 0)
		binary.BigEndian.PutUint32(whole[posCRC:], checksum(whole))
		h, _ = ParseHeader(whole)
		if err := Validate(whole, &h, &Rules{MaxBytes: 1 << 20, Now: time.UnixMilli(now), Codecs: codecs}); err == nil && failed != nil {
			t.Errorf("valid, but its records are not: %v", failed)
		}
	})
}

func BenchmarkParseHeader(b *testing.B) {
	p := sent(b, BuilderOptions{}, 100)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseHeader(p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCheckCRC(b *testing.B) {
	p := sent(b, BuilderOptions{}, 500)
	b.ReportAllocs()
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		if !CheckCRC(p) {
			b.Fatal("CRC")
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	r := rules()
	for codec := None; codec <= Zstd; codec++ {
		p := sent(b, BuilderOptions{Codec: codec, Codecs: r.Codecs}, 500)
		b.Run(codec.String(), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				h, _ := ParseHeader(p)
				if err := Validate(p, &h, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkWalk validates uncompressed batches of 500 records of 124 B; what it
// takes more than BenchmarkCheckCRC is the walk.
func BenchmarkWalk(b *testing.B) {
	value := bytes.Repeat([]byte("v"), 124)
	header := RecordHeader{Key: []byte("trace"), Value: []byte("0123456789abcdef")}
	for _, shape := range []struct {
		name    string
		key     []byte
		headers []RecordHeader
	}{{name: "value"}, {name: "key", key: []byte("key-1234")}, {"headers", []byte("key-1234"), []RecordHeader{header, header}}} {
		builder := NewBuilder(BuilderOptions{LeaderEpoch: -1})
		for i := range 500 {
			builder.Append(now+int64(i)/100, shape.key, value, shape.headers...)
		}
		p, err := builder.Bytes()
		if err != nil {
			b.Fatal(err)
		}
		r := rules()
		b.Run(shape.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				h, _ := ParseHeader(p)
				if err := Validate(p, &h, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

package batch

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"
	"time"
)

// walkPlainly is what walkRecords would be without skim.
func walkPlainly(p []byte, h *Header, r *Rules) (int64, error) {
	maxTimestamp, keyless := int64(Absent), 0
	w := walker{p: p, left: h.Count}
	for w.next() {
		if r.Compacted && w.rec.key == nil {
			keyless++
		}
		maxTimestamp = max(maxTimestamp, h.BaseTimestamp+w.rec.timestampDelta)
	}
	if w.err == nil && keyless > 0 {
		return 0, ErrInvalidRecord
	}
	return maxTimestamp, w.err
}

func compareWalks(t *testing.T, p []byte, count int32) {
	t.Helper()
	h := Header{Count: count, BaseTimestamp: now}
	for _, r := range []*Rules{{Now: time.UnixMilli(now)}, {Now: time.UnixMilli(now), Compacted: true}} {
		want, wantErr := walkPlainly(p, &h, r)
		got, err := walkRecords(p, &h, r)
		if (err == nil) != (wantErr == nil) || err == nil && got != want {
			t.Fatalf("compacted %v: got %d, %v, want %d, %v", r.Compacted, got, err, want, wantErr)
		}
		// The words, too, which say which record is bad and how.
		if _, refused := AsRecordErrors(err); err != nil && !refused && err.Error() != wantErr.Error() {
			t.Fatalf("compacted %v: got %v, want %v", r.Compacted, err, wantErr)
		}
	}
}

// TestSkim: records at the borders of what skim takes, each between plain ones,
// whole and with each of their bytes cut off or changed.
func TestSkim(t *testing.T) {
	header := func(key, value []byte) RecordHeader { return RecordHeader{Key: key, Value: value} }
	long := bytes.Repeat([]byte("x"), 20_000)
	many := slices.Repeat([]RecordHeader{header([]byte("k"), nil)}, 70)
	for _, test := range []struct {
		name       string
		delta      int64
		key, value []byte
		headers    []RecordHeader
	}{
		{name: "empty"},
		{name: "no bytes", key: []byte{}, value: []byte{}},
		{name: "63", delta: 63, key: long[:63], value: long[:63]},
		{name: "64", delta: 64, key: long[:64], value: long[:64]},
		{name: "8191", delta: 8191, key: long[:4000], value: long[:4000]},
		{name: "8192", delta: 8192, key: long[:8191], value: long[:8192]},
		{name: "long", delta: math.MaxInt32, key: long, value: long},
		{name: "before the base", delta: -64},
		{name: "far before the base", delta: -8193},
		{name: "headers", headers: []RecordHeader{header([]byte("a"), []byte("b")), header([]byte{}, nil), header(long[:64], long[:100])}},
		{name: "long header", headers: []RecordHeader{header(long[:9000], long)}},
		{name: "63 headers", headers: many[:63]},
		{name: "64 headers", headers: many[:64]},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := NewBuilder(BuilderOptions{LeaderEpoch: -1})
			b.Append(now, []byte("k"), []byte("first"))
			b.Append(now+test.delta, test.key, test.value, test.headers...)
			b.Append(now+1, []byte("k"), nil)
			whole, err := b.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			p := whole[HeaderSize:]
			for _, count := range []int32{2, 3, 4} {
				compareWalks(t, p, count)
			}
			step := max(1, len(p)/300)
			for i := 0; i < len(p); i += step {
				compareWalks(t, p[:i], 3)
				changed := slices.Clone(p)
				for _, v := range []byte{0, 1, 3, 0x7f, 0x80, 0xff} {
					changed[i] = v
					compareWalks(t, changed, 3)
				}
			}
		})
	}
}

// TestSkimRefuses: what skim stops at is refused by name, what follows is
// looked at again, and the numbers of the records stay right.
func TestSkimRefuses(t *testing.T) {
	b := NewBuilder(BuilderOptions{LeaderEpoch: -1})
	for i := range 10 {
		key := []byte("k")
		if i == 0 || i == 5 || i == 6 || i == 9 {
			key = nil
		}
		b.Append(now+int64(i), key, nil)
	}
	p, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	h, _ := ParseHeader(p)
	indexes := func(err error) (is []int) {
		e, _ := AsRecordErrors(err)
		for _, r := range e.Records {
			is = append(is, r.Index)
		}
		return is
	}
	r := rules()
	r.Compacted = true
	err = Validate(p, &h, r)
	if got, want := indexes(err), []int{0, 5, 6, 9}; !errors.Is(err, ErrInvalidRecord) || !slices.Equal(got, want) {
		t.Errorf("without key: got %v, %v, want %v", got, err, want)
	}
	r = rules()
	r.Now, r.BeforeMax, r.AfterMax = r.Now.Add(5*time.Millisecond), 3*time.Millisecond, 2*time.Millisecond
	err = Validate(p, &h, r)
	if got, want := indexes(err), []int{0, 1, 8, 9}; !errors.Is(err, ErrInvalidTimestamp) || !slices.Equal(got, want) {
		t.Errorf("out of bounds: got %v, %v, want %v", got, err, want)
	}
}

func FuzzSkim(f *testing.F) {
	for _, n := range []int{1, 3} {
		f.Add(sent(f, BuilderOptions{}, n)[HeaderSize:], int32(n))
	}
	f.Add([]byte{12, 0, 0, 0, 1, 1, 0}, int32(1))
	f.Add([]byte{0x8c, 0, 0, 0x80, 0, 0, 1, 1, 0}, int32(2))
	f.Fuzz(func(t *testing.T, p []byte, count int32) { compareWalks(t, p, count) })
}

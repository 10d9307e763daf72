package batch

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// oldWrapper is a wrapper of five messages with gaps between their offsets, 100,
// 102, 105, 106 and 110, of which the fourth is a tombstone.
func oldWrapper(magic byte, codec Codec, appendTime bool) []byte {
	var inside []old
	offsets := []int64{100, 102, 105, 106, 110}
	for i, offset := range offsets {
		m := old{magic: magic, offset: offset, ts: int64(1000 - i), key: fmt.Append(nil, "key-", i), value: bytes.Repeat([]byte{'a' + byte(i)}, 50)}
		if magic == 1 {
			m.offset -= offsets[0]
		}
		if i == 3 {
			m.value = nil
		}
		inside = append(inside, m)
	}
	w := old{magic: magic, offset: 110, ts: 1000}
	if appendTime {
		w.attributes, w.ts = byte(AttrLogAppendTime), 5000
	}
	return wrap(w, codec, set(inside...))
}

// TestFilterLegacy: what stays of a wrapper is what was, at its offsets and times.
func TestFilterLegacy(t *testing.T) {
	f := Filter{Codecs: NewCodecs(Limits{})}
	for _, magic := range []byte{0, 1} {
		for _, codec := range []Codec{Gzip, Snappy, LZ4} {
			for _, appendTime := range []bool{false, true} {
				if appendTime && magic == 0 {
					continue
				}
				b := oldWrapper(magic, codec, appendTime)
				h, err := ParseHeader(b)
				if err != nil {
					t.Fatal(err)
				}
				all := recordsOf(t, b, f.Codecs)
				for which := range 1 << len(all) {
					name := fmt.Sprintf("format %d, %s, append time %t, %05b", magic, codec, appendTime, which)
					var want []Record
					newest := int64(Absent)
					i := 0
					got, err := f.ApplyLegacy(&h, b, func(offset int64, key []byte, tombstone bool) bool {
						r := all[i]
						if offset != r.Offset || !bytes.Equal(key, r.Key) || tombstone != (r.Value == nil) {
							t.Fatalf("%s: asked for %d %s %t, it is %+v", name, offset, key, tombstone, r)
						}
						keep := which>>i&1 == 1
						if i++; keep {
							want, newest = append(want, r), max(newest, r.Timestamp)
						}
						return keep
					})
					if err != nil || got.Read != len(all) || got.Kept != len(want) || got.Unchanged != (len(want) == len(all)) {
						t.Fatalf("%s: %+v, %v", name, got, err)
					}
					if len(want) == 0 {
						if got.Bytes != nil {
							t.Fatalf("%s: %d bytes", name, len(got.Bytes))
						}
						continue
					}
					g := got.Header
					if !CheckCRC(got.Bytes) || g.Size() != len(got.Bytes) || g.Magic != int8(magic) || g.Codec() != codec ||
						g.LastOffset() != want[len(want)-1].Offset || g.MaxTimestamp != newest || g.LogAppendTime() != appendTime {
						t.Fatalf("%s: header %+v", name, g)
					}
					if d := cmp.Diff(recordsOf(t, got.Bytes, f.Codecs), want); d != "" {
						t.Fatalf("%s: records (-got +want)\n%s", name, d)
					}
				}
			}
		}
	}
}

// TestFilterLegacyPlain: a message that is not compressed stays as it is, or goes.
func TestFilterLegacyPlain(t *testing.T) {
	var f Filter
	for _, magic := range []byte{0, 1} {
		b := old{magic: magic, offset: 7, ts: 3, key: []byte("k")}.bytes()
		h, _ := ParseHeader(b)
		for _, keep := range []bool{true, false} {
			got, err := f.ApplyLegacy(&h, b, func(offset int64, key []byte, tombstone bool) bool {
				return keep && offset == 7 && string(key) == "k" && tombstone
			})
			if err != nil || got.Read != 1 || got.Unchanged != keep || (got.Bytes != nil) != keep {
				t.Errorf("format %d, kept %t: %+v, %v", magic, keep, got, err)
			}
		}
	}
}

// TestFilterLegacyOrder: offsets that do not go up to the wrapper's are nobody's to
// write again.
func TestFilterLegacyOrder(t *testing.T) {
	f := Filter{Codecs: NewCodecs(Limits{})}
	for _, offsets := range [][]int64{{5, 4}, {4, 4}, {4, 6}, {-1, 5}} {
		b := wrap(old{offset: 5}, Gzip, set(old{offset: offsets[0]}, old{offset: offsets[1]}))
		h, _ := ParseHeader(b)
		if _, err := f.ApplyLegacy(&h, b, func(int64, []byte, bool) bool { return true }); !errors.Is(err, ErrInvalidRecord) {
			t.Errorf("offsets %d in a message at 5: %v", offsets, err)
		}
	}
}

// FuzzFilterLegacy: whatever is stored, there is an error, or a message whose
// records are those that were kept.
func FuzzFilterLegacy(f *testing.F) {
	for _, codec := range []Codec{Gzip, Snappy, LZ4} {
		f.Add(oldWrapper(0, codec, false), uint64(0b10101))
		f.Add(oldWrapper(1, codec, true), uint64(0b01110))
	}
	f.Add(old{magic: 1, key: []byte("k")}.bytes(), uint64(1))
	codecs := NewCodecs(Limits{Absolute: 1 << 20, Floor: 1 << 16})
	f.Fuzz(func(t *testing.T, b []byte, which uint64) {
		h, whole, _, err := Next(b)
		if err != nil || h.Magic >= 2 {
			return
		}
		fl := Filter{Codecs: codecs}
		var want []int64
		n := 0
		got, err := fl.ApplyLegacy(&h, whole, func(offset int64, _ []byte, _ bool) bool {
			keep := which>>(n%64)&1 == 1
			if n++; keep {
				want = append(want, offset)
			}
			return keep
		})
		checkKeys(t, codecs, &h, whole, &got, err)
		if err != nil || got.Bytes == nil || got.Unchanged {
			return
		}
		if !CheckCRC(got.Bytes) || got.Header.Size() != len(got.Bytes) || got.Header.LastOffset() > h.LastOffset() {
			t.Fatalf("%+v", got)
		}
		var offsets []int64
		for r, err := range Records(got.Bytes, codecs) {
			if err != nil {
				t.Fatal(err)
			}
			offsets = append(offsets, r.Offset)
		}
		if d := cmp.Diff(offsets, want); d != "" {
			t.Fatal(d)
		}
	})
}

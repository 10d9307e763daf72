package batch

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// filterBatch is a batch of n records, of which every third is a tombstone.
func filterBatch(t testing.TB, codec Codec, codecs *Codecs, n int, logAppendTime int64) []byte {
	t.Helper()
	b := NewBuilder(BuilderOptions{Codec: codec, Codecs: codecs, BaseOffset: 1000, LeaderEpoch: 7,
		Producer: &Producer{ID: 5, Epoch: 2, Sequence: 40}, LogAppendTime: logAppendTime})
	for i := range n {
		value := fmt.Appendf(nil, "value-%d", i)
		if i%3 == 2 {
			value = nil
		}
		b.Append(1_700_000_000_000+int64(i*1000), fmt.Appendf(nil, "key-%d", i), value, RecordHeader{Key: []byte("h"), Value: []byte{byte(i)}})
	}
	out, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func recordsOf(t testing.TB, b []byte, codecs *Codecs) (out []Record) {
	t.Helper()
	for r, err := range Records(b, codecs) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// TestFilter: what stays is what was, for every codec, with and without a
// horizon.
func TestFilter(t *testing.T) {
	codecs := NewCodecs(Limits{})
	for codec := None; codec <= Zstd; codec++ {
		for _, horizon := range []int64{0, 1_800_000_000_000} {
			for _, appendTime := range []int64{0, 1_700_000_500_000} {
				b := filterBatch(t, codec, codecs, 20, appendTime)
				h, err := ParseHeader(b)
				if err != nil {
					t.Fatal(err)
				}
				f := Filter{Codecs: codecs}
				keep := func(offset int64, key []byte, tombstone bool) bool { return offset%2 == 0 }
				got, err := f.Apply(&h, b, &FilterOptions{Keep: keep, Horizon: horizon})
				if err != nil {
					t.Fatal(err)
				}
				name := fmt.Sprintf("%s, horizon %d, append time %d", codec, horizon, appendTime)
				if !CheckCRC(got.Bytes) || got.Read != 20 || got.Kept != 10 || got.Unchanged {
					t.Fatalf("%s: %+v", name, got)
				}
				var want []Record
				maxTimestamp := int64(-1)
				for _, r := range recordsOf(t, b, codecs) {
					if keep(r.Offset, r.Key, false) {
						want = append(want, r)
						maxTimestamp = max(maxTimestamp, r.Timestamp)
					}
				}
				if d := cmp.Diff(recordsOf(t, got.Bytes, codecs), want); d != "" {
					t.Errorf("%s: records (-got +want)\n%s", name, d)
				}
				g := got.Header
				if g.BaseOffset != h.BaseOffset || g.LastOffset() != h.LastOffset() || g.BaseSequence != 40 || g.LastSequence() != h.LastSequence() ||
					g.LeaderEpoch != 7 || g.ProducerID != 5 || g.ProducerEpoch != 2 || g.Codec() != codec || g.MaxTimestamp != maxTimestamp {
					t.Errorf("%s: header %+v of %+v", name, g, h)
				}
				if g.HasDeleteHorizon() != (horizon > 0) || horizon > 0 && g.BaseTimestamp != horizon {
					t.Errorf("%s: delete horizon %v, %d", name, g.HasDeleteHorizon(), g.BaseTimestamp)
				}
			}
		}
	}
}

// TestFilterEnds: all kept, none kept, an emptied batch, and a horizon that is
// there already.
func TestFilterEnds(t *testing.T) {
	f := Filter{Codecs: NewCodecs(Limits{})}
	b := filterBatch(t, LZ4, f.Codecs, 2, 0) // no tombstone
	h, _ := ParseHeader(b)
	all := func(int64, []byte, bool) bool { return true }
	none := func(int64, []byte, bool) bool { return false }
	got, err := f.Apply(&h, b, &FilterOptions{Keep: all, Horizon: 5})
	if err != nil || !got.Unchanged || !bytes.Equal(got.Bytes, b) {
		t.Errorf("all kept: %+v, %v", got, err)
	}
	if got, err = f.Apply(&h, b, &FilterOptions{Keep: none}); err != nil || got.Bytes != nil || got.Unchanged {
		t.Errorf("none kept: %+v, %v", got, err)
	}
	got, err = f.Apply(&h, b, &FilterOptions{Keep: none, KeepEmpty: true})
	if err != nil || len(got.Bytes) != HeaderSize || !CheckCRC(got.Bytes) || got.Header.Codec() != None || got.Header.Count != 0 || got.Header.BaseTimestamp != Absent ||
		got.Header.MaxTimestamp != h.MaxTimestamp || got.Header.LastSequence() != h.LastSequence() || got.Header.LastOffset() != h.LastOffset() {
		t.Errorf("emptied: %+v, %v", got, err)
	}
	empty := bytes.Clone(got.Bytes)
	eh, _ := ParseHeader(empty)
	if got, err = f.Apply(&eh, empty, &FilterOptions{Keep: all, KeepEmpty: true}); err != nil || !got.Unchanged {
		t.Errorf("an empty one that stays: %+v, %v", got, err)
	}
	named := eh // Apache Kafka's cleaner opens what is named, and fails
	named.Attributes |= int16(LZ4)
	if got, err = f.Apply(&named, empty, &FilterOptions{Keep: all, KeepEmpty: true}); err != nil || got.Unchanged || got.Header.Codec() != None {
		t.Errorf("an empty one that names a codec: %+v, %v", got, err)
	}
	if got, err = f.Apply(&eh, empty, &FilterOptions{Keep: all}); err != nil || got.Bytes != nil {
		t.Errorf("an empty one that goes: %+v, %v", got, err)
	}

	marker := EndTxnMarker(Marker{ProducerID: 5, Commit: true, Timestamp: 1_700_000_000_000})
	mh, _ := ParseHeader(marker)
	if got, err = f.Apply(&mh, marker, &FilterOptions{Keep: all, NeedsHorizon: true, Horizon: 1_700_086_400_000}); err != nil || len(got.Bytes) != 81 {
		t.Errorf("a marker with a horizon has %d bytes, want 81 as Kafka's: %v", len(got.Bytes), err)
	}
	stamped := bytes.Clone(got.Bytes)
	sh, _ := ParseHeader(stamped)
	if got, err = f.Apply(&sh, stamped, &FilterOptions{Keep: all, NeedsHorizon: true, Horizon: 9}); err != nil || !got.Unchanged {
		t.Errorf("a second horizon: %+v, %v", got, err)
	}
}

// FuzzFilter: whatever the bytes are, what comes out is a batch whose records are
// a part of those that went in.
func FuzzFilter(f *testing.F) {
	codecs := NewCodecs(Limits{})
	for codec := None; codec <= Zstd; codec++ {
		f.Add(filterBatch(f, codec, codecs, 5, 0), uint64(0b10101), int64(0))
		f.Add(filterBatch(f, codec, codecs, 9, 3), uint64(3), int64(1_800_000_000_000))
	}
	f.Fuzz(func(t *testing.T, b []byte, which uint64, horizon int64) {
		h, whole, _, err := Next(b)
		if err != nil || h.Magic != 2 {
			return
		}
		small := NewCodecs(Limits{Absolute: 1 << 20, Floor: 1 << 16})
		fl := Filter{Codecs: small}
		n := 0
		got, err := fl.Apply(&h, whole, &FilterOptions{Horizon: horizon, Keep: func(int64, []byte, bool) bool {
			n++
			return which>>(n%64)&1 == 1
		}})
		checkKeys(t, small, &h, whole, &got, err)
		if err != nil || got.Bytes == nil || got.Unchanged {
			return
		}
		if !CheckCRC(got.Bytes) || got.Header.Size() != len(got.Bytes) {
			t.Fatalf("%+v", got)
		}
		kept := 0
		for r, err := range Records(got.Bytes, small) {
			if err != nil {
				t.Fatal(err)
			}
			kept++
			_ = r
		}
		if kept != got.Kept {
			t.Fatalf("%d records, told %d", kept, got.Kept)
		}
	})
}

// checkKeys: Keys tells of all records or of none, and knows those that a filter, with
// the result got and err, has read.
func checkKeys(t *testing.T, codecs *Codecs, h *Header, b []byte, got *Filtered, err error) {
	t.Helper()
	n := 0
	fl := Filter{Codecs: codecs}
	more, kerr := fl.Keys(h, b, func(offset int64, _ []byte) bool {
		if n++; offset > h.LastOffset() {
			t.Errorf("offset %d in a batch up to %d", offset, h.LastOffset())
		}
		return true
	})
	switch {
	case !more:
		t.Error("ended early")
	case kerr != nil && (n > 0 || err == nil):
		t.Errorf("%d records told of before %v; the filter: %v", n, kerr, err)
	case err == nil && n != got.Read:
		t.Errorf("%d records told of, the filter read %d", n, got.Read)
	}
	if n > 1 {
		n = 0
		if more, err := fl.Keys(h, b, func(int64, []byte) bool { n++; return false }); more || err != nil || n != 1 {
			t.Errorf("not ended when asked to: %d, %v, %v", n, more, err)
		}
	}
}

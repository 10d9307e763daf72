package batch_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"barnabas/internal/golden"
	"barnabas/log/batch"
)

// TestGoldenHeaders parses every batch that Kafka wrote and compares with what
// an independent parser found.
func TestGoldenHeaders(t *testing.T) {
	for _, name := range golden.Names() {
		t.Run(name, func(t *testing.T) {
			files := golden.Files(t, name)
			rest := map[string][]byte{}
			for file, data := range files {
				// Kafka's recovery of log-crash left the segments as they were.
				if strings.HasSuffix(file, ".log") && len(data) > 0 && !strings.HasPrefix(file, "recovered/") {
					rest[file] = data
				}
			}
			for _, want := range golden.Batches(t, name) {
				data := rest[want.File]
				if at := int64(len(files[want.File]) - len(data)); at != want.Position {
					t.Fatalf("%s: at %d, want %d", want.File, at, want.Position)
				}
				h, whole, after, err := batch.Next(data)
				if err != nil {
					t.Fatalf("%s at %d: %v", want.File, want.Position, err)
				}
				rest[want.File] = after
				if !batch.CheckCRC(whole) {
					t.Errorf("%s at %d: CRC", want.File, want.Position)
				}
				if got := describe(want.File, want.Position, &h); got != want {
					t.Errorf("got  %+v\nwant %+v", got, want)
				}
			}
			for file, data := range rest {
				if len(data) > 0 {
					t.Errorf("%s: %d bytes were not compared", file, len(data))
				}
			}
		})
	}
}

func describe(file string, position int64, h *batch.Header) golden.Batch {
	b := golden.Batch{
		File: file, Position: position, Size: int64(h.Size()), Magic: h.Magic,
		BaseOffset: h.BaseOffset, LastOffset: h.LastOffset(), Count: h.Count,
		Codec: h.Codec().String(), Attributes: h.Attributes, LeaderEpoch: h.LeaderEpoch,
		BaseTimestamp: h.BaseTimestamp, MaxTimestamp: h.MaxTimestamp,
		ProducerID: h.ProducerID, ProducerEpoch: h.ProducerEpoch, BaseSequence: h.BaseSequence,
	}
	if h.Magic < 2 { // the list has only the offset of the message
		b.BaseOffset, b.Count = -1, -1
	}
	return b
}

// eachBatch calls fn for each batch of a partition's segments, in order.
func eachBatch(t *testing.T, archive, dir string, fn func(h batch.Header, whole []byte)) {
	t.Helper()
	files := golden.Files(t, archive)
	last := ""
	for _, b := range golden.Batches(t, archive) {
		if b.File == last || !strings.HasPrefix(b.File, dir+"/") {
			continue
		}
		last = b.File
		for data := files[b.File]; len(data) > 0; {
			h, whole, rest, err := batch.Next(data)
			if err != nil {
				t.Fatal(err)
			}
			fn(h, whole)
			data = rest
		}
	}
}

// TestGoldenRecords opens the records of golden-0, whose content is known by its
// rule, in all codecs.
func TestGoldenRecords(t *testing.T) {
	codecs := batch.NewCodecs(batch.Limits{})
	seen := map[batch.Codec]int{}
	next := int64(0)
	eachBatch(t, "log-clean", "clean/golden-0", func(h batch.Header, whole []byte) {
		count := int32(0)
		for r, err := range batch.Records(whole, codecs) {
			if err != nil {
				t.Fatalf("batch at %d: %v", h.BaseOffset, err)
			}
			checkGolden0(t, r, next)
			next++
			count++
		}
		if count != h.Count {
			t.Errorf("batch at %d: %d records, want %d", h.BaseOffset, count, h.Count)
		}
		seen[h.Codec()]++
	})
	if next != 442 || len(seen) != 5 {
		t.Errorf("%d records in codecs %v, want 442 in 5", next, seen)
	}
}

func checkGolden0(t *testing.T, r batch.Record, n int64) {
	t.Helper()
	if r.Offset != n || r.Timestamp != 1700000000000+1000*n {
		t.Errorf("record %d: offset %d, timestamp %d", n, r.Offset, r.Timestamp)
	}
	if n >= 400 {
		return
	}
	if (r.Key == nil) != (n%7 == 0) {
		t.Errorf("record %d: key %q", n, r.Key)
	}
	switch {
	case n%11 == 0:
		if r.Value != nil {
			t.Errorf("record %d: value %q, want null", n, r.Value)
		}
	case n%13 == 0:
		if r.Value == nil || len(r.Value) != 0 {
			t.Errorf("record %d: value %q, want an empty one", n, r.Value)
		}
	case len(r.Value) == 0:
		t.Errorf("record %d: no value", n)
	}
	if n%5 != 0 {
		if len(r.Headers) != 0 {
			t.Errorf("record %d: headers %v", n, r.Headers)
		}
		return
	}
	if len(r.Headers) != 3 || string(r.Headers[0].Key) != "h1" || r.Headers[1].Value != nil || string(r.Headers[1].Key) != "h-null" || string(r.Headers[2].Key) != "h1" {
		t.Errorf("record %d: headers %q", n, r.Headers)
	}
}

// TestGoldenLegacy opens the message sets of formats 0 and 1, whose wrappers
// have absolute and relative offsets and, in format 0, a wrong LZ4 header.
func TestGoldenLegacy(t *testing.T) {
	codecs := batch.NewCodecs(batch.Limits{})
	for _, dir := range []string{"fmt-v0-0", "fmt-v1-0", "fmt-v2-0"} {
		next := int64(0)
		eachBatch(t, "log-legacy", "legacy/"+dir, func(h batch.Header, whole []byte) {
			for r, err := range batch.Records(whole, codecs) {
				if err != nil {
					t.Fatalf("%s: message at %d: %v", dir, h.BaseOffset, err)
				}
				ts := 1700000000000 + 1000*next
				if h.Magic == 0 {
					ts = -1
				}
				if r.Offset != next || r.Timestamp != ts {
					t.Fatalf("%s: offset %d, timestamp %d, want %d, %d", dir, r.Offset, r.Timestamp, next, ts)
				}
				next++
			}
		})
		if want := map[string]int64{"fmt-v0-0": 240, "fmt-v1-0": 240, "fmt-v2-0": 300}[dir]; next != want {
			t.Errorf("%s: %d records, want %d", dir, next, want)
		}
	}
}

// TestGoldenMarkers finds the aborted and committed transactions of golden-1.
func TestGoldenMarkers(t *testing.T) {
	var got []string
	eachBatch(t, "log-clean", "clean/golden-1", func(h batch.Header, whole []byte) {
		if !h.Control() {
			return
		}
		for r, err := range batch.Records(whole, nil) {
			if err != nil {
				t.Fatal(err)
			}
			commit, epoch, ok, err := batch.ParseMarker(&r)
			if err != nil || !ok {
				t.Fatalf("at %d: %v %v", r.Offset, ok, err)
			}
			if !commit {
				got = append(got, fmt.Sprint(h.ProducerID, r.Offset))
			}
			again := batch.EndTxnMarker(batch.Marker{ProducerID: h.ProducerID, ProducerEpoch: h.ProducerEpoch, Commit: commit, CoordinatorEpoch: epoch, Timestamp: r.Timestamp})
			batch.SetOffset(again, h.BaseOffset)
			batch.SetLeaderEpoch(again, h.LeaderEpoch)
			if !bytes.Equal(again, whole) {
				t.Errorf("marker at %d:\ngot  %x\nwant %x", r.Offset, again, whole)
			}
		}
	})
	if want := "4 66, 3 122, 3 256, 4 267, 3 390"; strings.Join(got, ", ") != want {
		t.Errorf("aborted %q, want %q", got, want)
	}
}

// TestGoldenRebuild makes the plain batches of golden-0 again, byte by byte.
func TestGoldenRebuild(t *testing.T) {
	codecs := batch.NewCodecs(batch.Limits{})
	rebuilt := 0
	eachBatch(t, "log-clean", "clean/golden-0", func(h batch.Header, whole []byte) {
		o := batch.BuilderOptions{BaseOffset: h.BaseOffset, LeaderEpoch: h.LeaderEpoch}
		if h.HasProducer() {
			o.Producer = &batch.Producer{ID: h.ProducerID, Epoch: h.ProducerEpoch, Sequence: h.BaseSequence}
		}
		// Only what is not compressed has one form.
		if h.Codec() != batch.None {
			return
		}
		b := batch.NewBuilder(o)
		for r, err := range batch.Records(whole, codecs) {
			if err != nil {
				t.Fatal(err)
			}
			b.Append(r.Timestamp, r.Key, r.Value, r.Headers...)
		}
		if b.Size() != len(whole) {
			t.Errorf("batch at %d: Size %d, want %d", h.BaseOffset, b.Size(), len(whole))
		}
		again, err := b.Bytes()
		if err != nil || !bytes.Equal(again, whole) {
			t.Errorf("batch at %d: %v\ngot  %x\nwant %x", h.BaseOffset, err, again, whole)
		}
		rebuilt++
	})
	if rebuilt < 20 {
		t.Errorf("only %d batches were rebuilt", rebuilt)
	}
}

// TestGoldenCompacted: batches that compaction emptied have no records, and
// their codec bits say nothing.
func TestGoldenCompacted(t *testing.T) {
	codecs := batch.NewCodecs(batch.Limits{})
	empty := 0
	eachBatch(t, "log-clean", "clean/compacted2-0", func(h batch.Header, whole []byte) {
		count := 0
		for _, err := range batch.Records(whole, codecs) {
			if err != nil {
				t.Fatal(err)
			}
			count++
		}
		if count != int(h.Count) {
			t.Errorf("at %d: %d records, want %d", h.BaseOffset, count, h.Count)
		}
		if count == 0 {
			empty++
		}
	})
	if empty != 2 {
		t.Errorf("%d empty batches, want 2", empty)
	}
}

func TestNextShort(t *testing.T) {
	b := batch.EndTxnMarker(batch.Marker{Commit: true})
	if len(b) != 78 {
		t.Fatalf("a marker has %d bytes, want 78", len(b))
	}
	for n := range b {
		if _, _, _, err := batch.Next(b[:n]); !errors.Is(err, batch.ErrShort) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}

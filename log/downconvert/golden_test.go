package downconvert

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"barnabas/internal/golden"
	"barnabas/internal/vfs"
	"barnabas/log/batch"
)

// partition is what Kafka wrote, as one file.
type partition struct {
	file    vfs.File
	size    int64
	batches []batch.Header
	at      []int64 // positions of batches, and the end
	records []string
}

// partitions reads all partitions of the archives. records are those that an old
// client can have.
func partitions(t *testing.T, codecs *batch.Codecs) map[string]*partition {
	t.Helper()
	all := map[string]*partition{}
	fs := vfs.NewMem()
	for _, archive := range golden.Names() {
		files := golden.Files(t, archive)
		var names []string
		for name := range files {
			if strings.HasSuffix(name, ".log") {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for _, name := range names {
			dir := path.Dir(name)
			p := all[dir]
			if p == nil {
				f, err := fs.Create("/" + strings.ReplaceAll(dir, "/", "_"))
				if err != nil {
					t.Fatal(err)
				}
				p = &partition{file: f, at: []int64{0}}
				all[dir] = p
			}
			if _, err := p.file.WriteAt(files[name], p.size); err != nil {
				t.Fatal(err)
			}
			p.add(t, files[name], codecs)
		}
	}
	return all
}

func (p *partition) add(t *testing.T, data []byte, codecs *batch.Codecs) {
	t.Helper()
	for len(data) > 0 {
		h, whole, rest, err := batch.Next(data)
		if err != nil {
			t.Fatal(err)
		}
		data = rest
		p.batches, p.size = append(p.batches, h), p.size+int64(h.Size())
		p.at = append(p.at, p.size)
		if h.Control() || h.Codec() == batch.Zstd {
			continue
		}
		for r, err := range batch.Records(whole, codecs) {
			if err != nil {
				t.Fatal(err)
			}
			p.records = append(p.records, recordText(&r))
		}
	}
}

func recordText(r *batch.Record) string {
	return fmt.Sprintf("%d@%d %t %x %t %x", r.Offset, r.Timestamp, r.Key == nil, r.Key, r.Value == nil, r.Value)
}

// TestGoldenOldConsumer reads everything that Kafka wrote as an old consumer
// does, fetch by fetch, and finds each record once, in order, but for those in
// zstd and but for markers.
func TestGoldenOldConsumer(t *testing.T) {
	codecs := batch.NewCodecs(batch.Limits{})
	c := New(Options{Codecs: codecs})
	seen := 0
	for dir, p := range partitions(t, codecs) {
		for magic := range int8(2) {
			for _, most := range []int64{100, 3000, 1 << 20} {
				got := consume(t, c, p, magic, most)
				want := p.records
				if magic == 0 {
					want = slices.Clone(want)
					for i, r := range want {
						offset, _, _ := strings.Cut(r, "@")
						_, rest, _ := strings.Cut(r, " ")
						want[i] = offset + "@-1 " + rest
					}
				}
				if !slices.Equal(got, want) {
					t.Errorf("%s, format %d, %d bytes at a time: %d records, want %d", dir, magic, most, len(got), len(want))
				}
				seen += len(got)
			}
		}
	}
	if seen < 17_000 || c.Skipped() != 0 {
		t.Errorf("only %d records, %d damaged batches", seen, c.Skipped())
	}
}

func consume(t *testing.T, c *Converter, p *partition, magic int8, most int64) (got []string) {
	t.Helper()
	offset := int64(0)
	for i := 0; i < len(p.batches); {
		if p.batches[i].LastOffset() < offset {
			i++
			continue
		}
		end := min(max(p.at[i]+most, p.at[i+1]), p.size)
		r, err := c.Convert(&Request{
			TP: testTP, Range: vfs.Range{File: p.file, Offset: p.at[i], Length: end - p.at[i]}, Magic: magic, From: offset, Keep: upTo(100),
		})
		if errors.Is(err, batch.ErrNoOldForm) {
			i, offset = i+1, p.batches[i].NextOffset()
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		n := len(got)
		got = append(got, messages(t, readAll(t, r, 1000), magic, &offset)...)
		r.Release()
		if len(got) == n { // nothing but markers: a consumer waits for more behind them
			i, offset = i+1, p.batches[i].NextOffset()
		}
	}
	return got
}

// messages are the whole messages of a record field from an offset on, which
// moves on.
func messages(t *testing.T, set []byte, magic int8, offset *int64) (got []string) {
	t.Helper()
	for {
		h, whole, rest, err := batch.Next(set)
		if err != nil { // a part, or the filler
			return got
		}
		if h.Magic > magic || !batch.CheckCRC(whole) {
			t.Fatalf("format %d, or checksum, at offset %d", h.Magic, h.BaseOffset)
		}
		for r, err := range batch.Records(whole, batch.NewCodecs(batch.Limits{})) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Offset >= *offset {
				got = append(got, recordText(&r))
				*offset = r.Offset + 1
			}
		}
		set = rest
	}
}

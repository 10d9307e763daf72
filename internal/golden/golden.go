// Package golden has log directories that Apache Kafka 3.9.1 wrote, for tests of
// what reads and writes the same formats. Only tests import it. What is in them:
//
//   - log-clean: after a clean stop; all codecs, transactions, compaction, the
//     internal topics
//   - log-crash: "crash/" after kill -9, with indexes that end in zeros, and
//     "recovered/", the same partition after Kafka's own recovery
//   - log-legacy: partitions in message formats 0, 1 and 2
package golden

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"embed"
	"io"
	"path"
	"strconv"
	"strings"
	"testing"

	"barnabas/internal/vfs"
)

//go:embed testdata
var archives embed.FS

// Names are the archives.
func Names() []string { return []string{"log-clean", "log-crash", "log-legacy"} }

// Files returns the files of an archive by their paths in it.
func Files(t testing.TB, name string) map[string][]byte {
	t.Helper()
	packed, err := archives.ReadFile("testdata/" + name + ".tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

// Unpack writes the files of an archive below dir.
func Unpack(t testing.TB, name string, fs vfs.FS, dir string) {
	t.Helper()
	for file, data := range Files(t, name) {
		file = path.Join(dir, file)
		if err := fs.MkdirAll(path.Dir(file)); err != nil {
			t.Fatal(err)
		}
		f, err := fs.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(data, 0); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Batch is what an independent parser found at a place in a segment. Numbers
// that do not apply (legacy messages have no producer) are -1.
type Batch struct {
	File           string
	Position, Size int64
	Magic          int8
	BaseOffset     int64
	LastOffset     int64
	Count          int32
	Codec          string
	Attributes     int16
	LeaderEpoch    int32
	BaseTimestamp  int64
	MaxTimestamp   int64
	ProducerID     int64
	ProducerEpoch  int16
	BaseSequence   int32
}

// Batches returns all batches in the segments of an archive, in order.
func Batches(t testing.TB, name string) []Batch {
	t.Helper()
	text, err := archives.ReadFile("testdata/" + name + ".batches.tsv")
	if err != nil {
		t.Fatal(err)
	}
	var all []Batch
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		number := func(i int) int64 {
			if f[i] == "" {
				return -1
			}
			n, err := strconv.ParseInt(f[i], 0, 64)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			return n
		}
		all = append(all, Batch{
			File: f[0], Position: number(1), Size: number(2), Magic: int8(number(3)),
			BaseOffset: number(4), LastOffset: number(5), Count: int32(number(6)),
			Codec: f[7], Attributes: int16(number(8)), LeaderEpoch: int32(number(9)),
			BaseTimestamp: number(10), MaxTimestamp: number(11),
			ProducerID: number(12), ProducerEpoch: int16(number(13)), BaseSequence: int32(number(14)),
		})
	}
	return all
}

package log

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log/batch"
	"barnabas/log/checkpoint"
)

// unpack puts a golden directory, written by Apache Kafka 3.9.1, into a file
// system in memory under /data.
func unpack(t *testing.T, archive string) *vfs.Mem {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", archive))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	m := vfs.NewMem()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return m
		}
		if err != nil {
			t.Fatal(err)
		}
		name := path.Join("/data", h.Name)
		if h.Typeflag == tar.TypeDir {
			must(t, m.MkdirAll(name))
			continue
		}
		b, err := io.ReadAll(r)
		must(t, err)
		must(t, m.MkdirAll(path.Dir(name)))
		out, err := m.Create(name)
		must(t, err)
		_, err = out.WriteAt(b, 0)
		must(t, err)
		must(t, out.Close())
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// goldenBatch is a line of a batches.tsv.
type goldenBatch struct {
	base, last int64
	count      int
	size       int
}

// goldenBatches reads a batches.tsv: by directory, in order.
func goldenBatches(t *testing.T, file string) map[string][]goldenBatch {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	must(t, err)
	out := map[string][]goldenBatch{}
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if strings.HasPrefix(line, "#") || len(f) < 7 {
			continue
		}
		num := func(s string) int64 {
			n, err := strconv.ParseInt(s, 10, 64)
			must(t, err)
			return n
		}
		dir := path.Dir(f[0])
		out[dir] = append(out[dir], goldenBatch{base: num(f[4]), last: num(f[5]), count: int(num(f[6])), size: int(num(f[2]))})
	}
	return out
}

// readAll reads a log from its start to its end by ranges of the given size, and
// returns its batches. Every record is opened.
func readAll(t *testing.T, l *Log, maxBytes int) (headers []batch.Header, records []batch.Record) {
	t.Helper()
	codecs := batch.NewCodecs(batch.Limits{})
	for at := l.StartOffset(); at < l.EndOffset(); {
		res, err := l.Read(at, maxBytes, l.EndOffset(), true)
		must(t, err)
		if res.Range.Length == 0 {
			break // compaction emptied the rest
		}
		b := make([]byte, res.Range.Length)
		if _, err := res.Range.File.ReadAt(b, res.Range.Offset); err != nil {
			t.Fatal(err)
		}
		res.Range.Release()
		first := true
		for {
			h, whole, rest, err := batch.Next(b)
			if err != nil {
				break
			}
			if first && h.BaseOffset != res.FirstOffset {
				t.Fatalf("first batch at %d, told %d", h.BaseOffset, res.FirstOffset)
			}
			if first && h.LastOffset() < at {
				t.Fatalf("read at %d begins with batch %d to %d", at, h.BaseOffset, h.LastOffset())
			}
			first = false
			if !batch.CheckCRC(whole) {
				t.Fatalf("CRC of the batch at %d", h.BaseOffset)
			}
			headers = append(headers, h)
			for r, err := range batch.Records(whole, codecs) {
				must(t, err)
				records = append(records, r)
			}
			at = h.NextOffset()
			b = rest
		}
		if first {
			t.Fatalf("read at %d: no whole batch in %d bytes", at, res.Range.Length)
		}
	}
	return headers, records
}

// snapshots reads the snapshots in a directory as Apache Kafka does: of several
// entries of a producer the last one counts. It writes no others.
func snapshots(t *testing.T, fs vfs.FS, dir string) map[int64][]checkpoint.Producer {
	t.Helper()
	names, err := fs.List(dir)
	must(t, err)
	out := map[int64][]checkpoint.Producer{}
	for _, name := range names {
		if at, suffix, ok := parseFileName(name); ok && suffix == snapshotSuffix {
			entries, err := checkpoint.ReadSnapshot(fs, path.Join(dir, name))
			must(t, err)
			byID := map[kafka.ProducerID]checkpoint.Producer{}
			for _, e := range entries {
				byID[e.ID] = e
			}
			out[at] = slices.SortedFunc(maps.Values(byID), func(a, b checkpoint.Producer) int { return int(a.ID - b.ID) })
		}
	}
	return out
}

func goldenManager(t *testing.T, fs vfs.FS, dir string, o Options) *Manager {
	t.Helper()
	m, err := OpenManager(t.Context(), ManagerOptions{FS: fs, Dirs: []string{dir}, Defaults: o, BootID: "this"})
	must(t, err)
	return m
}

// TestGoldenClean opens what Kafka left after a clean stop: every batch is read,
// and closing again leaves the same offsets and snapshots.
func TestGoldenClean(t *testing.T) {
	fs := unpack(t, "log-clean.tar.gz")
	want := goldenBatches(t, "log-clean.batches.tsv")
	ends := map[string]int64{"golden-0": 442, "golden-1": 407, "compacted-0": 1010, "compacted2-0": 451}
	dirs := map[string]map[int64][]checkpoint.Producer{}
	for dir := range want {
		dirs[dir] = snapshots(t, fs, path.Join("/data", dir))
	}
	for round := range 2 {
		m := goldenManager(t, fs, "/data/clean", DefaultOptions())
		if m.Crashed() {
			t.Error("crashed, though the marker was there")
		}
		meta := m.ReadMeta()
		if meta.ClusterID == "" || meta.BrokerID < 0 {
			t.Errorf("meta.properties: %+v", meta)
		}
		n := 0
		for l := range m.All() {
			n++
			name := l.TopicPartition().String()
			for _, size := range []int{1, 10_000, 1 << 20} {
				headers, _ := readAll(t, l, size)
				compareBatches(t, name, headers, want["clean/"+name])
			}
			if end, ok := ends[name]; ok && l.EndOffset() != end {
				t.Errorf("%s ends at %d, want %d", name, l.EndOffset(), end)
			}
			if l.TopicID().IsZero() {
				t.Errorf("%s has no topic id", name)
			}
		}
		if n != len(want) {
			t.Errorf("%d logs, want %d", n, len(want))
		}
		goldenTransactions(t, m)
		must(t, m.Close())
		for dir, entries := range dirs {
			after := snapshots(t, fs, path.Join("/data", dir))
			end := slices.Max(slices.Collect(keysOf(entries)))
			if _, ok := after[end]; !ok {
				t.Errorf("round %d: %s lost its snapshot at %d", round, dir, end)
			}
			for at, got := range after {
				if diff := cmp.Diff(entries[at], got); diff != "" {
					t.Errorf("round %d: %s snapshot %d (-want +got):\n%s", round, dir, at, diff)
				}
			}
		}
	}
}

func keysOf[V any](m map[int64]V) func(func(int64) bool) {
	return func(yield func(int64) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func compareBatches(t *testing.T, name string, got []batch.Header, want []goldenBatch) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d batches, want %d", name, len(got), len(want))
	}
	for i, h := range got {
		g := goldenBatch{base: h.BaseOffset, last: h.LastOffset(), count: int(h.Count), size: h.Size()}
		if g != want[i] {
			t.Fatalf("%s batch %d: got %+v, want %+v", name, i, g, want[i])
		}
	}
}

// goldenTransactions checks golden-1 of log-clean (see golden/README).
func goldenTransactions(t *testing.T, m *Manager) {
	t.Helper()
	l, _ := m.Get(kafka.TopicPartition{Topic: "golden", Partition: 1})
	if got := [2]int64{l.HighWatermark(), l.LastStableOffset()}; got != [2]int64{407, 404} {
		t.Errorf("golden-1: high watermark and last stable offset %v, want 407 and 404", got)
	}
	aborted, err := l.AbortedTxns(0, 407)
	must(t, err)
	var got [][3]int64
	for _, a := range aborted {
		got = append(got, [3]int64{a.ProducerID, a.FirstOffset, a.LastOffset})
	}
	want := [][3]int64{{4, 20, 66}, {3, 67, 122}, {3, 201, 256}, {4, 221, 267}, {3, 335, 390}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("aborted transactions (-want +got):\n%s", diff)
	}
}

// TestGoldenCrash recovers what Kafka left after kill -9 and compares it with
// Kafka's own recovery.
func TestGoldenCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// What has expired depends on the time: it is that of Kafka's recovery.
		time.Sleep(time.Until(time.Date(2026, 11, 21, 1, 15, 0, 0, time.UTC)))
		goldenCrash(t)
	})
}

func goldenCrash(t *testing.T) {
	t.Helper()
	fs := unpack(t, "log-crash.tar.gz")
	want := goldenBatches(t, "log-crash.batches.tsv")
	o := DefaultOptions()
	o.SegmentBytes, o.IndexMaxBytes, o.IndexIntervalBytes = 16384, 4096, 1024
	for round := range 2 {
		m := goldenManager(t, fs, "/data/crash", o)
		if round == 0 && !m.Crashed() {
			t.Error("no marker and no boot id is a crash")
		}
		l, _ := m.Get(kafka.TopicPartition{Topic: "crash"})
		if l.EndOffset() != 252 || l.StartOffset() != 0 {
			t.Errorf("offsets %d to %d, want 0 to 252", l.StartOffset(), l.EndOffset())
		}
		headers, _ := readAll(t, l, 5000)
		compareBatches(t, "crash-0", headers, want["crash/crash-0"])
		must(t, m.ConfirmCrash())
		must(t, m.Close())
		compareRecovered(t, fs, round)
	}
}

func compareRecovered(t *testing.T, fs *vfs.Mem, round int) {
	t.Helper()
	got, want := snapshots(t, fs, "/data/crash/crash-0"), snapshots(t, fs, "/data/recovered/crash-0")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("round %d: snapshots (-want +got):\n%s", round, diff)
	}
	names, err := fs.List("/data/recovered/crash-0")
	must(t, err)
	for _, name := range names {
		want, err := vfs.ReadFile(fs, "/data/recovered/crash-0/"+name, 1<<20)
		must(t, err)
		if len(want) == 0 {
			continue // Kafka keeps empty index files, we none
		}
		got, err := vfs.ReadFile(fs, "/data/crash/crash-0/"+name, 1<<20)
		if err != nil {
			t.Error(err)
			continue
		}
		if path.Ext(name) == snapshotSuffix {
			continue // compared by content: Kafka's order is a hash table's
		}
		if !bytes.Equal(got, want) {
			t.Errorf("round %d: %s differs from Kafka's: %s", round, name, firstDifference(got, want))
		}
	}
}

func firstDifference(got, want []byte) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("at byte %d of %d and %d", i, len(got), len(want))
		}
	}
	return fmt.Sprintf("lengths %d and %d", len(got), len(want))
}

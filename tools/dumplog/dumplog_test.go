package dumplog_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"barnabas/internal/golden"
	"barnabas/internal/vfs"
	"barnabas/tools/dumplog"
)

const zero = "00000000000000000000"

// goldenFS has the golden log directories, one segment cut, one file that is
// none of a log's.
func goldenFS(t *testing.T) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem()
	for _, name := range golden.Names() {
		golden.Unpack(t, name, m, "")
	}
	segment, err := vfs.ReadFile(m, "clean/golden-0/00000000000000000300.log", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"00000000000000000300.log": segment[:5000], "clean/golden-0/leader-epoch-checkpoint.x": nil} {
		if err := vfs.WriteFileAtomic(m, name, content); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// run returns stdout, then stderr's lines, marked.
func run(t *testing.T, fs vfs.FS, o dumplog.Options) string {
	t.Helper()
	var out, errs bytes.Buffer
	if err := dumplog.Run(fs, &out, &errs, o); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(errs.String()) {
		out.WriteString("stderr: " + line)
	}
	return out.String()
}

// TestGolden compares with what DumpLogSegments of Kafka 3.9 printed of the same
// files.
func TestGolden(t *testing.T) {
	m := goldenFS(t)
	in := func(dir string, names ...string) []string {
		for i := range names {
			names[i] = dir + "/" + names[i]
		}
		return names
	}
	files := func(lists ...[]string) []string {
		var all []string
		for _, l := range lists {
			all = append(all, l...)
		}
		return all
	}
	for name, o := range map[string]dumplog.Options{
		"batches": {Files: files(in("clean/golden-0", zero+".log", "00000000000000000400.log"), in("clean/golden-1", "00000000000000000055.log"),
			in("clean/compacted-0", zero+".log"), in("clean/compacted2-0", zero+".log"), in("legacy/fmt-v0-0", "00000000000000000210.log"),
			in("legacy/fmt-v1-0", zero+".log"), []string{"00000000000000000300.log"})},
		"deep": {DeepIteration: true, Files: files(in("clean/golden-0", zero+".log"), in("clean/golden-1", "00000000000000000267.log"),
			in("clean/compacted2-0", zero+".log"), in("legacy/fmt-v0-0", "00000000000000000210.log"))},
		"data":      {PrintDataLog: true, Files: files(in("clean/golden-0", zero+".log"), in("clean/golden-1", zero+".log"), in("legacy/fmt-v1-0", "00000000000000000210.log"))},
		"data-skip": {PrintDataLog: true, SkipRecordMetadata: true, Files: in("clean/golden-1", zero+".log")},
		"indexes": {Files: files(in("clean/golden-0", zero+".index", zero+".timeindex"),
			in("clean/golden-1", "00000000000000000267.txnindex", "00000000000000000407.snapshot"), in("clean/golden-0", "00000000000000000100.snapshot"),
			in("crash/crash-0", "00000000000000000230.index", "00000000000000000230.timeindex"), in("clean/__consumer_offsets-12", zero+".index"),
			in("clean/golden-0", "leader-epoch-checkpoint.x"))},
		"sanity":   {IndexSanityCheck: true, Files: in("clean/golden-0", zero+".index", zero+".timeindex")},
		"verify":   {VerifyIndexOnly: true, Files: in("clean/golden-0", zero+".index", zero+".timeindex")},
		"txn":      {TransactionLogDecoder: true, Files: files(in("clean/__transaction_state-18", zero+".log"), in("clean/__transaction_state-15", zero+".log"))},
		"maxbytes": {MaxBytes: 5000, Files: in("clean/golden-0", zero+".log")},
	} {
		t.Run(name, func(t *testing.T) {
			want, err := os.ReadFile("testdata/" + name + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			gotLines, wantLines := strings.Split(run(t, m, o), "\n"), strings.Split(string(want), "\n")
			for i := range max(len(gotLines), len(wantLines)) {
				var g, w string
				if i < len(gotLines) {
					g = gotLines[i]
				}
				if i < len(wantLines) {
					w = wantLines[i]
				}
				if g != w {
					t.Fatalf("line %d:\ngot  %s\nwant %s", i+1, g, w)
				}
			}
		})
	}
}

func TestCheckpoints(t *testing.T) {
	got := run(t, goldenFS(t), dumplog.Options{Files: []string{
		"clean/golden-0/leader-epoch-checkpoint", "clean/golden-0/partition.metadata", "clean/cleaner-offset-checkpoint", "clean/meta.properties"}})
	want := `Dumping clean/golden-0/leader-epoch-checkpoint
epoch: 0 startOffset: 0
Dumping clean/golden-0/partition.metadata
topicId: Ws1Ccn9RSnWMlLJ-P0U9xQ
Dumping clean/cleaner-offset-checkpoint
topic: compacted partition: 0 offset: 891
topic: compacted2 partition: 0 offset: 412
Dumping clean/meta.properties
version: 0 brokerId: 1 clusterId: s9t--8k8QJ-8rSvEmAUfpg directoryId: 
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestDamage: what is wrong is told, and the rest is printed.
func TestDamage(t *testing.T) {
	m := goldenFS(t)
	change := func(name string, at int, fn func(b byte) byte) {
		b, err := vfs.ReadFile(m, name, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		b[at] = fn(b[at])
		if err := vfs.WriteFileAtomic(m, name, b); err != nil {
			t.Fatal(err)
		}
	}
	change("clean/golden-0/"+zero+".index", 3, func(b byte) byte { return b - 1 })
	change("clean/golden-0/"+zero+".timeindex", 7, func(b byte) byte { return b + 1 })
	change("clean/golden-1/00000000000000000407.snapshot", 20, func(b byte) byte { return b + 1 })
	change("clean/golden-1/00000000000000000267.txnindex", 0, func(b byte) byte { return 1 })
	change("clean/compacted2-0/"+zero+".log", 100, func(b byte) byte { return b + 1 })
	got := run(t, m, dumplog.Options{VerifyIndexOnly: true, DeepIteration: true, Files: []string{
		"clean/golden-0/" + zero + ".index", "clean/golden-0/" + zero + ".timeindex", "clean/golden-1/00000000000000000407.snapshot",
		"clean/golden-1/00000000000000000267.txnindex", "clean/compacted2-0/" + zero + ".log"}})
	for _, want := range []string{
		"stderr: Mismatches in :clean/golden-0/" + zero + ".index\nstderr:   Index offset: 13, log offset: 14\n",
		"stderr: Found timestamp mismatch in :clean/golden-0/" + zero + ".timeindex\nstderr:   Index timestamp: 1700000014001, log timestamp: 1700000014000\n",
		"stderr: checkpoint: corrupt: clean/golden-1/00000000000000000407.snapshot: wrong checksum\n",
		"stderr: index: corrupt: clean/golden-1/00000000000000000267.txnindex, entry 0: version 256, producer 4, offsets 221 to 267\n",
		"isvalid: false\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("missing: %s\nin: %s", want, got)
		}
	}
	err := dumplog.Run(m, &bytes.Buffer{}, &bytes.Buffer{}, dumplog.Options{Files: []string{"no/" + zero + ".log"}})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an absent file: %v", err)
	}
	if err := dumplog.Run(m, &bytes.Buffer{}, &bytes.Buffer{}, dumplog.Options{Files: []string{"x.log"}}); err == nil {
		t.Error("a name without offset")
	}
}

func TestDecoder(t *testing.T) {
	got := run(t, goldenFS(t), dumplog.Options{Files: []string{"clean/__consumer_offsets-12/" + zero + ".log"},
		OffsetsDecoder: func(offset int64, key, value []byte) (string, string) { return "K", "" }})
	if !strings.Contains(got, "headerKeys: [] key: K\n") || !strings.Contains(got, "endTxnMarker: COMMIT coordinatorEpoch: 0\n") {
		t.Errorf("got %s", got)
	}
}

// TestDecoderClasses: keys and values as the decoders of Kafka read them.
func TestDecoderClasses(t *testing.T) {
	decoder := func(class string) dumplog.Decoder {
		t.Helper()
		d, err := dumplog.DecoderOf(class)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, c := range []struct{ class, bytes, want string }{
		{"org.apache.kafka.tools.api.LongDecoder", "\xff\xff\xff\xff\xff\xff\xff\xfe", "-2"},
		{"kafka.serializer.IntegerDecoder", "\x00\x00\x01\x00", "256"},
		{"StringDecoder", "ü", "ü"},
		{"DefaultDecoder", "\x00\xfe", "00fe"},
	} {
		if got, err := decoder(c.class)([]byte(c.bytes)); got != c.want || err != nil {
			t.Errorf("%s: %q, %v, want %q", c.class, got, err, c.want)
		}
	}
	if _, err := dumplog.DecoderOf("com.example.Decoder"); err == nil {
		t.Error("a class that is not there")
	}
	got := run(t, goldenFS(t), dumplog.Options{
		Files: []string{"clean/golden-1/" + zero + ".log"}, KeyDecoder: decoder("LongDecoder"), ValueDecoder: decoder("DefaultDecoder"),
	})
	plain := run(t, goldenFS(t), dumplog.Options{Files: []string{"clean/golden-1/" + zero + ".log"}, PrintDataLog: true})
	key, payload := regexp.MustCompile(`(?m) key: (.*) payload: (.*)$`), regexp.MustCompile(`(?m) payload: ([0-9a-f]+)$`)
	was := key.FindStringSubmatch(plain)
	if was == nil {
		t.Fatalf("no key in %s", plain)
	}
	if want := fmt.Sprintf(" key: <%d bytes are no Long> payload: %x\n", len(was[1]), was[2]); !strings.Contains(got, want) {
		t.Errorf("no %q in %s", want, got)
	}
	if len(payload.FindAllString(got, -1)) != strings.Count(plain, " payload: ") {
		t.Errorf("got %s\nof %s", got, plain)
	}
}

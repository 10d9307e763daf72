//go:build integration

package integration

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func (b *broker) data(parts ...string) string {
	return filepath.Join(append([]string{b.dir, "data"}, parts...)...)
}

// glob wants files.
func (b *broker) glob(pattern string) []string {
	b.t.Helper()
	names, err := filepath.Glob(b.data(pattern))
	if err != nil || len(names) == 0 {
		b.t.Fatalf("no file %s: %v", pattern, err)
	}
	return names
}

func write(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// flip changes one byte.
func flip(t testing.TB, name string, at int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0xff
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

func size(t testing.TB, name string) int64 {
	t.Helper()
	fi, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Size()
}

// startRefused wants the start to fail with all of these words.
func (b *broker) startRefused(words ...string) {
	b.t.Helper()
	r := run(b.t, "", binary, "server", b.props)
	out := r.stdout + r.stderr
	if r.err == nil {
		b.t.Errorf("it started; want a refusal with %q", words)
	}
	for _, w := range words {
		if !strings.Contains(out, w) {
			b.t.Errorf("no %q in the refusal:\n%s", w, out)
		}
	}
	b.t.Logf("refused: %s", lastLine(out))
}

// TestForeignDirectories are refused with what is wrong and what to do.
func TestForeignDirectories(t *testing.T) {
	b := newBroker(t)
	createTopic(t, b, "t", 1)
	b.stop()
	meta, err := os.ReadFile(b.data("meta.properties"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(meta), "\n")
	replace := func(key, value string) []byte {
		out := ""
		for _, l := range lines {
			if strings.HasPrefix(l, key+"=") {
				l = key + "=" + value
			}
			out += l + "\n"
		}
		return []byte(out)
	}
	write(t, b.data("meta.properties"), replace("cluster.id", "AAAAAAAAAAAAAAAAAAAAAA"))
	b.startRefused("AAAAAAAAAAAAAAAAAAAAAA", "cluster")
	write(t, b.data("meta.properties"), replace("broker.id", "7"))
	b.startRefused("7", "broker.id", "meta.properties")
	write(t, b.data("meta.properties"), []byte("garbage\x00\xff"))
	b.startRefused("meta.properties")
	write(t, b.data("meta.properties"), meta)

	lock, err := os.OpenFile(b.data(".lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	b.startRefused("lock", b.data())
	lock.Close()

	if err := os.Mkdir(b.data("strange"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.startRefused("strange", "move it away")
	os.Remove(b.data("strange"))
	b.start()
	b.awaitReady(patience)
}

// TestHarmedFiles: every file beside the records may be lost or full of garbage,
// after a clean stop and after a kill; the records are all there.
func TestHarmedFiles(t *testing.T) {
	b := newBroker(t, "log.segment.bytes=20000", "log.index.interval.bytes=500")
	createTopic(t, b, "load", 1)
	acked := map[string]kgo.Record{}
	c := b.client(kgo.DefaultProduceTopic("load"), kgo.ProducerLinger(0), kgo.MaxBufferedRecords(1000))
	n := 0
	produce := func(count int) {
		t.Helper()
		for range count {
			n++
			v := fmt.Sprintf("v-%06d-%s", n, strings.Repeat("x", 50))
			rec, err := c.ProduceSync(t.Context(), kgo.StringRecord(v)).First()
			if err != nil {
				t.Fatal(err)
			}
			acked[v] = *rec
		}
	}
	produce(1000)
	garbage := []byte("garbage\x00\xff\x01 no checkpoint at all\n\n1\n")
	harms := map[string]func(name string) error{
		"deleted":   os.Remove,
		"garbage":   func(name string) error { return os.WriteFile(name, garbage, 0o644) },
		"empty":     func(name string) error { return os.Truncate(name, 0) },
		"truncated": func(name string) error { return os.Truncate(name, max(0, size(t, name)-5)) },
		"zeros":     func(name string) error { return os.WriteFile(name, make([]byte, size(t, name)), 0o644) },
		"longer": func(name string) error {
			f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.Write([]byte("\x00\x00\xff\xff\x07garbage"))
			return err
		},
	}
	patterns := []string{
		"recovery-point-offset-checkpoint", "log-start-offset-checkpoint", "replication-offset-checkpoint",
		"load-0/*.index", "load-0/*.timeindex", "load-0/*.snapshot", "load-0/leader-epoch-checkpoint", "load-0/partition.metadata",
		".barnabas-boot-id",
	}
	for _, harm := range slices.Sorted(maps.Keys(harms)) {
		for _, clean := range []bool{true, false} {
			name := fmt.Sprintf("all %s, clean=%v", harm, clean)
			produce(30)
			if clean {
				b.stop()
			} else {
				b.proc.Kill()
			}
			for _, pattern := range patterns {
				files, err := filepath.Glob(b.data(pattern))
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range files {
					if err := harms[harm](f); err != nil {
						t.Fatal(err)
					}
				}
			}
			b.start()
			b.awaitReady(patience)
			records := readAll(t, b, "load", 1)
			before := t.Failed()
			checkLog(t, records, acked)
			if t.Failed() && !before {
				t.Fatalf("%s: that was it", name)
			}
		}
	}
	produce(30)
	checkLog(t, readAll(t, b, "load", 1), acked)
}

// TestFlippedBytes: above the recovery point the log is cut there, loudly; below
// it the rest is served and the bad batch is named.
func TestFlippedBytes(t *testing.T) {
	b := newBroker(t, "log.segment.bytes=20000", "log.flush.offset.checkpoint.interval.ms=600000")
	createTopic(t, b, "load", 1)
	c := b.client(kgo.DefaultProduceTopic("load"), kgo.ProducerLinger(0))
	for i := range 1000 {
		if err := c.ProduceSync(t.Context(), kgo.StringRecord(fmt.Sprintf("v-%06d-%s", i, strings.Repeat("x", 50)))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	b.proc.Kill()
	segments := b.glob("load-0/*.log")
	last := segments[len(segments)-1]
	flip(t, last, size(t, last)/2)
	b.start()
	b.awaitReady(patience)
	left := len(readAll(t, b, "load", 1))
	if out := b.proc.Output(); left < 900 || left >= 1000 || !strings.Contains(out, "log cut at a bad batch") || !strings.Contains(out, last) {
		t.Errorf("%d records left; the output:\n%s", left, out)
	}
	b.stop()
	flip(t, segments[1], size(t, segments[1])/2)
	b.start()
	b.awaitReady(patience)
	after := "after-0"
	if err := c.ProduceSync(t.Context(), kgo.StringRecord(after)).FirstErr(); err != nil {
		t.Error(err)
	}
	if got := must(t, "", "kcat", "-C", "-b", b.addr, "-t", "load", "-o", "-1", "-e", "-q"); got != after+"\n" {
		t.Errorf("the last record: %q", got)
	}
}

// TestSamePartitionTwice is refused, naming both.
func TestSamePartitionTwice(t *testing.T) {
	b := newBroker(t)
	createTopic(t, b, "twice", 1)
	b.stop()
	props, err := os.ReadFile(b.props)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(b.dir, "data2")
	must(t, "", "cp", "-a", b.data(), other)
	write(t, b.props, []byte(strings.Replace(string(props), "log.dirs="+b.data(), "log.dirs="+b.data()+","+other, 1)))
	b.startRefused("twice-0", b.data(), other)
}

// TestFullDisk: a directory on a disk that fills up loses nothing that it
// acknowledged, another serves on, and a start on the full disk works.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts a tmpfs: run it as root")
	}
	small := t.TempDir()
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=64m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(small, syscall.MNT_DETACH) })
	b := newBroker(t, "log.dirs="+small+"/d,"+t.TempDir(), "log.segment.bytes=4000000")
	for i := range 4 {
		createTopic(t, b, fmt.Sprintf("t%d", i), 1)
	}
	acked := map[string]map[string]kgo.Record{}
	failed := map[string]error{}
	c := b.client(kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordRetries(2), kgo.ProduceRequestTimeout(2*time.Second), kgo.RetryTimeout(2*time.Second), kgo.RecordDeliveryTimeout(3*time.Second))
	for n := 0; n < 600 && len(failed) < 4; n++ {
		for i := range 4 {
			topic := fmt.Sprintf("t%d", i)
			if failed[topic] != nil {
				continue
			}
			v := fmt.Sprintf("%06d-%s", n, strings.Repeat(fmt.Sprint(n%10), 100000))
			rec, err := c.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte(v)}).First()
			if err != nil {
				failed[topic] = err
				t.Logf("%s failed at %d: %v", topic, n, err)
				continue
			}
			if acked[topic] == nil {
				acked[topic] = map[string]kgo.Record{}
			}
			acked[topic][v] = *rec
		}
	}
	if len(failed) != 2 {
		t.Errorf("failed: %v", failed)
	}
	check := func(when string, all bool) {
		t.Helper()
		for topic := range acked {
			if failed[topic] != nil && !all {
				continue
			}
			checkLog(t, readAll(t, b, topic, 1), acked[topic])
		}
		t.Log(when, "checked")
	}
	check("with a full disk", false)
	for _, kill := range []bool{false, true} {
		if kill {
			b.proc.Kill()
		} else if err := b.proc.Stop(syscall.SIGTERM, patience); err != nil {
			t.Logf("SIGTERM with a full disk: %v", err)
		}
		b.start()
		b.awaitReady(patience)
		check("after a restart on the full disk", true)
	}
}

// TestReadOnlyDirectory is offline; the others serve, and it alone is no start.
func TestReadOnlyDirectory(t *testing.T) {
	ro := t.TempDir()
	if err := syscall.Mount("tmpfs", ro, "tmpfs", syscall.MS_RDONLY, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(ro, syscall.MNT_DETACH) })
	b := newBroker(t, "log.dirs="+ro+"/d,"+t.TempDir())
	createTopic(t, b, "t", 3)
	b.stop()
	props, _ := os.ReadFile(b.props)
	write(t, b.props, append(props, []byte("log.dirs="+ro+"/d\n")...))
	b.startRefused(ro)
}

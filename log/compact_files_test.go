package log

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"path"
	"strings"
	"testing"
	"time"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log/batch"
	"barnabas/log/cleaner"
)

// oldAt is a message of format 1 at an offset.
func oldAt(offset int64, codec batch.Codec, key, value []byte) []byte {
	b := oldMessage(codec, 1_700_000_000_000, key, value)
	binary.BigEndian.PutUint64(b, uint64(offset))
	return b
}

// oldWrapped is a wrapper of messages that begin at an offset.
func oldWrapped(t *testing.T, codecs *batch.Codecs, offset int64, codec batch.Codec, keys []string, value string) []byte {
	t.Helper()
	var set []byte
	for i, k := range keys {
		set = append(set, oldAt(int64(i), batch.None, []byte(k), fmt.Append(nil, value, "-", offset+int64(i)))...)
	}
	packed, err := codecs.Compress(codec, batch.DefaultLevel, nil, set)
	must(t, err)
	return oldAt(offset+int64(len(keys))-1, codec, nil, packed)
}

// TestCompactLegacy: of compressed messages of an old format nothing stays but
// what is the last of its key, and it stays where it was.
func TestCompactLegacy(t *testing.T) {
	codecs := batch.NewCodecs(batch.Limits{})
	mem := newDisk(t)
	l := openTest(t, mem, compacting(), nil)
	const wrappers, each = 60, 5
	value := strings.Repeat("v", 40)
	last := map[string]int64{}
	for n := range wrappers {
		var keys []string
		for i := range each {
			offset := n*each + i
			key := fmt.Sprint("key-", offset*offset%37)
			if i == 3 {
				key = fmt.Sprint("once-", n)
			}
			keys = append(keys, key)
			last[key] = int64(offset)
		}
		codec := []batch.Codec{batch.Gzip, batch.Snappy, batch.LZ4}[n%3]
		_, err := l.AppendAsFollower(oldWrapped(t, codecs, int64(n*each), codec, keys, value))
		must(t, err)
		l.SetHighWatermark(l.EndOffset())
	}
	done, err := l.Compact(context.Background(), CompactOptions{Map: cleaner.NewMap(1<<20, 0.9), Now: time.Now()})
	must(t, err)
	if done.Unread != 0 || done.RecordsKept >= done.RecordsRead || done.FirstDirty < wrappers*each/2 {
		t.Fatalf("%+v", done)
	}
	check := func(when string) {
		t.Helper()
		_, records := readAll(t, l, 1000)
		for _, r := range records {
			want := last[string(r.Key)]
			if r.Offset > want || r.Offset < want && r.Offset < done.FirstDirty && want < done.FirstDirty {
				t.Errorf("%s: key %s at %d, its last is at %d, cleaned to %d", when, r.Key, r.Offset, want, done.FirstDirty)
			}
			if string(r.Value) != fmt.Sprint(value, "-", r.Offset) {
				t.Errorf("%s: %q at %d", when, r.Value, r.Offset)
			}
			if r.Offset == want {
				delete(last, string(r.Key))
			}
		}
		if len(last) != 0 {
			t.Errorf("%s: lost %v", when, last)
		}
		for _, r := range records {
			last[string(r.Key)] = max(last[string(r.Key)], r.Offset)
		}
	}
	check("after the compaction")
	must(t, l.Close())
	l = openTest(t, mem.CrashClone(100), compacting(), func(o *OpenOptions) { o.Clean = false })
	check("after a recovery")
}

// TestCompactIndexFiles: each segment of a log that was compacted has an offset
// index, be it an empty one: Apache Kafka recovers what has none.
func TestCompactIndexFiles(t *testing.T) {
	mem := newDisk(t)
	l := openTest(t, mem, compacting(), nil)
	for i := range 200 {
		appendKeyed(t, l, fmt.Sprint("k", i%2), fmt.Sprint(i))
	}
	run := func() {
		t.Helper()
		_, err := l.Compact(context.Background(), CompactOptions{Map: cleaner.NewMap(1<<20, 0.9), Now: time.Now()})
		must(t, err)
	}
	run()
	// What the first run has kept is superseded: a segment without a record.
	for _, k := range []string{"k0", "k1", "fill", "fill"} {
		appendKeyed(t, l, k, strings.Repeat("x", 1500))
	}
	run()
	must(t, l.Close())
	names, err := mem.List("/d/t-0")
	must(t, err)
	have := map[string]bool{}
	for _, name := range names {
		have[name] = true
	}
	segments, empty := 0, 0
	for name := range have {
		base, suffix, ok := parseFileName(name)
		if !ok || suffix != logSuffix {
			continue
		}
		segments++
		f, err := mem.Open(path.Join("/d/t-0", name))
		must(t, err)
		if size, err := f.Size(); err == nil && size == 0 {
			empty++
		}
		if !have[fileName(base, offsetSuffix)] {
			t.Errorf("%s has no offset index: %v", name, names)
		}
	}
	if segments < 2 || empty == 0 {
		t.Errorf("%d segments, %d empty ones: no test", segments, empty)
	}
}

// TestCompactedAfterKill: a broker that was killed soon after a compaction opens the
// log before it knows that the topic is compacted, and takes the holes between its
// segments for what they are; after a crash of the machine, too.
func TestCompactedAfterKill(t *testing.T) {
	fs := vfs.NewMem()
	must(t, fs.MkdirAll("/a"))
	must(t, fs.MkdirAll("/b"))
	must(t, fs.SyncDir("/"))
	m := mustManager(t, fs, nil)
	l, err := m.GetOrCreate(part(0), kafka.NewTopicID(), true)
	must(t, err)
	for _, d := range m.dirs {
		must(t, d.saveRecoveryPoints(m))
	}
	l.SetOptions(compacting())
	for i := range 200 {
		appendKeyed(t, l, fmt.Sprint("k", i%3), fmt.Sprint(i))
	}
	must(t, l.Flush())
	done, err := l.Compact(context.Background(), CompactOptions{Map: cleaner.NewMap(1<<20, 0.9), Now: time.Now()})
	must(t, err)
	if done.RecordsKept == done.RecordsRead {
		t.Fatalf("nothing was compacted: %+v", done)
	}
	want, end := committed(t, l), l.EndOffset()
	for boot, keep := range map[string]int{"boot-1": 100, "boot-2": 0} {
		again := mustManager(t, fs.CrashClone(keep), func(o *ManagerOptions) { o.BootID = boot })
		l, ok := again.Get(part(0))
		if !ok || l.o.RecoveryPoint != 0 {
			t.Fatalf("%s: no log, or a recovery point above 0", boot)
		}
		l.SetHighWatermark(l.EndOffset())
		if got := committed(t, l); !maps.Equal(got, want) || l.EndOffset() != end {
			t.Errorf("%s: ends at %d with %v, want %d with %v", boot, l.EndOffset(), got, end, want)
		}
		must(t, again.Close())
	}
	must(t, m.Close())
}

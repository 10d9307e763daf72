package log

import (
	"fmt"
	"testing"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log/batch"
)

var testTP = kafka.TopicPartition{Topic: "t", Partition: 0}

// testOptions are small, so that little data makes many segments.
func testOptions() Options {
	o := DefaultOptions()
	o.SegmentBytes, o.IndexIntervalBytes = 1000, 100
	return o
}

func openTest(t testing.TB, fs vfs.FS, o Options, change func(*OpenOptions)) *Log {
	t.Helper()
	l, err := tryOpen(fs, o, change)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func tryOpen(fs vfs.FS, o Options, change func(*OpenOptions)) (*Log, error) {
	oo := OpenOptions{FS: fs, Dir: "/d/t-0", TopicPartition: testTP, Options: o, StartOffset: -1, Clean: true}
	if change != nil {
		change(&oo)
	}
	return Open(oo)
}

// makeBatch is an uncompressed batch of n records whose values say what they are.
func makeBatch(t testing.TB, n int, value string, p *batch.Producer, txn bool) []byte {
	t.Helper()
	b := batch.NewBuilder(batch.BuilderOptions{Producer: p, Transactional: txn})
	for i := range n {
		b.Append(1_700_000_000_000+int64(i), []byte("k"), fmt.Appendf(nil, "%s%d", value, i))
	}
	out, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func appendTest(t testing.TB, l *Log, n int, value string) AppendInfo {
	t.Helper()
	info, err := l.AppendAsLeader(makeBatch(t, n, value, nil, false), 1, Client)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// TestAppendAllocates nothing: the budget of the hot path.
func TestAppendAllocatesNothing(t *testing.T) {
	o := DefaultOptions()
	l := openTest(t, vfs.OS, o, func(oo *OpenOptions) { oo.Dir = t.TempDir() + "/t-0" })
	defer l.Close()
	b := makeBatch(t, 10, "v", nil, false)
	p := makeBatch(t, 1, "v", &batch.Producer{ID: 7}, false)
	run := func() {
		batch.SetOffset(b, 0)
		if _, err := l.AppendAsLeader(b, 1, Client); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if n := testing.AllocsPerRun(200, run); n > 0 {
		t.Errorf("append allocates %v times", n)
	}
	if _, err := l.AppendAsLeader(p, 1, Client); err != nil {
		t.Fatal(err)
	}
	dup := func() {
		batch.SetOffset(p, 0)
		if info, err := l.AppendAsLeader(p, 1, Client); err != nil || !info.Duplicate {
			t.Fatal(info, err)
		}
	}
	if n := testing.AllocsPerRun(50, dup); n > 0 {
		t.Errorf("a duplicate allocates %v times", n)
	}
	read := func() {
		r, err := l.Read(l.EndOffset()-1, 1<<20, l.EndOffset(), true)
		if err != nil || r.Range.Length == 0 {
			t.Fatal(r, err)
		}
		r.Range.Release()
	}
	if n := testing.AllocsPerRun(200, read); n > 0 {
		t.Errorf("a read near the end allocates %v times", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{200, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			l := openTest(b, vfs.OS, DefaultOptions(), func(oo *OpenOptions) { oo.Dir = b.TempDir() + "/t-0" })
			builder := batch.NewBuilder(batch.BuilderOptions{})
			for builder.Size() < size {
				builder.Append(1, nil, make([]byte, min(124, size-batch.HeaderSize)))
			}
			recs, err := builder.Bytes()
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(recs)))
			b.ReportAllocs()
			for b.Loop() {
				batch.SetOffset(recs, 0)
				if _, err := l.AppendAsLeader(recs, 1, Client); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func BenchmarkReadTail(b *testing.B) {
	l := openTest(b, vfs.OS, DefaultOptions(), func(oo *OpenOptions) { oo.Dir = b.TempDir() + "/t-0" })
	defer l.Close()
	for range 1000 {
		appendTest(b, l, 1, "v")
	}
	b.ReportAllocs()
	for b.Loop() {
		r, err := l.Read(990, 1<<20, 1000, true)
		if err != nil {
			b.Fatal(err)
		}
		r.Range.Release()
	}
}

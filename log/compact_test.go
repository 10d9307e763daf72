package log

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"barnabas/internal/vfs"
	"barnabas/log/batch"
	"barnabas/log/cleaner"
)

// compactModel is what a compacted log must still say of each key, and what it
// may say: every record that was ever the latest.
type compactModel struct {
	t      *testing.T
	rnd    *rand.Rand
	mem    *vfs.Mem
	l      *Log
	o      Options
	codecs *batch.Codecs
	now    time.Time
	// latest is the value of each key, by readers of what is committed; "" is a
	// tombstone.
	latest map[string]string
	// open are the values that the open transaction of producer 9 has put.
	open map[string]string
	seq  map[int64]int32
	n    int
	// holes is what was saved of that the log was compacted.
	holes bool
}

func newCompactModel(t *testing.T, seed uint64) *compactModel {
	m := &compactModel{
		t: t, rnd: rand.New(rand.NewPCG(seed, 7)), mem: newDisk(t), o: testOptions(), codecs: batch.NewCodecs(batch.Limits{}),
		now: time.UnixMilli(1_700_000_000_000), latest: map[string]string{}, open: map[string]string{}, seq: map[int64]int32{},
	}
	m.o.SegmentBytes, m.o.Compact, m.o.Delete = 2000, true, false
	m.o.DeleteRetention = time.Hour
	m.reopen(m.mem, true)
	return m
}

// reopen opens the log as a broker does: before it knows what the topic wants.
func (m *compactModel) reopen(fs vfs.FS, clean bool) {
	o := m.o
	o.Compact, o.Delete = false, true
	var err error
	m.l, err = tryOpen(fs, o, func(o *OpenOptions) {
		o.Clean, o.RecoveryPoint, o.ProducerIDExpiration = clean, 0, 1<<62
		o.Holes = m.holes
		o.SaveCompacted = func(*Log) error {
			m.holes = true
			return nil
		}
	})
	must(m.t, err)
	m.l.compacted.Store(m.holes)
	m.l.SetOptions(m.o)
	m.l.SetHighWatermark(m.l.EndOffset())
}

// append writes a batch of a few records with random keys: plain, of an
// idempotent producer, or within a transaction.
func (m *compactModel) append() {
	id := []int64{0, 5, 6, 9}[m.rnd.IntN(4)]
	o := batch.BuilderOptions{Codec: batch.Codec(m.rnd.IntN(5)), Codecs: m.codecs}
	n := 1 + m.rnd.IntN(4)
	into := m.latest
	if id > 0 {
		o.Producer = &batch.Producer{ID: id, Sequence: m.seq[id]}
		m.seq[id] += int32(n)
	}
	if id == 9 {
		o.Transactional, into = true, m.open
	}
	b := batch.NewBuilder(o)
	for range n {
		m.n++
		key := fmt.Sprintf("k%d", m.rnd.IntN(12))
		if m.open[key] != "" && id != 9 || id == 9 && m.rnd.IntN(4) > 0 {
			key = fmt.Sprintf("txn%d", m.rnd.IntN(3)) // nobody writes what a transaction is writing
			if id != 9 {
				key = "other"
			}
		}
		value := fmt.Sprintf("v%d", m.n)
		var v []byte
		if m.rnd.IntN(5) > 0 {
			v = []byte(value + strings.Repeat("x", m.rnd.IntN(60)))
		}
		into[key] = string(v)
		if id == 9 && v == nil {
			into[key] = "\x00" // a tombstone within a transaction
		}
		b.Append(m.now.UnixMilli(), []byte(key), v)
	}
	recs, err := b.Bytes()
	must(m.t, err)
	_, err = m.l.AppendAsLeader(recs, 1, Client)
	must(m.t, err)
	m.l.SetHighWatermark(m.l.EndOffset())
}

// end ends the transaction.
func (m *compactModel) end() {
	commit := m.rnd.IntN(2) == 0
	recs := batch.EndTxnMarker(batch.Marker{ProducerID: 9, Commit: commit, Timestamp: m.now.UnixMilli()})
	_, err := m.l.AppendAsLeader(recs, 1, Coordinator)
	must(m.t, err)
	m.l.SetHighWatermark(m.l.EndOffset())
	for k, v := range m.open {
		if commit {
			m.latest[k] = strings.TrimPrefix(v, "\x00")
		}
	}
	clear(m.open)
}

func (m *compactModel) compact(mapBytes int64) (Compaction, error) {
	return m.l.Compact(context.Background(), CompactOptions{Map: cleaner.NewMap(mapBytes, 0.9), Now: m.now})
}

func (m *compactModel) step() {
	switch n := m.rnd.IntN(20); {
	case n < 13:
		m.append()
	case n < 16:
		m.end()
	case n < 17:
		m.now = m.now.Add(40 * time.Minute)
	case n < 19:
		if _, err := m.compact(1 << 20); err != nil {
			m.t.Fatal(err)
		}
		m.check("after a compaction")
	default:
		if m.rnd.IntN(2) == 0 {
			must(m.t, m.l.Close())
			m.reopen(m.mem, true)
		} else {
			m.reopen(m.mem.CrashClone(100), false)
			m.mem = m.l.o.FS.(*vfs.Mem)
		}
		m.check("after a restart")
	}
}

// check reads all that is committed and compares the last value of each key.
func (m *compactModel) check(when string) {
	m.t.Helper()
	got := committed(m.t, m.l)
	for k, want := range m.latest {
		if v := got[k]; v != want {
			m.t.Fatalf("%s: key %s is %.20q, want %.20q", when, k, v, want)
		}
	}
	for k, v := range got {
		if _, ok := m.latest[k]; !ok && v != "" {
			m.t.Fatalf("%s: key %s is %.20q, which was never committed", when, k, v)
		}
	}
	// Producers go on where they are: a repetition is known, a gap is refused.
	for id, seq := range m.seq {
		o := batch.BuilderOptions{Producer: &batch.Producer{ID: id, Sequence: seq + 7}, Transactional: id == 9}
		b := batch.NewBuilder(o)
		b.Append(0, []byte("k"), nil)
		recs, _ := b.Bytes()
		if _, err := m.l.AppendAsLeader(recs, 1, Client); !errors.Is(err, ErrOutOfOrderSequence) {
			m.t.Fatalf("%s: producer %d, a gap after sequence %d: %v", when, id, seq, err)
		}
	}
}

// committed is what a read_committed consumer builds from the whole log, if it
// waits for no open transaction of others.
func committed(t *testing.T, l *Log) map[string]string {
	t.Helper()
	aborted, err := l.AbortedTxns(0, l.EndOffset())
	must(t, err)
	stable := l.LastStableOffset()
	headers, records := readAll(t, l, 900)
	of := map[int64]batch.Header{}
	for _, h := range headers {
		for o := h.BaseOffset; o <= h.LastOffset(); o++ {
			of[o] = h
		}
	}
	out := map[string]string{}
	last := int64(-1)
	for _, r := range records {
		if r.Offset <= last {
			t.Fatalf("offset %d after %d", r.Offset, last)
		}
		last = r.Offset
		h := of[r.Offset]
		if h.Control() || h.Transactional() && r.Offset >= stable {
			continue
		}
		dead := false
		for _, a := range aborted {
			dead = dead || h.Transactional() && a.ProducerID == h.ProducerID && r.Offset >= a.FirstOffset && r.Offset < a.LastOffset
		}
		if !dead {
			out[string(r.Key)] = string(r.Value)
		}
	}
	return out
}

func TestCompactModel(t *testing.T) {
	var total Compaction
	for seed := range uint64(15) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			m := newCompactModel(t, seed)
			for range 250 {
				m.step()
			}
			m.end()
			done, err := m.compact(1 << 20)
			must(t, err)
			m.check("at the end")
			total.RecordsRead += done.RecordsRead
			total.RecordsKept += done.RecordsKept
			must(t, m.l.Close())
		})
	}
	if total.RecordsKept == 0 || total.RecordsKept >= total.RecordsRead {
		t.Errorf("of %d records %d were kept: nothing was compacted", total.RecordsRead, total.RecordsKept)
	}
}

// TestCompactCrash stops the machine before each file operation of a compaction.
func TestCompactCrash(t *testing.T) {
	crashes := 0
	for seed := range uint64(2) {
		m := newCompactModel(t, seed)
		for range 120 {
			m.append()
		}
		m.end()
		if seed > 0 { // or the one that is watched is the first
			_, err := m.compact(1 << 20)
			must(t, err)
			for range 60 {
				m.append()
			}
			m.end()
		}
		must(t, m.l.Close())
		var clones []*vfs.Mem
		var holes []bool // what was saved by then
		watching := false
		mem := m.mem
		m.reopen(vfs.NewFailing(mem, func(op vfs.Op) error {
			switch op.Kind {
			case vfs.OpRead, vfs.OpStat, vfs.OpList, vfs.OpOpen, vfs.OpClose, vfs.OpPreallocate:
				return nil
			}
			if watching {
				clones = append(clones, mem.CrashClone(0), mem.CrashClone(50), mem.CrashClone(100))
				holes = append(holes, m.holes, m.holes, m.holes)
			}
			return nil
		}), true)
		must(t, m.l.Flush())
		watching = true
		done, err := m.compact(1 << 20)
		must(t, err)
		watching = false
		if seed > 0 && done.SegmentsOut == done.SegmentsIn || done.BytesKept == done.BytesRead || len(clones) < 30 {
			t.Fatalf("seed %d: %+v with %d operations: no test", seed, done, len(clones))
		}
		end := m.l.EndOffset()
		for i, fs := range clones {
			m.holes = holes[i]
			m.reopen(fs, false)
			if m.l.EndOffset() != end {
				t.Fatalf("crash %d: ends at %d, want %d", i, m.l.EndOffset(), end)
			}
			m.check(fmt.Sprintf("seed %d, crash %d of %d", seed, i, len(clones)))
			if i%7 == 0 { // what was left half done does not disturb the next run
				_, err := m.compact(1 << 20)
				must(t, err)
				m.check("compacted after the crash")
			}
			crashes++
		}
	}
	t.Logf("%d crashes", crashes)
}

// TestCompactFailures fails each file operation of a compaction: what is read
// afterwards, by a new process, is right.
func TestCompactFailures(t *testing.T) {
	broken := errors.New("input/output error")
	for at := 1; ; at++ {
		m := newCompactModel(t, 3)
		for range 60 {
			m.append()
		}
		m.end()
		must(t, m.l.Close())
		n, failing := 0, false
		m.reopen(vfs.NewFailing(m.mem, func(op vfs.Op) error {
			if op.Kind == vfs.OpClose || op.Kind == vfs.OpPreallocate || !failing {
				return nil
			}
			if n++; n == at {
				return broken
			}
			return nil
		}), true)
		failing = true
		_, err := m.compact(1 << 20)
		if err == nil && n < at {
			if at < 20 {
				t.Fatalf("only %d operations", at)
			}
			return
		}
		if err != nil && !errors.Is(err, ErrOffline) {
			t.Fatalf("failure %d: %v", at, err)
		}
		m.l.Close()
		m.reopen(m.mem.CrashClone(50), false)
		m.check(fmt.Sprint("failure ", at))
	}
}

// TestCompactSmallMap cleans in several runs where the keys do not fit.
func TestCompactSmallMap(t *testing.T) {
	l := openTest(t, newDisk(t), compacting(), nil)
	const keys = 3000
	for i := range 2 * keys {
		appendKeyed(t, l, fmt.Sprintf("key-%d", i%keys), fmt.Sprint(i))
	}
	for range 20 {
		// The smallest map has 1,024 slots.
		_, err := l.Compact(context.Background(), CompactOptions{Map: cleaner.NewMap(1, 0.9), Now: time.Now()})
		must(t, err)
	}
	c, err := l.Cleanable(time.Now())
	must(t, err)
	if c.DirtyBytes != 0 {
		t.Errorf("still dirty: %+v", c)
	}
	got := committed(t, l)
	for i := keys; i < 2*keys; i++ {
		if v := got[fmt.Sprintf("key-%d", i%keys)]; v != fmt.Sprint(i) {
			t.Fatalf("key-%d is %q, want %d", i%keys, v, i)
		}
	}
}

// TestCompactDamage: a wrong checksum ends the run, names the place, and leaves
// the log as it is.
func TestCompactDamage(t *testing.T) {
	mem := newDisk(t)
	l := openTest(t, mem, compacting(), nil)
	for i := range 200 {
		appendKeyed(t, l, fmt.Sprint("k", i%3), fmt.Sprint(i))
	}
	f, err := mem.OpenReadWrite(l.segments[1].path)
	must(t, err)
	if _, err := f.WriteAt([]byte{0xff}, 70); err != nil {
		t.Fatal(err)
	}
	_, err = l.Compact(context.Background(), CompactOptions{Map: cleaner.NewMap(1<<20, 0.9), Now: time.Now()})
	if !isCorrupt(err) {
		t.Fatalf("got %v, want a *CorruptionError", err)
	}
	if _, err := l.AppendAsLeader(makeBatch(t, 1, "v", nil, false), 1, Coordinator); err != nil {
		t.Errorf("the log does not go on: %v", err)
	}
	names, _ := mem.List("/d/t-0")
	for _, name := range names {
		if strings.Contains(name, cleanedSuffix) || strings.Contains(name, swapSuffix) {
			t.Errorf("left behind: %s", name)
		}
	}
}

// TestCompactWhileTruncated: a swap does not undo a truncation that came between.
func TestCompactWhileTruncated(t *testing.T) {
	l := openTest(t, newDisk(t), compacting(), nil)
	for i := range 200 {
		appendKeyed(t, l, fmt.Sprint("k", i%3), fmt.Sprint(i))
	}
	cut := false
	_, err := l.Compact(context.Background(), CompactOptions{Map: cleaner.NewMap(1<<20, 0.9), Now: time.Now(),
		Spend: func(context.Context, int) error {
			if !cut {
				cut = true
				return l.TruncateTo(30)
			}
			return nil
		}})
	if err != nil && !errors.Is(err, errRetired) && !isCorrupt(err) {
		t.Fatal(err)
	}
	if l.EndOffset() != 30 || l.firstDirty.Load() > 30 {
		t.Errorf("ends at %d, dirty from %d", l.EndOffset(), l.firstDirty.Load())
	}
	if got := committed(t, l); got["k2"] != "29" || got["k1"] != "28" || got["k0"] != "27" {
		t.Errorf("read %v", got)
	}
}

// TestCompactLag: the topic's least lag and largest lag.
func TestCompactLag(t *testing.T) {
	o := compacting()
	o.MinCompactionLag = time.Hour
	l := openTest(t, newDisk(t), o, nil)
	for i := range 200 {
		appendKeyed(t, l, fmt.Sprint("k", i%3), fmt.Sprint(i))
	}
	c, err := l.Cleanable(time.Now())
	must(t, err)
	if c.DirtyBytes != 0 {
		t.Errorf("young records are cleanable: %+v", c)
	}
	if c, err = l.Cleanable(time.Now().Add(2 * time.Hour)); err != nil || c.DirtyBytes == 0 {
		t.Errorf("old records are not cleanable: %+v, %v", c, err)
	}
	o.MinCompactionLag, o.MaxCompactionLag = 0, time.Hour
	l.SetOptions(o)
	if c, err = l.Cleanable(time.Now().Add(90 * time.Minute)); err != nil || c.Delay < 29*time.Minute || c.Delay > 31*time.Minute {
		t.Errorf("largest lag: %+v, %v", c, err)
	}
}

// TestTombstones: they stay for the topic's time after the first compaction that
// meets them, then go.
func TestTombstones(t *testing.T) {
	o := compacting()
	l := openTest(t, newDisk(t), o, nil)
	for i := range 100 {
		appendKeyed(t, l, "gone", fmt.Sprint(i))
	}
	appendKeyed(t, l, "gone", "")
	for i := range 100 {
		appendKeyed(t, l, "kept", fmt.Sprint(i))
	}
	count := func() (n int) {
		_, records := readAll(t, l, 1000)
		for _, r := range records {
			if string(r.Key) == "gone" {
				n++
			}
		}
		return n
	}
	now := time.Now()
	run := func(at time.Time) {
		t.Helper()
		appendKeyed(t, l, "kept", strings.Repeat("x", 1500)) // something dirty
		appendKeyed(t, l, "kept", strings.Repeat("x", 1500))
		_, err := l.Compact(context.Background(), CompactOptions{Map: cleaner.NewMap(1<<20, 0.9), Now: at})
		must(t, err)
	}
	run(now)
	if n := count(); n != 1 {
		t.Errorf("%d records of the deleted key after the first run, want the tombstone", n)
	}
	run(now.Add(o.DeleteRetention - time.Minute))
	if n := count(); n != 1 {
		t.Errorf("%d records before the horizon, want the tombstone", n)
	}
	run(now.Add(o.DeleteRetention + time.Minute))
	if n := count(); n != 0 {
		t.Errorf("%d records after the horizon, want none", n)
	}
}

func compacting() Options {
	o := testOptions()
	o.SegmentBytes, o.Compact, o.Delete = 2000, true, false
	return o
}

// appendKeyed appends one record, a tombstone if value is "".
func appendKeyed(t testing.TB, l *Log, key, value string) {
	t.Helper()
	b := batch.NewBuilder(batch.BuilderOptions{})
	var v []byte
	if value != "" {
		v = []byte(value)
	}
	b.Append(time.Now().UnixMilli(), []byte(key), v)
	recs, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.AppendAsLeader(recs, 1, Client); err != nil {
		t.Fatal(err)
	}
	l.SetHighWatermark(l.EndOffset())
}

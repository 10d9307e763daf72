package log

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"barnabas/internal/vfs"
	"barnabas/log/batch"
)

// model is what a log should hold: records by offset, and nothing else.
type model struct {
	start, end int64
	values     map[int64]string
	// bounds are the offsets at which batches end, so that a truncation into a
	// batch takes all of it.
	batches [][2]int64
	seq     map[int64]int32
}

// TestModel runs random operations on a log and on a slice of records, under
// several segment sizes and with restarts, and compares what can be read.
func TestModel(t *testing.T) {
	for _, segment := range []int64{300, 1000, 5000, 1 << 20} {
		for seed := range uint64(12) {
			t.Run(fmt.Sprintf("segment=%d/seed=%d", segment, seed), func(t *testing.T) {
				r := &modelRun{t: t, rnd: rand.New(rand.NewPCG(seed, uint64(segment))), fs: vfs.NewMem()}
				r.o = testOptions()
				r.o.SegmentBytes = segment
				r.m = model{values: map[int64]string{}, seq: map[int64]int32{}}
				r.l = openTest(t, r.fs, r.o, func(o *OpenOptions) { o.ProducerIDExpiration, o.files = 1<<62, &fileCache{limit: 1} })
				for i := range 250 {
					r.step(i)
				}
				r.check()
			})
		}
	}
}

type modelRun struct {
	t   *testing.T
	rnd *rand.Rand
	fs  *vfs.Mem
	o   Options
	l   *Log
	m   model
}

func (r *modelRun) step(i int) {
	switch n := r.rnd.IntN(100); {
	case n < 60:
		r.append(i)
	case n < 64:
		r.duplicate()
	case n < 74:
		r.read()
	case n < 80:
		r.truncate()
	case n < 84:
		r.raiseStart()
	case n < 87:
		if err := r.l.Flush(); err != nil {
			r.t.Fatal(err)
		}
	case n < 90:
		r.retain()
	case n < 95:
		r.restart(true)
	case n < 98:
		r.restart(false)
	default:
		r.check()
	}
	if r.l.EndOffset() != r.m.end || r.l.StartOffset() != r.m.start {
		r.t.Fatalf("step %d: offsets %d to %d, want %d to %d", i, r.l.StartOffset(), r.l.EndOffset(), r.m.start, r.m.end)
	}
}

func (r *modelRun) append(i int) {
	n := 1 + r.rnd.IntN(3)
	value := fmt.Sprintf("s%d-", i)
	var p *batch.Producer
	if id := int64(r.rnd.IntN(4)); id > 0 {
		p = &batch.Producer{ID: id, Sequence: r.m.seq[id]}
		r.m.seq[id] += int32(n)
	}
	info, err := r.l.AppendAsLeader(makeBatch(r.t, n, value, p, false), 1, Client)
	if err != nil {
		r.t.Fatal(err)
	}
	if info.FirstOffset != r.m.end || info.Records != n {
		r.t.Fatalf("appended %+v, want offset %d, %d records", info, r.m.end, n)
	}
	for i := range n {
		r.m.values[r.m.end+int64(i)] = fmt.Sprintf("%s%d", value, i)
	}
	r.m.batches = append(r.m.batches, [2]int64{r.m.end, r.m.end + int64(n) - 1})
	r.m.end += int64(n)
}

// duplicate sends a batch with a sequence that leaves a gap: it must be refused,
// whatever restarts came between.
func (r *modelRun) duplicate() {
	for id, seq := range r.m.seq {
		if seq < 0 {
			continue
		}
		_, err := r.l.AppendAsLeader(makeBatch(r.t, 1, "no", &batch.Producer{ID: id, Sequence: seq + 5}, false), 1, Client)
		if !errors.Is(err, ErrOutOfOrderSequence) {
			r.t.Fatalf("producer %d at sequence %d: a gap got %v", id, seq, err)
		}
		return
	}
}

func (r *modelRun) read() {
	if r.m.end == r.m.start {
		return
	}
	at := r.m.start + r.rnd.Int64N(r.m.end-r.m.start)
	upTo := at + r.rnd.Int64N(r.m.end-at+1)
	res, err := r.l.Read(at, r.rnd.IntN(500), upTo, r.rnd.IntN(2) == 0)
	if err != nil {
		r.t.Fatal(err)
	}
	if res.Range.Length == 0 {
		return
	}
	b := make([]byte, res.Range.Length)
	if _, err := res.Range.File.ReadAt(b, res.Range.Offset); err != nil {
		r.t.Fatal(err)
	}
	res.Range.Release()
	for first := true; ; first = false {
		h, whole, rest, err := batch.Next(b)
		if err != nil {
			return
		}
		if first && (h.BaseOffset > at || h.LastOffset() < at) || h.LastOffset() >= upTo {
			r.t.Fatalf("read [%d, %d): batch %d to %d", at, upTo, h.BaseOffset, h.LastOffset())
		}
		r.compare(whole)
		b = rest
	}
}

func (r *modelRun) compare(whole []byte) {
	for rec, err := range batch.Records(whole, nil) {
		if err != nil {
			r.t.Fatal(err)
		}
		if want := r.m.values[rec.Offset]; want != string(rec.Value) {
			r.t.Fatalf("offset %d: got %q, want %q", rec.Offset, rec.Value, want)
		}
	}
}

func (r *modelRun) truncate() {
	if r.m.end == r.m.start {
		return
	}
	to := r.m.end - r.rnd.Int64N(min(r.m.end-r.m.start, 12)+1)
	// Only at the bounds of batches: a leader's end offset is one.
	for _, b := range r.m.batches {
		if b[0] < to && to <= b[1] {
			to = b[0]
		}
	}
	to = max(to, r.m.start)
	if slices.ContainsFunc(r.m.batches, func(b [2]int64) bool { return b[0] < to && to <= b[1] }) {
		return // the start offset lies inside a batch
	}
	if err := r.l.TruncateTo(to); err != nil {
		r.t.Fatal(err)
	}
	for o := to; o < r.m.end; o++ {
		delete(r.m.values, o)
	}
	r.m.batches = slices.DeleteFunc(r.m.batches, func(b [2]int64) bool { return b[0] >= to })
	r.m.end = to
	r.resetProducers()
}

// resetProducers asks the log where producers are: a truncation takes batches
// away that the model does not list by producer.
func (r *modelRun) resetProducers() {
	clear(r.m.seq)
	for _, p := range r.l.ActiveProducers() {
		r.m.seq[int64(p.ID)] = p.LastSequence + 1
	}
	for id := int64(1); id < 4; id++ {
		if _, ok := r.m.seq[id]; !ok {
			r.m.seq[id] = 0
			delete(r.m.seq, id)
		}
	}
}

func (r *modelRun) raiseStart() {
	r.l.SetHighWatermark(r.m.end)
	if r.m.end == r.m.start {
		return
	}
	to := r.m.start + r.rnd.Int64N(r.m.end-r.m.start)/2
	if err := r.l.IncrementStartOffset(to); err != nil {
		r.t.Fatal(err)
	}
	r.m.start = max(r.m.start, to)
}

func (r *modelRun) retain() {
	r.l.SetHighWatermark(r.m.end)
	o := r.o
	o.RetentionAge = -1
	if r.rnd.IntN(3) == 0 {
		o.RetentionBytes = 4 * o.SegmentBytes
	}
	r.l.SetOptions(o)
	if _, err := r.l.Retain(r.l.flushed); err != nil {
		r.t.Fatal(err)
	}
	r.l.SetOptions(r.o)
	r.m.start = max(r.m.start, r.l.StartOffset())
	r.m.batches = slices.DeleteFunc(r.m.batches, func(b [2]int64) bool { return b[1] < r.m.start })
}

// restart closes and opens the log, or opens a copy as after kill -9.
func (r *modelRun) restart(clean bool) {
	before := r.l.ActiveProducers()
	point := r.l.RecoveryPoint()
	if clean {
		if err := r.l.Close(); err != nil {
			r.t.Fatal(err)
		}
		point = r.l.RecoveryPoint()
	} else {
		r.fs = r.fs.CrashClone(100)
	}
	r.l = openTest(r.t, r.fs, r.o, func(o *OpenOptions) {
		o.Clean, o.RecoveryPoint, o.StartOffset, o.ProducerIDExpiration = clean, point, r.m.start, 1<<62
		o.files = &fileCache{limit: 1}
	})
	r.l.SetHighWatermark(r.m.end)
	if after := r.l.ActiveProducers(); r.m.end > r.m.start && !slices.Equal(before, after) {
		r.t.Logf("producers before %v, after %v", before, after)
	}
	r.resetProducers()
}

func (r *modelRun) check() {
	_, records := readAll(r.t, r.l, 1000)
	next := r.m.start
	for _, rec := range records {
		if rec.Offset < r.m.start {
			continue
		}
		if rec.Offset != next || string(rec.Value) != r.m.values[next] {
			r.t.Fatalf("offset %d: got %d %q, want %q", next, rec.Offset, rec.Value, r.m.values[next])
		}
		next++
	}
	if next != r.m.end {
		r.t.Fatalf("records end at %d, want %d", next, r.m.end)
	}
}

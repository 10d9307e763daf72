package log

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"barnabas/internal/vfs"
	"barnabas/log/batch"
)

// crashPoint is the world before one file operation.
type crashPoint struct {
	op     vfs.Op
	clones [3]*vfs.Mem // with 0, 50 and 100 percent of what was not synced
	// saved is the recovery point on disk, synced the one in force.
	saved, synced int64
	values        map[int64]string
}

var keeps = [3]int{0, 50, 100}

// crashRun is a workload during which the machine may stop at any operation.
type crashRun struct {
	t      *testing.T
	rnd    *rand.Rand
	mem    *vfs.Mem
	l      *Log
	values map[int64]string
	seq    map[int64]int32
	saved  int64
	points []crashPoint
	off    bool
}

// watch notes the world before each operation that changes it.
func (r *crashRun) watch(op vfs.Op) error {
	switch op.Kind {
	case vfs.OpRead, vfs.OpStat, vfs.OpList, vfs.OpOpen, vfs.OpClose, vfs.OpPreallocate:
		return nil
	}
	if r.off || r.l == nil {
		return nil
	}
	p := crashPoint{op: op, saved: r.saved, synced: r.l.RecoveryPoint(), values: maps.Clone(r.values)}
	for i, keep := range keeps {
		p.clones[i] = r.mem.CrashClone(keep)
	}
	r.points = append(r.points, p)
	return nil
}

func (r *crashRun) open(fs vfs.FS, saved int64) (*Log, error) {
	return tryOpen(fs, testOptions(), func(o *OpenOptions) {
		o.Clean, o.RecoveryPoint, o.ProducerIDExpiration = false, saved, 1<<62
		o.SaveRecoveryPoint = func(l *Log) error {
			r.saved = l.RecoveryPoint()
			return nil
		}
	})
}

func (r *crashRun) step(i int) {
	switch n := r.rnd.IntN(10); {
	case n < 7:
		r.append(i)
	case n < 9:
		if err := r.l.Flush(); err != nil {
			r.t.Fatal(err)
		}
		r.saved = r.l.RecoveryPoint()
	default:
		end := r.l.EndOffset()
		to := end - min(end, int64(r.rnd.IntN(8)))
		if err := r.l.TruncateTo(to); err != nil {
			r.t.Fatal(err)
		}
		for o := to; o < end; o++ {
			delete(r.values, o)
		}
		clear(r.seq)
		for _, p := range r.l.ActiveProducers() {
			r.seq[int64(p.ID)] = p.LastSequence + 1
		}
	}
}

// append writes a record, of a producer, of a transaction, or a marker.
func (r *crashRun) append(i int) {
	next := r.l.EndOffset()
	value := fmt.Sprintf("v%d-0", i)
	var recs []byte
	origin := Client
	id := int64(r.rnd.IntN(3))
	switch {
	case id == 0:
		recs = makeBatch(r.t, 1, strings.TrimSuffix(value, "0"), nil, false)
	case id == 2 && r.rnd.IntN(3) == 0:
		recs = batch.EndTxnMarker(batch.Marker{ProducerID: 2, Commit: r.rnd.IntN(2) == 0, Timestamp: 1_700_000_000_000})
		origin, value = Coordinator, "marker"
	default:
		recs = makeBatch(r.t, 1, strings.TrimSuffix(value, "0"), &batch.Producer{ID: id, Sequence: r.seq[id]}, id == 2)
		r.seq[id]++
	}
	// The record may survive from the moment it is written.
	r.values[next] = value
	if _, err := r.l.AppendAsLeader(recs, 1, origin); err != nil {
		r.t.Fatal(err)
	}
}

// newDisk is a file system with the directory of logs.
func newDisk(t *testing.T) *vfs.Mem {
	mem := vfs.NewMem()
	must(t, mem.MkdirAll("/d"))
	must(t, mem.SyncDir("/"))
	return mem
}

// TestCrash stops the machine before every operation of a workload and recovers:
// everything synced is there, nothing else than what was written is, producers
// are those of the records, and a second recovery changes nothing.
func TestCrash(t *testing.T) {
	checked := 0
	for seed := range uint64(6) {
		r := &crashRun{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), mem: newDisk(t), values: map[int64]string{}, seq: map[int64]int32{}}
		var err error
		if r.l, err = r.open(vfs.NewFailing(r.mem, r.watch), 0); err != nil {
			t.Fatal(err)
		}
		for i := range 60 {
			r.step(i)
		}
		if err := r.l.Close(); err != nil {
			t.Fatal(err)
		}
		r.off = true
		for i := range r.points {
			for k := range keeps {
				if !r.recover(&r.points[i], k) {
					t.Fatalf("seed %d, crash %d of %d, before %s %s, %d%% kept", seed, i, len(r.points), r.points[i].op.Kind, r.points[i].op.Name, keeps[k])
				}
				checked++
			}
		}
	}
	t.Logf("%d crashes", checked)
}

func (r *crashRun) recover(p *crashPoint, k int) (ok bool) {
	fs := p.clones[k]
	l, err := r.open(fs, p.saved)
	if err != nil {
		r.t.Error(err)
		return false
	}
	ok = r.judge(l, p)
	before := files(r.t, fs)
	states := l.ActiveProducers()
	again, err := r.open(fs.CrashClone(100), min(p.saved, l.EndOffset()))
	if err != nil {
		r.t.Error(err)
		return false
	}
	if again.EndOffset() != l.EndOffset() {
		r.t.Errorf("the second recovery ends at %d, the first at %d", again.EndOffset(), l.EndOffset())
		ok = false
	}
	if diff := cmp.Diff(states, again.ActiveProducers()); diff != "" {
		r.t.Errorf("producers of the second recovery (-first +second):\n%s", diff)
		ok = false
	}
	if diff := cmp.Diff(before, files(r.t, again.o.FS)); diff != "" {
		r.t.Errorf("the second recovery changed files (-first +second):\n%s", diff)
		ok = false
	}
	return ok
}

func (r *crashRun) judge(l *Log, p *crashPoint) (ok bool) {
	if l.EndOffset() < p.synced {
		r.t.Errorf("log ends at %d, synced to %d", l.EndOffset(), p.synced)
		return false
	}
	_, records := readAll(r.t, l, 700)
	next := int64(0)
	for _, rec := range records {
		got := string(rec.Value)
		if p.values[rec.Offset] == "marker" {
			got = "marker"
		}
		if rec.Offset != next || got != p.values[next] {
			r.t.Errorf("offset %d: got %d %q, want %q", next, rec.Offset, got, p.values[next])
			return false
		}
		next++
	}
	if next != l.EndOffset() {
		r.t.Errorf("records end at %d, the log at %d", next, l.EndOffset())
		return false
	}
	// What the producers are must follow from the records alone.
	fresh := newProducers(&OpenOptions{ProducerIDExpiration: 1 << 62}, 0)
	if err := l.replay(fresh, l.EndOffset()); err != nil {
		r.t.Error(err)
		return false
	}
	if diff := cmp.Diff(fresh.entries(), l.producers.entries()); diff != "" {
		r.t.Errorf("producers (-of the records +recovered):\n%s", diff)
		return false
	}
	return true
}

// files is the content of a log's directory, without what is only waiting for
// its deletion.
func files(t *testing.T, fs vfs.FS) map[string]string {
	t.Helper()
	out := map[string]string{}
	names, err := fs.List("/d/t-0")
	must(t, err)
	for _, name := range names {
		b, err := vfs.ReadFile(fs, path.Join("/d/t-0", name), 1<<20)
		must(t, err)
		out[name] = string(b)
	}
	return out
}

// TestFailures fails every operation of a workload in turn: the log is offline
// from then on, tells so once, and what was synced survives.
func TestFailures(t *testing.T) {
	broken := errors.New("input/output error")
	for at := range int64(200) {
		mem := newDisk(t)
		var n atomic.Int64
		var failed vfs.Op
		told := 0
		open := func(fs vfs.FS) (*Log, error) {
			return tryOpen(fs, testOptions(), func(o *OpenOptions) { o.Clean, o.OnFailure = false, func(error) { told++ } })
		}
		l, err := open(vfs.NewFailing(mem, func(op vfs.Op) error {
			switch op.Kind {
			case vfs.OpPreallocate, vfs.OpClose, vfs.OpStat:
				return nil
			}
			if n.Add(1) == at {
				failed = op
				if op.Kind == vfs.OpWrite {
					return &vfs.TornError{Written: int(op.Len / 2), Err: broken}
				}
				return broken
			}
			return nil
		}))
		if err != nil {
			if !errors.Is(err, broken) {
				t.Fatalf("failure %d of %v: open got %v", at, failed, err)
			}
			continue
		}
		synced := failingWork(t, l, broken)
		if failed.Kind != "" && (!errors.Is(l.offline.get(), broken) || told != 1) {
			t.Fatalf("failure %d, %s %s: offline %v, told %d times", at, failed.Kind, failed.Name, l.offline.get(), told)
		}
		if failed.Kind != "" {
			if _, err := l.AppendAsLeader(makeBatch(t, 1, "x", nil, false), 1, Client); !errors.Is(err, ErrOffline) {
				t.Fatalf("append after a failure: %v", err)
			}
			if _, err := l.Read(0, 100, 1, true); !errors.Is(err, ErrOffline) {
				t.Fatalf("read after a failure: %v", err)
			}
		}
		l.Close()
		again, err := open(mem.CrashClone(50))
		must(t, err)
		if again.EndOffset() < synced {
			t.Fatalf("failure %d, %s %s: ends at %d, synced to %d", at, failed.Kind, failed.Name, again.EndOffset(), synced)
		}
		readAll(t, again, 1000)
	}
}

// failingWork appends and flushes until something fails; it returns what a
// successful Flush covered.
func failingWork(t *testing.T, l *Log, broken error) (synced int64) {
	t.Helper()
	for i := range 30 {
		info, err := l.AppendAsLeader(makeBatch(t, 2, "v", nil, false), 1, Client)
		if err == nil && i%5 == 4 {
			if err = l.Flush(); err == nil {
				synced = info.EndOffset
			}
		}
		if err == nil && i%7 == 6 {
			_, err = l.Read(0, 500, l.EndOffset(), true)
		}
		if err != nil {
			if !errors.Is(err, ErrOffline) || !errors.Is(err, broken) {
				t.Fatalf("got %v, want the failure and ErrOffline", err)
			}
			return synced
		}
	}
	return synced
}

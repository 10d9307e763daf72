package log

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log/batch"
	"barnabas/log/cleaner"
)

// shortage is a disk that has no room for one operation, or for all from one on.
type shortage struct {
	mem *vfs.Mem

	mu     sync.Mutex // guards following
	at     int        // which operation that needs room finds none; 0: all find some
	lasts  bool       // and those after it, until relieve
	n      int
	full   bool
	failed []vfs.Op
	step   string     // what is being done
	seen   []sortOfOp // the operations that need room, from the first
}

// sortOfOp tells operations apart that may go wrong in different ways.
type sortOfOp struct {
	step, file string
	kind       vfs.OpKind
}

// relieve ends a shortage that lasts.
func (s *shortage) relieve() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = false
}

func (s *shortage) doing(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.step = what
}

// charge fails what a disk may have no room for. While one is full, a file that
// exists is renamed and cut all the same; that these fail alone is what other file
// systems do, at times (a directory needs a block more; copy on write).
func (s *shortage) charge(op vfs.Op) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	moves := op.Kind == vfs.OpRename || op.Kind == vfs.OpTruncate
	switch op.Kind {
	case vfs.OpCreate, vfs.OpMkdir:
		if _, err := s.mem.Stat(op.Name); err == nil {
			return nil
		}
	case vfs.OpWrite, vfs.OpPreallocate, vfs.OpRename, vfs.OpTruncate:
	default:
		return nil
	}
	s.n++
	s.seen = append(s.seen, sortOfOp{step: s.step, file: path.Ext(op.Name), kind: op.Kind})
	now := s.n == s.at
	if now && s.lasts {
		s.full = true
	}
	if !now && (!s.full || moves) {
		return nil
	}
	s.failed = append(s.failed, op)
	if op.Kind == vfs.OpWrite {
		return &vfs.TornError{Written: int(op.Len / 2), Err: syscall.ENOSPC}
	}
	return syscall.ENOSPC
}

// shortLife is the life of a broker's logs on a disk that is short of room once.
type shortLife struct {
	t    *testing.T
	disk *shortage
	fs   vfs.FS
	m    *Manager
	want map[kafka.TopicPartition][]string
	n    int // values written
	seq  int32
}

func compactedPart() kafka.TopicPartition { return kafka.TopicPartition{Topic: "c"} }

func (s *shortLife) open(fs vfs.FS, boot string) *Manager {
	s.t.Helper()
	return mustManager(s.t, fs, func(o *ManagerOptions) {
		o.BootID = boot
		o.TopicOptions = func(topic string) Options {
			o := testOptions()
			o.Compact, o.Delete = topic == "c", topic != "c"
			o.RetentionBytes = -1
			o.RetentionAge = -1
			return o
		}
	})
}

// step does something, and once more if there was no room for it: that must be all
// that happens.
func (s *shortLife) step(what string, do func() error) {
	s.t.Helper()
	s.disk.doing(what)
	err := do()
	for range 3 { // a lasting shortage is met again
		if !errors.Is(err, ErrNoRoom) || errors.Is(err, ErrOffline) {
			break
		}
		s.disk.relieve()
		s.upkeep()
		err = do()
	}
	if err != nil {
		s.t.Fatalf("%s, with no room for %v: %v", what, s.disk.failed, err)
	}
	s.online(what)
}

func (s *shortLife) online(what string) {
	s.t.Helper()
	for _, d := range s.m.dirs {
		if err := d.failure.get(); err != nil {
			s.t.Fatalf("%s, with no room for %v, took a directory offline: %v", what, s.disk.failed, err)
		}
	}
}

// upkeep is what happens in the background.
func (s *shortLife) upkeep() {
	s.disk.doing("upkeep")
	time.Sleep(time.Minute)
	for _, d := range s.m.dirs {
		d.checkRoom(s.m)
		d.tidy(s.t.Context(), s.m, time.Now())
		d.saveRecoveryPoints(s.m)
		d.saveStartOffsets(s.m)
		d.saveFirstDirty(s.m)
		d.saveHighWatermarks(s.m)
	}
	s.online("upkeep")
}

func (s *shortLife) create(tp kafka.TopicPartition) *Log {
	s.t.Helper()
	s.step("creation", func() error {
		_, err := s.m.GetOrCreate(tp, kafka.TopicID{tp.Topic[0]}, true)
		return err
	})
	return s.log(tp)
}

func (s *shortLife) log(tp kafka.TopicPartition) *Log {
	s.t.Helper()
	l, ok := s.m.Get(tp)
	if !ok {
		s.t.Fatalf("%s is gone, with no room for %v", tp, s.disk.failed)
	}
	return l
}

// append writes n records of one batch each, of which every third is of a producer.
func (s *shortLife) append(tp kafka.TopicPartition, n int) {
	s.t.Helper()
	l := s.log(tp)
	for range n {
		o := batch.BuilderOptions{}
		if s.n%3 == 0 {
			o.Producer = &batch.Producer{ID: 5, Sequence: s.seq}
			s.seq++
		}
		value := fmt.Sprintf("v%d", s.n)
		b := batch.NewBuilder(o)
		b.Append(1_700_000_000_000+int64(s.n), fmt.Appendf(nil, "k%d", s.n%7), []byte(value))
		s.n++
		s.step("append", func() error {
			recs, err := b.Bytes()
			must(s.t, err)
			_, err = l.AppendAsLeader(slices.Clone(recs), 1+kafka.LeaderEpoch(s.n/40), Coordinator)
			return err
		})
		s.want[tp] = append(s.want[tp], value)
	}
	l.SetHighWatermark(l.EndOffset())
}

// aborted writes a transaction and the marker that aborts it.
func (s *shortLife) aborted(tp kafka.TopicPartition) {
	s.t.Helper()
	l := s.log(tp)
	for _, recs := range [][]byte{
		makeBatch(s.t, 1, "txn", &batch.Producer{ID: 9, Sequence: -1}, true),
		batch.EndTxnMarker(batch.Marker{ProducerID: 9, Timestamp: 1_700_000_000_000}),
	} {
		s.step("transaction", func() error {
			_, err := l.AppendAsLeader(slices.Clone(recs), 1+kafka.LeaderEpoch(s.n/40), Coordinator)
			return err
		})
	}
	s.want[tp] = append(s.want[tp], "txn0", "")
	l.SetHighWatermark(l.EndOffset())
}

func (s *shortLife) flush() {
	s.t.Helper()
	for l := range s.m.All() {
		s.step("flush", l.Flush)
	}
	s.upkeep()
}

// truncate cuts a log to so many of its records.
func (s *shortLife) truncate(tp kafka.TopicPartition, to int64) {
	s.t.Helper()
	l := s.log(tp)
	s.step("truncation", func() error { return l.TruncateTo(to) })
	if l.EndOffset() != to {
		s.t.Fatalf("truncated to %d: the log ends at %d", to, l.EndOffset())
	}
	s.want[tp] = s.want[tp][:to]
}

func (s *shortLife) live() {
	t, m := s.t, s.m
	for n := range 3 {
		s.create(part(n))
		s.append(part(n), 10)
		s.aborted(part(n))
		s.append(part(n), 18)
	}
	s.aborted(part(0))
	s.append(part(0), 20)
	s.aborted(part(0))
	s.flush()
	s.append(part(0), 5)
	s.truncate(part(0), 52) // within the last segment, whose indexes are not written out
	s.aborted(part(0))
	s.append(part(0), 5)
	s.truncate(part(0), 21) // several segments
	s.append(part(0), 20)
	s.aborted(part(0))
	s.flush()

	held, err := s.log(part(0)).Read(36, 100, 100, true)
	must(t, err)
	s.append(part(0), 3)
	s.truncate(part(0), 40) // while somebody reads
	held.Range.Release()
	s.append(part(0), 10)
	s.aborted(part(0))

	s.step("records deleted", func() error { return s.log(part(1)).IncrementStartOffset(20) })
	s.step("retention", func() error { _, err := s.log(part(1)).Retain(time.Now()); return err })
	s.append(part(1), 3)
	s.step("a new beginning", func() error { return s.log(part(2)).TruncateFullyAndStartAt(0) })
	s.want[part(2)] = nil
	s.append(part(2), 12)

	s.create(compactedPart())
	for range 2 {
		s.append(compactedPart(), 40)
		s.flush()
		s.step("compaction", func() error {
			_, err := s.log(compactedPart()).Compact(t.Context(), CompactOptions{Map: cleaner.NewMap(1<<16, 0.9), Now: time.Now()})
			return err
		})
	}

	s.step("a move begins", func() error { _, err := m.BeginMove(part(1), s.other(part(1))); return err })
	s.step("a move", func() error {
		future, _ := m.Future(part(1))
		if start := s.log(part(1)).StartOffset(); future.EndOffset() < start {
			if err := future.TruncateFullyAndStartAt(start); err != nil {
				return err
			}
		}
		return copyAll(t, m, part(1))
	})
	s.step("a move ends", func() error { _, err := m.Swap(part(1)); return err })
	s.append(part(1), 3)

	for n, away := range []func(kafka.TopicPartition, string) error{m.Delete, m.SetAside} {
		s.create(part(3 + n))
		s.append(part(3+n), 9)
		s.step("deletion", func() error {
			err := away(part(3+n), "test")
			if errors.Is(err, ErrNotFound) { // the upkeep was quicker
				return nil
			}
			return err
		})
		if _, ok := m.Get(part(3 + n)); ok {
			t.Fatal("it is still there")
		}
		delete(s.want, part(3+n))
	}
	s.create(part(3))
	s.append(part(3), 30)
	o := *s.log(part(3)).Options()
	o.RetentionBytes = 0
	s.log(part(3)).SetOptions(o)
	s.step("retention of all", func() error {
		_, err := s.log(part(3)).Retain(time.Now())
		return err
	})
	s.upkeep()
}

func (s *shortLife) other(tp kafka.TopicPartition) string {
	for _, d := range s.m.Dirs() {
		if d.Path+"/"+tp.String() != s.log(tp).Dir() {
			return d.Path
		}
	}
	s.t.Fatal("no other directory")
	return ""
}

// judge compares the logs of a manager with what was written.
func (s *shortLife) judge(m *Manager, when string) {
	s.t.Helper()
	for tp, want := range s.want {
		l, ok := m.Get(tp)
		if !ok {
			s.t.Fatalf("%s, with no room for %v: %s is gone", when, s.disk.failed, tp)
		}
		got := map[int64]string{}
		_, records := readAll(s.t, l, 1000)
		for _, r := range records {
			got[r.Offset] = string(r.Value)
		}
		if l.EndOffset() != int64(len(want)) {
			s.t.Fatalf("%s, with no room for %v: %s ends at %d, want %d", when, s.disk.failed, tp, l.EndOffset(), len(want))
		}
		for o := l.StartOffset(); o < l.EndOffset(); o++ {
			if v, ok := got[o]; want[o] != "" && v != want[o] && (ok || tp.Topic != "c") {
				s.t.Fatalf("%s, with no room for %v: %s has %q at %d, want %q", when, s.disk.failed, tp, v, o, want[o])
			}
		}
		if tp == part(0) {
			aborted, err := l.AbortedTxns(0, l.EndOffset())
			must(s.t, err)
			if len(aborted) != 2 {
				s.t.Fatalf("%s, with no room for %v: %v were aborted", when, s.disk.failed, aborted)
			}
		}
	}
}

// TestNoSpace lets every operation that needs room find none, once, and every one
// from there on for a while: no directory goes offline, what was refused is done
// when it is tried again, and no start finds anything else than what there was. A
// start finds its disk full as well.
func TestNoSpace(t *testing.T) {
	var all []sortOfOp
	synctest.Test(t, func(t *testing.T) { all = testShortage(t, 0, false) })
	// Of each sort the first and the last: the others do not differ.
	times, last := map[sortOfOp]int{}, map[sortOfOp]int{}
	for i, op := range all {
		last[op] = i
	}
	tried := 0
	for i, op := range all {
		if times[op]++; times[op] > 1 && last[op] != i {
			continue
		}
		tried++
		for _, lasts := range []bool{false, true} {
			t.Run(fmt.Sprintf("lasts=%t/%d", lasts, i+1), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testShortage(t, i+1, lasts) })
			})
		}
	}
	if tried < 120 {
		t.Errorf("%d of %d operations were tried, which is too few to mean much", tried, len(all))
	}
	t.Logf("%d of %d operations", tried, len(all))
}

func testShortage(t *testing.T, at int, lasts bool) (ops []sortOfOp) {
	mem := vfs.NewMem()
	disk := &shortage{mem: mem, lasts: lasts}
	fs := vfs.NewFailing(mem, disk.charge)
	s := &shortLife{t: t, disk: disk, fs: fs, want: map[kafka.TopicPartition][]string{}}
	s.m = s.open(fs, "boot-1")
	must(t, s.m.WriteMeta(Meta{BrokerID: 1}))
	disk.n, disk.seen, disk.at = 0, nil, at
	s.live()
	s.judge(s.m, "in life")
	disk.relieve()

	for _, boot := range []string{"boot-1", "boot-2"} { // killed; the machine went down
		killed := mem.CrashClone(100)
		full := &shortage{mem: killed, full: true}
		again := s.open(vfs.NewFailing(killed, full.charge), boot)
		s.judge(again, "after a kill, on a full disk")
		full.relieve()
		must(t, again.Close())
	}

	disk.doing("stop")
	err := s.m.Close()
	if err != nil && !errors.Is(err, ErrNoRoom) {
		t.Fatalf("the stop, with no room for %v: %v", disk.failed, err)
	}
	disk.relieve()
	disk.doing("start")
	s.m = s.open(fs, "boot-2")
	s.online("the start")
	s.upkeep()
	disk.relieve()
	s.upkeep()
	s.judge(s.m, "after the start")
	s.append(part(0), 3)
	s.judge(s.m, "later")
	if err := s.m.Close(); err != nil && !errors.Is(err, ErrNoRoom) {
		t.Fatalf("the last stop, with no room for %v: %v", disk.failed, err)
	}
	return disk.seen
}

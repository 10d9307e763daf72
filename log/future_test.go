package log

import (
	"errors"
	"fmt"
	"path"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log/checkpoint"
)

// copyAll fills a partition's copy.
func copyAll(t *testing.T, m *Manager, tp kafka.TopicPartition) error {
	t.Helper()
	cur, _ := m.Get(tp)
	future, ok := m.Future(tp)
	if !ok {
		t.Fatal("no copy")
	}
	for future.EndOffset() < cur.EndOffset() {
		r, err := cur.Read(max(future.EndOffset(), cur.StartOffset()), 200, cur.EndOffset(), true)
		if err != nil {
			return err
		}
		b := make([]byte, r.Range.Length)
		_, err = r.Range.File.ReadAt(b, r.Range.Offset)
		r.Range.Release()
		if err != nil {
			return err
		}
		if _, err := future.AppendAsFollower(b); err != nil {
			return err
		}
	}
	future.SetHighWatermark(cur.HighWatermark())
	return nil
}

// valuesOf reads a log.
func valuesOf(t *testing.T, l *Log) []string {
	t.Helper()
	var out []string
	for at := l.StartOffset(); at < l.EndOffset(); {
		r, err := l.Read(at, 1, l.EndOffset(), true)
		must(t, err)
		b := make([]byte, r.Range.Length)
		_, err = r.Range.File.ReadAt(b, r.Range.Offset)
		must(t, err)
		r.Range.Release()
		for _, v := range strings.Fields(string(b)) {
			if i := strings.Index(v, "v:"); i >= 0 {
				out = append(out, strings.TrimRight(v[i:], "\x00"))
			}
		}
		at++
	}
	return out
}

func appendValue(t *testing.T, l *Log, n int) {
	t.Helper()
	_, err := l.AppendAsLeader(makeBatch(t, 1, fmt.Sprintf(" v:%04d ", n), nil, false), 3, Client)
	must(t, err)
	l.SetHighWatermark(l.EndOffset())
}

// TestMoveCrash moves a log to another directory, with records before and after,
// and stops the machine before every operation on the way, with all, half and none
// of what was not synced: the start finds one log, with all that it must have, and
// can move it to the end.
func TestMoveCrash(t *testing.T) {
	type point struct {
		op      vfs.Op
		mem     *vfs.Mem
		keep    int
		written int   // records appended
		synced  int64 // of them on disk for sure
		deleted int64 // log start offset, on disk
	}
	var points []point
	mem := vfs.NewMem()
	var m *Manager
	var mu sync.Mutex // guards points: a stop works on all directories at once
	written, deleted := 0, int64(0)
	fs := vfs.NewFailing(mem, func(op vfs.Op) error {
		switch op.Kind {
		case vfs.OpRead, vfs.OpStat, vfs.OpList, vfs.OpOpen, vfs.OpClose, vfs.OpPreallocate, vfs.OpUsage:
			return nil
		}
		if m == nil {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		p := point{op: op, written: written, deleted: deleted}
		if l := m.logs[part(0)].log; l != nil {
			p.synced = l.RecoveryPoint()
		}
		for _, keep := range keeps {
			p.mem, p.keep = mem.CrashClone(keep), keep
			points = append(points, p)
		}
		return nil
	})
	id := kafka.TopicID{7}
	made := mustManager(t, fs, nil)
	must(t, made.WriteMeta(Meta{BrokerID: 1}))
	l, err := made.GetOrCreate(part(0), id, true)
	must(t, err)
	for range 20 {
		appendValue(t, l, written)
		written++
	}
	must(t, l.IncrementStartOffset(5))
	deleted = 5
	must(t, made.CheckpointStartOffsets())
	must(t, l.Flush())
	must(t, made.eachDir((*logDir).saveRecoveryPoints))
	m = made
	begun, err := m.BeginMove(part(0), "/b")
	must(t, err)
	if again, err := m.BeginMove(part(0), "/b"); !begun || again || err != nil {
		t.Fatalf("begun %v, again %v, %v", begun, again, err)
	}
	future, _ := m.Future(part(0))
	must(t, future.TruncateFullyAndStartAt(l.StartOffset()))
	must(t, copyAll(t, m, part(0)))
	appendValue(t, l, written)
	written++
	must(t, copyAll(t, m, part(0)))
	l, err = m.Swap(part(0))
	must(t, err)
	if l.Dir() != "/b/"+part(0).String() || l.StartOffset() != 5 || l.HighWatermark() != 21 {
		t.Fatalf("swapped to %s, %d, %d", l.Dir(), l.StartOffset(), l.HighWatermark())
	}
	for range 3 {
		appendValue(t, l, written)
		written++
	}
	must(t, m.Close())
	if len(points) < 60 {
		t.Fatalf("only %d points", len(points))
	}
	for i, p := range points {
		name := fmt.Sprintf("point %d (%s %s, %d %%)", i, p.op.Kind, p.op.Name, p.keep)
		r, err := openManager(t, p.mem, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		l, ok := r.Get(part(0))
		if !ok {
			t.Fatalf("%s: no log", name)
		}
		if err := judgeMove(t, l, p.written, p.synced, p.deleted, p.keep); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, ok := r.Future(part(0)); ok { // begin again where it was left
			must(t, r.DropFuture(part(0), "test"))
		}
		if strings.HasPrefix(l.Dir(), "/a/") {
			end := l.EndOffset()
			_, err := r.BeginMove(part(0), "/b")
			must(t, err)
			f, _ := r.Future(part(0))
			must(t, f.TruncateFullyAndStartAt(l.StartOffset()))
			must(t, copyAll(t, r, part(0)))
			l, err = r.Swap(part(0))
			must(t, err)
			if l.EndOffset() != end {
				t.Fatalf("%s: the end moved from %d to %d", name, end, l.EndOffset())
			}
		}
		must(t, r.Close())
		for _, dir := range []string{"/a", "/b"} {
			if there, _ := exists(p.mem, path.Join(dir, part(0).String())); there != (dir == "/b") {
				t.Fatalf("%s: %s at the end: %v", name, dir, there)
			}
		}
	}
}

func judgeMove(t *testing.T, l *Log, written int, synced, deleted int64, keep int) error {
	t.Helper()
	got := valuesOf(t, l)
	least := int64(written)
	if keep < 100 {
		least = synced
	}
	if l.StartOffset() != deleted || l.EndOffset() < least || l.EndOffset() > int64(written)+1 {
		return fmt.Errorf("offsets %d to %d, want %d to at least %d of %d", l.StartOffset(), l.EndOffset(), deleted, least, written)
	}
	for i, v := range got {
		if want := fmt.Sprintf("v:%04d", int64(i)+deleted); v != want {
			return fmt.Errorf("record %d is %q, want %q", i, v, want)
		}
	}
	if int64(len(got)) != l.EndOffset()-deleted {
		return fmt.Errorf("%d records from %d to %d", len(got), deleted, l.EndOffset())
	}
	return nil
}

// TestMoveFailures lets each operation of a move fail: the log is where it was with
// all its records and takes more, or, where the new directory failed at the last
// moment, it is offline, and the next start has them all.
func TestMoveFailures(t *testing.T) {
	broken := errors.New("input/output error")
	for n := 0; ; n++ {
		mem := vfs.NewMem()
		var left atomic.Int64
		left.Store(1 << 40)
		var failed string
		fs := vfs.NewFailing(mem, func(op vfs.Op) error {
			if !strings.HasPrefix(op.Name, "/b") || op.Kind == vfs.OpRead || left.Add(-1) >= 0 {
				return nil
			}
			if failed == "" {
				failed = fmt.Sprint(op.Kind, " ", op.Name)
			}
			return broken
		})
		m := mustManager(t, fs, nil)
		must(t, m.WriteMeta(Meta{BrokerID: 1}))
		l, err := m.GetOrCreate(part(0), kafka.TopicID{7}, true)
		must(t, err)
		for i := range 10 {
			appendValue(t, l, i)
		}
		left.Store(int64(n))
		_, err = m.BeginMove(part(0), "/b")
		if err == nil {
			err = copyAll(t, m, part(0))
		}
		if err == nil {
			_, err = m.Swap(part(0))
		}
		if err == nil {
			if n < 10 {
				t.Fatalf("only %d operations", n)
			}
			return
		}
		if !errors.Is(err, ErrOffline) {
			t.Fatalf("%s: %v", failed, err)
		}
		l, ok := m.Get(part(0))
		if !ok {
			t.Fatalf("%s: no log", failed)
		}
		records := 10
		if l.Failure() == nil {
			appendValue(t, l, 10)
			records++
		} else if !strings.Contains(l.Dir(), "/b/") {
			t.Fatalf("%s: the log in %s is offline: %v", failed, l.Dir(), l.Failure())
		}
		must(t, m.Close())
		left.Store(1 << 40)
		again := mustManager(t, fs, nil)
		l, ok = again.Get(part(0))
		if !ok {
			t.Fatalf("%s: no log after a restart", failed)
		}
		if got := valuesOf(t, l); len(got) != records {
			t.Fatalf("%s: %d records after a restart, want %d: %v", failed, len(got), records, got)
		}
		must(t, again.Close())
	}
}

// TestBackground: logs are opened one by one while the manager is in use. What is
// not open yet can't be used, and can be deleted; a stop in the middle loses
// neither recovery points nor start offsets.
func TestBackground(t *testing.T) {
	mem := vfs.NewMem()
	m := mustManager(t, mem, nil)
	must(t, m.WriteMeta(Meta{BrokerID: 1}))
	for n := range 4 {
		l, err := m.GetOrCreate(part(n), kafka.TopicID{7}, true)
		must(t, err)
		for i := range 10 {
			appendValue(t, l, i)
		}
		must(t, l.IncrementStartOffset(3))
		must(t, l.Flush())
	}
	must(t, m.CheckpointStartOffsets())
	must(t, m.eachDir((*logDir).saveRecoveryPoints))
	mem = mem.CrashClone(100)

	gate := make(chan struct{})
	fs := vfs.NewFailing(mem, func(op vfs.Op) error {
		if op.Kind == vfs.OpList && (op.Name == "/a/t-2" || op.Name == "/b/t-3" || op.Name == "/b/t-1") {
			<-gate
		}
		return nil
	})
	opened := make(chan kafka.TopicPartition, 10)
	m = mustManager(t, fs, func(o *ManagerOptions) { o.Background = true })
	m.OnOpen(func(tp kafka.TopicPartition) { opened <- tp })
	if l, ok := m.Get(part(0)); !ok { // told, or opened before
		if tp := <-opened; tp != part(0) {
			t.Fatalf("%v was opened", tp)
		}
	} else if l.StartOffset() != 3 {
		t.Error("start offset")
	}
	if _, err := m.GetOrCreate(part(2), kafka.TopicID{7}, true); !errors.Is(err, ErrOpening) {
		t.Errorf("a log that is not open yet: %v", err)
	}
	for begun := false; !begun; runtime.Gosched() {
		m.mu.RLock()
		begun = m.unopened[part(2)].begun
		m.mu.RUnlock()
	}
	must(t, m.Delete(part(2), "test"))
	must(t, m.eachDir((*logDir).saveRecoveryPoints))
	must(t, m.eachDir((*logDir).saveStartOffsets))
	killed := mem.CrashClone(100)
	go func() { close(gate) }()
	<-m.Opened()
	if m.Unopened() != 0 {
		t.Error("not all are open")
	}
	if _, ok := m.Get(part(2)); ok {
		t.Error("the deleted one is in use")
	}
	must(t, m.Close())

	after := mustManager(t, killed, nil)
	for n := range 4 {
		l, ok := after.Get(part(n))
		if !ok || l.StartOffset() != 3 || l.EndOffset() != 10 {
			t.Errorf("after a kill: log %d: %v", n, ok)
		}
	}
	must(t, after.Close())

	// A stop before all was checked leaves no clean marker, but what was.
	blocked := make(chan struct{})
	fs = vfs.NewFailing(killed.CrashClone(100), func(op vfs.Op) error {
		if op.Kind == vfs.OpList && op.Name == "/b/t-3" {
			<-blocked
		}
		return nil
	})
	must(t, fs.Remove("/b/"+checkpoint.CleanShutdownFile))
	m = mustManager(t, fs, func(o *ManagerOptions) { o.Background = true })
	go func() { close(blocked) }()
	must(t, m.Close())
	if m.unopenedIn(m.dirs[1]) {
		if ok, _ := exists(fs, "/b/"+checkpoint.CleanShutdownFile); ok {
			t.Error("a clean marker over what was not checked")
		}
	}
	m = mustManager(t, fs, nil)
	for n := range 4 {
		if l, ok := m.Get(part(n)); !ok || l.StartOffset() != 3 || l.EndOffset() != 10 {
			t.Errorf("at the end: log %d: %v", n, ok)
		}
	}
	must(t, m.Close())
}

// TestMissing: evidence of a log that was there comes from a checkpoint.
func TestMissing(t *testing.T) {
	mem := vfs.NewMem()
	m := mustManager(t, mem, nil)
	must(t, m.WriteMeta(Meta{BrokerID: 1}))
	must(t, m.Settle())
	_, err := m.GetOrCreate(part(0), kafka.TopicID{7}, true)
	must(t, err)
	must(t, m.Close())
	must(t, mem.RemoveAll("/a/t-0"))
	for range 2 {
		m = mustManager(t, mem, nil)
		if _, err := m.GetOrCreate(part(0), kafka.TopicID{7}, false); !errors.Is(err, ErrMissing) {
			t.Fatalf("got %v", err)
		}
		must(t, m.Close())
	}
	m = mustManager(t, mem, nil)
	_, err = m.GetOrCreate(part(0), kafka.TopicID{7}, true)
	must(t, err)
	if m.Missing(part(0), kafka.TopicID{7}) {
		t.Error("made, and missing still")
	}
	must(t, m.Close())
}

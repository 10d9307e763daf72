package log

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"barnabas/internal/vfs"
	"barnabas/log/batch"
)

// TestConcurrent appends, reads, flushes, looks up and deletes at the same time;
// the race detector and the checks of readAll judge.
func TestConcurrent(t *testing.T) {
	o := testOptions()
	o.SegmentBytes, o.RetentionAge, o.RetentionBytes = 2000, -1, 20_000
	o.FileDeleteDelay = 0
	l := openTest(t, vfs.OS, o, func(oo *OpenOptions) {
		oo.Dir, oo.files = t.TempDir()+"/t-0", &fileCache{limit: 1} // as few descriptors as may be
	})
	done := make(chan struct{})
	var readers, writers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			for i := range 400 {
				if _, err := l.AppendAsLeader(makeBatch(t, 1+i%3, "v", &batch.Producer{ID: int64(w)<<32 + int64(i)}, false), 1, Client); err != nil {
					t.Error(err)
					return
				}
				l.SetHighWatermark(l.EndOffset())
			}
		})
	}
	loop := func(do func() error) {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := do(); err != nil && !errors.Is(err, ErrOffsetOutOfRange) {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 2 {
		loop(func() error { return readSome(l) })
	}
	loop(l.Flush)
	loop(func() error {
		if _, err := l.Retain(time.Now()); err != nil {
			return err
		}
		return l.emptyTrash(time.Now().Add(time.Hour))
	})
	loop(func() error {
		if _, _, err := l.OffsetForTime(1_700_000_000_001, l.EndOffset()); err != nil {
			return err
		}
		_, err := l.AbortedTxns(l.StartOffset(), l.EndOffset())
		return err
	})
	writers.Wait()
	close(done)
	readers.Wait()
	readAll(t, l, 3000)
	must(t, l.Close())
}

// readSome reads forward from the start and checks what it gets.
func readSome(l *Log) error {
	at := l.StartOffset()
	for range 20 {
		res, err := l.Read(at, 1000, l.HighWatermark(), true)
		if err != nil || res.Range.Length == 0 {
			return err
		}
		b := make([]byte, res.Range.Length)
		_, err = res.Range.File.ReadAt(b, res.Range.Offset)
		res.Range.Release()
		if err != nil {
			return err
		}
		for {
			h, whole, rest, err := batch.Next(b)
			if err != nil {
				break
			}
			if !batch.CheckCRC(whole) || h.LastOffset() < at {
				return errors.New("a read found what is not there")
			}
			at, b = h.NextOffset(), rest
		}
	}
	return nil
}

// TestTruncateUnderReader truncates below a range that is being sent. The range
// keeps its bytes; the log goes on without waiting for ever (docs/coordination.md §11).
func TestTruncateUnderReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openTest(t, vfs.NewMem(), DefaultOptions(), nil)
		for range 10 {
			appendTest(t, l, 1, "old")
		}
		res, err := l.Read(0, 1<<20, 10, true)
		must(t, err)
		before := rangeBytes(t, &res.Range)
		began := time.Now()
		must(t, l.TruncateTo(4))
		if took := time.Since(began); took != drainTime {
			t.Errorf("truncation took %v, want %v", took, drainTime)
		}
		for range 6 {
			appendTest(t, l, 1, "new")
		}
		if got := rangeBytes(t, &res.Range); got != before {
			t.Error("the range of a reader changed")
		}
		res.Range.Release()
		_, records := readAll(t, l, 1<<20)
		if len(records) != 10 || string(records[3].Value) != "old0" || string(records[4].Value) != "new0" {
			t.Errorf("records after the truncation: %d, %q, %q", len(records), records[3].Value, records[4].Value)
		}

		// A reader that lets go in time costs no copy.
		res, err = l.Read(0, 1<<20, 10, true)
		must(t, err)
		time.AfterFunc(100*time.Millisecond, res.Range.Release)
		began = time.Now()
		file := l.active().file
		must(t, l.TruncateTo(2))
		if took := time.Since(began); took != 100*time.Millisecond || l.active().file != file {
			t.Errorf("truncation took %v, want 100ms, in place", took)
		}
		must(t, l.Close())
	})
}

func rangeBytes(t *testing.T, r *vfs.Range) string {
	t.Helper()
	b := make([]byte, r.Length)
	if _, err := r.File.ReadAt(b, r.Offset); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestDeletedUnderReader deletes a segment, and a whole log, below a reader.
func TestDeletedUnderReader(t *testing.T) {
	dir := t.TempDir()
	o := testOptions()
	o.RetentionAge, o.FileDeleteDelay = time.Millisecond, 0
	m, err := OpenManager(t.Context(), ManagerOptions{FS: vfs.OS, Dirs: []string{dir}, Defaults: o, BootID: "b"})
	must(t, err)
	l, err := m.GetOrCreate(testTP, [16]byte{1}, true)
	must(t, err)
	for range 30 {
		appendTest(t, l, 1, "v")
	}
	res, err := l.Read(0, 1<<20, 30, true)
	must(t, err)
	before := rangeBytes(t, &res.Range)
	l.SetHighWatermark(30)
	if n, err := l.Retain(time.Now()); err != nil || n == 0 {
		t.Fatalf("%d segments deleted, %v", n, err)
	}
	must(t, l.emptyTrash(time.Now()))
	must(t, m.Delete(testTP, "test"))
	if got := rangeBytes(t, &res.Range); got != before {
		t.Error("the range of a reader changed")
	}
	res.Range.Release()
	if _, err := l.Read(30, 1, 31, true); !errors.Is(err, ErrClosed) {
		t.Errorf("read of a deleted log: %v", err)
	}
	again, err := m.GetOrCreate(testTP, [16]byte{2}, true)
	must(t, err)
	if again.EndOffset() != 0 {
		t.Errorf("a new log ends at %d", again.EndOffset())
	}
	must(t, m.Close())
}

package log

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"barnabas/internal/vfs"
	"barnabas/log/batch"
)

// countSyncs counts the syncs of .log files, and lets each wait for during.
func countSyncs(fs vfs.FS, n *atomic.Int64, during func()) vfs.FS {
	return vfs.NewFailing(fs, func(op vfs.Op) error {
		if op.Kind == vfs.OpSync && strings.HasSuffix(op.Name, logSuffix) {
			n.Add(1)
			if during != nil {
				during()
			}
		}
		return nil
	})
}

// TestGroupCommit: 64 appends that each want to be durable, 63 of them during the
// first one's sync, need two syncs.
func TestGroupCommit(t *testing.T) {
	const appenders = 64
	var syncs atomic.Int64
	var first sync.Once
	written := make(chan struct{})
	o := DefaultOptions()
	o.FlushMessages = 1
	l := openTest(t, countSyncs(vfs.NewMem(), &syncs, func() { first.Do(func() { <-written }) }), o, func(oo *OpenOptions) {
		n := 0
		oo.OnAppend = func(int) { // called in order
			if n++; n == appenders {
				close(written)
			}
		}
	})
	var wg sync.WaitGroup
	for range appenders {
		wg.Go(func() {
			info, err := l.AppendAsLeader(makeBatch(t, 1, "v", nil, false), 1, Client)
			if err != nil || l.RecoveryPoint() <= info.LastOffset {
				t.Errorf("acknowledged offset %d, durable below %d: %v", info.LastOffset, l.RecoveryPoint(), err)
			}
		})
	}
	wg.Wait()
	if n := syncs.Load(); n != 2 {
		t.Errorf("%d syncs for %d appends, want 2", n, appenders)
	}
	must(t, l.Close())
}

// TestFlushOptions: who asks for no sync waits for none; flush.messages counts
// records, flush.ms the time.
func TestFlushOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var syncs atomic.Int64
		o := DefaultOptions()
		m, stop := running(t, countSyncs(vfs.NewMem(), &syncs, nil), func(mo *ManagerOptions) {
			mo.Dirs, mo.Defaults, mo.SyncInterval = []string{"/a"}, o, time.Hour
		})
		l, err := m.GetOrCreate(part(0), [16]byte{1}, true)
		must(t, err)
		expect := func(want int64, why string) {
			t.Helper()
			if n := syncs.Swap(0); n != want {
				t.Errorf("%d syncs, want %d: %s", n, want, why)
			}
		}
		for range 100 {
			appendTest(t, l, 3, "v")
		}
		time.Sleep(time.Minute)
		expect(0, "nobody asks for one")
		o.FlushMessages = 10
		l.SetOptions(o)
		appendTest(t, l, 3, "v")
		expect(1, "303 records are too many")
		for range 3 {
			appendTest(t, l, 3, "v")
		}
		expect(0, "9 records since")
		appendTest(t, l, 1, "v")
		expect(1, "10 records since")
		o.FlushMessages, o.FlushInterval = 0, 5*time.Second
		l.SetOptions(o)
		appendTest(t, l, 1, "v")
		time.Sleep(4 * time.Second)
		expect(0, "not old enough")
		time.Sleep(3 * time.Second)
		expect(1, "older than flush.ms")
		time.Sleep(time.Minute)
		expect(0, "nothing new")
		stop()
		must(t, m.Close())
	})
}

// BenchmarkAppendSynced: acknowledgements that wait for the disk, shared by all
// who wait.
func BenchmarkAppendSynced(b *testing.B) {
	for _, appenders := range []int{1, 64} {
		b.Run(fmt.Sprintf("appenders=%d", appenders), func(b *testing.B) {
			var syncs atomic.Int64
			o := DefaultOptions()
			o.FlushMessages = 1
			dir := b.TempDir()
			l := openTest(b, countSyncs(vfs.OS, &syncs, nil), o, func(oo *OpenOptions) { oo.Dir = dir + "/t-0" })
			defer l.Close()
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			b.ResetTimer()
			for range appenders {
				wg.Go(func() {
					recs := makeBatch(b, 1, "v", nil, false)
					for left.Add(-1) >= 0 {
						batch.SetOffset(recs, 0)
						if _, err := l.AppendAsLeader(recs, 1, Client); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(syncs.Load())/float64(b.N), "syncs/op")
		})
	}
}

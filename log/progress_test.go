package log

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
)

// TestRecoveryTells: a recovery that takes long says every few seconds how far it
// is, by the bytes that are to be read, and directories are read side by side.
func TestRecoveryTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		m := mustManager(t, mem, nil)
		for n := range 6 {
			l, err := m.GetOrCreate(part(n), [16]byte{1}, true)
			must(t, err)
			if n < 2 { // one large log in each directory
				for range 400 {
					appendTest(t, l, 20, strings.Repeat("x", 20))
				}
			}
		}
		slow := vfs.NewFailing(mem.CrashClone(100), func(op vfs.Op) error {
			if op.Kind == vfs.OpRead && strings.HasSuffix(op.Name, logSuffix) {
				time.Sleep(100 * time.Millisecond)
			}
			return nil
		})
		var text bytes.Buffer
		var mu sync.Mutex
		last := map[string]Progress{}
		began := time.Now()
		m, err := openManager(t, slow, func(o *ManagerOptions) {
			o.Logger = slog.New(slog.NewTextHandler(&text, nil))
			o.OnProgress = func(p Progress) {
				mu.Lock()
				defer mu.Unlock()
				last[p.Dir] = p
			}
		})
		must(t, err)
		took := time.Since(began)
		for _, dir := range []string{"/a", "/b"} {
			if p := last[dir]; p.LogsDone != 3 || p.LogsTotal != 3 || p.Share != 1 {
				t.Errorf("at the end: %+v", p)
			}
			if n := strings.Count(text.String(), "being recovered\" dir="+dir); n != int(took/reportInterval) || n < 2 {
				t.Errorf("%d reports of %s in %v", n, dir, took)
			}
		}
		must(t, m.Close())
	})
}

// TestProgressWeighs logs by what is to be read of them.
func TestProgressWeighs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		d := &logDir{path: "/a"}
		for n := range 4 {
			d.found = append(d.found, part(n))
			must(t, mem.MkdirAll("/a/"+part(n).String()))
			for base, size := range map[int64]int64{0: 5000, 100: 6000, 200: 1 << 20} {
				f, err := mem.Create("/a/" + part(n).String() + "/" + fileName(base, logSuffix))
				must(t, err)
				must(t, f.Truncate(size))
				must(t, f.Close())
			}
		}
		points := map[kafka.TopicPartition]int64{part(0): 150, part(1): 300, part(2): 300, part(3): 300}
		r := newRecovery(&Manager{o: ManagerOptions{FS: mem}.withDefaults()}, d, points)
		if got := r.unsynced(part(0)); got != 6000+1<<20 {
			t.Errorf("from the segment that holds the recovery point: %d bytes", got)
		}
		r.weights = nil
		for n := range 2 {
			r.loaded(part(n))
		}
		time.Sleep(10 * time.Second)
		if p := r.progressLocked(); p.Share != 0.5 || p.Left != 10*time.Second {
			t.Errorf("by logs: %+v", p)
		}
		points[part(3)] = 0
		must(t, mem.Remove("/a/"+part(2).String()+"/"+fileName(200, logSuffix)))
		r.estimate(t.Context())
		total := float64(r.all)
		const read = 2*logWeight + 6000 + 2<<20
		if p := r.progressLocked(); p.Share != read/total {
			t.Errorf("by bytes: %+v, want %v of %v", p, read, total)
		}
		r.tell(part(3), 1<<19, 1<<20, false)
		if p := r.progressLocked(); p.Share != (read+1<<19)/total {
			t.Errorf("within a log: %+v", p)
		}
	})
}

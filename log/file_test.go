package log

import (
	"fmt"
	"os"
	"path"
	"runtime"
	"strings"
	"sync"
	"testing"

	"barnabas/internal/vfs"
)

// descriptors counts this process's open files below dir.
func descriptors(t *testing.T, dir string) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	n := 0
	for _, name := range names {
		if to, err := os.Readlink(path.Join("/proc/self/fd", name.Name())); err == nil && strings.HasPrefix(to, dir) {
			n++
		}
	}
	return n
}

// memoryDir is a directory of the real file system that syncs in no time, where
// the machine has one.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "barnabas-log-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestDescriptors: thousands of segments cost few descriptors and little memory,
// while they are made, after a restart, after a recovery, and while they are read.
func TestDescriptors(t *testing.T) {
	const segments, limit = 3000, 20
	dir := memoryDir(t)
	o := testOptions()
	o.SegmentBytes = 100 // one batch each
	open := func() (*Manager, *Log) {
		m, err := OpenManager(t.Context(), ManagerOptions{FS: vfs.OS, Dirs: []string{dir}, Defaults: o, BootID: "b", MaxOpenFiles: limit})
		must(t, err)
		l, err := m.GetOrCreate(part(0), [16]byte{1}, true)
		must(t, err)
		return m, l
	}
	check := func(when string, m *Manager) {
		t.Helper()
		m.files.trim()
		// And .lock.
		if n := descriptors(t, dir); n > limit+1 || n < m.OpenFiles() {
			t.Errorf("%s: %d descriptors, %d in the cache, want at most %d", when, n, m.OpenFiles(), limit+1)
		}
	}
	m, l := open()
	for i := range segments {
		appendTest(t, l, 1, fmt.Sprintf("v%d-", i))
		if i%100 == 99 {
			must(t, l.Flush())
			check("after appends", m)
		}
	}
	l.SetHighWatermark(segments)
	must(t, m.Close())

	var before, after runtime.MemStats
	m, l = nil, nil
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&before)
	m, l = open()
	check("after a clean start", m)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if n := l.Segments(); n != segments {
		t.Fatalf("%d segments, want %d", n, segments)
	}
	if each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / segments; each > 1800 {
		t.Errorf("%d bytes of memory for each cold segment", each)
	} else {
		t.Logf("%d bytes of memory for each cold segment", each)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { readAll(t, l, 1) })
	}
	wg.Wait()
	check("after reads", m)
	if n := descriptors(t, dir); n < limit/2 {
		t.Errorf("only %d descriptors are kept, of %d allowed", n, limit)
	}
	if err := os.Remove(path.Join(dir, "recovery-point-offset-checkpoint")); err != nil {
		t.Fatal(err)
	}
	m.dirs[0].unlock() // as a kill does
	for _, l := range m.in(m.dirs[0]) {
		must(t, l.Abandon())
	}

	m, l = open()
	check("after a recovery", m)
	if l.Segments() != segments || l.EndOffset() != segments {
		t.Errorf("recovery found %d segments, end %d", l.Segments(), l.EndOffset())
	}
	must(t, m.Close())
	if n := descriptors(t, dir); n != 0 {
		t.Errorf("%d descriptors leaked", n)
	}
}

// TestRetiredSegment: who has found a segment but not opened it yet, when the
// log is deleted or the segment is removed, never sees another's file.
func TestRetiredSegment(t *testing.T) {
	fs := vfs.NewMem()
	l := openTest(t, fs, testOptions(), func(oo *OpenOptions) { oo.files = &fileCache{limit: 1} })
	for range 20 {
		appendTest(t, l, 5, "v")
	}
	must(t, l.Flush())
	l.SetHighWatermark(l.EndOffset())
	p, err := l.place(0, 0, 5)
	must(t, err)
	l.o.files.trim()
	if f := p.segment.file; f.pins.Load() >= 0 {
		t.Fatal("the first segment has a descriptor")
	}
	must(t, l.Abandon())
	if _, _, err := l.readPlaced(&p, 0, 10, true); !p.segment.gone(err) {
		t.Errorf("a segment of a deleted log was opened: %v", err)
	}
	p.segment.unref()
}

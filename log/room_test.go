package log

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"barnabas/internal/vfs"
	"barnabas/log/batch"
)

// smallDisk is a file system of a given size: writes that do not fit are torn,
// and new files need a block.
type smallDisk struct {
	vfs.FS
	mem   *vfs.Mem
	total int64

	mu   sync.Mutex // guards following
	free int64
	ends map[string]int64 // of files, as far as written
}

// newSmallDisk puts a disk of total bytes around what mem holds.
func newSmallDisk(mem *vfs.Mem, total, free int64) *smallDisk {
	d := &smallDisk{mem: mem, total: total, free: free, ends: map[string]int64{}}
	d.FS = vfs.NewFailing(mem, d.charge)
	return d
}

func (d *smallDisk) Usage(string) (vfs.Usage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return vfs.Usage{Total: d.total, Free: d.free}, nil
}

func (d *smallDisk) setFree(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free = n
}

func (d *smallDisk) charge(op vfs.Op) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch op.Kind {
	case vfs.OpCreate, vfs.OpMkdir:
		if _, err := d.mem.Stat(op.Name); err != nil && d.free <= 0 {
			return syscall.ENOSPC
		}
	case vfs.OpTruncate:
		d.ends[op.Name] = min(d.ends[op.Name], op.Off)
	case vfs.OpPreallocate:
		if d.free < op.Len {
			return syscall.ENOSPC
		}
	case vfs.OpWrite:
		grow := max(op.Off+op.Len-d.ends[op.Name], 0)
		if st, err := d.mem.Stat(op.Name); err == nil {
			grow = min(grow, max(op.Off+op.Len-st.Size(), 0))
		}
		if grow > d.free {
			written := int(op.Len - grow + d.free)
			d.free = 0
			return &vfs.TornError{Written: written, Err: syscall.ENOSPC}
		}
		d.free -= grow
		d.ends[op.Name] = max(d.ends[op.Name], op.Off+op.Len)
	}
	return nil
}

// running opens a manager on the file system and runs it in the test's bubble.
func running(t *testing.T, fs vfs.FS, change func(*ManagerOptions)) (m *Manager, stop func()) {
	t.Helper()
	m = mustManager(t, fs, change)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		m.Run(ctx)
		close(ended)
	}()
	synctest.Wait()
	return m, func() {
		cancel()
		<-ended
	}
}

// TestSoftLimit: below the room to keep, clients are refused and nobody else; it
// ends by itself.
func TestSoftLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newSmallDisk(vfs.NewMem(), 1<<30, 1<<29)
		var text bytes.Buffer
		m, stop := running(t, disk, func(o *ManagerOptions) {
			o.Dirs, o.MinFreeBytes = []string{"/a"}, -1
			o.Logger = slog.New(slog.NewTextHandler(&text, nil))
		})
		l, err := m.GetOrCreate(part(0), [16]byte{1}, true)
		must(t, err)
		appendTest(t, l, 1, "before")

		disk.setFree(10 << 20) // a hundredth of the disk is 10.7 MB
		time.Sleep(roomInterval)
		synctest.Wait()
		end := l.EndOffset()
		if _, err := l.AppendAsLeader(makeBatch(t, 1, "v", nil, false), 1, Client); !errors.Is(err, ErrNoRoom) || l.EndOffset() != end {
			t.Errorf("a client on a disk nearly full: %v, end %d", err, l.EndOffset())
		}
		if _, err := l.AppendAsLeader(makeBatch(t, 1, "v", nil, false), 1, Coordinator); err != nil {
			t.Errorf("a coordinator on a disk nearly full: %v", err)
		}
		b := makeBatch(t, 1, "v", nil, false)
		batch.SetOffset(b, l.EndOffset())
		if _, err := l.AppendAsFollower(b); err != nil {
			t.Errorf("a follower on a disk nearly full: %v", err)
		}
		readAll(t, l, 1<<20)

		disk.setFree(11 << 20) // more than is kept, but not a tenth more
		time.Sleep(roomInterval)
		synctest.Wait()
		if !m.dirs[0].room.low.Load() {
			t.Error("clients are let in at the bound")
		}
		disk.setFree(20 << 20)
		time.Sleep(roomInterval)
		synctest.Wait()
		appendTest(t, l, 1, "after")
		stop()
		must(t, m.Close())
		if got := strings.Count(text.String(), "disk "); got != 2 {
			t.Errorf("%d messages of the disk, want 2:\n%s", got, text.String())
		}
	})
}

// TestSoftLimitOfWriting: between two looks by the clock, what is written is
// counted.
func TestSoftLimitOfWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := newSmallDisk(vfs.NewMem(), 1<<20, 1<<20)
		m, stop := running(t, disk, func(o *ManagerOptions) {
			o.Dirs, o.MinFreeBytes, o.Defaults = []string{"/a"}, 400<<10, DefaultOptions()
		})
		l, err := m.GetOrCreate(part(0), [16]byte{1}, true)
		must(t, err)
		began := time.Now()
		for err == nil {
			_, err = l.AppendAsLeader(makeBatch(t, 10, strings.Repeat("x", 1000), nil, false), 1, Client)
			synctest.Wait()
		}
		if u, _ := disk.Usage(""); !errors.Is(err, ErrNoRoom) || u.Free < 300<<10 || time.Since(began) > 0 {
			t.Errorf("refused with %d bytes free after %v: %v", u.Free, time.Since(began), err)
		}
		stop()
		must(t, m.Close())
	})
}

// TestHardLimit: no room at all, and none is kept. Nothing goes offline, nothing
// acknowledged is lost, and it goes on when there is room; a start on the full
// disk serves.
func TestHardLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		disk := newSmallDisk(mem, 1<<20, 30<<10)
		small := func(o *ManagerOptions) { o.Dirs = []string{"/a"} }
		m, stop := running(t, disk, small)
		l, err := m.GetOrCreate(part(0), [16]byte{1}, true)
		must(t, err)
		acked := fill(t, l, disk)
		for range 5 { // checkpoints, syncs and looks at the disk go on
			time.Sleep(time.Minute)
			synctest.Wait()
			acked += fill(t, l, disk)
		}
		if d := m.Dirs()[0]; d.Err != nil {
			t.Fatalf("a full disk took the directory offline: %v", d.Err)
		}
		if _, records := readAll(t, l, 1000); len(records) != acked {
			t.Errorf("%d records can be read, %d were acknowledged", len(records), acked)
		}
		if _, err := m.GetOrCreate(part(1), [16]byte{1}, true); !errors.Is(err, ErrNoRoom) {
			t.Errorf("a new log on a full disk: %v", err)
		}
		stop()
		if err := m.Close(); !errors.Is(err, ErrNoRoom) {
			t.Errorf("a stop on a full disk can't leave it clean: %v", err)
		}

		for _, boot := range []string{"boot-1", "boot-2"} { // killed; the machine went down
			full := newSmallDisk(mem.CrashClone(100), 1<<20, 0)
			m, stop := running(t, full, func(o *ManagerOptions) { o.Dirs, o.BootID = []string{"/a"}, boot })
			if d := m.Dirs()[0]; d.Err != nil || d.Logs != 1 {
				t.Fatalf("start on a full disk: %+v", d)
			}
			l, _ := m.Get(part(0))
			if _, records := readAll(t, l, 1000); len(records) != acked {
				t.Errorf("%s: %d records after a start on a full disk, %d were acknowledged", boot, len(records), acked)
			}
			full.setFree(1 << 20)
			time.Sleep(time.Minute)
			synctest.Wait()
			appendTest(t, l, 1, "after")
			if _, err := m.GetOrCreate(part(1), [16]byte{1}, true); err != nil {
				t.Errorf("a new log with room again: %v", err)
			}
			stop()
			must(t, m.Close())
		}
	})
}

// fill appends until the disk is full and returns how many records were
// acknowledged.
func fill(t *testing.T, l *Log, disk *smallDisk) (acked int) {
	t.Helper()
	for range 10000 {
		_, err := l.AppendAsLeader(makeBatch(t, 1, "v", nil, false), 1, Coordinator)
		if errors.Is(err, ErrNoRoom) {
			return acked
		}
		must(t, err)
		acked++
	}
	t.Fatal("the disk does not get full")
	return 0
}

// A process that has no descriptor left must not give up its directories for it.
func TestNoDescriptorTakesNothingOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var short atomic.Bool
		fs := vfs.NewFailing(vfs.NewMem(), func(op vfs.Op) error {
			if short.Load() && (op.Kind == vfs.OpOpen || op.Kind == vfs.OpCreate || op.Kind == vfs.OpSyncDir) {
				return syscall.EMFILE
			}
			return nil
		})
		m, stop := running(t, fs, func(o *ManagerOptions) { o.Dirs = []string{"/a"} })
		l, err := m.GetOrCreate(part(0), [16]byte{1}, true)
		must(t, err)
		appendTest(t, l, 1, "before")
		short.Store(true)
		if _, err := m.GetOrCreate(part(1), [16]byte{2}, true); !errors.Is(err, ErrNoRoom) || errors.Is(err, ErrOffline) {
			t.Errorf("got %v, want ErrNoRoom", err)
		}
		time.Sleep(2 * time.Minute) // checkpoints and flushes
		synctest.Wait()
		short.Store(false)
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := m.Dirs()[0].Err; err != nil {
			t.Errorf("the directory is offline: %v", err)
		}
		appendTest(t, l, 1, "after")
		stop()
		must(t, m.Close())
	})
}

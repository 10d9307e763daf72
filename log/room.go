package log

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"barnabas/internal/vfs"
)

// room is what a directory's logs know of the space on its disk. While it is low,
// clients are refused (ErrNoRoom); coordinators, followers and everything that
// deletes go on in what is kept free for them.
type room struct {
	low atomic.Bool
	// left is how many bytes may be appended before the disk is looked at again; at
	// 0 asked is signalled.
	left  atomic.Int64
	asked chan struct{}
	// usage is what was seen last, nil before Run.
	usage atomic.Pointer[vfs.Usage]
}

// note counts appended bytes.
func (r *room) note(n int) {
	if left := r.left.Add(-int64(n)); left <= 0 && left > -int64(n) && r.asked != nil {
		select {
		case r.asked <- struct{}{}:
		default:
		}
	}
}

const (
	roomInterval = time.Second
	// defaultMinFree bounds the part of a disk that is kept free.
	defaultMinFree = 1 << 30
	// minRoomStep is how much is written at least between two looks at the disk.
	minRoomStep = 64 << 10
)

// minFree is what is kept free of a disk.
func (o *ManagerOptions) minFree(u vfs.Usage) int64 {
	if o.MinFreeBytes >= 0 {
		return o.MinFreeBytes
	}
	return min(u.Total/100, defaultMinFree)
}

// roomLoop looks at the disk each second, and earlier the more is written to it.
func (d *logDir) roomLoop(ctx context.Context, m *Manager) {
	t := time.NewTicker(roomInterval)
	defer t.Stop()
	defer d.room.usage.Store(nil)
	for {
		d.checkRoom(m)
		select {
		case <-ctx.Done():
			return
		case <-d.down:
			return
		case <-t.C:
		case <-d.room.asked:
		}
	}
}

// checkRoom refuses clients below the bound, and lets them in again a tenth above
// it, so that it does not flicker.
func (d *logDir) checkRoom(m *Manager) {
	u, err := m.o.FS.Usage(d.path)
	if err != nil {
		d.fail(m, err)
		return
	}
	d.room.usage.Store(&u)
	keep := m.o.minFree(u)
	was := d.room.low.Load()
	low := u.Free < keep || was && u.Free <= keep+keep/10
	d.room.left.Store(max((u.Free-keep)/2, minRoomStep))
	if low == was {
		return
	}
	d.room.low.Store(low)
	if low {
		m.o.Logger.Warn("disk nearly full: producers are refused until there is room",
			"dir", d.path, "free", u.Free, "kept_free", keep)
	} else {
		m.o.Logger.Info("disk has room again: producers are served", "dir", d.path, "free", u.Free, "kept_free", keep)
	}
}

// failUnlessFull is failIf for what changes nothing if it finds no room: then the
// answer is ErrNoRoom, and the directory stays online.
func (l *Log) failUnlessFull(err error) error {
	if !vfs.NoSpace(err) || errors.Is(err, ErrOffline) {
		return l.failIf(err)
	}
	if !l.o.room.low.Swap(true) {
		l.logger.Warn("disk full, or no descriptor left: producers are refused until there is room", "dir", l.o.Dir, "err", err)
	}
	return fmt.Errorf("%w: %w", ErrNoRoom, err)
}

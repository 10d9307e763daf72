package log

import (
	"context"
	"errors"
	"sync"
	"time"
)

// janitorInterval is how often files and directories whose delay is over are
// looked for.
const janitorInterval = 5 * time.Second

// Run does what happens in the background until ctx ends: syncs, checkpoints,
// retention, deletion, expiry of producers, the watch over stalled and full
// disks. Each directory has its own goroutines, so that none waits for another's
// disk. Failures take directories offline and are told there; Run returns when all
// is quiet but what hangs in a stalled directory.
func (m *Manager) Run(ctx context.Context) error {
	var watch sync.WaitGroup
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer watch.Wait()
	defer stop()
	if m.o.StallTimeout > 0 {
		watch.Go(func() { m.watchLoop(watching) })
	}
	groups := map[*logDir]*sync.WaitGroup{}
	for _, d := range m.live() {
		groups[d] = m.runDir(ctx, d)
	}
	m.cleanLoop(ctx, groups)
	m.waitDirs(groups)
	return nil
}

// runDir starts what a directory needs.
func (m *Manager) runDir(ctx context.Context, d *logDir) *sync.WaitGroup {
	wg := &sync.WaitGroup{}
	every := func(interval time.Duration, do func(now time.Time)) {
		wg.Go(func() {
			t := time.NewTicker(interval)
			defer t.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-d.down:
					return
				case now := <-t.C:
					do(now)
				}
			}
		})
	}
	wg.Go(func() { d.syncLoop(ctx, m) })
	wg.Go(func() { d.roomLoop(ctx, m) })
	wg.Go(func() { d.retainLoop(ctx, m) })
	every(m.o.HighWatermarkInterval, func(time.Time) { d.saveHighWatermarks(m) })
	every(m.o.StartOffsetInterval, func(time.Time) { d.saveStartOffsets(m) })
	every(m.o.RecoveryPointInterval, func(time.Time) { d.saveRecoveryPoints(m) })
	every(m.o.FlushCheckInterval, func(now time.Time) { d.flushOld(m, now) })
	every(m.o.ProducerIDExpirationCheck, func(now time.Time) {
		for _, l := range m.in(d) {
			l.expireProducers(now)
		}
	})
	every(janitorInterval, func(now time.Time) { d.tidy(ctx, m, now) })
	return wg
}

// eachDir calls do for the live directories. Their failures are told by the
// directories.
func (m *Manager) eachDir(do func(*logDir, *Manager) error) error {
	var errs []error
	for _, d := range m.live() {
		errs = append(errs, do(d, m))
	}
	return errors.Join(errs...)
}

// CheckpointHighWatermarks writes the replication-offset-checkpoint files now.
func (m *Manager) CheckpointHighWatermarks() error { return m.eachDir((*logDir).saveHighWatermarks) }

// flushOld flushes the logs whose flush.ms is over. A failed flush has taken the
// directory offline.
func (d *logDir) flushOld(m *Manager, now time.Time) {
	for _, l := range m.in(d) {
		if l.flushDue(now) {
			l.Flush()
		}
	}
}

// tidy removes files and directories whose delay is over, and closes files that
// nobody needs.
func (d *logDir) tidy(ctx context.Context, m *Manager, now time.Time) {
	m.files.trim()
	d.retryShort(ctx, m)
	for _, l := range m.in(d) {
		if l.emptyTrash(now) != nil {
			return
		}
	}
	d.bury(m, now)
}

// retainLoop applies the retention.
func (d *logDir) retainLoop(ctx context.Context, m *Manager) {
	t := time.NewTimer(m.o.InitialDelay)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.down:
			return
		case <-t.C:
		}
		for _, l := range m.in(d) {
			if ctx.Err() != nil {
				return
			}
			l.Retain(time.Now())
		}
		t.Reset(m.o.RetentionInterval)
	}
}

// syncLoop makes appended data durable in the background, off the append locks:
// complete segments at once, the rest every SyncInterval or SyncBytes. Each round
// ends with the recovery points, so that a recovery reads little.
func (d *logDir) syncLoop(ctx context.Context, m *Manager) {
	t := time.NewTicker(m.o.SyncInterval)
	defer t.Stop()
	for {
		all := false
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			all = true
		case <-d.wake:
			all = d.unsynced.Load() >= m.o.SyncBytes
		}
		if d.failure.get() != nil {
			return
		}
		rolled := d.takeRolled()
		logs := make([]*Log, 0, len(rolled))
		for l := range rolled {
			logs = append(logs, l)
		}
		if all {
			d.unsynced.Store(0)
			logs = m.in(d)
		}
		for _, l := range logs {
			if ctx.Err() != nil {
				return
			}
			if l.EndOffset() == l.RecoveryPoint() {
				continue
			}
			if err := l.Flush(); errors.Is(err, ErrOffline) {
				return
			}
		}
		d.saveRecoveryPoints(m)
	}
}

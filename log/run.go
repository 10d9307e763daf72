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
// retention, deletion, expiry of producers. Failures take directories offline
// and are told there; Run returns when all is quiet.
func (m *Manager) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, d := range m.dirs {
		wg.Go(func() { d.syncLoop(ctx, m) })
	}
	every := func(interval time.Duration, do func(now time.Time)) {
		wg.Go(func() {
			t := time.NewTicker(interval)
			defer t.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case now := <-t.C:
					do(now)
				}
			}
		})
	}
	every(m.o.HighWatermarkInterval, func(time.Time) { m.CheckpointHighWatermarks() })
	every(m.o.StartOffsetInterval, func(time.Time) { m.eachDir((*logDir).saveStartOffsets) })
	every(m.o.RecoveryPointInterval, func(time.Time) { m.eachDir((*logDir).saveRecoveryPoints) })
	every(m.o.FlushCheckInterval, m.flushOld)
	every(m.o.ProducerIDExpirationCheck, func(now time.Time) {
		for l := range m.All() {
			l.expireProducers(now)
		}
	})
	every(janitorInterval, m.clean)
	wg.Go(func() { m.retainLoop(ctx) })
	wg.Wait()
	return nil
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

// flushOld flushes the logs whose flush.ms is over. A failed flush has taken its
// directory offline.
func (m *Manager) flushOld(now time.Time) {
	for l := range m.All() {
		if l.flushDue(now) {
			l.Flush()
		}
	}
}

// clean removes files and directories whose delay is over.
func (m *Manager) clean(now time.Time) {
	m.files.trim()
	for _, d := range m.live() {
		for _, l := range m.in(d) {
			if l.emptyTrash(now) != nil {
				break
			}
		}
		d.bury(m, now)
	}
}

// retainLoop applies the retention.
func (m *Manager) retainLoop(ctx context.Context) {
	t := time.NewTimer(m.o.InitialDelay)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		for l := range m.All() {
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
			if err := l.Flush(); err != nil && !errors.Is(err, ErrClosed) {
				return // offline
			}
		}
		if d.saveRecoveryPoints(m) != nil {
			return
		}
	}
}

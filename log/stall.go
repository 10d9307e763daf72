package log

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"barnabas/internal/kafka"
)

// A stopwatch tells since which tick of a clock an operation is under way. One
// operation at a time: its users hold a lock. It costs no look at the time.
type stopwatch struct{ began atomic.Int64 } // 0: none; else the tick + 1

func (s *stopwatch) start(clock *atomic.Int64) { s.began.Store(clock.Load() + 1) }
func (s *stopwatch) stop()                     { s.began.Store(0) }

// stallTicks is how many ticks of its clock an operation may take. The watchdog
// ticks that often in StallTimeout, so that a machine that was halted for long
// (suspended, migrated) finds no stall when it wakes up.
const stallTicks = 8

func (s *stopwatch) stalled(now int64) bool {
	began := s.began.Load()
	return began > 0 && now-(began-1) > stallTicks
}

// watchLoop takes a directory offline in which a write or sync does not end: those
// who wait for it wait on, as the system gives no way to stop them, but nobody
// joins them, and the other directories serve.
func (m *Manager) watchLoop(ctx context.Context) {
	t := time.NewTicker(max(m.o.StallTimeout/stallTicks, time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		for _, d := range m.live() {
			if what := m.findStalled(d); what != "" {
				d.fail(m, fmt.Errorf("%w: %s for more than %v", ErrStalled, what, m.o.StallTimeout))
			}
		}
	}
}

// findStalled ticks the directory's clock and names what stalls.
func (m *Manager) findStalled(d *logDir) string {
	now := d.clock.Add(1)
	switch {
	case d.making.stalled(now):
		return "making or deleting a log"
	case d.storing.stalled(now):
		return "writing a checkpoint"
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, all := range []map[kafka.TopicPartition]managed{m.logs, m.futures} {
		for tp, e := range all {
			switch {
			case e.dir != d:
			case e.log.writing.stalled(now):
				return "appending to " + tp.String()
			case e.log.syncing.stalled(now):
				return "syncing " + tp.String()
			}
		}
	}
	return ""
}

// unlessDown runs do, which makes or deletes a log in the directory, and does not
// wait for it any more when the directory goes offline. The caller holds
// Manager.creating. do must not rely on that it is still waited for.
func (d *logDir) unlessDown(do func() error) error {
	if err := d.failure.get(); err != nil {
		return err
	}
	done := make(chan error, 1)
	d.making.start(&d.clock)
	go func() {
		err := do()
		d.making.stop()
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-d.down:
		select {
		case err := <-done: // it was do that failed
			return err
		case <-time.After(downGrace):
			return d.failure.get()
		}
	}
}

// downGrace is how long one waits for what goes on in a directory that has just
// gone offline.
const downGrace = time.Second

// waitDirs waits for the goroutines of each directory, not of those that stall.
func (m *Manager) waitDirs(groups map[*logDir]*sync.WaitGroup) {
	for d, wg := range groups {
		done := make(chan struct{})
		go func() {
			wg.Wait()
			close(done)
		}()
		select {
		case <-done:
			continue
		case <-d.down:
		}
		select {
		case <-done:
		case <-time.After(downGrace):
			m.o.Logger.Warn("work in a directory that does not answer is left behind", "dir", d.path)
		}
	}
}

package replica

import (
	"context"
	"fmt"
	"sync"

	"barnabas/internal/kafka"
	"barnabas/log"
)

// A leader that is alone in the ISR of a partition with several replicas has only
// its page cache for what it acknowledges: a crash of the machine loses it,
// although the partition was made to survive one. So acks=all waits for the disk
// then (log.flush.when.alone). Those who wait while a sync runs share the next.

// aloneLocked reports whether this leader alone stands for what it acknowledges:
// by its state, or by the one that it has asked for and that may be in force.
func (p *Partition) aloneLocked() bool {
	return p.m.flushWhenAlone && p.leading && len(p.state.Replicas) > 1 &&
		(len(p.state.ISR) == 1 || len(p.proposed) == 1)
}

// safeLocked reports whether what ends below end may be acknowledged, given that
// the high watermark is past it. If not, a sync is asked for, after which all
// who wait are woken. Its error says why it never will be.
func (p *Partition) safeLocked(l *log.Log, end int64) (bool, error) {
	if !p.aloneLocked() || l.RecoveryPoint() >= end {
		return true, nil
	}
	if err := l.Failure(); err != nil {
		return true, fmt.Errorf("%w: %s: %w", ErrOffline, p.tp, err)
	}
	p.m.syncs.want(p.tp)
	return false, nil
}

// syncWorkers bounds how many logs are synced at a time because their leaders
// are alone.
const syncWorkers = 8

// syncs holds the partitions that are to be synced, each at most once, and those
// that are being synced.
type syncs struct {
	mu      sync.Mutex // guards the fields below; taken after a partition's
	cond    sync.Cond  // its L is mu
	waiting []kafka.TopicPartition
	wanted  map[kafka.TopicPartition]bool
	busy    map[kafka.TopicPartition]bool
	closed  bool
	done    int64 // syncs made
}

func (s *syncs) init() {
	s.cond.L = &s.mu
	s.wanted = map[kafka.TopicPartition]bool{}
	s.busy = map[kafka.TopicPartition]bool{}
}

// want asks for a sync that begins after this call.
func (s *syncs) want(tp kafka.TopicPartition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wanted[tp] || s.closed {
		return
	}
	s.wanted[tp] = true
	if !s.busy[tp] { // else when it is done
		s.waiting = append(s.waiting, tp)
		s.cond.Signal()
	}
}

// take waits for a partition to sync; ok is false once closed.
func (s *syncs) take() (tp kafka.TopicPartition, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.waiting) == 0 && !s.closed {
		s.cond.Wait()
	}
	if s.closed {
		return kafka.TopicPartition{}, false
	}
	tp = s.waiting[0]
	s.waiting = s.waiting[1:]
	delete(s.wanted, tp)
	s.busy[tp] = true
	return tp, true
}

func (s *syncs) finish(tp kafka.TopicPartition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, tp)
	s.done++
	if s.wanted[tp] {
		s.waiting = append(s.waiting, tp)
		s.cond.Signal()
	}
}

func (s *syncs) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.cond.Broadcast()
}

func (s *syncs) count() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done
}

// syncAlone syncs what is asked for until ctx ends.
func (m *Manager) syncAlone(ctx context.Context) {
	stop := context.AfterFunc(ctx, m.syncs.close)
	defer stop()
	var wg sync.WaitGroup
	for range syncWorkers {
		wg.Go(func() {
			for {
				tp, ok := m.syncs.take()
				if !ok {
					return
				}
				if l := m.Log(tp); l != nil {
					if err := l.Flush(); err != nil { // the log is offline, or closed: those who wait find out
						m.logger.Warn("a leader that is alone could not sync what it is to acknowledge", "partition", tp.String(), "error", err)
					}
				}
				m.syncs.finish(tp)
				m.wake(tp)
			}
		})
	}
	wg.Wait()
}

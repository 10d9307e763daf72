package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"barnabas/broker/purgatory"
	"barnabas/internal/kafka"
	"barnabas/log"
)

// settlePatience bounds one AwaitSettled, so that its caller can tell of a long one.
const settlePatience = time.Minute

// Scan calls fn with every batch of a partition's log, from its start to the end
// that it had when Scan was called, whatever the high watermark (AwaitSettled):
// a coordinator loads what it must not lose. What is damaged is passed over and told
// in the log; fn gets whole batches with the right checksum. fn keeps nothing of b.
// An error of fn ends it.
func (m *Manager) Scan(ctx context.Context, tp kafka.TopicPartition, fn func(b []byte) error) error {
	l := m.Log(tp)
	if l == nil {
		return m.absent(tp)
	}
	damaged := func(d log.Damage) {
		m.logger.Error("damage in a log: what can be read behind it is loaded", "partition", tp.String(), "file", d.File,
			"position", d.Position, "next_position", d.Next, "lost_from", d.From, "lost_to", d.To, "lost", max(d.To-d.From+1, 0), "err", d.Err)
	}
	w := l.NewWalk(l.StartOffset(), damaged)
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		more, err := w.Piece(fn)
		if now := m.Log(tp); errors.Is(err, log.ErrClosed) && now != nil && now != l { // it was moved to another directory
			l, w = now, now.NewWalk(w.Offset(), damaged)
			continue
		}
		if err != nil {
			return fmt.Errorf("replica: scanning %s at offset %d: %w", tp, w.Offset(), err)
		}
		if !more {
			return nil
		}
	}
}

// AwaitSettled waits until all in-sync replicas have what is in the log of a
// partition now, and a lone one has it on its disk. It fails if this broker does not
// lead, or after a minute. In-sync replicas that are fewer than
// min.insync.replicas are no failure: what is there can be read.
func (m *Manager) AwaitSettled(ctx context.Context, tp kafka.TopicPartition) error {
	p, l := m.Partition(tp), m.Log(tp)
	if p == nil || l == nil {
		return m.absent(tp)
	}
	end, done := l.EndOffset(), make(chan error, 1)
	w := m.produces.Park([]kafka.TopicPartition{tp}, settlePatience,
		func() bool { ok, _ := p.settled(end); return ok },
		func(purgatory.Outcome) {
			ok, err := p.settled(end)
			if !ok {
				err = fmt.Errorf("%w: in-sync replicas do not have %s up to offset %d yet", ErrTimedOut, tp, end)
			}
			done <- err
		})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		w.Cancel()
		return context.Cause(ctx)
	}
}

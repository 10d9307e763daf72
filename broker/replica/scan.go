package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"barnabas/broker/purgatory"
	"barnabas/internal/kafka"
	"barnabas/log"
	"barnabas/log/batch"
)

// scanBytes is how much of a log Scan reads at a time; a larger batch is read
// whole.
const scanBytes = 1 << 20

// settlePatience bounds one AwaitSettled, so that its caller can tell of a long one.
const settlePatience = time.Minute

// Scan calls fn with every batch of a partition's log, from its start to the end
// that it had when Scan was called, whatever the high watermark (AwaitSettled):
// a coordinator loads what it must not lose. fn keeps nothing of b. An error of fn
// ends it.
func (m *Manager) Scan(ctx context.Context, tp kafka.TopicPartition, fn func(b []byte) error) error {
	l := m.Log(tp)
	if l == nil {
		return m.absent(tp)
	}
	var buf []byte
	end := l.EndOffset()
	for at := l.StartOffset(); at < end; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		next, grown, err := scanPiece(l, at, end, buf, fn)
		if now := m.Log(tp); errors.Is(err, log.ErrClosed) && now != nil && now != l { // it was moved to another directory
			l = now
			continue
		}
		if err != nil {
			return fmt.Errorf("replica: scanning %s at offset %d: %w", tp, at, err)
		}
		if next <= at {
			return nil // nothing there: compaction emptied the tail
		}
		at, buf = next, grown
	}
	return nil
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

// scanPiece hands the batches of one read to fn and returns the offset after
// them, and the buffer.
func scanPiece(l *log.Log, at, end int64, buf []byte, fn func([]byte) error) (int64, []byte, error) {
	r, err := l.Read(at, scanBytes, end, true)
	if err != nil || r.Range.Length == 0 {
		return at, buf, err
	}
	defer r.Range.Release()
	if int64(cap(buf)) < r.Range.Length {
		buf = make([]byte, max(r.Range.Length, scanBytes))
	}
	b := buf[:r.Range.Length]
	if _, err := r.Range.File.ReadAt(b, r.Range.Offset); err != nil {
		return at, buf, err
	}
	next := at
	for len(b) > 0 {
		h, whole, rest, err := batch.Next(b)
		if errors.Is(err, batch.ErrShort) && next > at {
			break // cut by the byte limit
		}
		if err != nil {
			return next, buf, err
		}
		if h.NextOffset() > at {
			if err := fn(whole); err != nil {
				return next, buf, err
			}
			next = h.NextOffset()
		}
		b = rest
	}
	return next, buf, nil
}

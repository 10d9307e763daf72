package replica

import (
	"context"
	"fmt"
	"time"

	"barnabas/broker/purgatory"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// ToHighWatermark as the offset of a Deletion deletes all that is replicated.
const ToHighWatermark = -1

// Deletion asks for the records of a partition below an offset to be deleted.
type Deletion struct {
	TP     kafka.TopicPartition
	Offset int64
}

// Deleted is what came of a Deletion. LowWatermark is the smallest log start
// offset of the live replicas; -1 if nothing could be deleted.
type Deleted struct {
	LowWatermark int64
	Err          error
}

// Errors of DeleteRecords.
var (
	// ErrInternalTopic: the records of the coordinators are not for deletion.
	ErrInternalTopic error = &fault{protocol.InvalidTopic, "records of an internal topic cannot be deleted"}
	// ErrNotDeletable: the topic's cleanup.policy has no delete.
	ErrNotDeletable error = &fault{protocol.PolicyViolation, "records of a topic whose cleanup.policy is not delete cannot be deleted"}
	// ErrDeletionOutOfRange: above the high watermark, or negative.
	ErrDeletionOutOfRange error = &fault{protocol.OffsetOutOfRange, "offset to delete records before is out of range"}
)

// deletion is one that the leader has made and that waits for the others.
type deletion struct {
	at     int // index
	p      *Partition
	offset int64
	epoch  kafka.LeaderEpoch
}

// DeleteRecords raises the log start offsets of partitions that this broker
// leads, and waits until all live replicas have followed (KIP-107; Kafka's
// ReplicaManager.deleteRecords), at most for wait: ErrTimedOut then, with the low
// watermark so far, and it goes on nevertheless. The files go with the next
// retention. What is answered without an error is on disk: a restart does not
// bring the records back.
func (m *Manager) DeleteRecords(ctx context.Context, of []Deletion, wait time.Duration) []Deleted {
	deadline := time.Now().Add(wait)
	out := make([]Deleted, len(of))
	var made []deletion
	for i, d := range of {
		p, epoch, offset, err := m.deleteOn(d)
		if err != nil {
			out[i] = Deleted{LowWatermark: -1, Err: err}
			continue
		}
		made = append(made, deletion{i, p, offset, epoch})
	}
	if len(made) == 0 {
		return out
	}
	if err := m.logs.CheckpointStartOffsets(); err != nil {
		// Which directories failed, their logs know: they answer for themselves.
		m.logger.Error("checkpoint of log start offsets failed", "error", err)
	}
	for _, d := range made {
		out[d.at] = m.awaitDeleted(ctx, &d, time.Until(deadline))
	}
	return out
}

// deleteOn deletes on the leader.
func (m *Manager) deleteOn(d Deletion) (*Partition, kafka.LeaderEpoch, int64, error) {
	if kafka.IsInternalTopic(d.TP.Topic) {
		return nil, 0, 0, fmt.Errorf("%w: %s", ErrInternalTopic, d.TP)
	}
	p := m.Partition(d.TP)
	if p == nil {
		return nil, 0, 0, m.absent(d.TP)
	}
	epoch, offset, err := p.deleteTo(d.Offset)
	return p, epoch, offset, err
}

// deleteTo raises the log start offset in the present leadership, and returns
// that and the offset that was meant.
func (p *Partition) deleteTo(offset int64) (kafka.LeaderEpoch, int64, error) {
	p.mu.Lock()
	defer p.unlock()
	l, err := p.leaderLocked()
	if err != nil {
		return 0, 0, err
	}
	if !l.Options().Delete {
		return 0, 0, fmt.Errorf("%w: %s", ErrNotDeletable, p.tp)
	}
	if offset == ToHighWatermark {
		offset = l.HighWatermark()
	}
	if offset < 0 {
		return 0, 0, fmt.Errorf("%w: %s: %d", ErrDeletionOutOfRange, p.tp, offset)
	}
	if err := l.IncrementStartOffset(offset); err != nil {
		return 0, 0, fmt.Errorf("replica: deleting records of %s: %w", p.tp, answer(err, l.StartOffset()))
	}
	p.changedLocked(nil)
	return p.state.LeaderEpoch, offset, nil
}

// awaitDeleted waits until a deletion is made everywhere.
func (m *Manager) awaitDeleted(ctx context.Context, d *deletion, wait time.Duration) Deleted {
	if ok, result := m.deleted(d); ok {
		return result
	}
	ended := make(chan purgatory.Outcome, 1)
	w := m.produces.Park([]kafka.TopicPartition{d.p.tp}, max(wait, 0),
		func() bool { ok, _ := m.deleted(d); return ok },
		func(o purgatory.Outcome) { ended <- o })
	var cut error
	select {
	case <-ended:
	case <-ctx.Done():
		w.Cancel()
		cut = context.Cause(ctx)
	}
	ok, result := m.deleted(d)
	switch {
	case ok:
	case cut != nil:
		result.Err = cut
	default:
		result.Err = fmt.Errorf("%w: deleting records of %s", ErrTimedOut, d.p.tp)
	}
	return result
}

// deleted tells whether a deletion is done, be it by an error.
func (m *Manager) deleted(d *deletion) (bool, Deleted) {
	im := m.queue.newest()
	d.p.mu.Lock()
	defer d.p.unlock()
	l, err := d.p.leaderLocked()
	if err == nil && d.p.state.LeaderEpoch != d.epoch {
		err = &NotLeaderError{Leader: d.p.state.Leader, Epoch: d.p.state.LeaderEpoch}
	}
	if err == nil {
		if err = l.Failure(); err != nil {
			err = answer(err, 0)
		}
	}
	if err != nil {
		return true, Deleted{LowWatermark: -1, Err: err}
	}
	low := l.StartOffset()
	for id, r := range d.p.remotes { // -1 until its first fetch
		if im != nil && im.Broker(id) != nil {
			low = min(low, r.start)
		}
	}
	return low >= d.offset, Deleted{LowWatermark: low}
}

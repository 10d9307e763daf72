package replica

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"barnabas/internal/kafka"
	"barnabas/log"
	"barnabas/protocol"
)

// A log is moved to another directory (KIP-113) by a few workers, which copy pieces
// of it in turns with others while it is in use. Once nothing but the newest is left
// the rest is copied under the partition's lock and the copy takes the log's place.

const (
	// movePiece is how much is copied at a time.
	movePiece = 1 << 20
	// moveTail is how much may be copied under the partition's lock.
	moveTail = 4 << 20
	// moveRest is the pause of a move that failed.
	moveRest = 10 * time.Second
)

// Errors of MoveLog.
var (
	// ErrLogDirNotFound: the directory is not in log.dirs.
	ErrLogDirNotFound error = &fault{protocol.LogDirNotFound, "not one of the log directories"}
	// ErrReplicaNotAvailable: the replica is not here yet; where it is to be made is
	// remembered.
	ErrReplicaNotAvailable error = &fault{protocol.ReplicaNotAvailable, "the replica is not here; it will be made in that directory"}
	// ErrLongName: a copy's directory could not have the partition's name.
	ErrLongName error = &fault{protocol.InvalidTopic, "The topic name is too long."}
)

// MoveLog begins to move a partition's log to another log directory, in the place of
// a move that is under way; to the one where it is ends that. It does not wait for
// the move. The rules and errors are those of Kafka's
// ReplicaManager.alterReplicaLogDirs.
func (m *Manager) MoveLog(tp kafka.TopicPartition, dir string) error {
	if !log.HasFutureName(tp) {
		return fmt.Errorf("%w: %s", ErrLongName, tp)
	}
	switch err := m.logs.CheckDir(dir); {
	case errors.Is(err, log.ErrNoSuchDir):
		return fmt.Errorf("%w: %s", ErrLogDirNotFound, dir)
	case err != nil:
		return answer(err, 0)
	}
	p := m.Partition(tp)
	var s *seen
	if p != nil {
		s = p.seen.Load()
	}
	switch {
	case s != nil && s.log != nil:
	case s != nil && s.failure != nil && !errors.Is(s.failure, log.ErrOpening):
		return fmt.Errorf("%w: %s: %w", ErrOffline, tp, s.failure)
	default:
		if err := m.logs.Prefer(tp, dir); err != nil {
			return answer(err, 0)
		}
		if im := m.queue.newest(); im == nil || im.Partition(tp) == nil {
			return fmt.Errorf("%w: %s", ErrUnknownPartition, tp)
		}
		return fmt.Errorf("%w: %s", ErrReplicaNotAvailable, tp)
	}
	begun, err := m.logs.BeginMove(tp, dir)
	if err != nil {
		return answer(err, 0)
	}
	if begun {
		m.moves.put(tp)
	}
	return nil
}

// moves holds the partitions that are being moved and wait for a worker.
type moves struct {
	threads int
	rate    func() int64
	paying  chan struct{} // held by the worker that waits for the rate

	mu      sync.Mutex // guards the fields below
	cond    sync.Cond  // its L is mu
	waiting []kafka.TopicPartition
	// known are waiting or in a worker's hands; true: put again since it was taken.
	known  map[kafka.TopicPartition]bool
	closed bool
}

func (q *moves) init(threads int, rate func() int64) {
	q.threads, q.rate, q.paying = max(threads, 1), rate, make(chan struct{}, 1)
	q.cond.L = &q.mu
	q.known = map[kafka.TopicPartition]bool{}
}

func (q *moves) put(tp kafka.TopicPartition) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := q.known[tp]; ok {
		q.known[tp] = true
		return
	}
	q.known[tp] = false
	q.waiting = append(q.waiting, tp)
	q.cond.Signal()
}

// take waits for a partition; ok is false once closed.
func (q *moves) take() (tp kafka.TopicPartition, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) == 0 && !q.closed {
		q.cond.Wait()
	}
	if q.closed {
		return tp, false
	}
	tp = q.waiting[0]
	q.waiting = q.waiting[1:]
	q.known[tp] = false
	return tp, true
}

// back puts a partition behind the others, or forgets it.
func (q *moves) back(tp kafka.TopicPartition, again bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !again && !q.known[tp] {
		delete(q.known, tp)
		return
	}
	q.waiting = append(q.waiting, tp)
	q.cond.Signal()
}

func (q *moves) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.cond.Broadcast()
}

// pay waits so long after a piece that the rate holds, all workers together. A rate
// that is changed meanwhile counts within a second.
func (q *moves) pay(ctx context.Context, bytes int) {
	if q.rate == nil {
		return
	}
	select {
	case q.paying <- struct{}{}:
		defer func() { <-q.paying }()
	case <-ctx.Done():
		return
	}
	for debt := float64(bytes); debt > 0; {
		rate := q.rate()
		if rate == math.MaxInt64 {
			return
		}
		pause := min(time.Second, time.Duration(debt/float64(max(rate, 1))*float64(time.Second))+1)
		if !sleep(ctx, pause) {
			return
		}
		debt -= float64(rate) * pause.Seconds()
	}
}

// sleep reports false if ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// moveLogs moves logs until ctx ends.
func (m *Manager) moveLogs(ctx context.Context) {
	stop := context.AfterFunc(ctx, m.moves.close)
	defer stop()
	var wg sync.WaitGroup
	for range m.moves.threads {
		wg.Go(func() {
			buf := make([]byte, 0, movePiece)
			for {
				tp, ok := m.moves.take()
				if !ok {
					return
				}
				var outcome moveOutcome
				buf, outcome = m.moveStep(tp, buf)
				switch outcome {
				case moveOn:
					m.moves.pay(ctx, len(buf))
				case moveLater:
					sleep(ctx, moveRest)
				}
				m.moves.back(tp, outcome != moveOver)
			}
		})
	}
	wg.Wait()
}

// moveOutcome is what came of a step of a move.
type moveOutcome int8

const (
	moveOver  moveOutcome = iota // done, or given up
	moveOn                       // more is to be copied
	moveLater                    // it failed; another try may go better
)

// moveStep copies a piece of a log, or finishes its move. The buffer holds what was
// copied.
func (m *Manager) moveStep(tp kafka.TopicPartition, buf []byte) (_ []byte, _ moveOutcome) {
	cur, ok := m.logs.Get(tp)
	future, moving := m.logs.Future(tp)
	p := m.Partition(tp)
	if !ok || !moving || p == nil || cur.Failure() != nil {
		return buf, moveOver // given up; or it goes on when the partition is back
	}
	buf, done, err := copyPiece(cur, future, buf)
	if err == nil && done {
		done, err = m.finishMove(p, cur, future, buf)
	}
	switch {
	case err == nil && done:
		return buf, moveOver
	case err == nil:
		return buf, moveOn
	case errors.Is(err, log.ErrClosed): // one of them went meanwhile
		return buf[:0], moveOn
	case future.Failure() != nil || errors.Is(err, log.ErrOffline):
		m.logger.Error("moving a log to another directory was given up", "partition", tp.String(), "to", future.Dir(), "error", err)
		if err := m.logs.DropFuture(tp, "its directory failed"); err != nil {
			m.logger.Error("a copy could not be removed", "partition", tp.String(), "error", err)
		}
		return buf, moveOver
	}
	m.logger.Warn("moving a log to another directory fails; trying again", "partition", tp.String(), "to", future.Dir(), "error", err)
	return buf, moveLater
}

// copyPiece brings the copy nearer to the log. done: there was little left.
func copyPiece(cur, future *log.Log, buf []byte) (_ []byte, done bool, err error) {
	buf = buf[:0]
	if err := align(cur, future); err != nil {
		return buf, false, err
	}
	from := future.EndOffset()
	if cur.EndOffset() <= from {
		return buf, true, level(cur, future)
	}
	r, err := cur.Read(from, movePiece, cur.EndOffset(), true)
	if errors.Is(err, log.ErrOffsetOutOfRange) { // cut or deleted since: look again
		return buf, false, nil
	}
	if err != nil {
		return buf, false, err
	}
	defer r.Range.Release()
	if r.Range.Length == 0 {
		return buf, true, level(cur, future)
	}
	if int64(cap(buf)) < r.Range.Length {
		buf = make([]byte, 0, r.Range.Length)
	}
	buf = buf[:r.Range.Length]
	if _, err := r.Range.File.ReadAt(buf, r.Range.Offset); err != nil {
		return buf, false, err
	}
	if _, err := future.AppendAsFollower(buf); err != nil {
		return buf, false, err
	}
	return buf, int64(len(buf)) < movePiece/2 && cur.EndOffset() <= future.EndOffset(), level(cur, future)
}

// align cuts the copy where the log was cut since, and begins it anew where the log
// begins above its end.
func align(cur, future *log.Log) error {
	if start := cur.StartOffset(); future.EndOffset() < start {
		return future.TruncateFullyAndStartAt(start)
	}
	end := min(future.EndOffset(), cur.EndOffset())
	epoch, known := future.LatestEpoch()
	if last, ok := cur.LatestEpoch(); known && ok {
		at, agreed := cur.EndOffsetForEpoch(min(epoch, last))
		switch {
		case at == kafka.NoLeaderEpoch: // nothing that it has is in the log
			end = cur.StartOffset()
		case at < epoch:
			_, own := future.EndOffsetForEpoch(at)
			end = min(end, agreed, max(own, cur.StartOffset()))
		default:
			end = min(end, agreed)
		}
	}
	if end < future.EndOffset() {
		return future.TruncateTo(end)
	}
	return nil
}

// level gives the copy the log's high watermark and start, as far as it reaches.
func level(cur, future *log.Log) error {
	future.SetHighWatermark(min(cur.HighWatermark(), future.EndOffset()))
	if start := min(cur.StartOffset(), future.HighWatermark()); start > future.StartOffset() {
		return future.IncrementStartOffset(start)
	}
	return nil
}

// finishMove copies what is left under the partition's lock, and lets the copy take
// the log's place. It reports false if there was too much left, or the partition is
// busy.
func (m *Manager) finishMove(p *Partition, cur, future *log.Log, buf []byte) (bool, error) {
	if err := future.Flush(); err != nil { // what is left to sync under the lock is little
		return false, err
	}
	if !p.lockSoon() {
		return false, nil
	}
	moved, err := p.finishMoveLocked(cur, future, buf)
	p.unlock()
	if moved {
		m.logger.Info("a log was moved to another directory", "partition", p.tp.String(), "from", cur.Dir(), "to", m.Log(p.tp).Dir())
		m.wake(p.tp) // those who found the old log closed look again
	}
	return moved, err
}

func (p *Partition) finishMoveLocked(cur, future *log.Log, buf []byte) (bool, error) {
	if p.log != cur {
		return false, log.ErrClosed
	}
	for copied := 0; ; {
		piece, _, err := copyPiece(cur, future, buf)
		if err != nil {
			return false, err
		}
		if future.EndOffset() == cur.EndOffset() {
			break
		}
		if copied += len(piece); copied > moveTail {
			return false, nil
		}
	}
	l, err := p.m.logs.Swap(p.tp)
	if err != nil {
		if now, ok := p.m.logs.Get(p.tp); ok && now != cur { // half-way, see Swap
			p.setLocked(nil, err, p.state)
			p.failedLocked()
		}
		return false, err
	}
	p.setLocked(l, nil, p.state)
	return true, nil
}

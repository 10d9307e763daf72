package replica

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"barnabas/broker/watch"
	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log"
	"barnabas/protocol"
)

// Isolation says how far a reader sees.
type Isolation int8

const (
	// ReadUncommitted sees up to the high watermark.
	ReadUncommitted Isolation = 0
	// ReadCommitted sees up to the last stable offset.
	ReadCommitted Isolation = 1
)

// ReadArgs asks for records of one partition.
type ReadArgs struct {
	TP kafka.TopicPartition
	// TopicID, if not zero, must be the partition's.
	TopicID kafka.TopicID
	// Epoch is the leader epoch that the reader knows; NoLeaderEpoch if none.
	Epoch kafka.LeaderEpoch
	// LastFetched is the epoch of the reader's last record, to find histories
	// that differ (KIP-595); NoLeaderEpoch if it does not say.
	LastFetched kafka.LeaderEpoch
	Offset      int64
	MaxBytes    int
	// MinOne returns the first batch whole even where it exceeds MaxBytes.
	MinOne    bool
	Isolation Isolation
	// Nearby is set for a consumer that may read from any replica.
	Nearby *Nearby
	// Follower is set for the fetch of a replica: it reads up to the log's end, and
	// what it says of itself is noted.
	Follower *FollowerArgs
	// Watch is told of the next change from before the read on, if the partition is
	// here; nil: nobody is.
	Watch *watch.Node
}

// FollowerArgs is what a replica says of itself in its fetch.
type FollowerArgs struct {
	ID kafka.BrokerID
	// Epoch is its registration, -1 if it does not say.
	Epoch    kafka.BrokerEpoch
	LogStart int64
	// Limited: out of sync, it gets no more than Room bytes, if Room is above 0
	// with a first batch whole, else none.
	Limited bool
	Room    int
}

// Data is what a read found. Its Range must be released.
type Data struct {
	HighWatermark    int64
	LastStableOffset int64
	LogStartOffset   int64
	// Records is a piece of a segment; Length 0 if there is nothing to read.
	Records vfs.Range
	// Aborted are the aborted transactions that a read-committed reader must
	// filter out.
	Aborted []log.AbortedTxn
	// Diverging is set if the reader's history ends elsewhere than this log's;
	// nothing was read then.
	Diverging *EpochEnd
	// Elsewhere: the reader is to ask the replica Prefer instead; nothing was read.
	Elsewhere bool
	Prefer    kafka.BrokerID
	// Now asks for an answer without waiting for more: it is Elsewhere, or a
	// follower does not know the high watermark yet.
	Now bool
	// Settled: ReadArgs.Watch watches the partition, and until it is told of a change
	// the same read finds the same: nothing, and the same offsets. A follower who reads
	// so is in sync and has all that there is; until then each request of its session
	// counts as such a read.
	Settled bool

	sent, moved *atomic.Int64 // counters of the partition; moved may be nil
	limited     bool          // FollowerArgs.Limited holds
}

// EpochEnd says where a leader epoch ends in a log: the offset after its last
// record. -1, -1 is unknown.
type EpochEnd struct {
	Epoch  kafka.LeaderEpoch
	Offset int64
}

// Read finds records for a consumer. Errors: NotLeaderError, ErrFencedEpoch,
// ErrUnknownEpoch, ErrUnknownPartition, ErrInconsistentTopicID, ErrOffline,
// log.ErrOffsetOutOfRange and those of reading.
func (m *Manager) Read(a *ReadArgs) (Data, error) {
	d, err := m.read(a)
	if errors.Is(err, log.ErrClosed) { // the log was moved to another directory under the read
		d, err = m.read(a)
	}
	return d, err
}

func (m *Manager) read(a *ReadArgs) (Data, error) {
	p := m.Partition(a.TP)
	if p == nil {
		return Data{}, m.absent(a.TP)
	}
	l, prefer, err := p.readable(a)
	if err != nil {
		return Data{}, err
	}
	d := Data{sent: &p.sent, LogStartOffset: l.StartOffset(), HighWatermark: l.HighWatermark(), LastStableOffset: l.LastStableOffset()}
	if prefer != kafka.NoBroker {
		d.Elsewhere, d.Prefer, d.Now = true, prefer, true
		return d, nil
	}
	if a.LastFetched != kafka.NoLeaderEpoch {
		epoch, end := l.EndOffsetForEpoch(a.LastFetched)
		if epoch == kafka.NoLeaderEpoch {
			return Data{}, fmt.Errorf("%w: %s: epoch %d is not in the log", protocol.OffsetOutOfRange, a.TP, a.LastFetched)
		}
		if epoch < a.LastFetched || end < a.Offset {
			d.Diverging = &EpochEnd{epoch, end}
			return d, nil
		}
	}
	limit := d.HighWatermark
	switch {
	case a.Follower != nil:
		if limit, err = m.followed(p, a, &d); err != nil {
			return Data{}, err
		}
	case a.Isolation == ReadCommitted:
		limit = d.LastStableOffset
	}
	size := a.MaxBytes
	if d.limited {
		if a.Follower.Room <= 0 {
			return d, nil
		}
		size = min(size, a.Follower.Room)
	}
	if a.Watch != nil && a.Follower == nil {
		// Who is nearest depends on other brokers.
		d.Settled = a.Offset >= limit && !(m.rackAware && a.Nearby != nil && a.Nearby.Rack != "")
	}
	r, err := l.Read(a.Offset, size, limit, a.MinOne)
	if err != nil {
		return Data{}, fmt.Errorf("replica: reading %s at %d: %w", a.TP, a.Offset, answer(err, d.LogStartOffset))
	}
	d.Records = r.Range
	if a.Isolation == ReadCommitted && r.Range.Length > 0 {
		if d.Aborted, err = l.AbortedTxns(a.Offset, limit); err != nil {
			d.Records.Release()
			return Data{}, fmt.Errorf("replica: aborted transactions of %s from %d: %w", a.TP, a.Offset, err)
		}
	}
	return d, nil
}

// followed notes a follower's fetch and returns the log's end, up to which it may
// read.
func (m *Manager) followed(p *Partition, a *ReadArgs, d *Data) (limit int64, err error) {
	p.mu.Lock()
	l, err := p.leaderLocked()
	r := p.remotes[a.Follower.ID]
	if err == nil && r == nil {
		if err = ErrUnknownEpoch; a.Epoch == kafka.NoLeaderEpoch {
			err = &NotLeaderError{Leader: p.state.Leader, Epoch: p.state.LeaderEpoch}
		}
	}
	if err != nil {
		p.unlock()
		return 0, err
	}
	limit = l.EndOffset()
	told := r.toldHighWatermark
	moved, ask := p.followedLocked(a.Follower.ID, a.Follower.Epoch, a.Offset, a.Follower.LogStart, limit, a.Watch)
	d.HighWatermark = l.HighWatermark()
	if a.Watch != nil && p.settlesLocked(a, r, limit) {
		d.Settled, r.by = true, a.Watch
	}
	d.sent, d.limited = &p.copied, a.Follower.Limited && !slices.Contains(p.state.ISR, a.Follower.ID)
	if slices.Contains(p.state.Adding, a.Follower.ID) {
		d.moved = &p.moved
	}
	d.Now = told >= 0 && told < d.HighWatermark
	p.unlock()
	if moved {
		m.wake(p.tp)
	}
	if ask != nil {
		m.ask(ask)
	}
	return limit, nil
}

// settlesLocked reports whether fetches like the one that was just noted in r change
// nothing until the partition does. A replica that is not in sync may be let in at
// any time, and be throttled; where not all is committed the high watermark may move
// as time passes.
func (p *Partition) settlesLocked(a *ReadArgs, r *remote, end int64) bool {
	return r.epoch == a.Follower.Epoch && r.end == a.Offset && a.Offset == end && p.log.HighWatermark() == end &&
		slices.Contains(p.state.ISR, a.Follower.ID)
}

// leaderFor returns the log of a partition that this broker leads, after the
// checks that every reader's request undergoes.
func (m *Manager) leaderFor(tp kafka.TopicPartition, id kafka.TopicID, epoch kafka.LeaderEpoch) (*log.Log, error) {
	p := m.Partition(tp)
	if p == nil {
		return nil, m.absent(tp)
	}
	return p.leaderFor(id, epoch)
}

func (p *Partition) leaderFor(id kafka.TopicID, epoch kafka.LeaderEpoch) (*log.Log, error) {
	p.mu.Lock()
	defer p.unlock()
	return p.leaderForLocked(id, epoch)
}

func (p *Partition) leaderForLocked(id kafka.TopicID, epoch kafka.LeaderEpoch) (*log.Log, error) {
	if !id.IsZero() && !p.state.TopicID.IsZero() && id != p.state.TopicID {
		return nil, fmt.Errorf("%w: %s: %s, here %s", ErrInconsistentTopicID, p.tp, id, p.state.TopicID)
	}
	if err := p.checkEpochLocked(epoch); err != nil {
		return nil, err
	}
	return p.leaderLocked()
}

// Behind reports whether a partition is here, in a leadership older than epoch, of
// which the change log has yet to tell. Who waits for it parks in Fetches.
func (m *Manager) Behind(tp kafka.TopicPartition, epoch kafka.LeaderEpoch) bool {
	p := m.Partition(tp)
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.unlock()
	return errors.Is(p.checkEpochLocked(epoch), ErrUnknownEpoch)
}

// OffsetQuery is one question of ListOffsets.
type OffsetQuery struct {
	TP    kafka.TopicPartition
	Epoch kafka.LeaderEpoch
	// Timestamp in milliseconds, or one of the special values below.
	Timestamp int64
	Isolation Isolation
	// Debug lets any replica answer, up to the end of its log (replica id -2).
	Debug bool
	// Follower is set for the question of a replica, to which the log's end is
	// latest: cut back to a high watermark, it would lose what is committed.
	Follower bool
}

// Special timestamps of ListOffsets.
const (
	LatestTimestamp        = -1
	EarliestTimestamp      = -2
	MaxTimestamp           = -3
	EarliestLocalTimestamp = -4
	LatestTieredTimestamp  = -5
)

// OffsetAnswer is a record's offset, its timestamp (-1 where the question was
// for an end of the log) and the epoch that it was written in (NoLeaderEpoch if
// unknown). Offset -1 means that there is no such record.
type OffsetAnswer struct {
	Offset, Timestamp int64
	Epoch             kafka.LeaderEpoch
}

// Offset answers one question about offsets. ErrOffsetNotAvailable: ask again.
func (m *Manager) Offset(q *OffsetQuery) (OffsetAnswer, error) {
	l, fresh, err := m.offsetLog(q)
	if err != nil {
		return OffsetAnswer{}, err
	}
	end := l.HighWatermark()
	if q.Isolation == ReadCommitted {
		end = l.LastStableOffset()
	}
	if q.Follower || q.Debug {
		end, fresh = l.EndOffset(), false
	}
	none := OffsetAnswer{Offset: -1, Timestamp: -1, Epoch: kafka.NoLeaderEpoch}
	switch q.Timestamp {
	case LatestTimestamp:
		if fresh {
			return OffsetAnswer{}, fmt.Errorf("%w: %s", ErrOffsetNotAvailable, q.TP)
		}
		return OffsetAnswer{Offset: end, Timestamp: -1, Epoch: epochAt(l, end)}, nil
	case EarliestTimestamp, EarliestLocalTimestamp:
		start := l.StartOffset()
		return OffsetAnswer{Offset: start, Timestamp: -1, Epoch: epochAt(l, start)}, nil
	case LatestTieredTimestamp:
		return none, nil
	}
	var t log.TimeOffset
	var found bool
	if q.Timestamp == MaxTimestamp {
		t, found, err = l.MaxTimestampOffset()
	} else {
		t, found, err = l.OffsetForTime(q.Timestamp, l.EndOffset())
	}
	if err != nil {
		return OffsetAnswer{}, fmt.Errorf("replica: offset of %s for time %d: %w", q.TP, q.Timestamp, answer(err, l.StartOffset()))
	}
	if !found {
		return none, nil
	}
	if t.Offset >= end && q.Timestamp >= 0 {
		if fresh {
			return OffsetAnswer{}, fmt.Errorf("%w: %s", ErrOffsetNotAvailable, q.TP)
		}
		return none, nil
	}
	return OffsetAnswer{Offset: t.Offset, Timestamp: t.Timestamp, Epoch: t.Epoch}, nil
}

// offsetLog returns the log to ask, and whether its high watermark may still
// be behind the beginning of its leadership.
func (m *Manager) offsetLog(q *OffsetQuery) (*log.Log, bool, error) {
	if q.Debug {
		if l := m.Log(q.TP); l != nil {
			return l, false, nil
		}
	}
	l, err := m.leaderFor(q.TP, kafka.TopicID{}, q.Epoch)
	if err != nil {
		return nil, false, err
	}
	p := m.Partition(q.TP)
	if p == nil {
		return nil, false, m.absent(q.TP)
	}
	p.mu.Lock()
	defer p.unlock()
	return l, l.HighWatermark() < p.epochStart, nil
}

// epochAt is the epoch that an offset belongs to, or that the next record will
// have.
func epochAt(l *log.Log, offset int64) kafka.LeaderEpoch {
	if e, ok := l.EpochForOffset(offset); ok {
		return e
	}
	return kafka.NoLeaderEpoch
}

// LegacyOffsets are the answers of ListOffsets v0: offsets at which segments
// begin, and the end, newest first, for records before a time.
func (m *Manager) LegacyOffsets(q *OffsetQuery, limit int) ([]int64, error) {
	l, _, err := m.offsetLog(q)
	if err != nil {
		return nil, err
	}
	offsets, err := l.LegacyOffsetsBefore(q.Timestamp, limit)
	if err != nil {
		return nil, fmt.Errorf("replica: segment offsets of %s: %w", q.TP, err)
	}
	hw := l.HighWatermark() // nothing above it is for consumers
	out := offsets[:0]
	for _, o := range offsets {
		out = append(out, min(o, hw))
	}
	return out, nil
}

// EndOfEpoch answers OffsetForLeaderEpoch: the largest epoch not above the one
// asked for, and where it ends.
func (m *Manager) EndOfEpoch(tp kafka.TopicPartition, current, epoch kafka.LeaderEpoch) (EpochEnd, error) {
	l, err := m.leaderFor(tp, kafka.TopicID{}, current)
	if err != nil {
		return EpochEnd{}, err
	}
	e, end := l.EndOffsetForEpoch(epoch)
	return EpochEnd{e, end}, nil
}

package replica

import (
	"errors"
	"fmt"
	"slices"

	"barnabas/internal/kafka"
	"barnabas/log"
)

// Following is a partition that this broker copies from its leader.
type Following struct {
	TP      kafka.TopicPartition
	TopicID kafka.TopicID
	Leader  kafka.BrokerID
	Epoch   kafka.LeaderEpoch
}

// Position is where a follower goes on.
type Position struct {
	// Offset is the follower's log end; LastEpoch the epoch of the record before
	// it, NoLeaderEpoch if it has none; Start its log start.
	Offset    int64
	LastEpoch kafka.LeaderEpoch
	Start     int64
}

// ErrNotFollowing: the partition is not copied in this leadership any more.
var ErrNotFollowing = errors.New("replica: not following in this leader epoch")

// followerLocked returns the log of a partition that is followed in an epoch.
func (p *Partition) followerLocked(f *Following) (*log.Log, error) {
	if p.log == nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrOffline, p.tp, p.failure)
	}
	if p.state.Leader == p.m.self || p.state.Leader != f.Leader || p.state.LeaderEpoch != f.Epoch || p.state.TopicID != f.TopicID {
		return nil, fmt.Errorf("%w: %s: %d", ErrNotFollowing, p.tp, f.Epoch)
	}
	return p.log, nil
}

// follower runs fn on the log of a followed partition, under its lock.
func (m *Manager) follower(f *Following, fn func(p *Partition, l *log.Log) error) error {
	p := m.Partition(f.TP)
	if p == nil {
		return fmt.Errorf("%w: %s", ErrNotFollowing, f.TP)
	}
	p.mu.Lock()
	defer p.unlock()
	l, err := p.followerLocked(f)
	if err != nil {
		return err
	}
	return fn(p, l)
}

// FetchPosition tells where to fetch next. ErrNotFollowing ends the copying.
func (m *Manager) FetchPosition(f *Following) (pos Position, err error) {
	err = m.follower(f, func(_ *Partition, l *log.Log) error {
		pos = Position{Offset: l.EndOffset(), LastEpoch: kafka.NoLeaderEpoch, Start: l.StartOffset()}
		if e, ok := l.LatestEpoch(); ok {
			pos.LastEpoch = e
		}
		return nil
	})
	return pos, err
}

// AppendFetched stores what the leader sent, and takes its high watermark and log
// start as far as this log reaches. recs may end within a batch.
func (m *Manager) AppendFetched(f *Following, recs []byte, highWatermark, logStart int64) error {
	moved := false
	err := m.follower(f, func(p *Partition, l *log.Log) error {
		p.committed, p.leaderHigh = max(p.committed, highWatermark), highWatermark
		if len(recs) > 0 {
			if _, err := l.AppendAsFollower(recs); err != nil {
				return fmt.Errorf("replica: copying %s: %w", f.TP, answer(err, l.StartOffset()))
			}
			p.traffic.copied(len(recs), slices.Contains(p.state.Adding, m.self))
		}
		before := l.HighWatermark()
		if moved = l.SetHighWatermark(min(highWatermark, l.EndOffset())) > before; moved {
			p.changedLocked(nil)
		}
		if start := min(logStart, l.HighWatermark()); start > l.StartOffset() {
			return l.IncrementStartOffset(start)
		}
		return nil
	})
	if moved {
		m.wake(f.TP)
	}
	return err
}

// Diverged cuts this log back to where it and its leader's last agreed, as far
// as one answer tells: leader is the largest epoch of the leader that is not
// above the asked one, and its end (KIP-595). More rounds may follow.
func (m *Manager) Diverged(f *Following, leader EpochEnd) error {
	return m.follower(f, func(p *Partition, l *log.Log) error {
		defer p.changedLocked(nil)
		own, end := l.EndOffsetForEpoch(leader.Epoch)
		to := min(end, l.EndOffset())
		switch {
		case own == kafka.NoLeaderEpoch:
			to = l.StartOffset()
		case own == leader.Epoch:
			to = min(to, leader.Offset)
		}
		cut := []any{"partition", f.TP.String(), "to", to, "offsets", l.EndOffset() - to, "high_watermark", l.HighWatermark(), "end", l.EndOffset(), "leader_epoch", int32(f.Epoch)}
		switch {
		case to < l.HighWatermark():
			m.logger.Warn("truncating below the high watermark: the leader's history differs", cut...)
		case to < l.EndOffset():
			m.logger.Info("cutting what the leader does not have", cut...)
		}
		return l.TruncateTo(to)
	})
}

// OutOfRange begins again where the leader can go on: its log lies, as a whole,
// before or after this one's end.
func (m *Manager) OutOfRange(f *Following, leaderStart, leaderEnd int64) error {
	return m.follower(f, func(p *Partition, l *log.Log) error {
		defer p.changedLocked(nil)
		switch end := l.EndOffset(); {
		case leaderEnd < end:
			m.logger.Warn("the leader's log is shorter; truncating", "partition", f.TP.String(), "to", leaderEnd, "end", end)
			return l.TruncateTo(max(leaderEnd, l.StartOffset()))
		case leaderStart > end:
			m.logger.Warn("the leader's log begins above this one's end; starting over", "partition", f.TP.String(), "at", leaderStart, "end", end)
			return l.TruncateFullyAndStartAt(leaderStart)
		}
		return nil
	})
}

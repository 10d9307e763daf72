package replica

import (
	"fmt"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// LogEnds tells where replicas end, for an election: one answer for each question,
// in order. A replica that may still be copying from an older leader answers
// UNKNOWN_LEADER_EPOCH, so that what is told stays true until the next leader is
// known.
func (m *Manager) LogEnds(of []cluster.EndQuestion) []cluster.LogEnd {
	out := make([]cluster.LogEnd, len(of))
	for i := range of {
		out[i] = m.logEnd(&of[i])
	}
	return out
}

func (m *Manager) logEnd(q *cluster.EndQuestion) cluster.LogEnd {
	e := cluster.LogEnd{Epoch: kafka.NoLeaderEpoch, End: -1, Committed: -1}
	p := m.Partition(q.TP)
	if p == nil {
		e.Err = protocol.UnknownTopicOrPartition // or not opened yet
		return e
	}
	p.mu.Lock()
	defer p.unlock()
	switch {
	case p.state.TopicID != q.TopicID:
		e.Err = protocol.UnknownTopicID
	case p.state.LeaderEpoch < q.LeaderEpoch:
		e.Err = fmt.Errorf("%w: %s: %d, here %d", ErrUnknownEpoch, p.tp, q.LeaderEpoch, p.state.LeaderEpoch)
	case p.log == nil:
		e.Err = fmt.Errorf("%w: %s: %w", ErrOffline, p.tp, p.failure)
	default:
		e.End = p.log.EndOffset()
		e.Committed = max(p.committed, p.log.HighWatermark())
		if last, ok := p.log.LatestEpoch(); ok {
			e.Epoch = last
		}
	}
	return e
}

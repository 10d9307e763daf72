package replica

import (
	"fmt"
	"slices"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/log"
)

// Nearby is what a consumer says of itself that may read from any replica
// (KIP-392: Fetch from version 11 on).
type Nearby struct {
	// Rack is where the consumer is, "" if it does not say.
	Rack string
	// Listener is the one that it speaks to, and would speak to elsewhere.
	Listener string
}

// readable returns the log to read from, after the checks that every reader's
// request undergoes: as the leader, or as a follower for those who may read from
// one. prefer is the replica that the reader is to ask instead, if it is not
// NoBroker.
func (p *Partition) readable(a *ReadArgs) (l *log.Log, prefer kafka.BrokerID, err error) {
	p.mu.Lock()
	defer p.unlock()
	p.watchLocked(a)
	if l, err = p.leaderForLocked(a.TopicID, a.Epoch); err == nil {
		return l, p.nearestLocked(a), nil
	}
	if _, notLeader := err.(*NotLeaderError); !notLeader || a.Nearby == nil || p.state.Leader == p.m.self {
		return nil, kafka.NoBroker, err
	}
	if p.log == nil {
		return nil, kafka.NoBroker, fmt.Errorf("%w: %s: %w", ErrOffline, p.tp, p.failure)
	}
	return p.log, kafka.NoBroker, nil
}

// watchLocked lets a reader be told of the next change. It comes before the reader
// looks, so that none is missed: not all of them are made under p.mu.
func (p *Partition) watchLocked(a *ReadArgs) {
	switch {
	case a.Watch == nil:
	case a.Follower != nil:
		p.copiers.Watch(a.Watch)
	default:
		p.readers.Watch(a.Watch)
	}
}

// nearestLocked is the replica in the consumer's rack that has what is asked for
// and most beyond it, as Kafka's RackAwareReplicaSelector chooses among those in
// sync. Without one, or if this leader is in that rack, nobody is preferred.
func (p *Partition) nearestLocked(a *ReadArgs) kafka.BrokerID {
	if !p.m.rackAware || a.Nearby == nil || a.Nearby.Rack == "" || len(p.remotes) == 0 {
		return kafka.NoBroker
	}
	im := p.m.queue.newest()
	if im == nil || inRack(im, p.m.self, a.Nearby) {
		return kafka.NoBroker
	}
	best := kafka.NoBroker
	for id, r := range p.remotes {
		if r.end < a.Offset || r.start > a.Offset || !slices.Contains(p.state.ISR, id) || !inRack(im, id, a.Nearby) {
			continue
		}
		if best == kafka.NoBroker || p.remotes[best].before(best, r, id) {
			best = id
		}
	}
	return best
}

// before reports whether other is the better replica to read from.
func (r *remote) before(id kafka.BrokerID, other *remote, otherID kafka.BrokerID) bool {
	switch {
	case r.end != other.end:
		return r.end < other.end
	case !r.caughtUpAt().Equal(other.caughtUpAt()):
		return r.caughtUpAt().Before(other.caughtUpAt())
	}
	return id < otherID
}

// inRack reports whether a live broker is in the consumer's rack and has its
// listener.
func inRack(im *cluster.Image, id kafka.BrokerID, n *Nearby) bool {
	b := im.Broker(id)
	if b == nil || b.Rack != n.Rack {
		return false
	}
	_, ok := b.Endpoint(n.Listener)
	return ok
}

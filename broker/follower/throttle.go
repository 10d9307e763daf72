package follower

import (
	"time"

	"barnabas/protocol"
)

// heldBack is how long a partition is not to be fetched, because the throttle of
// the follower's side covers it, its rate is above the limit, and it has not all
// that is committed at the leader (KIP-73; Kafka's shouldFollowerThrottle).
func (l *loop) heldBack(p *part) time.Duration {
	t := l.f.o.Throttle
	if !t.Covers(p.what.TP.Topic, p.what.TP.Partition) || p.leaderHW >= 0 && p.pos.Offset >= p.leaderHW {
		return 0
	}
	return min(t.Wait(), l.f.o.Backoff)
}

// countThrottled notes what was fetched of a partition.
func (l *loop) countThrottled(p *part, got *protocol.Fetched) {
	p.leaderHW = got.HighWatermark
	if t := l.f.o.Throttle; t.Covers(p.what.TP.Topic, p.what.TP.Partition) {
		t.Record(int64(len(got.Records)))
	}
}

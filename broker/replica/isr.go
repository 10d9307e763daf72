package replica

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"barnabas/broker/watch"
	"barnabas/internal/kafka"
)

// remote is another replica of a partition, as its leader knows it.
type remote struct {
	// end is the replica's log end, -1 until its first fetch in this leadership;
	// start its log start.
	end, start int64
	// epoch is the registration that it fetches under; -1 if it does not say.
	epoch kafka.BrokerEpoch
	// caughtUp is when it last had all that this log had. A leadership begins
	// with the benefit of the doubt: the clock of members starts then.
	caughtUp time.Time
	// fetched is the time of its last fetch and endThen this log's end at it.
	fetched time.Time
	endThen int64
	// toldHighWatermark is what its last fetch was answered with.
	toldHighWatermark int64
	// by watches the partition for its session, if its last fetch found nothing new.
	// Until something changes, each request of the session is a fetch that finds the
	// same, though none comes here (package fetchsession); by knows of the last one.
	by *watch.Node
}

// caughtUpAt is when the replica last had all that this log had.
func (r *remote) caughtUpAt() time.Time {
	if r.by != nil {
		if t := r.by.Reader.Looked(); t.After(r.caughtUp) {
			return t
		}
	}
	return r.caughtUp
}

// settleLocked notes the fetches of a replica that did not come here, until that by
// the watch by.
func (p *Partition) settleLocked(r *remote, by *watch.Node) {
	if r.by != nil && r.by != by {
		// What comes by another session would go unnoticed of that one's.
		if call := r.by.Reader.Changed(true); call != nil {
			p.woken = append(p.woken, call)
		}
	}
	if t := r.caughtUpAt(); t.After(r.caughtUp) {
		r.caughtUp = t
		if t.After(r.fetched) {
			r.fetched = t
		}
	}
	r.by = nil
}

// Member is a broker of an ISR, with the registration that the leader saw it
// fetch under (KIP-903); -1 if unknown.
type Member struct {
	ID    kafka.BrokerID
	Epoch kafka.BrokerEpoch
}

// Proposal asks the controller for another ISR.
type Proposal struct {
	TP             kafka.TopicPartition
	TopicID        kafka.TopicID
	LeaderEpoch    kafka.LeaderEpoch
	PartitionEpoch kafka.PartitionEpoch
	ISR            []Member
	// Reason is for the log: who enters or leaves, and why.
	Reason string
}

// rememberLocked prepares the remotes for a state: anew for a fresh leadership,
// else keeping what is known of those that stay.
func (p *Partition) rememberLocked(fresh bool, now time.Time) {
	old := p.remotes
	p.remotes = make(map[kafka.BrokerID]*remote, len(p.state.Replicas))
	for _, id := range p.state.Replicas {
		if id == p.m.self {
			continue
		}
		if r := old[id]; r != nil && !fresh {
			p.remotes[id] = r
			continue
		}
		r := &remote{end: -1, start: -1, epoch: -1, toldHighWatermark: -1}
		if slices.Contains(p.state.ISR, id) {
			r.caughtUp = now
		}
		p.remotes[id] = r
	}
}

// countsLocked reports whether the high watermark waits for a replica: a member
// of the ISR or of the proposed one, or one that keeps up and so is about to be.
func (p *Partition) countsLocked(id kafka.BrokerID, r *remote, now time.Time) bool {
	return slices.Contains(p.state.ISR, id) || slices.Contains(p.proposed, id) ||
		r.end >= 0 && now.Sub(r.caughtUpAt()) <= p.m.lagMax && p.m.alive(id, r.epoch)
}

// advanceLocked moves the high watermark to what all replicas have that count,
// and reports whether it moved. Like Apache Kafka 3.9 it stands still while the
// ISR is smaller than min.insync.replicas. by is as in changedLocked.
func (p *Partition) advanceLocked(by *watch.Node) bool {
	if len(p.state.ISR) < p.state.effectiveMinISR() {
		return false
	}
	end := p.log.EndOffset()
	if len(p.remotes) > 0 {
		now := time.Now()
		for id, r := range p.remotes {
			if r.end < end && p.countsLocked(id, r, now) {
				end = r.end
			}
		}
	}
	if end <= p.log.HighWatermark() {
		return false
	}
	p.log.SetHighWatermark(end)
	p.changedLocked(by)
	return true
}

// followedLocked notes a follower's fetch from offset, answered while this log
// ended at end; by is its watch, or nil. It reports whether others must look again,
// and returns the proposal to let the follower in, if it is to be made.
func (p *Partition) followedLocked(id kafka.BrokerID, epoch kafka.BrokerEpoch, offset, start, end int64, by *watch.Node) (moved bool, ask *Proposal) {
	r, now := p.remotes[id], time.Now()
	if epoch < r.epoch {
		// A fetch of its last life, that waited here: it says nothing any more. Were it
		// noted, it and one of the present life that waits, too, would wake each other
		// without end.
		return false, nil
	}
	p.settleLocked(r, by)
	if r.epoch != epoch && r.epoch >= 0 {
		// It was born again: that it kept up in its last life says nothing, and nobody
		// waits for it until it has caught up in this one.
		*r = remote{end: -1, start: -1, epoch: -1, toldHighWatermark: -1}
	}
	switch {
	case offset >= end:
		r.caughtUp = now
	case offset >= r.endThen && r.end >= 0:
		r.caughtUp = r.fetched
	}
	started := start > r.start
	r.end, r.start, r.epoch, r.fetched, r.endThen = offset, start, epoch, now, end
	moved = p.advanceLocked(by) || started // who waits for a deletion looks at starts
	r.toldHighWatermark = p.log.HighWatermark()
	return moved, p.letInLocked(id, r)
}

// letInLocked returns the proposal to let a replica into the ISR, if it may be.
func (p *Partition) letInLocked(id kafka.BrokerID, r *remote) *Proposal {
	if slices.Contains(p.state.ISR, id) || p.proposed != nil || r.end < p.log.HighWatermark() || r.end < p.epochStart || !p.m.alive(id, r.epoch) {
		return nil
	}
	return p.proposeLocked(append(slices.Clone(p.state.ISR), id), "caught up: "+brokerList([]kafka.BrokerID{id}))
}

// lookAgain does what follows when brokers came, went or began to stop without a
// new state of the partition: the high watermark waits for fewer, or one that has
// caught up may be let in.
func (p *Partition) lookAgain(ids map[kafka.BrokerID]bool) (moved bool, ask *Proposal) {
	p.mu.Lock()
	defer p.unlock()
	if _, err := p.leaderLocked(); err != nil {
		return false, nil
	}
	for id := range ids {
		if r := p.remotes[id]; r != nil && r.end >= 0 && ask == nil {
			ask = p.letInLocked(id, r)
			moved = true
		}
	}
	return moved && p.advanceLocked(nil), ask
}

// brokersChanged looks again at the partitions that this broker leads. Nobody
// else would: where nothing is produced, the next fetch of a follower may come
// only when it has waited its time out (replica.fetch.wait.max.ms).
func (m *Manager) brokersChanged(ids map[kafka.BrokerID]bool) {
	for _, p := range m.all() {
		moved, ask := p.lookAgain(ids)
		if moved {
			m.wake(p.tp)
		}
		if ask != nil {
			m.ask(ask)
		}
	}
}

// proposeLocked makes isr the proposed one.
func (p *Partition) proposeLocked(isr []kafka.BrokerID, reason string) *Proposal {
	p.proposed = isr
	if p.aloneLocked() { // see become
		p.m.syncs.want(p.tp)
	}
	ask := &Proposal{TP: p.tp, TopicID: p.state.TopicID, LeaderEpoch: p.state.LeaderEpoch, PartitionEpoch: p.state.PartitionEpoch, Reason: reason}
	for _, id := range isr {
		m := Member{ID: id, Epoch: -1}
		if r := p.remotes[id]; r != nil {
			m.Epoch = r.epoch
		} else if id == p.m.self {
			if e := p.m.registration.Load(); e != unregistered {
				m.Epoch = kafka.BrokerEpoch(e)
			}
		}
		ask.ISR = append(ask.ISR, m)
	}
	return ask
}

// laggards returns the proposal to put members out that have not caught up for
// too long, if there are any.
func (p *Partition) laggards(now time.Time) *Proposal {
	if !p.lockSoon() {
		return nil
	}
	defer p.unlock()
	if _, err := p.leaderLocked(); err != nil || p.proposed != nil {
		return nil
	}
	var keep, out []kafka.BrokerID
	for _, id := range p.state.ISR {
		r := p.remotes[id]
		if r != nil && r.end < p.log.EndOffset() && now.Sub(r.caughtUpAt()) > p.m.lagMax {
			out = append(out, id)
			continue
		}
		keep = append(keep, id)
	}
	if len(out) == 0 || len(keep) == 0 {
		return nil
	}
	return p.proposeLocked(keep, "fell behind: "+brokerList(out))
}

// refused forgets a proposal that the controller did not take.
func (p *Partition) refused(ask *Proposal) {
	p.mu.Lock()
	defer p.unlock()
	if p.state.LeaderEpoch == ask.LeaderEpoch && p.state.PartitionEpoch == ask.PartitionEpoch {
		p.proposed = nil
		p.changedLocked(nil) // it may be asked for again
		if _, err := p.leaderLocked(); err == nil {
			p.advanceLocked(nil) // who was to enter is waited for no more, if it is gone
		}
	}
}

// Refused tells that the controller did not take a proposal: the ISR stays as it
// is, and may be proposed for again.
func (m *Manager) Refused(ask *Proposal) {
	if p := m.Partition(ask.TP); p != nil {
		p.refused(ask)
		m.wake(ask.TP)
	}
}

// watchLag looks for members that fell behind until ctx ends.
func (m *Manager) watchLag(ctx context.Context) {
	tick := time.NewTicker(max(m.lagMax/2, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, p := range m.all() {
				if ask := p.laggards(now); ask != nil {
					m.ask(ask)
				}
			}
		}
	}
}

func (m *Manager) ask(ask *Proposal) {
	m.logger.Info("asking for another ISR", "partition", ask.TP.String(), "leader_epoch", int32(ask.LeaderEpoch), "reason", ask.Reason)
	m.propose(ask)
}

// alive reports whether a broker that fetched under a registration may count: it
// is still registered so, and not about to stop. One that has come back since is
// another: what it had and when says nothing, until it fetches.
func (m *Manager) alive(id kafka.BrokerID, epoch kafka.BrokerEpoch) bool {
	im := m.queue.newest()
	if im == nil {
		return false
	}
	b := im.Broker(id)
	return b != nil && !b.Stopping && (epoch < 0 || epoch == b.Epoch)
}

// brokerList is ids as people write them.
func brokerList(of []kafka.BrokerID) string {
	var b strings.Builder
	for i, id := range of {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(strconv.Itoa(int(id)))
	}
	return b.String()
}

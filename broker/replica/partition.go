package replica

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"barnabas/broker/watch"
	"barnabas/internal/kafka"
	"barnabas/log"
)

// State is what a partition is to be, as plain values. It is immutable.
type State struct {
	TopicID  kafka.TopicID
	Replicas []kafka.BrokerID
	// Adding and Removing are those of the replicas that a reassignment moves.
	Adding, Removing []kafka.BrokerID
	ISR              []kafka.BrokerID
	Leader           kafka.BrokerID // kafka.NoBroker if it has none
	LeaderEpoch      kafka.LeaderEpoch
	PartitionEpoch   kafka.PartitionEpoch
	// Zxid is the transaction that wrote the state; see Manager.SetRegistration.
	Zxid int64
	// Created is the transaction that wrote the partition's first state, 0 if that is
	// not known.
	Created int64
	// MinISR is the topic's min.insync.replicas.
	MinISR int
	// Assigned: a reassignment brought this replica here after the present
	// registration, so that no earlier life of this broker had it.
	Assigned bool
}

// effectiveMinISR is never above the number of replicas.
func (s *State) effectiveMinISR() int { return min(s.MinISR, len(s.Replicas)) }

// factor is the replication factor: of a partition that is being reassigned
// without those that come.
func (s *State) factor() int {
	n := len(s.Replicas)
	for _, id := range s.Adding {
		if slices.Contains(s.Replicas, id) {
			n--
		}
	}
	return n
}

// moving reports whether the partition is being reassigned.
func (s *State) moving() bool { return len(s.Adding) > 0 || len(s.Removing) > 0 }

// Partition is one partition that this broker has, or is to have, a replica of.
type Partition struct {
	tp kafka.TopicPartition
	m  *Manager

	// readers watch what is in the log up to the high watermark, where it starts, and
	// whether this broker may give it out; copiers are followers, who watch the log's
	// end besides. A stuck partition's are those of its successor.
	readers, copiers *watch.List

	mu sync.Mutex // guards the fields below, and the order of appends; see unlock
	// woken are those to call after mu is released.
	woken []func()
	// log is nil until the partition was moved for the first time, and after its
	// directory failed; failure then says why.
	log     *log.Log
	failure error
	state   State
	// leading: the state names this broker and is younger than its registration.
	// The registration may have been lost since: see leaderLocked.
	leading bool
	// remotes are the other replicas as a leader knows them; nil on a follower.
	remotes map[kafka.BrokerID]*remote
	// proposed is the ISR that the controller was asked for, nil if it was not.
	// Until it answers, those of both sets must have a record for it to count.
	proposed []kafka.BrokerID
	// epochStart is the log end at which this leadership began. Until the high
	// watermark is there, latest offsets are not known (KIP-207).
	epochStart int64
	// committed is the largest high watermark that a leader told this follower, be
	// its own log as long or not.
	committed int64
	// leaderHigh is the high watermark that the present leader told this follower last.
	leaderHigh int64
	// announced: the coordinators were told that this broker leads.
	announced bool
	// traffic is what the partition has taken in; what it has sent stays 0.
	traffic Traffic

	// Bytes of records sent to consumers, to followers, and of the latter to
	// replicas that a reassignment brings.
	sent, copied, moved atomic.Int64
	// doomed: somebody asked for the deletion of the topic.
	doomed atomic.Bool
	// seen is log, failure and state for those who must not wait for mu: it is held
	// over a write that may never end.
	seen atomic.Pointer[seen]
	// counted is the traffic at the last look.
	counted atomic.Pointer[Traffic]
}

// seen is what a partition was after its last change.
type seen struct {
	log     *log.Log
	failure error
	state   State
}

func newPartition(tp kafka.TopicPartition, m *Manager) *Partition {
	return &Partition{tp: tp, m: m, readers: new(watch.List), copiers: new(watch.List)}
}

// unlock releases mu, and calls those who wait for what was changed under it. So
// nobody hears of it too late: before mu is released, what changed is marked in all
// sessions that a fetch of somebody who has seen it may belong to.
func (p *Partition) unlock() {
	calls := p.woken
	p.woken = nil
	p.mu.Unlock()
	for _, call := range calls {
		call()
	}
}

// changedLocked tells those who watch that reading the partition may bring something
// else than before. by is the watch of whoever changes it, if that is a reader; he
// sees it himself.
func (p *Partition) changedLocked(by *watch.Node) {
	p.woken = p.readers.Fire(p.woken, by)
	p.woken = p.copiers.Fire(p.woken, by)
}

// grownLocked tells those who watch the log's end that it has moved. What others may
// read begins with the high watermark.
func (p *Partition) grownLocked() { p.woken = p.copiers.Fire(p.woken, nil) }

// touch tells those who watch of what they need not be woken for. It takes no lock
// of the partition.
func (p *Partition) touch() {
	p.readers.Touch()
	p.copiers.Touch()
}

// setLocked changes what the partition is.
func (p *Partition) setLocked(l *log.Log, failure error, s State) {
	if p.log != nil && p.log != l {
		p.log.OnStart(nil)
	}
	if l != nil {
		l.OnStart(p.touch)
	}
	p.log, p.failure, p.state = l, failure, s
	p.seen.Store(&seen{l, failure, s})
	p.changedLocked(nil)
}

// leaderLocked returns the log if this broker may act as leader now.
func (p *Partition) leaderLocked() (*log.Log, error) {
	if !p.leading || p.state.Zxid <= p.m.since.Load() {
		leader := p.state.Leader
		if leader == p.m.self { // known, but not ours yet or any more
			leader = kafka.NoBroker
		}
		return nil, &NotLeaderError{Leader: leader, Epoch: p.state.LeaderEpoch}
	}
	if p.log == nil && errors.Is(p.failure, log.ErrOpening) { // soon
		return nil, &NotLeaderError{Leader: kafka.NoBroker, Epoch: p.state.LeaderEpoch}
	}
	if p.log == nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrOffline, p.tp, p.failure)
	}
	return p.log, nil
}

// checkEpochLocked fences a request by the leader epoch that its sender knows
// (KIP-320); kafka.NoLeaderEpoch passes.
func (p *Partition) checkEpochLocked(sender kafka.LeaderEpoch) error {
	switch {
	case sender == kafka.NoLeaderEpoch || sender == p.state.LeaderEpoch:
		return nil
	case sender < p.state.LeaderEpoch:
		return fmt.Errorf("%w: %s: %d, now %d", ErrFencedEpoch, p.tp, sender, p.state.LeaderEpoch)
	}
	return fmt.Errorf("%w: %s: %d, here %d", ErrUnknownEpoch, p.tp, sender, p.state.LeaderEpoch)
}

// become moves the partition to a state. l is its log. It returns whether this
// broker may lead now, and whether the coordinators must be told so.
func (p *Partition) become(s State, l *log.Log) (usable, tell bool, err error) {
	if !p.lockUnlessReplaced() {
		return false, false, errReplaced
	}
	defer p.unlock()
	if p.state.TopicID == s.TopicID && s.LeaderEpoch < p.state.LeaderEpoch {
		return false, false, nil // an older state that a worker came late with
	}
	if now, ok := p.m.logs.Get(p.tp); ok {
		l = now // it was moved to another directory meanwhile
	}
	leading := s.Leader == p.m.self && s.Zxid > p.m.since.Load()
	fresh := p.log != l || p.state.LeaderEpoch != s.LeaderEpoch || p.leading != leading || p.state.TopicID != s.TopicID
	if !fresh && s.PartitionEpoch < p.state.PartitionEpoch {
		return false, false, nil
	}
	if leading && fresh {
		p.epochStart = l.EndOffset()
		if err := l.AssignEpoch(s.LeaderEpoch, p.epochStart); err != nil {
			return false, false, fmt.Errorf("replica: %s: leader epoch %d: %w", p.tp, s.LeaderEpoch, err)
		}
	}
	if fresh || s.PartitionEpoch != p.state.PartitionEpoch {
		p.proposed = nil // else the same state has come again, and the controller may still take the proposal
	}
	if leading && p.leading && p.log == l && p.state.TopicID == s.TopicID {
		p.m.isr.count(p.state.ISR, s.ISR)
	}
	if fresh {
		p.leaderHigh = 0
	}
	p.setLocked(l, nil, s)
	p.leading = leading
	if leading {
		p.rememberLocked(fresh, time.Now())
		p.advanceLocked(nil)
		if p.aloneLocked() && l.RecoveryPoint() < l.EndOffset() {
			// Those who left may have had on their disks what is in memory only here,
			// and they can't be elected any more.
			p.m.syncs.want(p.tp)
		}
	} else {
		p.remotes = nil
	}
	tell = leading != p.announced || leading && fresh
	p.announced = leading
	p.changedLocked(nil)
	return leading, tell, nil
}

// forget makes the partition take the next state, whatever it is.
func (p *Partition) forget() {
	p.mu.Lock()
	defer p.unlock()
	p.leading, p.proposed = false, nil
	p.state.Zxid, p.state.LeaderEpoch, p.state.PartitionEpoch = 0, kafka.NoLeaderEpoch, -1
	p.changedLocked(nil)
}

// fail records why the partition has no log. It reports whether the coordinators
// must be told that this broker does not serve it any more.
func (p *Partition) fail(s State, err error) (tell bool) {
	if !p.lockUnlessReplaced() {
		return false
	}
	defer p.unlock()
	p.setLocked(nil, err, s)
	return p.failedLocked()
}

func (p *Partition) failedLocked() (tell bool) {
	tell = p.announced
	p.leading, p.remotes, p.proposed, p.announced = p.state.Leader == p.m.self, nil, nil, false
	p.changedLocked(nil)
	return tell
}

// Appended is what an append brought.
type Appended struct {
	log.AppendInfo
	// Epoch is the leadership that it was made in.
	Epoch kafka.LeaderEpoch
	// Replicated: nothing is to be waited for. The high watermark is past the
	// records, and they are synced where this leader is alone.
	Replicated bool
	// Followed: other replicas wait for the records.
	Followed bool
}

// append stores records as leader, in the leadership of epoch if one is given.
// Its caller wakes waiters if moved.
func (p *Partition) append(recs []byte, acks int16, origin log.Origin, epoch kafka.LeaderEpoch) (a Appended, moved bool, err error) {
	p.mu.Lock()
	defer p.unlock()
	p.traffic.Produces++
	l, err := p.leaderLocked()
	if err != nil {
		return Appended{}, false, err
	}
	if epoch != kafka.NoLeaderEpoch && epoch != p.state.LeaderEpoch {
		return Appended{}, false, &NotLeaderError{Leader: p.state.Leader, Epoch: p.state.LeaderEpoch}
	}
	if acks == -1 && len(p.state.ISR) < p.state.effectiveMinISR() {
		return Appended{}, false, fmt.Errorf("%w: %s: %v of %d", ErrNotEnoughReplicas, p.tp, p.state.ISR, p.state.effectiveMinISR())
	}
	info, err := l.AppendAsLeader(recs, p.state.LeaderEpoch, origin)
	if err != nil {
		p.traffic.refused(err, len(recs))
		return Appended{}, false, fmt.Errorf("replica: appending to %s: %w", p.tp, answer(err, l.StartOffset()))
	}
	p.traffic.BytesIn += int64(info.Bytes)
	p.traffic.MessagesIn += int64(info.Records)
	p.grownLocked()
	moved = p.advanceLocked(nil)
	replicated := l.HighWatermark() > info.LastOffset
	if replicated && acks == -1 {
		if replicated, err = p.safeLocked(l, info.LastOffset+1); err != nil {
			return Appended{}, moved, err
		}
	}
	return Appended{AppendInfo: info, Epoch: p.state.LeaderEpoch, Replicated: replicated, Followed: len(p.remotes) > 0}, moved, nil
}

// settled says whether all in-sync replicas have the log below end, and a lone one
// on its disk, or why they never will under this leader.
func (p *Partition) settled(end int64) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, err := p.leaderLocked()
	if err != nil {
		return true, err
	}
	if l.HighWatermark() < end {
		return false, nil
	}
	return p.safeLocked(l, end)
}

// replicated says whether all replicas that count have last, and a lone one on
// its disk, or why they never will in the leadership of epoch.
func (p *Partition) replicated(last int64, epoch kafka.LeaderEpoch) (bool, error) {
	p.mu.Lock()
	defer p.unlock()
	l, err := p.leaderLocked()
	if err != nil {
		return true, err
	}
	if p.state.LeaderEpoch != epoch {
		return true, &NotLeaderError{Leader: p.state.Leader, Epoch: p.state.LeaderEpoch}
	}
	if l.HighWatermark() <= last {
		return false, nil
	}
	if len(p.state.ISR) < p.state.effectiveMinISR() {
		return true, fmt.Errorf("%w: %s: %v of %d", ErrNotEnoughReplicasAfterAppend, p.tp, p.state.ISR, p.state.effectiveMinISR())
	}
	return p.safeLocked(l, last+1)
}

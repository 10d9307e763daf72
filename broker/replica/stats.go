package replica

import (
	"cmp"
	"errors"
	"slices"
	"sync/atomic"

	"barnabas/internal/kafka"
	"barnabas/log"
	"barnabas/log/batch"
)

// Traffic counts what went through partitions since the start.
type Traffic struct {
	// Produces are the appends asked for; Failed those of them that failed
	// unexpectedly, as Kafka sees it: not for a leader elsewhere, records that are
	// too large or damaged, or a directory that is offline.
	Produces, Failed int64
	// BytesIn and MessagesIn were appended, BytesOut sent to consumers.
	BytesIn, MessagesIn, BytesOut int64
	// ReplicationIn was copied from leaders, ReplicationOut by followers;
	// ReassignmentIn and ReassignmentOut by replicas that a reassignment brings.
	ReplicationIn, ReplicationOut, ReassignmentIn, ReassignmentOut int64
	// BytesRejected were too large. BadCRC, Invalid and BadSequence count refused
	// batches: damaged ones, ones with a record that may not be there (without a
	// key in a compacted topic, say), and ones out of their producer's order.
	BytesRejected, BadCRC, Invalid, BadSequence int64
}

func (t *Traffic) add(o Traffic) {
	t.Produces += o.Produces
	t.Failed += o.Failed
	t.BytesIn += o.BytesIn
	t.MessagesIn += o.MessagesIn
	t.BytesOut += o.BytesOut
	t.ReplicationIn += o.ReplicationIn
	t.ReplicationOut += o.ReplicationOut
	t.ReassignmentIn += o.ReassignmentIn
	t.ReassignmentOut += o.ReassignmentOut
	t.BytesRejected += o.BytesRejected
	t.BadCRC += o.BadCRC
	t.Invalid += o.Invalid
	t.BadSequence += o.BadSequence
}

// copied counts what a follower stored; moving: a reassignment brought it here.
func (t *Traffic) copied(size int, moving bool) {
	t.ReplicationIn += int64(size)
	if moving {
		t.ReassignmentIn += int64(size)
	}
}

// refused counts an append that a log refused, as ReplicaManager.appendToLocalLog
// of Kafka does.
func (t *Traffic) refused(err error, size int) {
	switch {
	case errors.Is(err, batch.ErrTooLarge), errors.Is(err, log.ErrRecordListTooLarge):
		t.BytesRejected += int64(size)
	case errors.Is(err, batch.ErrCorrupt), errors.Is(err, batch.ErrShort):
		t.BadCRC++
	case errors.Is(err, log.ErrOffline), errors.Is(err, log.ErrClosed):
	case errors.Is(err, batch.ErrInvalidRecord):
		t.Invalid++
		t.Failed++
	case errors.Is(err, log.ErrOutOfOrderSequence):
		t.BadSequence++
		t.Failed++
	default:
		t.Failed++
	}
}

// isrChanges counts the changes of the ISRs of led partitions.
type isrChanges struct{ shrinks, expands atomic.Int64 }

func (c *isrChanges) count(old, now []kafka.BrokerID) {
	without := func(a, b []kafka.BrokerID) bool {
		return slices.ContainsFunc(a, func(id kafka.BrokerID) bool { return !slices.Contains(b, id) })
	}
	if without(old, now) {
		c.shrinks.Add(1)
	}
	if without(now, old) {
		c.expands.Add(1)
	}
}

// trafficLocked is what the partition counted; p.mu is held.
func (p *Partition) trafficLocked() Traffic {
	t := p.traffic
	t.BytesOut, t.ReplicationOut, t.ReassignmentOut = p.sent.Load(), p.copied.Load(), p.moved.Load()
	return t
}

// CountSent counts the records of d as sent: once, by whoever answers with them.
func (d *Data) CountSent() {
	if d.sent == nil || d.Records.Length == 0 {
		return
	}
	d.sent.Add(d.Records.Length)
	if d.moved != nil {
		d.moved.Add(d.Records.Length)
	}
}

// Status is one partition as it is now.
type Status struct {
	TP kafka.TopicPartition
	// Leading: the newest state names this broker. Usable: it serves as leader.
	Leading, Usable bool
	Leader          kafka.BrokerID
	LeaderEpoch     kafka.LeaderEpoch
	// Replicas is the replication factor: without replicas that a reassignment
	// brings. Moving: there is one.
	Replicas, ISR int
	Moving        bool
	// MinISR is the topic's, at most the number of replicas.
	MinISR int
	// Failure is why there is no log; nil if there is one.
	Failure error
	// Log is nil if there is none.
	Log *log.Log
	// Lag is how many records a follower misses below the high watermark that its
	// leader told it last.
	Lag     int64
	Traffic Traffic
}

func (p *Partition) status() Status {
	if !p.lockSoon() {
		return p.lastStatus()
	}
	defer p.unlock()
	s := Status{
		TP: p.tp, Leading: p.state.Leader == p.m.self, Leader: p.state.Leader, LeaderEpoch: p.state.LeaderEpoch,
		Replicas: p.state.factor(), Moving: p.state.moving(), ISR: len(p.state.ISR), MinISR: p.state.effectiveMinISR(),
		Failure: p.failure, Log: p.log, Traffic: p.trafficLocked(),
	}
	if s.Log != nil && !s.Leading {
		s.Lag = max(p.leaderHigh-s.Log.EndOffset(), 0)
	}
	s.Usable = p.leading && p.log != nil && p.state.Zxid > p.m.since.Load()
	p.counted.Store(&s.Traffic)
	return s
}

// lastStatus is what is known of a partition that is stuck.
func (p *Partition) lastStatus() Status {
	s := Status{TP: p.tp}
	if t := p.counted.Load(); t != nil {
		s.Traffic = *t
	}
	if was := p.seen.Load(); was != nil {
		s.Leading, s.Leader, s.LeaderEpoch = was.state.Leader == p.m.self, was.state.Leader, was.state.LeaderEpoch
		s.Replicas, s.ISR, s.MinISR = len(was.state.Replicas), len(was.state.ISR), was.state.effectiveMinISR()
		s.Failure, s.Log = was.failure, was.log
		s.Usable = s.Leading && s.Log != nil && was.state.Zxid > p.m.since.Load()
	}
	return s
}

// Census counts the partitions of this broker.
type Census struct {
	// Partitions of this broker, and those it leads by the newest state.
	Partitions, Leaders int
	// Of those it leads: fewer in sync than replicas; fewer, or just as many, as
	// min.insync.replicas.
	UnderReplicated, UnderMinISR, AtMinISR int
	// Reassigning are those of them that are being reassigned.
	Reassigning int
	// Offline have no log, as their directory failed; Example says why of one
	// that this broker leads, or of any.
	Offline, OfflineLeaders int
	Example                 error
	// Opening are still being checked after the start.
	Opening int
	// Unusable are led by the newest state, which is older than the registration.
	Unusable int
	// Producers are known to the logs; one that writes to two counts twice.
	Producers int
	// MaxLag is the largest Lag of a followed partition.
	MaxLag int64
	// Moving are still to be brought to the newest image.
	Moving int
	// Traffic of all, with those that are gone.
	Traffic Traffic
	// Topics is the traffic by topic, of those that had any, by name.
	Topics []TopicTraffic
}

// TopicTraffic is the traffic of a topic's partitions that are here now.
type TopicTraffic struct {
	Topic string
	Traffic
}

func (c *Census) count(s *Status) {
	c.Partitions++
	switch {
	case s.Log != nil || s.Failure == nil: // nil, nil: it is being opened for the first time
	case errors.Is(s.Failure, log.ErrOpening):
		c.Opening++
	default:
		c.Offline++
		if s.Leading {
			c.OfflineLeaders++
		}
		if c.Example == nil || s.Leading {
			c.Example = s.Failure
		}
	}
	c.Traffic.add(s.Traffic)
	c.MaxLag = max(c.MaxLag, s.Lag)
	if s.Log != nil {
		c.Producers += s.Log.ProducerCount()
	}
	if !s.Leading {
		return
	}
	c.Leaders++
	if !s.Usable && s.Failure == nil {
		c.Unusable++
	}
	if s.ISR < s.Replicas {
		c.UnderReplicated++
	}
	if s.Moving {
		c.Reassigning++
	}
	if s.ISR < s.MinISR {
		c.UnderMinISR++
	} else if s.ISR == s.MinISR {
		c.AtMinISR++
	}
}

// Census looks at all partitions, one after the other, and calls each for them
// in no order, unless it is nil; the Status is used again after each.
func (m *Manager) Census(each func(*Status)) Census {
	var c Census
	m.mu.RLock()
	c.Traffic = m.gone
	all := make([]*Partition, 0, len(m.partitions))
	for _, p := range m.partitions {
		all = append(all, p)
	}
	m.mu.RUnlock()
	topics := map[string]*Traffic{}
	var s Status // one for all: each gets its address
	for _, p := range all {
		s = p.status()
		c.count(&s)
		if s.Traffic != (Traffic{}) {
			t := topics[s.TP.Topic]
			if t == nil {
				t = new(Traffic)
				topics[s.TP.Topic] = t
			}
			t.add(s.Traffic)
		}
		if each != nil {
			each(&s)
		}
	}
	for name, t := range topics {
		c.Topics = append(c.Topics, TopicTraffic{name, *t})
	}
	slices.SortFunc(c.Topics, func(a, b TopicTraffic) int { return cmp.Compare(a.Topic, b.Topic) })
	m.queue.mu.Lock()
	c.Moving = len(m.queue.urgent) + len(m.queue.waiting) + len(m.queue.busy)
	m.queue.mu.Unlock()
	return c
}

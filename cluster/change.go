package cluster

import (
	"maps"
	"slices"

	"barnabas/internal/kafka"
)

// ChangeKind says what moved between two images.
type ChangeKind int8

const (
	// ControllerChanged: Controller or ControllerEpoch.
	ControllerChanged ChangeKind = iota + 1
	// BrokerUp: a broker that was not alive is.
	BrokerUp
	// BrokerDown: Broker is gone.
	BrokerDown
	// BrokerBounced: Broker registered anew; a death followed by a birth.
	BrokerBounced
	// BrokerChanged: endpoints, rack or stopping, in the same registration.
	BrokerChanged
	// TopicCreated: Topic is new, with all its partitions and its config.
	TopicCreated
	// TopicDeleted: the topic with TopicID is gone. If one of the same name was
	// made again, its TopicCreated follows.
	TopicDeleted
	// PartitionsChanged: assignment or state of Partitions, some of them
	// perhaps new.
	PartitionsChanged
	// ConfigChanged: the overrides of Topic.
	ConfigChanged
)

var changeNames = [...]string{"none", "controller", "broker-up", "broker-down", "broker-bounced", "broker-changed",
	"topic-created", "topic-deleted", "partitions", "config"}

// String is a short name for logs and tests.
func (k ChangeKind) String() string { return changeNames[k] }

// Change names one thing that moved, so that others need no look at the whole
// image. The values are read from the old and the new image.
type Change struct {
	Kind       ChangeKind
	Broker     kafka.BrokerID
	Topic      string
	TopicID    kafka.TopicID
	Partitions []int32 // ascending
	// Asked: somebody asked for the deletion, so that the records go, too. A
	// topic that only is no longer there may be missing by mistake: ZooKeeper
	// restored from an old backup, or emptied.
	Asked bool
}

// Diff lists what moved from old to new: the controller, brokers by id, topics
// by name.
func Diff(old, new *Image) []Change {
	ids := map[kafka.BrokerID]bool{}
	for id := range old.brokers {
		ids[id] = true
	}
	for id := range new.brokers {
		ids[id] = true
	}
	names := map[string]bool{}
	for name, t := range old.topics {
		if new.topics[name] != t {
			names[name] = true
		}
	}
	for name, t := range new.topics {
		if old.topics[name] != t {
			names[name] = true
		}
	}
	return diff(old, new, ids, names)
}

// diff compares only the named brokers and topics.
func diff(old, new *Image, ids map[kafka.BrokerID]bool, names map[string]bool) []Change {
	var out []Change
	if old.Controller != new.Controller || old.ControllerEpoch != new.ControllerEpoch {
		out = append(out, Change{Kind: ControllerChanged, Broker: new.Controller})
	}
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		if k := diffBroker(old.brokers[id], new.brokers[id]); k != 0 {
			out = append(out, Change{Kind: k, Broker: id})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		out = diffTopic(out, old.topics[name], new.topics[name])
	}
	return out
}

func diffBroker(a, b *Broker) ChangeKind {
	switch {
	case a == b:
		return 0
	case a == nil:
		return BrokerUp
	case b == nil:
		return BrokerDown
	case a.Epoch != b.Epoch:
		return BrokerBounced
	case a.Rack == b.Rack && a.Stopping == b.Stopping && a.Crashed == b.Crashed && a.FastDeath == b.FastDeath && a.Version == b.Version && a.Process == b.Process &&
		slices.Equal(a.Endpoints, b.Endpoints) && maps.Equal(a.Features, b.Features):
		return 0
	}
	return BrokerChanged
}

func diffTopic(out []Change, a, b *Topic) []Change {
	if a == b {
		return out
	}
	// A topic that gets its first id is the same one.
	if a != nil && (b == nil || a.ID != b.ID && !a.ID.IsZero()) {
		out = append(out, Change{Kind: TopicDeleted, Topic: a.Name, TopicID: a.ID})
		a = nil
	}
	if b == nil {
		return out
	}
	if a == nil {
		return append(out, Change{Kind: TopicCreated, Topic: b.Name, TopicID: b.ID, Partitions: b.numbers()})
	}
	if changed := changedPartitions(a, b); len(changed) > 0 || a.ID != b.ID {
		out = append(out, Change{Kind: PartitionsChanged, Topic: b.Name, TopicID: b.ID, Partitions: changed})
	}
	if !maps.Equal(a.Config, b.Config) {
		out = append(out, Change{Kind: ConfigChanged, Topic: b.Name, TopicID: b.ID})
	}
	return out
}

func (t *Topic) numbers() []int32 {
	out := make([]int32, 0, len(t.Partitions))
	for i, p := range t.Partitions {
		if p != nil {
			out = append(out, int32(i))
		}
	}
	return out
}

func changedPartitions(a, b *Topic) []int32 {
	var out []int32
	for i := range max(len(a.Partitions), len(b.Partitions)) {
		p, q := a.Partition(int32(i)), b.Partition(int32(i))
		if p != q && !p.Equal(q) {
			out = append(out, int32(i))
		}
	}
	return out
}

// Equal reports whether two partitions say the same. Zxid counts: a state
// written again may have become usable by a broker that was born in between.
func (p *Partition) Equal(q *Partition) bool {
	if p == nil || q == nil {
		return p == q
	}
	return p.HasState == q.HasState && p.Leader == q.Leader && p.LeaderEpoch == q.LeaderEpoch &&
		p.PartitionEpoch == q.PartitionEpoch && p.ControllerEpoch == q.ControllerEpoch && p.Recovering == q.Recovering &&
		p.Zxid == q.Zxid && slices.Equal(p.ISR, q.ISR) && slices.Equal(p.Replicas, q.Replicas) &&
		slices.Equal(p.Adding, q.Adding) && slices.Equal(p.Removing, q.Removing) && slices.Equal(p.Offline, q.Offline)
}

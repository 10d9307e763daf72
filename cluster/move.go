package cluster

import (
	"slices"

	"barnabas/internal/kafka"
)

// Move is the wish that other brokers hold a partition (KIP-455).
type Move struct {
	TP kafka.TopicPartition
	// Replicas are to hold it in the end, in order of preference. Without effect
	// with Cancel, which goes back to those that held it before.
	Replicas []kafka.BrokerID
	Cancel   bool
}

// Moving is a reassignment under way.
type Moving struct {
	TP kafka.TopicPartition
	Assignment
}

// Moving reports whether the partition is being reassigned. All there is to know
// of it stands in the topic's znode, so that any controller goes on with it.
func (p *Partition) Moving() bool { return len(p.Adding) > 0 || len(p.Removing) > 0 }

// Origin are the replicas to which a cancelled reassignment goes back.
func (p *Partition) Origin() []kafka.BrokerID { return without(p.Replicas, p.Adding) }

// Target are the replicas that are to be left in the end.
func (p *Partition) Target() []kafka.BrokerID { return without(p.Replicas, p.Removing) }

// without keeps the order of ids; the result is never nil.
func without(ids, drop []kafka.BrokerID) []kafka.BrokerID {
	return slices.DeleteFunc(append(make([]kafka.BrokerID, 0, len(ids)), ids...), func(id kafka.BrokerID) bool { return slices.Contains(drop, id) })
}

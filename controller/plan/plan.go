// Package plan decides what a controller writes: given the image of the cluster
// and something that happened, it returns the steps to take, as data. It has no
// I/O, no goroutine, no clock and no randomness of its own, so a test hands it
// values and compares values.
//
// A Step is what must happen together: conditional writes of znodes, and the
// pieces of the change entry that describe them. Whoever carries steps out puts
// as many as fit, in order, into one transaction with the check of the
// controller's epoch and the entry.
package plan

import (
	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/zkpaths"
)

// Controller is who decides.
type Controller struct {
	ID    kafka.BrokerID
	Epoch kafka.ControllerEpoch
	// Unclean is the broker's unclean.leader.election.enable.
	Unclean bool
	// Born are the zxids at which this reign told the log of registrations: a
	// state up to then was written without knowing of the birth, even if it is
	// newer than the registration itself.
	Born map[kafka.BrokerID]int64
	// Alarmed are brokers that were declared dead while their sessions may be
	// alive: nothing unclean is elected in their places.
	Alarmed map[kafka.BrokerID]bool
	// Reports are the newest ones of brokers; nil: none.
	Reports map[kafka.BrokerID]*Report
	// Ends are answers to surveys; nil: none.
	Ends Ends
}

// OpKind is the kind of a write.
type OpKind int8

const (
	Create OpKind = iota + 1 // fails if the znode exists
	Ensure                   // a container with null data: created unless it exists
	Set                      // fails unless the znode has Version
	Delete                   // fails unless the znode has Version
	Check                    // writes nothing, fails unless the znode has Version
)

var opNames = [...]string{"none", "create", "ensure", "set", "delete", "check"}

// String is a short name for tests and logs.
func (k OpKind) String() string { return opNames[k] }

// Op is one conditional write.
type Op struct {
	Kind    OpKind
	Path    string
	Data    []byte
	Version int32
}

// Step is what must be in one transaction.
type Step struct {
	Ops     []Op
	Brokers []cluster.EntryBroker
	// AllBrokers: see cluster.Entry.
	AllBrokers bool
	Topics     []cluster.EntryTopic
	States     []State
}

// State is a new partition state for the entry.
type State struct {
	Topic string
	ID    kafka.TopicID
	cluster.EntryState
}

// stateStep writes one partition's state: made if it has none yet. fresh tells
// that the containers can't exist either.
func stateStep(t *cluster.Topic, p int32, old *cluster.Partition, s cluster.EntryState, fresh bool) Step {
	tp := kafka.TopicPartition{Topic: t.Name, Partition: p}
	z := zkpaths.State{Leader: s.Leader, LeaderEpoch: s.LeaderEpoch, ControllerEpoch: s.ControllerEpoch, ISR: s.ISR, Recovering: s.Recovering}
	s.Partition = p
	var st Step
	if old != nil && old.HasState {
		st.Ops = []Op{{Kind: Set, Path: zkpaths.StatePath(tp), Data: z.Encode(), Version: int32(old.PartitionEpoch)}}
		s.ZnodeVersion = int32(old.PartitionEpoch) + 1
	} else {
		kind := Ensure
		if fresh {
			kind = Create
		} else {
			st.Ops = append(st.Ops, Op{Kind: Ensure, Path: zkpaths.PartitionsPath(t.Name)})
		}
		st.Ops = append(st.Ops, Op{Kind: kind, Path: zkpaths.PartitionPath(tp)}, Op{Kind: Create, Path: zkpaths.StatePath(tp), Data: z.Encode()})
		s.ZnodeVersion = 0
	}
	st.States = []State{{Topic: t.Name, ID: t.ID, EntryState: s}}
	return st
}

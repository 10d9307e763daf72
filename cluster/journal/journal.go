// Package journal remembers why the cluster is as it is: the reasons of the
// last changes of each partition, of each broker, and of who is the controller.
// Each broker keeps one, fed with the entries of the change log as it reads them;
// `barnabas explain` asks for what is in it. It is pure: no I/O, no clock.
//
// A Journal holds codes and ids, as the log does. The words are made by
// Explanation.String, where somebody reads them.
package journal

import (
	"slices"
	"sync"

	"barnabas/cluster"
	"barnabas/internal/kafka"
)

// Bounds of what is remembered.
const (
	perPartition = 8
	// allChanges bounds the changes of all partitions together: some 3 MB.
	allChanges = 16384
	perBroker  = 8
	allBrokers = 4096
	reigns     = 16
)

// Origin is where a change comes from.
type Origin struct {
	Entry      int64                 `json:"entry"` // its number in the change log
	At         int64                 `json:"at"`    // ZooKeeper's time of it, in ms since 1970
	Controller kafka.BrokerID        `json:"controller"`
	Epoch      kafka.ControllerEpoch `json:"controller_epoch"`
	Reason     cluster.Reason        `json:"reason"`
}

// Change is a state that a partition got, or, without State, another change of it.
type Change struct {
	Origin
	State *cluster.EntryState `json:"state,omitempty"`
}

// BrokerChange is what became of a broker.
type BrokerChange struct {
	Origin
	State   cluster.BrokerState `json:"state"`
	Epoch   kafka.BrokerEpoch   `json:"broker_epoch"`
	Crashed bool                `json:"crashed,omitempty"`
	Alarm   bool                `json:"alarm,omitempty"`
}

// Journal is safe for concurrent use.
type Journal struct {
	mu         sync.Mutex // guards following
	log, last  int64      // which log, and the newest entry noted
	partitions map[kafka.TopicPartition][]Change
	ring       []place // the last changes of all partitions; at next is the oldest
	next       int
	brokers    map[kafka.BrokerID][]BrokerChange
	reigns     []Origin
}

// New makes an empty one.
func New() *Journal {
	return &Journal{last: -1, partitions: map[kafka.TopicPartition][]Change{}, brokers: map[kafka.BrokerID][]BrokerChange{}}
}

// Note takes entry number of a log, which was made at a time. Entries are given
// in order; those that were noted before are passed over.
func (j *Journal) Note(log, number, at int64, e *cluster.Entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if log == j.log && number <= j.last {
		return
	}
	j.log, j.last = log, number
	o := Origin{Entry: number, At: at, Controller: e.Controller, Epoch: e.Epoch, Reason: e.Reason}
	if e.Begins {
		if j.reigns = append(j.reigns, o); len(j.reigns) > reigns {
			j.reigns = j.reigns[1:]
		}
	}
	for i := range e.Brokers {
		j.noteBrokerLocked(&o, &e.Brokers[i])
	}
	stated := map[kafka.TopicPartition]bool{}
	for i := range e.States {
		s := &e.States[i]
		for k := range s.Partitions {
			tp := kafka.TopicPartition{Topic: s.Topic, Partition: s.Partitions[k].Partition}
			stated[tp] = true
			j.notePartitionLocked(tp, Change{o, &s.Partitions[k]})
		}
	}
	for i := range e.Topics {
		for p := range e.Topics[i].Partitions {
			if tp := (kafka.TopicPartition{Topic: e.Topics[i].Name, Partition: p}); !stated[tp] {
				j.notePartitionLocked(tp, Change{Origin: o})
			}
		}
	}
}

func (j *Journal) noteBrokerLocked(o *Origin, b *cluster.EntryBroker) {
	list := j.brokers[b.ID]
	if list == nil && len(j.brokers) >= allBrokers {
		return
	}
	c := BrokerChange{Origin: *o, State: b.State, Epoch: b.Epoch, Crashed: b.Crashed, Alarm: b.Alarm}
	// A new controller tells of all that live; that is no news of them.
	if n := len(list); n > 0 && list[n-1].Epoch == c.Epoch && list[n-1].State == c.State {
		return
	}
	if list = append(list, c); len(list) > perBroker {
		list = slices.Delete(list, 0, 1)
	}
	j.brokers[b.ID] = list
}

// place is where a change was noted.
type place struct {
	tp    kafka.TopicPartition
	entry int64
}

func (j *Journal) notePartitionLocked(tp kafka.TopicPartition, c Change) {
	list := append(j.partitions[tp], c)
	if len(list) > perPartition {
		list = slices.Delete(list, 0, 1)
	}
	j.partitions[tp] = list
	if len(j.ring) < allChanges {
		j.ring = append(j.ring, place{tp, c.Entry})
		return
	}
	old := j.ring[j.next]
	j.ring[j.next] = place{tp, c.Entry}
	j.next = (j.next + 1) % allChanges
	if list := j.partitions[old.tp]; len(list) > 0 && list[0].Entry == old.entry { // else it is gone already
		if list = slices.Delete(list, 0, 1); len(list) > 0 {
			j.partitions[old.tp] = list
		} else {
			delete(j.partitions, old.tp)
		}
	}
}

// Partition lists the last changes of a partition, oldest first.
func (j *Journal) Partition(tp kafka.TopicPartition) []Change {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.partitions[tp])
}

// Broker lists the last changes of a broker, oldest first.
func (j *Journal) Broker(id kafka.BrokerID) []BrokerChange {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.brokers[id])
}

// Reigns lists how the last controllers began, oldest first.
func (j *Journal) Reigns() []Origin {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.reigns)
}

package group

import (
	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// Finder tells where the coordinator of a group or of a transaction is: on the
// leader of the partition of the internal topic that keeps its state.
type Finder struct {
	// Image is the newest image of the cluster. Required.
	Image func() *cluster.Image
	// Create starts to create an internal topic that does not exist, and does
	// not wait for it. Required.
	Create func(topic string)
}

// Node is a broker's address on one listener.
type Node struct {
	ID   kafka.BrokerID
	Host string
	Port int32
}

// Find locates the coordinator that keeps key in topic, as clients of a listener
// reach it. COORDINATOR_NOT_AVAILABLE means: ask again.
func (f *Finder) Find(topic, key, listener string) (Node, protocol.Error) {
	image := f.Image()
	t := image.Topic(topic)
	if t == nil {
		f.Create(topic)
		return Node{}, errNotAvailable
	}
	n := int32(len(t.Partitions))
	if n == 0 {
		return Node{}, errNotAvailable
	}
	p := t.Partition(kafka.PartitionFor(key, n))
	if p == nil || !p.HasState {
		return Node{}, errNotAvailable
	}
	b := image.Broker(p.Leader)
	if b == nil {
		return Node{}, errNotAvailable
	}
	e, found := b.Endpoint(listener)
	if !found {
		return Node{}, errNotAvailable
	}
	return Node{b.ID, e.Host, e.Port}, ok
}

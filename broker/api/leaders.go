package api

import (
	"errors"
	"slices"
	"unsafe"

	"barnabas/broker/replica"
	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// leaderOf is the leader that an error names, or else the image.
func leaderOf(im *cluster.Image, tp kafka.TopicPartition, err error) protocol.Leader {
	var e *replica.NotLeaderError
	if errors.As(err, &e) && e.Leader != kafka.NoBroker {
		return protocol.Leader{ID: int32(e.Leader), Epoch: int32(e.Epoch)}
	}
	if p := im.Partition(tp); p != nil && p.HasState {
		return protocol.Leader{ID: int32(p.Leader), Epoch: int32(p.LeaderEpoch)}
	}
	return protocol.NoLeader
}

// addNode adds the address of a leader to the nodes of an answer, once.
func addNode(nodes []protocol.Node, im *cluster.Image, listener string, l protocol.Leader) []protocol.Node {
	if l.ID < 0 || slices.ContainsFunc(nodes, func(n protocol.Node) bool { return n.ID == l.ID }) {
		return nodes
	}
	b := im.Broker(kafka.BrokerID(l.ID))
	if b == nil {
		return nodes
	}
	e, ok := b.Endpoint(listener)
	if !ok {
		return nodes
	}
	return append(nodes, protocol.Node{ID: l.ID, Host: e.Host, Port: e.Port, Rack: b.Rack})
}

// alias is b as a string, for look-ups that do not keep it.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

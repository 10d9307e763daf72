package api

// LogEnds (20966), version 0: the controller asks where replicas of this broker
// end. It is ours, between brokers, and not advertised.

import (
	"context"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/net/socket"
	"barnabas/protocol"
)

// ReplicaEnds tells where replicas of this broker end.
type ReplicaEnds interface {
	LogEnds(of []cluster.EndQuestion) []cluster.LogEnd
}

func (a *API) logEnds(_ context.Context, r *socket.Request) socket.Reply {
	// Other brokers ask, who wait for no lease; somebody else may.
	lease, err := r.Lease(2 * int64(len(r.Body)))
	if err != nil {
		return socket.CloseConn(err)
	}
	defer func() { lease.Release() }() // unless the reply has it
	var req protocol.LogEndsRequest
	if err := req.ReadFrom(r.Body); err != nil {
		return socket.CloseConn(err)
	}
	r.Release()
	im := a.opt.Image()
	questions := make([]cluster.EndQuestion, len(req.Partitions))
	for i, p := range req.Partitions {
		questions[i] = cluster.EndQuestion{TopicID: p.TopicID, LeaderEpoch: kafka.LeaderEpoch(p.LeaderEpoch)}
		if t := im.TopicByID(p.TopicID); t != nil {
			questions[i].TP = kafka.TopicPartition{Topic: t.Name, Partition: p.Partition}
		}
	}
	resp := &protocol.LogEndsResponse{Partitions: make([]protocol.LogEndsResponsePartition, len(questions))}
	for i, e := range a.opt.Ends.LogEnds(questions) {
		resp.Partitions[i] = protocol.LogEndsResponsePartition{ErrorCode: protocol.CodeOf(e.Err).Code(), LastEpoch: int32(e.Epoch), End: e.End, Committed: e.Committed}
	}
	given := lease
	lease = nil
	reply, _ := respond(r, resp, given)
	return reply
}

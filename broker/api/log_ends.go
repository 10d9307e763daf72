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

func (a *API) logEnds(ctx context.Context, r *socket.Request) socket.Reply {
	leave, err := a.enter(ctx, r)
	if err != nil {
		return socket.CloseConn(err)
	}
	defer leave()
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
	return respond(r, resp)
}

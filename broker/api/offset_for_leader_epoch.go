package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// offsetForLeaderEpoch, versions 0 to 4. v1: the epoch in the answer; v2: the
// epoch that the client knows, for fencing (KIP-320); v3: replica id; v4:
// flexible.
func (a *API) offsetForLeaderEpoch(ctx context.Context, _ *Call, req *kmsg.OffsetForLeaderEpochRequest) *kmsg.OffsetForLeaderEpochResponse {
	resp := kmsg.NewPtrOffsetForLeaderEpochResponse()
	var known leaderships
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			known.add(a, t.Topic, p.Partition, p.CurrentLeaderEpoch)
		}
	}
	known.await(ctx, a)
	for _, t := range req.Topics {
		out := kmsg.NewOffsetForLeaderEpochResponseTopic()
		out.Topic = t.Topic
		for _, p := range t.Partitions {
			o := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			o.Partition, o.LeaderEpoch, o.EndOffset = p.Partition, -1, -1
			end, err := a.opt.Offsets.EndOfEpoch(kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition},
				kafka.LeaderEpoch(p.CurrentLeaderEpoch), kafka.LeaderEpoch(p.LeaderEpoch))
			if err != nil {
				o.ErrorCode = protocol.CodeOf(err).Code()
			} else {
				o.LeaderEpoch, o.EndOffset = int32(end.Epoch), end.Offset
			}
			out.Partitions = append(out.Partitions, o)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/group"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// offsetDelete, version 0.
func (a *API) offsetDelete(ctx context.Context, _ *Call, req *kmsg.OffsetDeleteRequest) *kmsg.OffsetDeleteResponse {
	resp := kmsg.NewPtrOffsetDeleteResponse()
	var of []group.OffsetDeletion
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			d := group.OffsetDeletion{TopicPartition: kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}}
			if !a.partitionExists(t.Topic, p.Partition) {
				d.Err = protocol.UnknownTopicOrPartition
			}
			of = append(of, d)
		}
	}
	if err := a.opt.Groups.DeleteOffsets(ctx, req.Group, of); err != protocol.None {
		resp.ErrorCode = err.Code()
		return resp
	}
	for _, t := range req.Topics {
		o := kmsg.NewOffsetDeleteResponseTopic()
		o.Topic = t.Topic
		for range t.Partitions {
			q := kmsg.NewOffsetDeleteResponseTopicPartition()
			q.Partition, q.ErrorCode = of[0].Partition, of[0].Err.Code()
			o.Partitions, of = append(o.Partitions, q), of[1:]
		}
		resp.Topics = append(resp.Topics, o)
	}
	return resp
}

package api

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/group"
	"barnabas/protocol"
)

// offsetCommit, versions 0 to 9. v0 stores in ZooKeeper; v1: generation, member
// and a time per partition; v2 to v4: retention time; v6: leader epoch; v7:
// static members; v8: flexible; v9: errors of the newer group protocol.
func (a *API) offsetCommit(ctx context.Context, c *Call, req *kmsg.OffsetCommitRequest) *kmsg.OffsetCommitResponse {
	r := &group.CommitRequest{
		Group: req.Group, Generation: req.Generation, MemberID: req.MemberID, InstanceID: req.InstanceID,
		Retention: group.NoRetention,
		Topics:    make([]group.CommitTopic, 0, len(req.Topics)),
	}
	if req.RetentionTimeMillis >= 0 {
		// More than 100 years is the same as that.
		r.Retention = time.Duration(min(req.RetentionTimeMillis, 100*365*24*3600*1000)) * time.Millisecond
	}
	known := 0
	for i := range req.Topics {
		t := &req.Topics[i]
		o := group.CommitTopic{Topic: t.Topic, Partitions: make([]group.CommitPartition, 0, len(t.Partitions))}
		for _, p := range t.Partitions {
			q := group.CommitPartition{Partition: p.Partition, Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, Timestamp: p.Timestamp}
			if p.Metadata != nil {
				q.Metadata = *p.Metadata
			}
			if known++; !a.partitionExists(t.Topic, p.Partition) {
				q.Err = protocol.UnknownTopicOrPartition
				known--
			}
			o.Partitions = append(o.Partitions, q)
		}
		r.Topics = append(r.Topics, o)
	}
	switch {
	case known == 0:
	case c.Version == 0:
		a.opt.Groups.CommitLegacy(ctx, r)
	default:
		r = a.opt.Groups.Commit(ctx, r)
	}
	resp := kmsg.NewPtrOffsetCommitResponse()
	for i := range r.Topics {
		t := &r.Topics[i]
		o := kmsg.NewOffsetCommitResponseTopic()
		o.Topic = t.Topic
		for j := range t.Partitions {
			q := kmsg.NewOffsetCommitResponseTopicPartition()
			q.Partition, q.ErrorCode = t.Partitions[j].Partition, t.Partitions[j].Err.Code()
			o.Partitions = append(o.Partitions, q)
		}
		resp.Topics = append(resp.Topics, o)
	}
	return resp
}

// partitionExists reports whether the newest image has the partition.
func (a *API) partitionExists(topic string, partition int32) bool {
	t := a.opt.Image().Topic(topic)
	return t != nil && t.Partition(partition) != nil
}

package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/replica"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// Offsets answers questions about offsets.
type Offsets interface {
	// Offset finds an end of a partition, or a record by time.
	Offset(q *replica.OffsetQuery) (replica.OffsetAnswer, error)
	// LegacyOffsets finds at most limit offsets, newest first.
	LegacyOffsets(q *replica.OffsetQuery, limit int) ([]int64, error)
	// EndOfEpoch tells where a leader epoch ends.
	EndOfEpoch(tp kafka.TopicPartition, current, epoch kafka.LeaderEpoch) (replica.EpochEnd, error)
}

// debugReplica is the replica id that asks any replica, not only the leader.
const debugReplica = -2

// maxLegacyOffsets bounds what one partition of a version 0 request may ask for.
const maxLegacyOffsets = 10_000

// specialSince is the first version that knows a special timestamp.
var specialSince = map[int64]int16{
	replica.LatestTimestamp: 0, replica.EarliestTimestamp: 0, replica.MaxTimestamp: 7,
	replica.EarliestLocalTimestamp: 8, replica.LatestTieredTimestamp: 9,
}

// listOffsets, versions 0 to 9. v1: one offset and its timestamp in place of a
// list; v2: isolation level; v4: leader epochs; v5: OFFSET_NOT_AVAILABLE; v6:
// flexible; v7, 8, 9: timestamps -3, -4, -5.
func (a *API) listOffsets(ctx context.Context, c *Call, req *kmsg.ListOffsetsRequest) *kmsg.ListOffsetsResponse {
	resp := kmsg.NewPtrListOffsetsResponse()
	type key struct {
		topic     string
		partition int32
	}
	seen := map[key]int{}
	var known leaderships
	for i := range req.Topics {
		for _, p := range req.Topics[i].Partitions {
			seen[key{req.Topics[i].Topic, p.Partition}]++
			if req.ReplicaID != debugReplica {
				known.add(a, req.Topics[i].Topic, p.Partition, p.CurrentLeaderEpoch)
			}
		}
	}
	known.await(ctx, a)
	for i := range req.Topics {
		t := &req.Topics[i]
		out := kmsg.NewListOffsetsResponseTopic()
		out.Topic = t.Topic
		for j := range t.Partitions {
			p := &t.Partitions[j]
			o := kmsg.NewListOffsetsResponseTopicPartition()
			o.Partition = p.Partition
			if seen[key{t.Topic, p.Partition}] > 1 {
				o.ErrorCode = protocol.InvalidRequest.Code()
			} else {
				a.listOffset(c, req, t.Topic, p, &o)
			}
			out.Partitions = append(out.Partitions, o)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

// listOffset answers for one partition.
func (a *API) listOffset(c *Call, req *kmsg.ListOffsetsRequest, topic string, p *kmsg.ListOffsetsRequestTopicPartition, o *kmsg.ListOffsetsResponseTopicPartition) {
	o.Offset, o.Timestamp, o.LeaderEpoch = -1, -1, -1
	since, special := specialSince[p.Timestamp]
	if p.Timestamp < 0 && (!special || c.Version < since) {
		o.ErrorCode = protocol.UnsupportedVersion.Code()
		return
	}
	q := &replica.OffsetQuery{
		TP:        kafka.TopicPartition{Topic: topic, Partition: p.Partition},
		Epoch:     kafka.LeaderEpoch(p.CurrentLeaderEpoch),
		Timestamp: p.Timestamp,
		Isolation: replica.Isolation(req.IsolationLevel),
		Debug:     req.ReplicaID == debugReplica,
		Follower:  req.ReplicaID >= 0,
	}
	if c.Version == 0 {
		offsets, err := a.opt.Offsets.LegacyOffsets(q, int(min(max(p.MaxNumOffsets, 0), maxLegacyOffsets)))
		o.OldStyleOffsets, o.ErrorCode = offsets, protocol.CodeOf(err).Code()
		return
	}
	found, err := a.opt.Offsets.Offset(q)
	if err != nil {
		code := protocol.CodeOf(err)
		if code == protocol.OffsetNotAvailable && c.Version < 5 {
			code = protocol.LeaderNotAvailable
		}
		o.ErrorCode = code.Code()
		return
	}
	o.Offset, o.Timestamp, o.LeaderEpoch = found.Offset, found.Timestamp, int32(found.Epoch)
}

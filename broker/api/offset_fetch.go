package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/group"
	"barnabas/protocol"
	"barnabas/protocol/grouplog"
)

// offsetFetch, versions 0 to 9. v0 reads from ZooKeeper; v2: all topics, and an
// error of the whole; v5: leader epoch; v6: flexible; v7: stable offsets only;
// v8: many groups; v9: member of the newer group protocol, which is ignored.
func (a *API) offsetFetch(ctx context.Context, c *Call, req *kmsg.OffsetFetchRequest) *kmsg.OffsetFetchResponse {
	resp := kmsg.NewPtrOffsetFetchResponse()
	if c.Version < 8 {
		a.offsetFetchOne(ctx, c, req, resp)
		return resp
	}
	var seen repeats[string]
	for i := range req.Groups {
		g := &req.Groups[i]
		if err := seen.check(g.Group); err != nil {
			o := kmsg.NewOffsetFetchResponseGroup()
			o.Group, o.ErrorCode = g.Group, protocol.CodeOf(err).Code()
			resp.Groups = append(resp.Groups, o)
			continue
		}
		r := group.FetchRequest{Group: g.Group, RequireStable: req.RequireStable}
		if g.Topics != nil {
			r.Topics = make([]group.FetchTopic, 0, len(g.Topics))
		}
		for _, t := range g.Topics {
			r.Topics = append(r.Topics, group.FetchTopic{Topic: t.Topic, Partitions: t.Partitions})
		}
		res := a.opt.Groups.Fetch(&r)
		o := kmsg.NewOffsetFetchResponseGroup()
		o.Group, o.ErrorCode = g.Group, res.Err.Code()
		for i := range res.Topics {
			t := kmsg.NewOffsetFetchResponseGroupTopic()
			t.Topic = res.Topics[i].Topic
			for j := range res.Topics[i].Partitions {
				p := &res.Topics[i].Partitions[j]
				q := kmsg.NewOffsetFetchResponseGroupTopicPartition()
				q.Partition, q.Offset, q.LeaderEpoch, q.Metadata, q.ErrorCode = p.Partition, p.Offset, p.LeaderEpoch, &p.Metadata, p.Err.Code()
				t.Partitions = append(t.Partitions, q)
			}
			o.Topics = append(o.Topics, t)
		}
		resp.Groups = append(resp.Groups, o)
	}
	return resp
}

// offsetFetchOne answers the versions that ask for one group.
func (a *API) offsetFetchOne(ctx context.Context, c *Call, req *kmsg.OffsetFetchRequest, resp *kmsg.OffsetFetchResponse) {
	r := group.FetchRequest{Group: req.Group, RequireStable: req.RequireStable}
	if req.Topics != nil || c.Version < 2 {
		r.Topics = make([]group.FetchTopic, 0, len(req.Topics))
	}
	for _, t := range req.Topics {
		r.Topics = append(r.Topics, group.FetchTopic{Topic: t.Topic, Partitions: t.Partitions})
	}
	var res group.FetchResponse
	if c.Version == 0 {
		res = a.opt.Groups.FetchLegacy(ctx, &r, a.partitionExists)
	} else {
		res = a.opt.Groups.Fetch(&r)
	}
	resp.ErrorCode = res.Err.Code()
	if c.Version < 2 && res.Err != protocol.None {
		res.Topics = failedFetch(&r, res.Err)
	}
	for i := range res.Topics {
		t := kmsg.NewOffsetFetchResponseTopic()
		t.Topic = res.Topics[i].Topic
		for j := range res.Topics[i].Partitions {
			p := &res.Topics[i].Partitions[j]
			q := kmsg.NewOffsetFetchResponseTopicPartition()
			q.Partition, q.Offset, q.LeaderEpoch, q.Metadata, q.ErrorCode = p.Partition, p.Offset, p.LeaderEpoch, &p.Metadata, p.Err.Code()
			t.Partitions = append(t.Partitions, q)
		}
		resp.Topics = append(resp.Topics, t)
	}
}

// failedFetch puts the error of a group on each partition, for versions whose
// answer has no other place for it.
func failedFetch(r *group.FetchRequest, err protocol.Error) []group.FetchedTopic {
	var out []group.FetchedTopic
	for _, t := range r.Topics {
		f := group.FetchedTopic{Topic: t.Topic}
		for _, p := range t.Partitions {
			f.Partitions = append(f.Partitions, group.FetchedPartition{Partition: p, Offset: -1, LeaderEpoch: grouplog.NoEpoch, Err: err})
		}
		out = append(out, f)
	}
	return out
}

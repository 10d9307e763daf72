package api

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/group"
)

// joinGroup, versions 0 to 9. v1: rebalance timeout; v4: members learn their id
// first; v5: static members; v6: flexible; v7: protocol type in the answer; v8:
// reason; v9: the leader may skip the assignment.
func (a *API) joinGroup(ctx context.Context, c *Call, req *kmsg.JoinGroupRequest) *kmsg.JoinGroupResponse {
	r := group.JoinRequest{
		Group: req.Group, MemberID: req.MemberID, InstanceID: req.InstanceID,
		ClientID: c.ClientID, ClientHost: "/" + c.RemoteHost,
		SessionTimeout:    time.Duration(req.SessionTimeoutMillis) * time.Millisecond,
		RebalanceTimeout:  time.Duration(req.RebalanceTimeoutMillis) * time.Millisecond,
		ProtocolType:      req.ProtocolType,
		RequireMemberID:   c.Version >= 4,
		CanSkipAssignment: c.Version >= 9,
		Protocols:         make([]group.Protocol, 0, len(req.Protocols)),
	}
	if c.Version == 0 {
		r.RebalanceTimeout = r.SessionTimeout
	}
	if req.Reason != nil {
		r.Reason = *req.Reason
	}
	for _, p := range req.Protocols {
		r.Protocols = append(r.Protocols, group.Protocol{Name: p.Name, Metadata: p.Metadata})
	}
	res := a.opt.Groups.Join(ctx, &r)
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.ErrorCode, resp.MemberID = res.Err.Code(), res.MemberID
	resp.Generation, resp.LeaderID, resp.SkipAssignment = res.Generation, res.Leader, res.SkipAssignment
	resp.ProtocolType, resp.Protocol = res.ProtocolType, res.Protocol
	for _, m := range res.Members {
		o := kmsg.NewJoinGroupResponseMember()
		o.MemberID, o.InstanceID, o.ProtocolMetadata = m.MemberID, m.InstanceID, m.Metadata
		resp.Members = append(resp.Members, o)
	}
	return resp
}

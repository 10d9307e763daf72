package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/group"
	"barnabas/protocol"
)

// syncGroup, versions 0 to 5. v3: static members; v4: flexible; v5: protocol type
// and name, which then are mandatory.
func (a *API) syncGroup(ctx context.Context, c *Call, req *kmsg.SyncGroupRequest) *kmsg.SyncGroupResponse {
	resp := kmsg.NewPtrSyncGroupResponse()
	if c.Version >= 5 && (req.ProtocolType == nil || req.Protocol == nil) {
		resp.ErrorCode = protocol.InconsistentGroupProtocol.Code()
		return resp
	}
	r := group.SyncRequest{
		Group: req.Group, Generation: req.Generation, MemberID: req.MemberID, InstanceID: req.InstanceID,
		ProtocolType: req.ProtocolType, Protocol: req.Protocol,
		Assignments: make([]group.Assignment, 0, len(req.GroupAssignment)),
	}
	for _, g := range req.GroupAssignment {
		r.Assignments = append(r.Assignments, group.Assignment{MemberID: g.MemberID, Data: g.MemberAssignment})
	}
	res := a.opt.Groups.Sync(ctx, &r)
	resp.ErrorCode, resp.MemberAssignment = res.Err.Code(), res.Assignment
	resp.ProtocolType, resp.Protocol = res.ProtocolType, res.Protocol
	return resp
}

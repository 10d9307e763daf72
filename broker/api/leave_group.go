package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/group"
)

// leaveGroup, versions 0 to 5. v3: many members, by id or instance; v4: flexible;
// v5: reason.
func (a *API) leaveGroup(_ context.Context, c *Call, req *kmsg.LeaveGroupRequest) *kmsg.LeaveGroupResponse {
	r := group.LeaveRequest{Group: req.Group}
	if c.Version < 3 {
		r.Members = []group.LeavingMember{{MemberID: req.MemberID}}
	}
	for _, m := range req.Members {
		l := group.LeavingMember{MemberID: m.MemberID, InstanceID: m.InstanceID}
		if m.Reason != nil {
			l.Reason = *m.Reason
		}
		r.Members = append(r.Members, l)
	}
	res := a.opt.Groups.Leave(&r)
	resp := kmsg.NewPtrLeaveGroupResponse()
	resp.ErrorCode = res.Err.Code()
	for _, m := range res.Members {
		if c.Version < 3 {
			resp.ErrorCode = m.Err.Code()
			break
		}
		o := kmsg.NewLeaveGroupResponseMember()
		o.MemberID, o.InstanceID, o.ErrorCode = m.MemberID, m.InstanceID, m.Err.Code()
		resp.Members = append(resp.Members, o)
	}
	return resp
}

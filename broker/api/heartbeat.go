package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/group"
)

// heartbeat, versions 0 to 4. v3: static members; v4: flexible.
func (a *API) heartbeat(_ context.Context, _ *Call, req *kmsg.HeartbeatRequest) *kmsg.HeartbeatResponse {
	resp := kmsg.NewPtrHeartbeatResponse()
	resp.ErrorCode = a.opt.Groups.Heartbeat(&group.HeartbeatRequest{
		Group: req.Group, Generation: req.Generation, MemberID: req.MemberID, InstanceID: req.InstanceID,
	}).Code()
	return resp
}

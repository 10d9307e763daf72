package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// The kinds of coordinator that FindCoordinator knows.
const (
	coordinatorGroup       = 0
	coordinatorTransaction = 1
	coordinatorShare       = 2
)

// findCoordinator, versions 0 to 6. v1: key type and error message; v3:
// flexible; v4: many keys; v5: TRANSACTION_ABORTABLE; v6: share groups.
func (a *API) findCoordinator(ctx context.Context, c *Call, req *kmsg.FindCoordinatorRequest) *kmsg.FindCoordinatorResponse {
	resp := kmsg.NewPtrFindCoordinatorResponse()
	if req.CoordinatorType == coordinatorGroup && len(a.opt.Deaths.Doubts()) > 0 {
		keys := req.CoordinatorKeys
		if c.Version < 4 {
			keys = []string{req.CoordinatorKey}
		}
		a.awaitCoordinators(ctx, c, keys)
	}
	if c.Version < 4 {
		one := a.coordinator(c, req.CoordinatorType, req.CoordinatorKey)
		resp.NodeID, resp.Host, resp.Port = one.NodeID, one.Host, one.Port
		resp.ErrorCode, resp.ErrorMessage = one.ErrorCode, one.ErrorMessage
		if text := protocol.Error(one.ErrorCode).Message(); *one.ErrorMessage == "" {
			if one.ErrorCode == 0 {
				text = protocol.None.Name()
			}
			resp.ErrorMessage = &text
		}
		return resp
	}
	for _, key := range req.CoordinatorKeys {
		resp.Coordinators = append(resp.Coordinators, a.coordinator(c, req.CoordinatorType, key))
	}
	return resp
}

// coordinator answers for one key.
func (a *API) coordinator(c *Call, kind int8, key string) kmsg.FindCoordinatorResponseCoordinator {
	out := kmsg.NewFindCoordinatorResponseCoordinator()
	out.Key, out.NodeID, out.Port = key, -1, -1
	text := ""
	out.ErrorMessage = &text
	switch kind {
	case coordinatorGroup:
		node, err := a.opt.Coordinators.Find(kafka.ConsumerOffsetsTopic, key, c.Listener)
		if out.ErrorCode = err.Code(); err == protocol.None {
			out.NodeID, out.Host, out.Port = int32(node.ID), node.Host, node.Port
		}
	case coordinatorTransaction:
		// A retriable error would let transactional producers wait for ever.
		out.ErrorCode, text = protocol.InvalidRequest.Code(), "This broker does not coordinate transactions."
	case coordinatorShare:
		out.ErrorCode = protocol.InvalidRequest.Code()
		if c.Version >= 6 {
			out.ErrorCode = protocol.CoordinatorNotAvailable.Code()
		}
	default:
		out.ErrorCode, text = protocol.InvalidRequest.Code(), protocol.InvalidRequest.Message()
	}
	return out
}

package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// allocateProducerIDs, version 0: a broker asks the controller for a block of
// producer ids (KIP-730).
func (a *API) allocateProducerIDs(ctx context.Context, _ *Call, req *kmsg.AllocateProducerIDsRequest) *kmsg.AllocateProducerIDsResponse {
	resp := kmsg.NewPtrAllocateProducerIDsResponse()
	first, count, err := a.opt.Controller.AllocateProducerIDs(ctx, kafka.BrokerID(req.BrokerID), kafka.BrokerEpoch(req.BrokerEpoch))
	if err != nil {
		resp.ErrorCode = protocol.CodeOf(err).Code()
		return resp
	}
	resp.ProducerIDStart, resp.ProducerIDLen = first, int32(count)
	return resp
}

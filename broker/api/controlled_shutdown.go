package api

// ControlledShutdown (7), versions 0–3: a broker that is about to stop asks the
// controller to let others lead what it leads.
//
//	0  a header without client id   1  with it
//	2  the broker's registration    3  flexible

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
	"barnabas/protocol"
)

func (a *API) controlledShutdown(ctx context.Context, c *Call, req *kmsg.ControlledShutdownRequest) *kmsg.ControlledShutdownResponse {
	resp := kmsg.NewPtrControlledShutdownResponse()
	epoch := kafka.BrokerEpoch(-1)
	if c.Version >= 2 {
		epoch = kafka.BrokerEpoch(req.BrokerEpoch)
	}
	remaining, err := a.opt.Controller.ControlledShutdown(ctx, kafka.BrokerID(req.BrokerID), epoch)
	if err != nil {
		code := protocol.CodeOf(err)
		if code == protocol.NotController { // as Kafka's ControllerMovedException
			code = protocol.StaleControllerEpoch
		}
		resp.ErrorCode = code.Code()
		return resp
	}
	for _, tp := range remaining {
		p := kmsg.NewControlledShutdownResponsePartitionsRemaining()
		p.Topic, p.Partition = tp.Topic, tp.Partition
		resp.PartitionsRemaining = append(resp.PartitionsRemaining, p)
	}
	return resp
}

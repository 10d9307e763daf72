package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/admin"
	"barnabas/internal/kafka"
)

// createPartitions, versions 0 to 3. v2: flexible.
func (a *API) createPartitions(ctx context.Context, _ *Call, req *kmsg.CreatePartitionsRequest) *kmsg.CreatePartitionsResponse {
	of := make([]admin.Extension, len(req.Topics))
	for i := range req.Topics {
		t := &req.Topics[i]
		of[i] = admin.Extension{Topic: t.Topic, Total: t.Count}
		if t.Assignment != nil {
			of[i].Assignment = make([][]kafka.BrokerID, len(t.Assignment))
			for j := range t.Assignment {
				of[i].Assignment[j] = brokerIDs(t.Assignment[j].Replicas)
			}
		}
	}
	resp := kmsg.NewPtrCreatePartitionsResponse()
	for i, err := range a.opt.Topics.CreatePartitions(ctx, of, millis(req.TimeoutMillis), req.ValidateOnly) {
		t := kmsg.NewCreatePartitionsResponseTopic()
		t.Topic = of[i].Topic
		t.ErrorCode, t.ErrorMessage = codeAndText(err)
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

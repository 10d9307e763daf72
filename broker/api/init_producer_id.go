package api

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// ProducerIDs gives out producer ids.
type ProducerIDs interface {
	// Next returns an id that nobody else has, waiting for one until ctx ends.
	Next(ctx context.Context) (kafka.ProducerID, error)
}

// producerIDWait is how long a client waits for a block of ids before it is told
// to come back.
const producerIDWait = 10 * time.Second

// initProducerID, versions 0 to 5, for idempotent producers: a new id and epoch
// 0; an id and epoch that are given are ignored without a transactional id. v2:
// flexible; v3: producer id and epoch to be bumped (KIP-360); v4: PRODUCER_FENCED;
// v5: TRANSACTION_ABORTABLE.
//
// A transactional id is refused with UNSUPPORTED_VERSION, which ends the client with a
// clear error: there is no transaction coordinator.
func (a *API) initProducerID(ctx context.Context, _ *Call, req *kmsg.InitProducerIDRequest) *kmsg.InitProducerIDResponse {
	resp := kmsg.NewPtrInitProducerIDResponse()
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	switch {
	case (req.ProducerID == -1) != (req.ProducerEpoch == -1):
		resp.ErrorCode = protocol.InvalidRequest.Code()
		return resp
	case req.TransactionalID != nil && *req.TransactionalID == "":
		resp.ErrorCode = protocol.InvalidRequest.Code()
		return resp
	case req.TransactionalID != nil:
		resp.ErrorCode = protocol.UnsupportedVersion.Code()
		return resp
	}
	ctx, cancel := context.WithTimeout(ctx, producerIDWait)
	defer cancel()
	id, err := a.opt.ProducerIDs.Next(ctx)
	if err != nil {
		a.opt.Logger.Warn("no producer id could be reserved", "error", err)
		resp.ErrorCode = protocol.CoordinatorLoadInProgress.Code()
		return resp
	}
	resp.ProducerID, resp.ProducerEpoch = int64(id), 0
	return resp
}

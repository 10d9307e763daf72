package api

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// Kinds of endpoints that DescribeCluster v1 asks for.
const (
	endpointBrokers     = 1
	endpointControllers = 2
)

// answerSuspicion answers another broker that asks, in a tagged field of ours,
// whether this one saw the process of a broker die.
func answerSuspicion(ctx context.Context, confirm func(context.Context, kafka.BrokerID, kafka.BrokerEpoch) bool, req *kmsg.DescribeClusterRequest, resp *kmsg.DescribeClusterResponse) {
	req.UnknownTags.Each(func(key uint32, v []byte) {
		if key != protocol.TagSuspect {
			return
		}
		id, epoch, err := protocol.ParseSuspect(v)
		answer := []byte{0}
		if err == nil && confirm != nil && confirm(ctx, id, epoch) {
			answer[0] = 1
		}
		resp.UnknownTags.Set(protocol.TagSuspect, answer)
	})
}

// describeCluster, versions 0 and 1. v1: endpoint type, of which only brokers
// exist here.
func (a *API) describeCluster(ctx context.Context, c *Call, req *kmsg.DescribeClusterRequest) *kmsg.DescribeClusterResponse {
	resp := kmsg.NewPtrDescribeClusterResponse()
	resp.ControllerID, resp.EndpointType, resp.ClusterAuthorizedOperations = -1, endpointBrokers, noOperations
	if c.Version >= 1 && req.EndpointType != endpointBrokers {
		code, text := protocol.UnsupportedEndpointType, fmt.Sprintf("Unsupported endpoint type %d", req.EndpointType)
		if req.EndpointType == endpointControllers {
			code, text = protocol.MismatchedEndpointType, "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER"
		}
		resp.ErrorCode, resp.ErrorMessage = code.Code(), &text
		return resp
	}
	answerSuspicion(ctx, a.opt.Confirm, req, resp)
	im := a.opt.Image()
	resp.ClusterID = im.ClusterID
	resp.ControllerID = int32(controllerOn(im, c.Listener))
	for _, b := range im.Brokers() {
		if e, ok := b.Endpoint(c.Listener); ok {
			resp.Brokers = append(resp.Brokers, kmsg.DescribeClusterResponseBroker{NodeID: int32(b.ID), Host: e.Host, Port: e.Port, Rack: nullable(b.Rack)})
		}
	}
	if req.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = allClusterOperations
	}
	return resp
}

package api

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/protocol"
)

// Kinds of endpoints that DescribeCluster v1 asks for.
const (
	endpointBrokers     = 1
	endpointControllers = 2
)

// describeCluster, versions 0 and 1. v1: endpoint type, of which only brokers
// exist here.
func (a *API) describeCluster(_ context.Context, c *Call, req *kmsg.DescribeClusterRequest) *kmsg.DescribeClusterResponse {
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

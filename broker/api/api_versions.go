package api

// ApiVersions (18), versions 0–4.
//
//	1  throttle time
//	3  name and version of the client's software; features; flexible, but the
//	   header of the answer never is
//	4  features with a minimum of 0 may be named
//
// A version that is too new is answered in version 0, so that the client can
// ask again (KIP-511).

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/net/socket"
	"barnabas/protocol"
)

func (a *API) apiVersions(_ context.Context, c *Call, req *kmsg.ApiVersionsRequest) *kmsg.ApiVersionsResponse {
	resp := kmsg.NewPtrApiVersionsResponse()
	if c.Version >= 3 && (!validSoftware(req.ClientSoftwareName) || !validSoftware(req.ClientSoftwareVersion)) {
		resp.ErrorCode = protocol.InvalidRequest.Code()
		return resp
	}
	for _, e := range a.table {
		if e != nil {
			resp.ApiKeys = append(resp.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: e.key, MinVersion: e.min, MaxVersion: e.max})
		}
	}
	if a.opt.FeatureEpoch != nil {
		resp.FinalizedFeaturesEpoch = a.opt.FeatureEpoch()
	}
	return resp
}

// apiVersionsUnsupported tells a client that is newer than we are what to ask.
func (a *API) apiVersionsUnsupported(r *socket.Request) socket.Reply {
	e := a.table[protocol.KeyAPIVersions]
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.ErrorCode = protocol.UnsupportedVersion.Code()
	resp.ApiKeys = []kmsg.ApiVersionsResponseApiKey{{ApiKey: e.key, MinVersion: e.min, MaxVersion: e.max}}
	r.Version = 0
	reply, _ := respond(r, resp, nil)
	return reply
}

// validSoftware matches [a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])? (KIP-511).
func validSoftware(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (c != '-' && c != '.' || i == 0 || i == len(s)-1) {
			return false
		}
	}
	return s != ""
}

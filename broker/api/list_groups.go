package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// listGroups, versions 0 to 5. v3: flexible; v4: states; v5: types.
func (a *API) listGroups(_ context.Context, _ *Call, req *kmsg.ListGroupsRequest) *kmsg.ListGroupsResponse {
	resp := kmsg.NewPtrListGroupsResponse()
	groups, err := a.opt.Groups.List(req.StatesFilter, req.TypesFilter)
	resp.ErrorCode = err.Code()
	for _, g := range groups {
		o := kmsg.NewListGroupsResponseGroup()
		o.Group, o.ProtocolType = g.Group, g.ProtocolType
		o.GroupState, o.GroupType = g.State.String(), "classic"
		resp.Groups = append(resp.Groups, o)
	}
	return resp
}

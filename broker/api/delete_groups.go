package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/protocol"
)

// deleteGroups, versions 0 to 2. v2: flexible.
func (a *API) deleteGroups(ctx context.Context, _ *Call, req *kmsg.DeleteGroupsRequest) *kmsg.DeleteGroupsResponse {
	var seen repeats[string]
	refused := make([]protocol.Error, len(req.Groups))
	var names []string
	for i, id := range req.Groups {
		if err := seen.check(id); err != nil {
			refused[i] = protocol.CodeOf(err)
			continue
		}
		names = append(names, id)
	}
	outcomes := a.opt.Groups.Delete(ctx, names)
	resp := kmsg.NewPtrDeleteGroupsResponse()
	for i, id := range req.Groups {
		o := kmsg.NewDeleteGroupsResponseGroup()
		o.Group = id
		if refused[i] != protocol.None {
			o.ErrorCode = refused[i].Code()
		} else {
			o.ErrorCode, outcomes = outcomes[0].Code(), outcomes[1:]
		}
		resp.Groups = append(resp.Groups, o)
	}
	return resp
}

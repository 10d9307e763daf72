package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/protocol"
	"barnabas/protocol/groupstory"
)

// groupOperations are the operations on a group that a caller with all rights
// has: Read, Delete and Describe, as bits of their AclOperation codes.
const groupOperations = 1<<3 | 1<<6 | 1<<8

// describeGroups, versions 0 to 5. v3: authorized operations; v4: static
// members; v5: flexible; who asks by our tag is told more (package groupstory).
func (a *API) describeGroups(_ context.Context, c *Call, req *kmsg.DescribeGroupsRequest) *kmsg.DescribeGroupsResponse {
	resp := kmsg.NewPtrDescribeGroupsResponse()
	asked := c.Version >= groupstory.Version && groupstory.Asked(req)
	var seen repeats[string]
	for _, id := range req.Groups {
		o := kmsg.NewDescribeGroupsResponseGroup()
		if err := seen.check(id); err != nil {
			o.Group, o.ErrorCode = id, protocol.CodeOf(err).Code()
			resp.Groups = append(resp.Groups, o)
			continue
		}
		d := a.opt.Groups.Describe(id)
		o.Group, o.ErrorCode, o.State = id, d.Err.Code(), d.State
		o.ProtocolType, o.Protocol = d.ProtocolType, d.Protocol
		if req.IncludeAuthorizedOperations {
			o.AuthorizedOperations = groupOperations
		}
		if asked && d.Err == protocol.None {
			if story, err := a.opt.Groups.Explain(id); err == protocol.None {
				// JSON of numbers and strings; it can't fail.
				_ = story.Put(&o)
			}
		}
		for _, m := range d.Members {
			q := kmsg.NewDescribeGroupsResponseGroupMember()
			q.MemberID, q.InstanceID, q.ClientID, q.ClientHost = m.MemberID, m.InstanceID, m.ClientID, m.ClientHost
			q.ProtocolMetadata, q.MemberAssignment = m.Metadata, m.Assignment
			o.Members = append(o.Members, q)
		}
		resp.Groups = append(resp.Groups, o)
	}
	return resp
}

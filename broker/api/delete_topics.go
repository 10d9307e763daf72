package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// deleteTopics, versions 0 to 6. v1: throttle time; v3: TOPIC_DELETION_DISABLED;
// v4: flexible; v5: error messages; v6: by topic id.
func (a *API) deleteTopics(ctx context.Context, c *Call, req *kmsg.DeleteTopicsRequest) *kmsg.DeleteTopicsResponse {
	resp := kmsg.NewPtrDeleteTopicsResponse()
	if c.Version < 6 {
		for _, name := range req.TopicNames {
			resp.Topics = append(resp.Topics, deletedTopic(&name, kafka.TopicID{}, protocol.None))
		}
	} else if !a.askedByID(req, resp) {
		return resp
	}
	var names []string
	var at []int
	for i := range resp.Topics {
		if t := &resp.Topics[i]; t.ErrorCode == 0 {
			names, at = append(names, *t.Topic), append(at, i)
		}
	}
	for j, err := range a.opt.Topics.DeleteTopics(ctx, names, millis(req.TimeoutMillis)) {
		t := &resp.Topics[at[j]]
		t.ErrorCode, t.ErrorMessage = codeAndText(err)
		if t.ErrorCode == protocol.TopicDeletionDisabled.Code() && c.Version < 3 {
			t.ErrorCode = protocol.InvalidRequest.Code()
		}
	}
	return resp
}

// askedByID fills the answer with the topics of a version 6 request, by name or
// by id. It reports whether the request may go on.
func (a *API) askedByID(req *kmsg.DeleteTopicsRequest, resp *kmsg.DeleteTopicsResponse) bool {
	im := a.opt.Image()
	mixed := false
	for i := range req.Topics {
		t := &req.Topics[i]
		mixed = mixed || t.Topic != nil && !kafka.TopicID(t.TopicID).IsZero()
	}
	for i := range req.Topics {
		t := &req.Topics[i]
		id := kafka.TopicID(t.TopicID)
		switch {
		case mixed:
			resp.Topics = append(resp.Topics, deletedTopic(t.Topic, id, protocol.InvalidRequest))
		case t.Topic != nil:
			resp.Topics = append(resp.Topics, deletedTopic(t.Topic, id, protocol.None))
		case id.IsZero():
			resp.Topics = append(resp.Topics, deletedTopic(nil, id, protocol.TopicAuthorizationFailed))
		case im.TopicByID(id) == nil:
			resp.Topics = append(resp.Topics, deletedTopic(nil, id, protocol.UnknownTopicID))
		default:
			name := im.TopicByID(id).Name
			resp.Topics = append(resp.Topics, deletedTopic(&name, id, protocol.None))
		}
	}
	return !mixed
}

func deletedTopic(name *string, id kafka.TopicID, err protocol.Error) kmsg.DeleteTopicsResponseTopic {
	t := kmsg.NewDeleteTopicsResponseTopic()
	t.Topic, t.TopicID, t.ErrorCode = name, id, err.Code()
	return t
}

package api

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/admin"
	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// Topics makes, extends and deletes topics, and changes configs, of brokers, too;
// *admin.Admin is it.
type Topics interface {
	CreateTopics(ctx context.Context, specs []admin.TopicSpec, timeout time.Duration, validateOnly bool) []cluster.CreatedTopic
	DeleteTopics(ctx context.Context, names []string, timeout time.Duration) []error
	CreatePartitions(ctx context.Context, of []admin.Extension, timeout time.Duration, validateOnly bool) []error
	AlterConfigs(ctx context.Context, of []admin.Alteration, validateOnly bool) []error
	// AutoCreate makes a topic that somebody asked for before it existed.
	AutoCreate(ctx context.Context, topic string) error
}

var _ Topics = (*admin.Admin)(nil)

// createTopics, versions 0 to 7. v1: validate only, error messages; v2: throttle
// time; v4: defaults for -1; v5: flexible, and what was made; v7: topic ids.
func (a *API) createTopics(ctx context.Context, _ *Call, req *kmsg.CreateTopicsRequest) *kmsg.CreateTopicsResponse {
	specs := make([]admin.TopicSpec, len(req.Topics))
	for i := range req.Topics {
		t := &req.Topics[i]
		specs[i] = admin.TopicSpec{Name: t.Topic, Partitions: t.NumPartitions, ReplicationFactor: t.ReplicationFactor}
		for _, p := range t.ReplicaAssignment {
			specs[i].Assignment = append(specs[i].Assignment, admin.Assigned{Partition: p.Partition, Brokers: brokerIDs(p.Replicas)})
		}
		for _, c := range t.Configs {
			specs[i].Configs = append(specs[i].Configs, admin.ConfigValue{Name: c.Name, Value: c.Value})
		}
	}
	made := a.opt.Topics.CreateTopics(ctx, specs, millis(req.TimeoutMillis), req.ValidateOnly)
	resp := kmsg.NewPtrCreateTopicsResponse()
	for i := range specs { // a topic named twice is answered, and refused, twice
		resp.Topics = append(resp.Topics, a.createdTopic(&specs[i], &made[i]))
	}
	return resp
}

func (a *API) createdTopic(s *admin.TopicSpec, made *cluster.CreatedTopic) kmsg.CreateTopicsResponseTopic {
	out := kmsg.NewCreateTopicsResponseTopic()
	out.Topic, out.NumPartitions, out.ReplicationFactor = s.Name, -1, -1
	if made.Err != nil {
		out.ErrorCode, out.ErrorMessage = codeAndText(made.Err)
		return out
	}
	out.TopicID, out.NumPartitions, out.ReplicationFactor = made.ID, made.Partitions, int16(made.ReplicationFactor)
	overrides := map[string]string{}
	for _, c := range s.Configs {
		overrides[c.Name] = *c.Value
	}
	for _, e := range a.opt.Config().DescribeTopic(overrides, nil) {
		out.Configs = append(out.Configs, kmsg.CreateTopicsResponseTopicConfig{
			Name: e.Name, Value: e.Value, ReadOnly: e.ReadOnly, Source: int8(e.Source), IsSensitive: e.Sensitive,
		})
	}
	return out
}

// codeAndText is an error as answers tell it; the text is null where there is
// none.
func codeAndText(err error) (int16, *string) {
	var f *protocol.Failure
	if errors.As(err, &f) {
		return f.Code.Code(), nullable(f.Message)
	}
	return protocol.CodeOf(err).Code(), nil
}

func brokerIDs(of []int32) []kafka.BrokerID {
	out := make([]kafka.BrokerID, len(of))
	for i, id := range of {
		out[i] = kafka.BrokerID(id)
	}
	return out
}

func millis(n int32) time.Duration { return time.Duration(n) * time.Millisecond }

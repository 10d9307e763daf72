package api

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/conf"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// describeConfigs, versions 0 to 4. v1: sources and synonyms in place of
// "is default"; v3: types and documentation; v4: flexible.
func (a *API) describeConfigs(_ context.Context, c *Call, req *kmsg.DescribeConfigsRequest) *kmsg.DescribeConfigsResponse {
	resp := kmsg.NewPtrDescribeConfigsResponse()
	var seen repeats[resource]
	for i := range req.Resources {
		q := &req.Resources[i]
		out := kmsg.NewDescribeConfigsResponseResource()
		out.ResourceType, out.ResourceName = q.ResourceType, q.ResourceName
		var entries []conf.Entry
		err := seen.check(resource{q.ResourceType, q.ResourceName})
		if err == nil {
			entries, err = a.configsOf(q)
		}
		text := ""
		if err != nil {
			out.ErrorCode, text = protocol.CodeOf(err).Code(), err.(*protocol.Failure).Message
		}
		out.ErrorMessage = &text
		for j := range entries {
			out.Configs = append(out.Configs, describeConfig(req, &entries[j]))
		}
		resp.Resources = append(resp.Resources, out)
	}
	return resp
}

// resource is what configs belong to.
type resource struct {
	kind kmsg.ConfigResourceType
	name string
}

// configsOf finds what one resource is asked for; errors are protocol.Failures.
func (a *API) configsOf(q *kmsg.DescribeConfigsRequestResource) ([]conf.Entry, error) {
	cfg := a.opt.Config()
	switch q.ResourceType {
	case kmsg.ConfigResourceTypeTopic:
		if err := kafka.ValidateTopicName(q.ResourceName); err != nil {
			return nil, protocol.Fail(protocol.InvalidTopic, err.Error())
		}
		t := a.opt.Image().Topic(q.ResourceName)
		if t == nil {
			return nil, protocol.Fail(protocol.UnknownTopicOrPartition, "")
		}
		return cfg.DescribeTopic(t.Config, q.ConfigNames), nil
	case kmsg.ConfigResourceTypeBroker:
		if q.ResourceName == "" {
			return cfg.DescribeClusterDefault(q.ConfigNames), nil
		}
		id, err := strconv.ParseInt(q.ResourceName, 10, 32)
		if err != nil {
			return nil, protocol.Fail(protocol.InvalidRequest, fmt.Sprintf("Broker id must be an integer, but it is: %s", q.ResourceName))
		}
		if kafka.BrokerID(id) != a.opt.BrokerID {
			return nil, protocol.Fail(protocol.InvalidRequest, fmt.Sprintf("Unexpected broker id, expected %d or empty string, but received %d", a.opt.BrokerID, id))
		}
		return cfg.DescribeBroker(q.ConfigNames), nil
	case protocol.ResourceExplanation:
		text, err := a.opt.Explain(q.ResourceName)
		if err != nil {
			return nil, asFailure(err)
		}
		return []conf.Entry{{Name: "explanation", Value: &text, ReadOnly: true, Source: conf.FromDefault, Type: conf.String}}, nil
	case kmsg.ConfigResourceTypeClientMetrics:
		return nil, protocol.Fail(protocol.InvalidRequest, "Config type client-metrics is only supported on KRaft clusters")
	}
	return nil, protocol.Fail(protocol.InvalidRequest, protocol.InvalidRequest.Message())
}

// asFailure is err with a text for the client.
func asFailure(err error) *protocol.Failure {
	if f, ok := errors.AsType[*protocol.Failure](err); ok {
		return f
	}
	return protocol.Fail(protocol.CodeOf(err), err.Error())
}

func describeConfig(req *kmsg.DescribeConfigsRequest, e *conf.Entry) kmsg.DescribeConfigsResponseResourceConfig {
	out := kmsg.NewDescribeConfigsResponseResourceConfig()
	out.Name, out.Value, out.ReadOnly, out.IsSensitive = e.Name, e.Value, e.ReadOnly, e.Sensitive
	out.Source, out.ConfigType = kmsg.ConfigSource(e.Source), kmsg.ConfigType(e.Type)
	if req.IncludeDocumentation {
		out.Documentation = &e.Doc
	}
	if req.IncludeSynonyms {
		for _, s := range e.Synonyms {
			out.ConfigSynonyms = append(out.ConfigSynonyms, kmsg.DescribeConfigsResponseResourceConfigConfigSynonym{
				Name: s.Name, Value: s.Value, Source: kmsg.ConfigSource(s.Source),
			})
		}
	}
	return out
}

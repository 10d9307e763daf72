package api

import (
	"context"
	"math"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// All operations that an unauthorized world permits, as Apache Kafka's bit
// fields say without an authorizer.
const (
	allTopicOperations   = 3576
	allClusterOperations = 8096
	noOperations         = math.MinInt32
)

// metadata, versions 0 to 12. v1: null for all topics, controller id, racks; v2:
// cluster id; v4: auto creation may be declined; v5: offline replicas; v7:
// leader epochs; v8: authorized operations (those of the cluster until v10); v9:
// flexible; v10: topic ids; v12: topics by id.
func (a *API) metadata(ctx context.Context, c *Call, req *kmsg.MetadataRequest) *kmsg.MetadataResponse {
	resp := kmsg.NewPtrMetadataResponse()
	resp.ControllerID = int32(kafka.NoBroker)
	if bad, code := unaskable(c.Version, req); bad {
		for i := range req.Topics {
			t := kmsg.NewMetadataResponseTopic()
			t.Topic, t.TopicID, t.ErrorCode = req.Topics[i].Topic, req.Topics[i].TopicID, code.Code()
			if t.Topic == nil {
				t.Topic = new(string)
			}
			resp.Topics = append(resp.Topics, t)
		}
		return resp
	}
	if len(a.opt.Deaths.Doubts()) > 0 {
		a.awaitLeaders(ctx, c, req)
	}
	im := a.opt.Image()
	for _, b := range im.Brokers() {
		if e, ok := b.Endpoint(c.Listener); ok {
			resp.Brokers = append(resp.Brokers, kmsg.MetadataResponseBroker{NodeID: int32(b.ID), Host: e.Host, Port: e.Port, Rack: nullable(b.Rack)})
		}
	}
	resp.ClusterID = nullable(im.ClusterID)
	resp.ControllerID = int32(controllerOn(im, c.Listener))
	if c.Version >= 8 && c.Version <= 10 && req.IncludeClusterAuthorizedOperations {
		resp.AuthorizedOperations = allClusterOperations
	}
	if wantsAll(c.Version, req) {
		for t := range im.Topics() {
			resp.Topics = append(resp.Topics, a.describeTopic(im, c, req, t))
		}
		slices.SortFunc(resp.Topics, func(x, y kmsg.MetadataResponseTopic) int { return strings.Compare(*x.Topic, *y.Topic) })
		return resp
	}
	seen := map[string]bool{}
	for i := range req.Topics {
		t := a.askedTopic(ctx, im, c, req, &req.Topics[i])
		if t.Topic != nil {
			if seen[*t.Topic] {
				continue
			}
			seen[*t.Topic] = true
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

// wantsAll reports whether all topics are asked for.
func wantsAll(version int16, req *kmsg.MetadataRequest) bool {
	return req.Topics == nil || version == 0 && len(req.Topics) == 0
}

// unaskable finds requests that are refused as a whole.
func unaskable(version int16, req *kmsg.MetadataRequest) (bool, protocol.Error) {
	for i := range req.Topics {
		t := &req.Topics[i]
		id := kafka.TopicID(t.TopicID)
		switch {
		case version >= 10 && version < 12 && (t.Topic == nil || !id.IsZero()):
			return true, protocol.InvalidRequest
		case version >= 12 && t.Topic == nil && id.IsZero():
			return true, protocol.UnknownServerError
		}
	}
	return false, protocol.None
}

// controllerOn is the controller if clients of a listener can reach it.
func controllerOn(im *cluster.Image, listener string) kafka.BrokerID {
	if b := im.Broker(im.LiveController()); b != nil {
		if _, ok := b.Endpoint(listener); ok {
			return b.ID
		}
	}
	return kafka.NoBroker
}

// askedTopic answers for one topic by id or name, and makes it if that is
// wanted.
func (a *API) askedTopic(ctx context.Context, im *cluster.Image, c *Call, req *kmsg.MetadataRequest, q *kmsg.MetadataRequestTopic) kmsg.MetadataResponseTopic {
	out := kmsg.NewMetadataResponseTopic()
	out.Topic, out.TopicID = q.Topic, q.TopicID
	out.AuthorizedOperations = topicOperations(c, req)
	if id := kafka.TopicID(q.TopicID); !id.IsZero() {
		if t := im.TopicByID(id); t != nil {
			return a.describeTopic(im, c, req, t)
		}
		out.Topic, out.ErrorCode = nil, protocol.UnknownTopicID.Code()
		return out
	}
	name := *q.Topic
	if t := im.Topic(name); t != nil {
		return a.describeTopic(im, c, req, t)
	}
	out.IsInternal = kafka.IsInternalTopic(name)
	switch {
	case kafka.ValidateTopicName(name) != nil:
		out.ErrorCode = protocol.InvalidTopic.Code()
	case c.Version < 4 || req.AllowAutoTopicCreation:
		err := a.opt.Topics.AutoCreate(ctx, name)
		if im := a.opt.Image(); err == nil && im.Topic(name) != nil {
			return a.describeTopic(im, c, req, im.Topic(name))
		}
		if out.ErrorCode = protocol.CodeOf(err).Code(); err == nil {
			out.ErrorCode = protocol.LeaderNotAvailable.Code() // deleted again
		}
	default:
		out.ErrorCode = protocol.UnknownTopicOrPartition.Code()
	}
	return out
}

func topicOperations(c *Call, req *kmsg.MetadataRequest) int32 {
	if c.Version >= 8 && req.IncludeTopicAuthorizedOperations {
		return allTopicOperations
	}
	return noOperations
}

// describeTopic answers for a topic that exists.
func (a *API) describeTopic(im *cluster.Image, c *Call, req *kmsg.MetadataRequest, t *cluster.Topic) kmsg.MetadataResponseTopic {
	out := kmsg.NewMetadataResponseTopic()
	out.Topic, out.TopicID, out.IsInternal = &t.Name, t.ID, kafka.IsInternalTopic(t.Name)
	out.AuthorizedOperations = topicOperations(c, req)
	out.Partitions = make([]kmsg.MetadataResponseTopicPartition, 0, len(t.Partitions))
	for i, p := range t.Partitions {
		if p == nil || !p.HasState { // Apache Kafka leaves out what has no leader yet
			continue
		}
		out.Partitions = append(out.Partitions, describePartition(im, c, int32(i), p))
	}
	if len(out.Partitions) == 0 {
		out.ErrorCode = protocol.LeaderNotAvailable.Code()
	}
	return out
}

func describePartition(im *cluster.Image, c *Call, number int32, p *cluster.Partition) kmsg.MetadataResponseTopicPartition {
	out := kmsg.NewMetadataResponseTopicPartition()
	out.Partition, out.Leader, out.LeaderEpoch = number, int32(p.Leader), int32(p.LeaderEpoch)
	out.Replicas, out.ISR = ids(p.Replicas), ids(p.ISR)
	missing := false
	for _, r := range p.Replicas {
		if !reachable(im, r, c.Listener) {
			missing = true
			out.OfflineReplicas = append(out.OfflineReplicas, int32(r))
		} else if slices.Contains(p.Offline, r) {
			out.OfflineReplicas = append(out.OfflineReplicas, int32(r))
		}
	}
	leader := im.Broker(p.Leader)
	switch {
	case leader == nil:
		out.ErrorCode, out.Leader = protocol.LeaderNotAvailable.Code(), int32(kafka.NoBroker)
	case !reachable(im, p.Leader, c.Listener):
		out.ErrorCode, out.Leader = protocol.ListenerNotFound.Code(), int32(kafka.NoBroker)
		if c.Version < 6 {
			out.ErrorCode = protocol.LeaderNotAvailable.Code()
		}
	case c.Version == 0 && missing:
		out.ErrorCode = protocol.ReplicaNotAvailable.Code()
	}
	if c.Version == 0 { // cannot tell of brokers that it does not list
		out.Replicas = reachableOf(im, out.Replicas, c.Listener)
		out.ISR = reachableOf(im, out.ISR, c.Listener)
	}
	return out
}

// reachable reports whether clients of a listener can reach a broker.
func reachable(im *cluster.Image, id kafka.BrokerID, listener string) bool {
	b := im.Broker(id)
	if b == nil {
		return false
	}
	_, ok := b.Endpoint(listener)
	return ok
}

func reachableOf(im *cluster.Image, of []int32, listener string) []int32 {
	return slices.DeleteFunc(of, func(id int32) bool { return !reachable(im, kafka.BrokerID(id), listener) })
}

func ids(of []kafka.BrokerID) []int32 {
	out := make([]int32, len(of))
	for i, id := range of {
		out[i] = int32(id)
	}
	return out
}

// nullable is nil for the empty string.
func nullable(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

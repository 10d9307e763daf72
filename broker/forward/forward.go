// Package forward does what only the controller can, wherever it is elected: on
// this broker by a call, on another by the request that clients and brokers of
// Kafka would send it. It tries once; whoever asks decides what a failure means.
package forward

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// Local is the controller of this broker, elected or not.
type Local interface {
	Active() bool
	AllocateProducerIDs(ctx context.Context, broker kafka.BrokerID, epoch kafka.BrokerEpoch) (first, count int64, err error)
	ControlledShutdown(ctx context.Context, broker kafka.BrokerID, epoch kafka.BrokerEpoch) (remaining []kafka.TopicPartition, err error)
	CreateTopics(ctx context.Context, topics []cluster.NewTopic, validateOnly bool) []cluster.CreatedTopic
}

// Requester asks other brokers; net/peer is it.
type Requester interface {
	Request(ctx context.Context, broker kafka.BrokerID, req kmsg.Request) (kmsg.Response, error)
}

// Options of a Forwarder; Self, Image and Local are required.
type Options struct {
	Self  kafka.BrokerID
	Image func() *cluster.Image
	Local Local
	// Remote: nil means that only this broker's controller is asked.
	Remote Requester
}

// Forwarder finds the controller. It is safe for concurrent use.
type Forwarder struct{ o Options }

// New makes a Forwarder.
func New(o Options) *Forwarder { return &Forwarder{o} }

// elsewhere is the controller if it is another broker that can be asked.
func (f *Forwarder) elsewhere() (kafka.BrokerID, bool) {
	id := f.o.Image().LiveController()
	return id, f.o.Remote != nil && id != kafka.NoBroker && id != f.o.Self && !f.o.Local.Active()
}

// AllocateProducerIDs reserves the next block of producer ids for this broker,
// which is registered as epoch. Errors carry their code.
func (f *Forwarder) AllocateProducerIDs(ctx context.Context, epoch kafka.BrokerEpoch) (first, count int64, err error) {
	controller, ok := f.elsewhere()
	if !ok {
		return f.o.Local.AllocateProducerIDs(ctx, f.o.Self, epoch)
	}
	req := kmsg.NewPtrAllocateProducerIDsRequest()
	req.BrokerID, req.BrokerEpoch = int32(f.o.Self), int64(epoch)
	resp, err := ask[*kmsg.AllocateProducerIDsResponse](ctx, f.o.Remote, controller, req)
	if err != nil {
		return 0, 0, err
	}
	if resp.ErrorCode != 0 {
		return 0, 0, fmt.Errorf("forward: producer ids from broker %d: %w", controller, protocol.Error(resp.ErrorCode))
	}
	return resp.ProducerIDStart, int64(resp.ProducerIDLen), nil
}

// createVersion is the CreateTopics that is sent: the first that answers the
// topic's id.
const createVersion = 7

// CreateTopics makes topics and returns when ZooKeeper has them, or, on another
// broker, when ctx ends.
func (f *Forwarder) CreateTopics(ctx context.Context, topics []cluster.NewTopic) []cluster.CreatedTopic {
	controller, ok := f.elsewhere()
	if !ok {
		return f.o.Local.CreateTopics(ctx, topics, false)
	}
	out := make([]cluster.CreatedTopic, len(topics))
	resp, err := ask[*kmsg.CreateTopicsResponse](ctx, f.o.Remote, controller, createRequest(ctx, topics))
	if err != nil {
		for i := range out {
			out[i].Err = err
		}
		return out
	}
	got := map[string]*kmsg.CreateTopicsResponseTopic{}
	for i := range resp.Topics {
		got[resp.Topics[i].Topic] = &resp.Topics[i]
	}
	for i := range topics {
		out[i] = created(got[topics[i].Name])
	}
	return out
}

// patience is how long the controller waits for leaders where ctx has no end.
const patience = 10 * time.Second

func createRequest(ctx context.Context, topics []cluster.NewTopic) *kmsg.CreateTopicsRequest {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.SetVersion(createVersion)
	wait := patience
	if end, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(end))
	}
	req.TimeoutMillis = int32(max(wait, time.Millisecond).Milliseconds())
	for i := range topics {
		n := &topics[i]
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = n.Name, n.Partitions, int16(n.ReplicationFactor)
		if n.Assignment != nil {
			t.NumPartitions, t.ReplicationFactor = -1, -1
		}
		for p, replicas := range n.Assignment {
			a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
			a.Partition = int32(p)
			for _, id := range replicas {
				a.Replicas = append(a.Replicas, int32(id))
			}
			t.ReplicaAssignment = append(t.ReplicaAssignment, a)
		}
		for _, name := range slices.Sorted(maps.Keys(n.Config)) {
			c := kmsg.NewCreateTopicsRequestTopicConfig()
			c.Name, c.Value = name, kmsg.StringPtr(n.Config[name])
			t.Configs = append(t.Configs, c)
		}
		req.Topics = append(req.Topics, t)
	}
	return req
}

// created is what an answer says of a topic. A time-out there means that the
// topic was made and its leaders are not ready: that is for this broker to see.
func created(t *kmsg.CreateTopicsResponseTopic) cluster.CreatedTopic {
	if t == nil {
		return cluster.CreatedTopic{Err: protocol.Fail(protocol.UnknownServerError, "The controller did not answer for this topic.")}
	}
	if code := protocol.Error(t.ErrorCode); code != protocol.None && code != protocol.RequestTimedOut {
		text := ""
		if t.ErrorMessage != nil {
			text = *t.ErrorMessage
		}
		return cluster.CreatedTopic{Err: protocol.Fail(code, text)}
	}
	return cluster.CreatedTopic{ID: t.TopicID, Partitions: t.NumPartitions, ReplicationFactor: int(t.ReplicationFactor)}
}

// ask sends a request to a broker and expects an answer of its own kind.
func ask[R kmsg.Response](ctx context.Context, remote Requester, broker kafka.BrokerID, req kmsg.Request) (R, error) {
	var none R
	resp, err := remote.Request(ctx, broker, req)
	if err != nil {
		return none, fmt.Errorf("forward: asking broker %d: %w", broker, err)
	}
	r, ok := resp.(R)
	if !ok {
		return none, fmt.Errorf("forward: broker %d answered with %T", broker, resp)
	}
	return r, nil
}

package forward

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// fake is both controllers: the local one, and another broker's behind the wire.
type fake struct {
	active bool
	to     kafka.BrokerID // who was asked last; 1 is the local one
	req    kmsg.Request
	resp   kmsg.Response
	err    error
}

func (f *fake) Active() bool { return f.active }

func (f *fake) AllocateProducerIDs(_ context.Context, broker kafka.BrokerID, epoch kafka.BrokerEpoch) (int64, int64, error) {
	f.to = broker
	return 7000, 1000, nil
}

func (f *fake) ControlledShutdown(_ context.Context, broker kafka.BrokerID, _ kafka.BrokerEpoch) ([]kafka.TopicPartition, error) {
	f.to = broker
	return []kafka.TopicPartition{{Topic: "here"}}, nil
}

func (f *fake) CreateTopics(_ context.Context, topics []cluster.NewTopic, _ bool) []cluster.CreatedTopic {
	f.to = 1
	return make([]cluster.CreatedTopic, len(topics))
}

func (f *fake) Request(_ context.Context, broker kafka.BrokerID, req kmsg.Request) (kmsg.Response, error) {
	f.to, f.req = broker, req
	return f.resp, f.err
}

// forwarder is broker 1's; broker 2 lives. controller is who began the epoch.
func forwarder(f *fake, controller kafka.BrokerID, remote bool) *Forwarder {
	e := cluster.NewEdit(cluster.Empty())
	for id := kafka.BrokerID(1); id <= 2; id++ {
		e.ReadBroker(&cluster.Broker{ID: id, Epoch: 5, Zxid: 5})
	}
	im, _ := e.Publish()
	im, _ = im.Apply(im.Next, &cluster.Entry{Controller: controller, Epoch: 1, Begins: true}, 40)
	o := Options{Self: 1, Image: func() *cluster.Image { return im }, Local: f}
	if remote {
		o.Remote = f
	}
	return New(o)
}

func TestWhoIsAsked(t *testing.T) {
	for _, c := range []struct {
		name       string
		active     bool
		controller kafka.BrokerID
		remote     bool
		want       kafka.BrokerID
	}{
		{"another", false, 2, true, 2},
		{"another, but nobody can be asked", false, 2, false, 1},
		{"this one", true, 1, true, 1},
		{"this one, and the image does not know it yet", true, 2, true, 1},
		{"this one no more", false, 1, true, 1},
		{"one that has died", false, 9, true, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fake{active: c.active, resp: kmsg.NewPtrAllocateProducerIDsResponse()}
			if _, _, err := forwarder(f, c.controller, c.remote).AllocateProducerIDs(t.Context(), 5); err != nil || f.to != c.want {
				t.Errorf("asked %d, want %d; %v", f.to, c.want, err)
			}
		})
	}
}

func TestProducerIDsFromAnother(t *testing.T) {
	resp := kmsg.NewPtrAllocateProducerIDsResponse()
	resp.ProducerIDStart, resp.ProducerIDLen = 3000, 1000
	f := &fake{resp: resp}
	fw := forwarder(f, 2, true)
	first, count, err := fw.AllocateProducerIDs(t.Context(), 5)
	if first != 3000 || count != 1000 || err != nil {
		t.Errorf("got %d, %d, %v", first, count, err)
	}
	if req := f.req.(*kmsg.AllocateProducerIDsRequest); req.BrokerID != 1 || req.BrokerEpoch != 5 {
		t.Errorf("asked %+v", req)
	}
	resp.ErrorCode = protocol.StaleBrokerEpoch.Code()
	if _, _, err := fw.AllocateProducerIDs(t.Context(), 5); !errors.Is(err, protocol.StaleBrokerEpoch) {
		t.Errorf("got %v", err)
	}
	f.err = errors.New("connection refused")
	if _, _, err := fw.AllocateProducerIDs(t.Context(), 5); !errors.Is(err, f.err) {
		t.Errorf("got %v", err)
	}
	f.resp, f.err = kmsg.NewPtrMetadataResponse(), nil
	if _, _, err := fw.AllocateProducerIDs(t.Context(), 5); err == nil {
		t.Error("an answer of another kind was taken")
	}
}

func TestTopicsMadeByAnother(t *testing.T) {
	resp := kmsg.NewPtrCreateTopicsResponse()
	for _, r := range []struct {
		name string
		code protocol.Error
	}{{"made", 0}, {"late", protocol.RequestTimedOut}, {"there", protocol.TopicAlreadyExists}} {
		out := kmsg.NewCreateTopicsResponseTopic()
		out.Topic, out.ErrorCode, out.NumPartitions, out.ReplicationFactor, out.TopicID = r.name, r.code.Code(), 2, 1, kafka.TopicID{9}
		resp.Topics = append(resp.Topics, out)
	}
	f := &fake{resp: resp}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	made := forwarder(f, 2, true).CreateTopics(ctx, []cluster.NewTopic{
		{Name: "made", Partitions: 2, ReplicationFactor: 1, Config: map[string]string{"b": "2", "a": "1"}},
		{Name: "late", Partitions: 1, ReplicationFactor: 1, Assignment: [][]kafka.BrokerID{{2, 1}}},
		{Name: "there"}, {Name: "unanswered"},
	})
	var codes []protocol.Error
	for _, m := range made {
		codes = append(codes, protocol.CodeOf(m.Err))
	}
	if want := []protocol.Error{0, 0, protocol.TopicAlreadyExists, protocol.UnknownServerError}; !slices.Equal(codes, want) {
		t.Errorf("got %v, want %v", codes, want)
	}
	if made[0].ID != (kafka.TopicID{9}) || made[0].Partitions != 2 {
		t.Errorf("got %+v", made[0])
	}
	req := f.req.(*kmsg.CreateTopicsRequest)
	if req.TimeoutMillis <= 0 || req.TimeoutMillis > 3000 {
		t.Errorf("the controller may wait %d ms", req.TimeoutMillis)
	}
	if c := req.Topics[0].Configs; len(c) != 2 || c[0].Name != "a" || *c[0].Value != "1" {
		t.Errorf("configs %+v", c)
	}
	if l := req.Topics[1]; l.NumPartitions != -1 || !slices.Equal(l.ReplicaAssignment[0].Replicas, []int32{2, 1}) {
		t.Errorf("assignment %+v", l)
	}
}

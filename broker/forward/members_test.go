package forward

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

func TestControlledShutdown(t *testing.T) {
	f := &fake{active: true}
	if got, err := forwarder(f, 1, true).ControlledShutdown(t.Context(), 5); err != nil || f.to != 1 || len(got) != 1 {
		t.Errorf("the controller itself: %v, %v, asked %d", got, err, f.to)
	}
	resp := kmsg.NewPtrControlledShutdownResponse()
	p := kmsg.NewControlledShutdownResponsePartitionsRemaining()
	p.Topic, p.Partition = "t", 4
	resp.PartitionsRemaining = append(resp.PartitionsRemaining, p)
	f = &fake{resp: resp}
	got, err := forwarder(f, 2, true).ControlledShutdown(t.Context(), 5)
	if err != nil || f.to != 2 || !slices.Equal(got, []kafka.TopicPartition{{Topic: "t", Partition: 4}}) {
		t.Errorf("another: %v, %v, asked %d", got, err, f.to)
	}
	if req := f.req.(*kmsg.ControlledShutdownRequest); req.BrokerID != 1 || req.BrokerEpoch != 5 || req.Version != 3 {
		t.Errorf("asked %+v", req)
	}
	resp.ErrorCode = protocol.StaleControllerEpoch.Code()
	if _, err := forwarder(f, 2, true).ControlledShutdown(t.Context(), 5); protocol.CodeOf(err) != protocol.StaleControllerEpoch {
		t.Errorf("an error became %v", err)
	}
}

func TestLogEnds(t *testing.T) {
	f := &fake{resp: &protocol.LogEndsResponse{Partitions: []protocol.LogEndsResponsePartition{
		{LastEpoch: 3, End: 90, Committed: 95}, {ErrorCode: protocol.UnknownLeaderEpoch.Code(), LastEpoch: -1, End: -1, Committed: -1}}}}
	id := kafka.TopicID{7}
	ask := []cluster.EndQuestion{{TopicID: id, TP: kafka.TopicPartition{Topic: "t", Partition: 4}, LeaderEpoch: 9}, {TopicID: id}}
	got, err := LogEnds(t.Context(), f, 2, ask)
	if err != nil || f.to != 2 || got[0] != (cluster.LogEnd{Epoch: 3, End: 90, Committed: 95}) || protocol.CodeOf(got[1].Err) != protocol.UnknownLeaderEpoch {
		t.Errorf("got %+v, %v", got, err)
	}
	if p := f.req.(*protocol.LogEndsRequest).Partitions[0]; p.TopicID != id || p.Partition != 4 || p.LeaderEpoch != 9 {
		t.Errorf("asked %+v", p)
	}
	if _, err := LogEnds(t.Context(), f, 2, ask[:1]); err == nil {
		t.Error("two answers to one question passed")
	}
}

package api

import (
	"context"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// fakeController notes the changes that it is asked for.
type fakeController struct {
	leader  kafka.BrokerID
	epoch   kafka.BrokerEpoch
	changes []cluster.ISRChange
	err     error
	// Of controlled shutdowns and elections.
	remaining []kafka.TopicPartition
	kind      cluster.ElectionKind
	asked     []kafka.TopicPartition
	elected   []cluster.ElectionResult
}

func (c *fakeController) AlterPartition(_ context.Context, leader kafka.BrokerID, epoch kafka.BrokerEpoch, changes []cluster.ISRChange) ([]cluster.ISRResult, error) {
	c.leader, c.epoch, c.changes = leader, epoch, changes
	out := make([]cluster.ISRResult, len(changes))
	for i, ch := range changes {
		if len(ch.ISR) > 1 {
			out[i].Err = protocol.Fail(protocol.IneligibleReplica, "text")
			continue
		}
		out[i] = cluster.ISRResult{Leader: leader, LeaderEpoch: ch.LeaderEpoch, ISR: []kafka.BrokerID{leader}, Recovering: ch.Recovering, PartitionEpoch: ch.PartitionEpoch + 1}
	}
	return out, c.err
}

func (c *fakeController) ControlledShutdown(_ context.Context, broker kafka.BrokerID, epoch kafka.BrokerEpoch) ([]kafka.TopicPartition, error) {
	c.leader, c.epoch = broker, epoch
	return c.remaining, c.err
}

func (c *fakeController) ElectLeaders(_ context.Context, kind cluster.ElectionKind, tps []kafka.TopicPartition) ([]cluster.ElectionResult, error) {
	c.kind, c.asked = kind, tps
	return c.elected, c.err
}

func (c *fakeController) AllocateProducerIDs(_ context.Context, broker kafka.BrokerID, epoch kafka.BrokerEpoch) (int64, int64, error) {
	c.leader, c.epoch = broker, epoch
	return 5000, 1000, c.err
}

func isrPartition(partition int32, members ...int32) kmsg.AlterPartitionRequestTopicPartition {
	p := kmsg.NewAlterPartitionRequestTopicPartition()
	p.Partition, p.LeaderEpoch, p.PartitionEpoch, p.NewISR, p.LeaderRecoveryState = partition, 3, 8, members, 1
	for _, id := range members {
		m := kmsg.NewAlterPartitionRequestTopicPartitionNewEpochISR()
		m.BrokerID, m.BrokerEpoch = id, 100+int64(id)
		p.NewEpochISR = append(p.NewEpochISR, m)
	}
	return p
}

func TestAlterPartition(t *testing.T) {
	b := newBroker(t)
	ctl := &fakeController{}
	b.api.opt.Controller = ctl
	c := b.dial()
	for version := range int16(4) {
		req := kmsg.NewPtrAlterPartitionRequest()
		req.SetVersion(version)
		req.BrokerID, req.BrokerEpoch = 2, 77
		for _, name := range []string{"a", "b"} {
			topic := kmsg.NewAlterPartitionRequestTopic()
			topic.Topic, topic.TopicID = name, map[string]kafka.TopicID{"a": idA, "b": idB}[name]
			topic.Partitions = append(topic.Partitions, isrPartition(4, 2), isrPartition(5, 2, 1))
			req.Topics = append(req.Topics, topic)
		}
		resp := call[*kmsg.AlterPartitionResponse](c, req)
		if ctl.leader != 2 || ctl.epoch != 77 || len(ctl.changes) != 4 {
			t.Fatalf("version %d: asked %+v", version, ctl)
		}
		ch := ctl.changes[3]
		epoch, ineligible := kafka.BrokerEpoch(-1), protocol.OperationNotAttempted
		if version >= 2 {
			ineligible = protocol.IneligibleReplica
		}
		if version >= 3 {
			epoch = 101
		}
		if byID := ch.TopicID == idB; byID != (version >= 2) || !byID && ch.TP.Topic != "b" || ch.TP.Partition != 5 || ch.PartitionEpoch != 8 ||
			ch.LeaderEpoch != 3 || ch.Recovering != (version >= 1) || ch.ISR[1] != (cluster.ISRMember{ID: 1, Epoch: epoch}) {
			t.Errorf("version %d: asked %+v", version, ch)
		}
		if resp.ErrorCode != 0 || len(resp.Topics) != 2 {
			t.Fatalf("version %d: %+v", version, resp)
		}
		p := resp.Topics[1].Partitions
		if p[0].ErrorCode != 0 || p[0].Partition != 4 || p[0].LeaderID != 2 || p[0].PartitionEpoch != 9 || !slices.Equal(p[0].ISR, []int32{2}) {
			t.Errorf("version %d: %+v", version, p[0])
		}
		if p[1].ErrorCode != ineligible.Code() || p[1].Partition != 5 {
			t.Errorf("version %d: %+v", version, p[1])
		}
	}
	ctl.err = protocol.NotController
	req := kmsg.NewPtrAlterPartitionRequest()
	req.SetVersion(3)
	if resp := call[*kmsg.AlterPartitionResponse](c, req); resp.ErrorCode != protocol.NotController.Code() {
		t.Errorf("got %+v", resp)
	}
}

func TestAllocateProducerIDs(t *testing.T) {
	b := newBroker(t)
	ctl := &fakeController{}
	b.api.opt.Controller = ctl
	req := kmsg.NewPtrAllocateProducerIDsRequest()
	req.BrokerID, req.BrokerEpoch = 2, 77
	c := b.dial()
	resp := call[*kmsg.AllocateProducerIDsResponse](c, req)
	if resp.ErrorCode != 0 || resp.ProducerIDStart != 5000 || resp.ProducerIDLen != 1000 || ctl.leader != 2 || ctl.epoch != 77 {
		t.Errorf("got %+v of %+v", resp, ctl)
	}
	ctl.err = protocol.StaleBrokerEpoch
	if resp := call[*kmsg.AllocateProducerIDsResponse](c, req); resp.ErrorCode != protocol.StaleBrokerEpoch.Code() {
		t.Errorf("got %+v", resp)
	}
}

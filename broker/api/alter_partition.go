package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// Controller is what brokers ask of the controller; on a broker that is not
// elected it answers NOT_CONTROLLER.
type Controller interface {
	AlterPartition(ctx context.Context, leader kafka.BrokerID, epoch kafka.BrokerEpoch, changes []cluster.ISRChange) ([]cluster.ISRResult, error)
	AllocateProducerIDs(ctx context.Context, broker kafka.BrokerID, epoch kafka.BrokerEpoch) (first, count int64, err error)
	ControlledShutdown(ctx context.Context, broker kafka.BrokerID, epoch kafka.BrokerEpoch) (remaining []kafka.TopicPartition, err error)
	ElectLeaders(ctx context.Context, kind cluster.ElectionKind, tps []kafka.TopicPartition) ([]cluster.ElectionResult, error)
}

// alterPartition, versions 0 to 3: a leader asks for another ISR (KIP-497). v1:
// leader recovery state (KIP-704); v2: topic ids, INELIGIBLE_REPLICA in place of
// OPERATION_NOT_ATTEMPTED; v3: registrations of the members (KIP-903).
func (a *API) alterPartition(ctx context.Context, c *Call, req *kmsg.AlterPartitionRequest) *kmsg.AlterPartitionResponse {
	var changes []cluster.ISRChange
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			changes = append(changes, isrChange(c.Version, t, &t.Partitions[j]))
		}
	}
	resp := kmsg.NewPtrAlterPartitionResponse()
	results, err := a.opt.Controller.AlterPartition(ctx, kafka.BrokerID(req.BrokerID), kafka.BrokerEpoch(req.BrokerEpoch), changes)
	if err != nil {
		resp.ErrorCode = protocol.CodeOf(err).Code()
		return resp
	}
	for i := range req.Topics {
		t := &req.Topics[i]
		out := kmsg.NewAlterPartitionResponseTopic()
		out.Topic, out.TopidID = t.Topic, t.TopicID
		for j := range t.Partitions {
			out.Partitions = append(out.Partitions, isrResult(c.Version, t.Partitions[j].Partition, &results[0]))
			results = results[1:]
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func isrChange(version int16, t *kmsg.AlterPartitionRequestTopic, p *kmsg.AlterPartitionRequestTopicPartition) cluster.ISRChange {
	ch := cluster.ISRChange{
		TopicID: t.TopicID, TP: kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition},
		LeaderEpoch: kafka.LeaderEpoch(p.LeaderEpoch), PartitionEpoch: kafka.PartitionEpoch(p.PartitionEpoch),
		Recovering: p.LeaderRecoveryState == 1,
	}
	if version < 3 {
		for _, id := range p.NewISR {
			ch.ISR = append(ch.ISR, cluster.ISRMember{ID: kafka.BrokerID(id), Epoch: -1})
		}
		return ch
	}
	for _, m := range p.NewEpochISR {
		ch.ISR = append(ch.ISR, cluster.ISRMember{ID: kafka.BrokerID(m.BrokerID), Epoch: kafka.BrokerEpoch(m.BrokerEpoch)})
	}
	return ch
}

func isrResult(version int16, partition int32, r *cluster.ISRResult) kmsg.AlterPartitionResponseTopicPartition {
	out := kmsg.NewAlterPartitionResponseTopicPartition()
	out.Partition = partition
	if r.Err != nil {
		code := protocol.CodeOf(r.Err)
		if code == protocol.IneligibleReplica && version < 2 {
			code = protocol.OperationNotAttempted
		}
		out.ErrorCode = code.Code()
		return out
	}
	out.LeaderID, out.LeaderEpoch, out.PartitionEpoch = int32(r.Leader), int32(r.LeaderEpoch), int32(r.PartitionEpoch)
	for _, id := range r.ISR {
		out.ISR = append(out.ISR, int32(id))
	}
	if r.Recovering {
		out.LeaderRecoveryState = 1
	}
	return out
}

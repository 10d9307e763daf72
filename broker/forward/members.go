package forward

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// LogEnds asks another broker where its replicas end; it is the one question that
// the controller has for brokers.
func LogEnds(ctx context.Context, remote Requester, broker kafka.BrokerID, questions []cluster.EndQuestion) ([]cluster.LogEnd, error) {
	req := &protocol.LogEndsRequest{Partitions: make([]protocol.LogEndsRequestPartition, len(questions))}
	for i, q := range questions {
		req.Partitions[i] = protocol.LogEndsRequestPartition{TopicID: q.TopicID, Partition: q.TP.Partition, LeaderEpoch: int32(q.LeaderEpoch)}
	}
	resp, err := ask[*protocol.LogEndsResponse](ctx, remote, broker, req)
	if err != nil {
		return nil, err
	}
	if len(resp.Partitions) != len(questions) {
		return nil, fmt.Errorf("forward: broker %d answered %d of %d questions about log ends", broker, len(resp.Partitions), len(questions))
	}
	out := make([]cluster.LogEnd, len(questions))
	for i, p := range resp.Partitions {
		out[i] = cluster.LogEnd{Epoch: kafka.LeaderEpoch(p.LastEpoch), End: p.End, Committed: p.Committed}
		if p.ErrorCode != 0 {
			out[i].Err = protocol.Error(p.ErrorCode)
		}
	}
	return out, nil
}

// shutdownVersion is the ControlledShutdown that is sent, 3.9's newest.
const shutdownVersion = 3

// ControlledShutdown asks the controller to let others lead what this broker,
// registered as epoch, leads, and returns what it leads still. Errors carry their
// code.
func (f *Forwarder) ControlledShutdown(ctx context.Context, epoch kafka.BrokerEpoch) ([]kafka.TopicPartition, error) {
	controller, ok := f.elsewhere()
	if !ok {
		return f.o.Local.ControlledShutdown(ctx, f.o.Self, epoch)
	}
	req := kmsg.NewPtrControlledShutdownRequest()
	req.Version, req.BrokerID, req.BrokerEpoch = shutdownVersion, int32(f.o.Self), int64(epoch)
	resp, err := ask[*kmsg.ControlledShutdownResponse](ctx, f.o.Remote, controller, req)
	if err != nil {
		return nil, err
	}
	if resp.ErrorCode != 0 {
		return nil, fmt.Errorf("forward: controlled shutdown by broker %d: %w", controller, protocol.Error(resp.ErrorCode))
	}
	remaining := make([]kafka.TopicPartition, len(resp.PartitionsRemaining))
	for i, p := range resp.PartitionsRemaining {
		remaining[i] = kafka.TopicPartition{Topic: p.Topic, Partition: p.Partition}
	}
	return remaining, nil
}

package isr

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/replica"
	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// requestVersion is the AlterPartition that is sent: with topic ids and the
// members' registrations (KIP-903).
const requestVersion = 3

// place is a partition as AlterPartition names it.
type place struct {
	topic     kafka.TopicID
	partition int32
}

// request is a batch as AlterPartition; the batch is sorted by topic.
func request(self kafka.BrokerID, epoch kafka.BrokerEpoch, batch []*replica.Proposal) *kmsg.AlterPartitionRequest {
	req := kmsg.NewPtrAlterPartitionRequest()
	req.SetVersion(requestVersion)
	req.BrokerID, req.BrokerEpoch = int32(self), int64(epoch)
	for _, ask := range batch {
		if n := len(req.Topics); n == 0 || req.Topics[n-1].TopicID != ask.TopicID {
			t := kmsg.NewAlterPartitionRequestTopic()
			t.Topic, t.TopicID = ask.TP.Topic, ask.TopicID
			req.Topics = append(req.Topics, t)
		}
		p := kmsg.NewAlterPartitionRequestTopicPartition()
		p.Partition, p.LeaderEpoch, p.PartitionEpoch = ask.TP.Partition, int32(ask.LeaderEpoch), int32(ask.PartitionEpoch)
		for _, m := range ask.ISR {
			member := kmsg.NewAlterPartitionRequestTopicPartitionNewEpochISR()
			member.BrokerID, member.BrokerEpoch = int32(m.ID), int64(m.Epoch)
			p.NewEpochISR = append(p.NewEpochISR, member)
		}
		last := &req.Topics[len(req.Topics)-1]
		last.Partitions = append(last.Partitions, p)
	}
	return req
}

// results finds the answer to each of the batch. What the answer leaves out is
// asked again.
func results(from kmsg.Response, batch []*replica.Proposal) ([]cluster.ISRResult, error) {
	resp, ok := from.(*kmsg.AlterPartitionResponse)
	if !ok {
		return nil, fmt.Errorf("isr: AlterPartition was answered by %T", from)
	}
	if resp.ErrorCode != 0 {
		return nil, fmt.Errorf("isr: AlterPartition: %w", protocol.Error(resp.ErrorCode))
	}
	got := map[place]*kmsg.AlterPartitionResponseTopicPartition{}
	for i := range resp.Topics {
		t := &resp.Topics[i]
		for j := range t.Partitions {
			got[place{t.TopidID, t.Partitions[j].Partition}] = &t.Partitions[j]
		}
	}
	out := make([]cluster.ISRResult, len(batch))
	for i, ask := range batch {
		p := got[place{ask.TopicID, ask.TP.Partition}]
		if p == nil {
			out[i].Err = protocol.Fail(protocol.UnknownServerError, "not answered")
			continue
		}
		out[i] = cluster.ISRResult{
			Leader: kafka.BrokerID(p.LeaderID), LeaderEpoch: kafka.LeaderEpoch(p.LeaderEpoch),
			Recovering: p.LeaderRecoveryState == 1, PartitionEpoch: kafka.PartitionEpoch(p.PartitionEpoch),
		}
		for _, id := range p.ISR {
			out[i].ISR = append(out[i].ISR, kafka.BrokerID(id))
		}
		if p.ErrorCode != 0 {
			out[i].Err = protocol.Error(p.ErrorCode)
		}
	}
	return out, nil
}

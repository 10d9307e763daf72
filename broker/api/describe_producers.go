package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
	"barnabas/log"
	"barnabas/protocol"
)

// describeProducers, version 0 (KIP-664). Followers answer as well. A partition
// that is named again is refused: thousands of producers stand behind 4 bytes.
func (a *API) describeProducers(_ context.Context, _ *Call, req *kmsg.DescribeProducersRequest) *kmsg.DescribeProducersResponse {
	resp := kmsg.NewPtrDescribeProducersResponse()
	var seen repeats[kafka.TopicPartition]
	for i := range req.Topics {
		t := kmsg.NewDescribeProducersResponseTopic()
		t.Topic = req.Topics[i].Topic
		for _, partition := range req.Topics[i].Partitions {
			p := kmsg.NewDescribeProducersResponseTopicPartition()
			p.Partition = partition
			tp := kafka.TopicPartition{Topic: t.Topic, Partition: partition}
			var producers []log.ProducerState
			err := seen.check(tp)
			if err == nil {
				producers, err = a.opt.Records.Producers(tp)
			}
			p.ErrorCode = protocol.CodeOf(err).Code()
			for _, s := range producers {
				d := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
				d.ProducerID, d.ProducerEpoch, d.LastSequence = int64(s.ID), int32(s.Epoch), s.LastSequence
				d.LastTimestamp, d.CoordinatorEpoch, d.CurrentTxnStartOffset = s.LastTimestamp, s.CoordinatorEpoch, s.TxnStartOffset
				p.ActiveProducers = append(p.ActiveProducers, d)
			}
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

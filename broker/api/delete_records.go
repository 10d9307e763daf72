package api

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/replica"
	"barnabas/internal/kafka"
	"barnabas/log"
	"barnabas/protocol"
)

// Records looks after what partitions hold, apart from writing and reading it;
// *replica.Manager is it.
type Records interface {
	// DeleteRecords deletes on the leader and waits for the live replicas.
	DeleteRecords(ctx context.Context, of []replica.Deletion, wait time.Duration) []replica.Deleted
	// Producers are those that a partition knows.
	Producers(tp kafka.TopicPartition) ([]log.ProducerState, error)
	// LogDirs describes the log directories, with those replicas that want names.
	LogDirs(want func(kafka.TopicPartition) bool) []replica.LogDir
	// MoveLog begins to move a log to another log directory.
	MoveLog(tp kafka.TopicPartition, dir string) error
}

var _ Records = (*replica.Manager)(nil)

// deleteRecords, versions 0 to 2. v2: flexible. What the image does not have is
// unknown before anything else is looked at.
func (a *API) deleteRecords(ctx context.Context, _ *Call, req *kmsg.DeleteRecordsRequest) *kmsg.DeleteRecordsResponse {
	im := a.opt.Image()
	var of []replica.Deletion
	for i := range req.Topics {
		for _, p := range req.Topics[i].Partitions {
			tp := kafka.TopicPartition{Topic: req.Topics[i].Topic, Partition: p.Partition}
			if im.Partition(tp) != nil {
				of = append(of, replica.Deletion{TP: tp, Offset: p.Offset})
			}
		}
	}
	done := a.opt.Records.DeleteRecords(ctx, of, millis(req.TimeoutMillis))
	resp := kmsg.NewPtrDeleteRecordsResponse()
	for i := range req.Topics {
		t := kmsg.NewDeleteRecordsResponseTopic()
		t.Topic = req.Topics[i].Topic
		for _, p := range req.Topics[i].Partitions {
			o := kmsg.NewDeleteRecordsResponseTopicPartition()
			o.Partition, o.LowWatermark = p.Partition, -1
			o.ErrorCode = protocol.UnknownTopicOrPartition.Code()
			if im.Partition(kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}) != nil {
				o.LowWatermark, o.ErrorCode = done[0].LowWatermark, protocol.CodeOf(done[0].Err).Code()
				done = done[1:]
			}
			t.Partitions = append(t.Partitions, o)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// alterReplicaLogDirs, versions 0 to 2: moves logs between this broker's log
// directories (KIP-113). v2: flexible.
func (a *API) alterReplicaLogDirs(_ context.Context, _ *Call, req *kmsg.AlterReplicaLogDirsRequest) *kmsg.AlterReplicaLogDirsResponse {
	resp := kmsg.NewPtrAlterReplicaLogDirsResponse()
	topics := map[string]int{} // index in resp
	for i := range req.Dirs {
		d := &req.Dirs[i]
		for j := range d.Topics {
			t := &d.Topics[j]
			at, ok := topics[t.Topic]
			if !ok {
				at = len(resp.Topics)
				topics[t.Topic] = at
				out := kmsg.NewAlterReplicaLogDirsResponseTopic()
				out.Topic = t.Topic
				resp.Topics = append(resp.Topics, out)
			}
			for _, n := range t.Partitions {
				p := kmsg.NewAlterReplicaLogDirsResponseTopicPartition()
				p.Partition = n
				if err := a.opt.Records.MoveLog(kafka.TopicPartition{Topic: t.Topic, Partition: n}, d.Dir); err != nil {
					p.ErrorCode = protocol.CodeOf(err).Code()
				}
				resp.Topics[at].Partitions = append(resp.Topics[at].Partitions, p)
			}
		}
	}
	return resp
}

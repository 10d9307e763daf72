package api

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// describeLogDirs, versions 0 to 4. v2: flexible; v3: an error for the whole;
// v4: room of the file systems. Null topics are all of them.
func (a *API) describeLogDirs(_ context.Context, _ *Call, req *kmsg.DescribeLogDirsRequest) *kmsg.DescribeLogDirsResponse {
	resp := kmsg.NewPtrDescribeLogDirsResponse()
	for _, d := range a.opt.Records.LogDirs(wantedReplicas(req.Topics)) {
		out := kmsg.NewDescribeLogDirsResponseDir()
		out.Dir, out.TotalBytes, out.UsableBytes = d.Path, d.Total, d.Usable
		if d.Err != nil {
			out.ErrorCode = protocol.KafkaStorageError.Code()
		}
		for _, r := range d.Replicas { // sorted
			if n := len(out.Topics); n == 0 || out.Topics[n-1].Topic != r.TP.Topic {
				t := kmsg.NewDescribeLogDirsResponseDirTopic()
				t.Topic = r.TP.Topic
				out.Topics = append(out.Topics, t)
			}
			t := &out.Topics[len(out.Topics)-1]
			p := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
			p.Partition, p.Size, p.OffsetLag, p.IsFuture = r.TP.Partition, r.Size, r.Lag, r.Future
			t.Partitions = append(t.Partitions, p)
		}
		resp.Dirs = append(resp.Dirs, out)
	}
	return resp
}

// wantedReplicas is what a request names, nil for all. It needs no more memory
// than the request.
func wantedReplicas(topics []kmsg.DescribeLogDirsRequestTopic) func(kafka.TopicPartition) bool {
	if topics == nil {
		return nil
	}
	wanted := make(map[string][]int32, len(topics))
	for i := range topics {
		wanted[topics[i].Topic] = append(wanted[topics[i].Topic], topics[i].Partitions...)
	}
	for _, partitions := range wanted {
		slices.Sort(partitions)
	}
	return func(tp kafka.TopicPartition) bool {
		_, ok := slices.BinarySearch(wanted[tp.Topic], tp.Partition)
		return ok
	}
}

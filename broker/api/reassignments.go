package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/cluster"
	"barnabas/internal/kafka"
)

// Reassignments moves replicas, if this broker is the controller; else it answers
// NOT_CONTROLLER.
type Reassignments interface {
	Reassign(ctx context.Context, moves []cluster.Move) ([]error, error)
	Reassignments(ctx context.Context, of []kafka.TopicPartition) ([]cluster.Moving, error)
}

// alterPartitionReassignments, version 0: partitions are moved to other brokers,
// or are not after all (KIP-455). As in Kafka the answer comes when it has begun,
// whatever the request's own patience.
func (a *API) alterPartitionReassignments(ctx context.Context, _ *Call, req *kmsg.AlterPartitionAssignmentsRequest) *kmsg.AlterPartitionAssignmentsResponse {
	var moves []cluster.Move
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			moves = append(moves, cluster.Move{TP: kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition},
				Replicas: brokerIDs(p.Replicas), Cancel: p.Replicas == nil})
		}
	}
	resp := kmsg.NewPtrAlterPartitionAssignmentsResponse()
	errs, err := a.opt.Reassignments.Reassign(ctx, moves)
	if err != nil {
		resp.ErrorCode, resp.ErrorMessage = codeAndText(err)
		return resp
	}
	for i := range req.Topics {
		t := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		t.Topic = req.Topics[i].Topic
		for j := range req.Topics[i].Partitions {
			p := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			p.Partition = req.Topics[i].Partitions[j].Partition
			p.ErrorCode, p.ErrorMessage = codeAndText(errs[0])
			errs = errs[1:]
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

// listPartitionReassignments, version 0: those under way, of some partitions or
// all.
func (a *API) listPartitionReassignments(ctx context.Context, _ *Call, req *kmsg.ListPartitionReassignmentsRequest) *kmsg.ListPartitionReassignmentsResponse {
	var of []kafka.TopicPartition
	if req.Topics != nil {
		of = []kafka.TopicPartition{}
	}
	for i := range req.Topics {
		for _, p := range req.Topics[i].Partitions {
			of = append(of, kafka.TopicPartition{Topic: req.Topics[i].Topic, Partition: p})
		}
	}
	resp := kmsg.NewPtrListPartitionReassignmentsResponse()
	list, err := a.opt.Reassignments.Reassignments(ctx, of)
	if err != nil {
		resp.ErrorCode, resp.ErrorMessage = codeAndText(err)
		return resp
	}
	at := map[string]int{}
	for _, m := range list {
		i, ok := at[m.TP.Topic]
		if !ok {
			i = len(resp.Topics)
			at[m.TP.Topic] = i
			t := kmsg.NewListPartitionReassignmentsResponseTopic()
			t.Topic = m.TP.Topic
			resp.Topics = append(resp.Topics, t)
		}
		p := kmsg.NewListPartitionReassignmentsResponseTopicPartition()
		p.Partition, p.Replicas = m.TP.Partition, int32s(m.Replicas)
		p.AddingReplicas, p.RemovingReplicas = int32s(m.Adding), int32s(m.Removing)
		resp.Topics[i].Partitions = append(resp.Topics[i].Partitions, p)
	}
	return resp
}

func int32s(ids []kafka.BrokerID) []int32 {
	out := make([]int32, len(ids))
	for i, id := range ids {
		out[i] = int32(id)
	}
	return out
}

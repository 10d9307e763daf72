package zkpaths

import (
	"errors"

	"barnabas/internal/kafka"
)

const (
	// DeleteTopics has a child, with null data, for each topic to be deleted.
	DeleteTopics = "/admin/delete_topics"
	// ReassignPath is written by old tools to move replicas.
	ReassignPath = "/admin/reassign_partitions"
	// PreferredElectionPath is written by old tools to elect first replicas.
	PreferredElectionPath = "/admin/preferred_replica_election"
)

// DeleteTopicPath asks for the deletion of a topic.
func DeleteTopicPath(topic string) string { return child(DeleteTopics, topic) }

// Reassignment is one partition's wanted replicas.
type Reassignment struct {
	kafka.TopicPartition
	Replicas []kafka.BrokerID
}

type partitionJSON struct {
	Topic     string           `json:"topic"`
	Partition *int32           `json:"partition"`
	Replicas  []kafka.BrokerID `json:"replicas,omitempty"`
}

type partitionsJSON struct {
	Version    int             `json:"version"`
	Partitions []partitionJSON `json:"partitions"`
}

// EncodeReassignments writes version 1.
func EncodeReassignments(rs []Reassignment) []byte {
	v := partitionsJSON{1, make([]partitionJSON, len(rs))}
	for i, r := range rs {
		v.Partitions[i] = partitionJSON{r.Topic, &r.Partition, r.Replicas}
	}
	return render(v)
}

// DecodeReassignments reads it.
func DecodeReassignments(data []byte) ([]Reassignment, error) {
	ps, err := decodePartitions("reassignment", data)
	if err != nil {
		return nil, err
	}
	out := make([]Reassignment, len(ps))
	for i, p := range ps {
		if len(p.Replicas) == 0 {
			return nil, dataErrorf("reassignment", "no replicas for %s-%d", p.Topic, *p.Partition)
		}
		out[i] = Reassignment{kafka.TopicPartition{Topic: p.Topic, Partition: *p.Partition}, p.Replicas}
	}
	return out, nil
}

// EncodePartitions writes a list of partitions, version 1: a preferred election
// or an ISR change.
func EncodePartitions(tps []kafka.TopicPartition) []byte {
	v := partitionsJSON{1, make([]partitionJSON, len(tps))}
	for i, tp := range tps {
		v.Partitions[i] = partitionJSON{Topic: tp.Topic, Partition: &tp.Partition}
	}
	return render(v)
}

// DecodePartitions reads it.
func DecodePartitions(data []byte) ([]kafka.TopicPartition, error) {
	ps, err := decodePartitions("partition list", data)
	if err != nil {
		return nil, err
	}
	out := make([]kafka.TopicPartition, len(ps))
	for i, p := range ps {
		out[i] = kafka.TopicPartition{Topic: p.Topic, Partition: *p.Partition}
	}
	return out, nil
}

func decodePartitions(what string, data []byte) ([]partitionJSON, error) {
	var v partitionsJSON
	if err := parse(what, data, &v); err != nil {
		return nil, err
	}
	for _, p := range v.Partitions {
		switch {
		case p.Partition == nil || *p.Partition < 0 || *p.Partition >= MaxPartitions:
			return nil, dataError(what, errors.New("no partition, or one out of range"))
		case p.Topic == "":
			return nil, dataError(what, errors.New("no topic"))
		}
	}
	return v.Partitions, nil
}

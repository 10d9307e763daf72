package zkpaths

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"barnabas/internal/kafka"
)

// Topics has a child for each topic.
const Topics = "/brokers/topics"

// MaxPartitions bounds partition numbers: what reads a topic may index by them.
const MaxPartitions = 1 << 17

// TopicPath is the znode with a topic's id and assignment.
func TopicPath(topic string) string { return child(Topics, topic) }

// PartitionsPath is the container of a topic's partitions.
func PartitionsPath(topic string) string { return TopicPath(topic) + "/partitions" }

// PartitionPath is the container of one partition's state.
func PartitionPath(tp kafka.TopicPartition) string {
	return child(PartitionsPath(tp.Topic), strconv.Itoa(int(tp.Partition)))
}

// ParseTopicPath gives the topic of a path made by TopicPath.
func ParseTopicPath(path string) (topic string, ok bool) { return childOf(Topics, path) }

// Assignment is the content of a topic's znode.
type Assignment struct {
	Version    int           // 0 stands for 3 when encoded
	ID         kafka.TopicID // zero: none yet (before 2.8, or made by hand)
	Partitions map[int32][]kafka.BrokerID
	// Adding and Removing have only partitions that are being reassigned.
	Adding, Removing map[int32][]kafka.BrokerID
}

type assignmentV1 struct {
	Version    int                        `json:"version"`
	Partitions map[int32][]kafka.BrokerID `json:"partitions"`
}

type assignmentJSON struct {
	assignmentV1
	ID       string                     `json:"topic_id,omitempty"`
	Adding   map[int32][]kafka.BrokerID `json:"adding_replicas"`
	Removing map[int32][]kafka.BrokerID `json:"removing_replicas"`
}

// Encode writes the JSON of a.Version.
func (a *Assignment) Encode() []byte {
	v := assignmentJSON{assignmentV1: assignmentV1{a.Version, notNil(a.Partitions)}, Adding: notNil(a.Adding), Removing: notNil(a.Removing)}
	switch v.Version {
	case 0:
		v.Version = 3
	case 1:
		return render(v.assignmentV1)
	}
	if v.Version >= 3 && !a.ID.IsZero() {
		v.ID = a.ID.String()
	}
	return render(v)
}

// notNil makes JSON say {} and [] rather than null.
func notNil(m map[int32][]kafka.BrokerID) map[int32][]kafka.BrokerID {
	out := make(map[int32][]kafka.BrokerID, len(m))
	for p, ids := range m {
		if ids == nil {
			ids = []kafka.BrokerID{}
		}
		out[p] = ids
	}
	return out
}

// DecodeAssignment reads all versions. Partition numbers need not be
// contiguous.
func DecodeAssignment(data []byte) (*Assignment, error) {
	const what = "topic"
	var v assignmentJSON
	if err := parse(what, data, &v); err != nil {
		return nil, err
	}
	if v.Version < 1 || v.Version > 3 {
		return nil, dataErrorf(what, "version %d", v.Version)
	}
	if v.Partitions == nil {
		return nil, dataError(what, errors.New("no partitions"))
	}
	a := &Assignment{Version: v.Version, Partitions: v.Partitions, Adding: v.Adding, Removing: v.Removing}
	if v.ID != "" {
		id, err := kafka.ParseTopicID(v.ID)
		if err != nil {
			return nil, dataError(what, err)
		}
		a.ID = id
	}
	for _, m := range []map[int32][]kafka.BrokerID{a.Partitions, a.Adding, a.Removing} {
		for p, ids := range m {
			if p < 0 || p >= MaxPartitions {
				return nil, dataErrorf(what, "partition %d", p)
			}
			if !brokers(ids) {
				return nil, dataErrorf(what, "partition %d has brokers that can't be, or one twice", p)
			}
		}
	}
	return a, nil
}

// brokers reports whether ids name brokers, each once.
func brokers(ids []kafka.BrokerID) bool {
	sorted := slices.Sorted(slices.Values(ids))
	return len(sorted) == 0 || sorted[0] >= 0 && len(slices.Compact(sorted)) == len(ids)
}

// MaxEpoch bounds the epochs that are believed: nobody counts that far, and what a
// hand has written above could not be raised for long.
const MaxEpoch = 1 << 30

// StatePath is the znode of a partition's state; its version is the partition
// epoch.
func StatePath(tp kafka.TopicPartition) string { return PartitionPath(tp) + "/state" }

// ParseStatePath reads what StatePath makes.
func ParseStatePath(path string) (kafka.TopicPartition, bool) {
	parts := strings.Split(path, "/")
	if len(parts) != 7 || parts[0] != "" || parts[1] != "brokers" || parts[2] != "topics" || parts[4] != "partitions" || parts[6] != "state" {
		return kafka.TopicPartition{}, false
	}
	n, ok := ParsePartition(parts[5])
	return kafka.TopicPartition{Topic: parts[3], Partition: n}, ok && parts[3] != ""
}

// ParsePartition reads a child of PartitionsPath.
func ParsePartition(name string) (int32, bool) {
	n, err := strconv.ParseUint(name, 10, 31)
	return int32(n), err == nil && n < MaxPartitions && strconv.FormatUint(n, 10) == name
}

// State is the content of a partition's state znode.
type State struct {
	Leader          kafka.BrokerID
	LeaderEpoch     kafka.LeaderEpoch
	ControllerEpoch kafka.ControllerEpoch
	ISR             []kafka.BrokerID
	// Recovering: the leader was elected out of sync and has not told yet that
	// it recovered.
	Recovering bool
}

type stateJSON struct {
	ControllerEpoch kafka.ControllerEpoch `json:"controller_epoch"`
	Leader          *kafka.BrokerID       `json:"leader"`
	Version         int                   `json:"version"`
	LeaderEpoch     *kafka.LeaderEpoch    `json:"leader_epoch"`
	ISR             []kafka.BrokerID      `json:"isr"`
	Recovery        int                   `json:"leader_recovery_state,omitempty"`
}

// Encode writes version 1, as render would write stateJSON: by hand, because an
// election encodes thousands.
func (s *State) Encode() []byte {
	b := make([]byte, 0, 96+8*len(s.ISR))
	number := func(key string, n int64) {
		b = append(b, key...)
		b = strconv.AppendInt(b, n, 10)
	}
	number(`{"controller_epoch":`, int64(s.ControllerEpoch))
	number(`,"leader":`, int64(s.Leader))
	number(`,"version":1,"leader_epoch":`, int64(s.LeaderEpoch))
	b = append(b, `,"isr":[`...)
	for i, id := range s.ISR {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(id), 10)
	}
	b = append(b, ']')
	if s.Recovering {
		b = append(b, `,"leader_recovery_state":1`...)
	}
	return append(b, '}')
}

// DecodeState reads it.
func DecodeState(data []byte) (State, error) {
	const what = "partition state"
	var v stateJSON
	if err := parse(what, data, &v); err != nil {
		return State{}, err
	}
	if v.Leader == nil || v.LeaderEpoch == nil || v.ISR == nil {
		return State{}, dataErrorf(what, "no leader, leader_epoch or isr in %q", clip(data))
	}
	if *v.LeaderEpoch < 0 || *v.LeaderEpoch > MaxEpoch || !brokers(v.ISR) || *v.Leader < kafka.NoBroker || v.Recovery < 0 || v.Recovery > 1 {
		return State{}, dataErrorf(what, "leader %d, leader_epoch %d, leader_recovery_state %d, isr of %d", *v.Leader, *v.LeaderEpoch, v.Recovery, len(v.ISR))
	}
	return State{*v.Leader, *v.LeaderEpoch, v.ControllerEpoch, v.ISR, v.Recovery == 1}, nil
}

package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"barnabas/cluster"
	"barnabas/conf"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// TopicSpec is a topic as a client asks for it.
type TopicSpec struct {
	Name string
	// Partitions and ReplicationFactor are -1 for the broker's defaults, and with
	// an assignment.
	Partitions        int32
	ReplicationFactor int16
	Assignment        []Assigned
	Configs           []ConfigValue
}

// Assigned places one partition.
type Assigned struct {
	Partition int32
	Brokers   []kafka.BrokerID
}

// ConfigValue is one override; a nil value is refused.
type ConfigValue struct {
	Name  string
	Value *string
}

// CreateTopics makes topics and waits, at most for timeout, until their leaders
// serve. timeout 0 or less does not wait and reports REQUEST_TIMED_OUT, as
// Apache Kafka does. The results are in the order of specs.
func (a *Admin) CreateTopics(ctx context.Context, specs []TopicSpec, timeout time.Duration, validateOnly bool) []cluster.CreatedTopic {
	out := make([]cluster.CreatedTopic, len(specs))
	if !a.o.Controller.Active() {
		for i := range out {
			out[i].Err = protocol.NotController
		}
		return out
	}
	count := map[string]int{}
	for _, s := range specs {
		count[s.Name]++
	}
	var asked []cluster.NewTopic
	var at []int // index in specs of each asked
	for i := range specs {
		t, err := a.permit(&specs[i], count[specs[i].Name] > 1)
		if err != nil {
			out[i].Err = err
			continue
		}
		asked, at = append(asked, t), append(at, i)
	}
	if len(asked) == 0 {
		return out
	}
	var made []string
	for j, c := range a.o.Controller.CreateTopics(ctx, asked, validateOnly) {
		if out[at[j]] = c; c.Err == nil {
			made = append(made, asked[j].Name)
		}
	}
	if validateOnly || len(made) == 0 {
		return out
	}
	var waited error = protocol.RequestTimedOut
	if timeout > 0 {
		wait, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		waited = timedOut(a.awaitTopics(wait, made))
	}
	for _, i := range at {
		if out[i].Err == nil {
			out[i].Err = waited
		}
	}
	return out
}

// permit checks what can be said of one topic without the cluster's state.
func (a *Admin) permit(s *TopicSpec, repeated bool) (cluster.NewTopic, error) {
	switch {
	case repeated:
		return cluster.NewTopic{}, protocol.Fail(protocol.InvalidRequest, "Found multiple entries for this topic.")
	case s.Name == kafka.ClusterMetadataTopic:
		return cluster.NewTopic{}, protocol.Fail(protocol.InvalidRequest, fmt.Sprintf("Creation of internal topic %s is prohibited.", s.Name))
	}
	if err := kafka.ValidateTopicName(s.Name); err != nil {
		return cluster.NewTopic{}, protocol.Fail(protocol.InvalidTopic, err.Error())
	}
	config, err := a.topicConfig(s.Configs)
	if err != nil {
		return cluster.NewTopic{}, err
	}
	t := cluster.NewTopic{Name: s.Name, Partitions: s.Partitions, ReplicationFactor: int(s.ReplicationFactor), Config: config}
	if len(s.Assignment) > 0 {
		if s.Partitions != -1 || s.ReplicationFactor != -1 {
			return t, protocol.Fail(protocol.InvalidRequest, "Both numPartitions or replicationFactor and replicasAssignments were set. Both cannot be used at the same time.")
		}
		t.Assignment, err = assignment(s.Assignment)
		return t, err
	}
	if cfg := a.o.Config(); t.Partitions == -1 {
		t.Partitions = int32(cfg.Topics.Partitions)
	}
	if cfg := a.o.Config(); t.ReplicationFactor == -1 {
		t.ReplicationFactor = cfg.Topics.ReplicationFactor
	}
	return t, nil
}

// topicConfig turns overrides into a map, if they make a valid configuration.
func (a *Admin) topicConfig(values []ConfigValue) (map[string]string, error) {
	config := make(map[string]string, len(values))
	var null []string
	for _, v := range values {
		if v.Value == nil {
			null = append(null, v.Name)
			continue
		}
		config[v.Name] = *v.Value
	}
	if len(null) > 0 {
		return nil, protocol.Fail(protocol.InvalidConfig, "Null value not supported for topic configs: "+strings.Join(null, ","))
	}
	if _, err := a.o.Config().Topic(config); err != nil {
		text := err.Error()
		if e := (*conf.Error)(nil); errors.As(err, &e) {
			text = e.Error()
		}
		return nil, protocol.Fail(protocol.InvalidConfig, text)
	}
	return config, nil
}

// assignment checks a manual placement. That its brokers live is, as in Apache
// Kafka, not asked.
func assignment(of []Assigned) ([][]kafka.BrokerID, error) {
	out := make([][]kafka.BrokerID, len(of))
	for _, p := range of {
		if p.Partition < 0 || int(p.Partition) >= len(of) || out[p.Partition] != nil {
			return nil, protocol.Fail(protocol.InvalidReplicaAssignment, "partitions should be a consecutive 0-based integer sequence")
		}
		sorted := slices.Sorted(slices.Values(p.Brokers))
		switch {
		case len(p.Brokers) == 0: // Apache Kafka stores it; such a partition can never have a leader
			return nil, protocol.Fail(protocol.InvalidReplicaAssignment, fmt.Sprintf("No replicas given for partition %d.", p.Partition))
		case sorted[0] < 0:
			return nil, protocol.Fail(protocol.InvalidReplicaAssignment, fmt.Sprintf("Negative broker id in the assignment of partition %d: %v", p.Partition, p.Brokers))
		case len(slices.Compact(sorted)) != len(p.Brokers):
			return nil, protocol.Fail(protocol.InvalidReplicaAssignment, fmt.Sprintf("Duplicate replica assignment found: %d -> %v", p.Partition, p.Brokers))
		case len(p.Brokers) != len(of[0].Brokers):
			return nil, protocol.Fail(protocol.InvalidReplicaAssignment, "All partitions should have the same number of replicas")
		}
		out[p.Partition] = p.Brokers
	}
	return out, nil
}

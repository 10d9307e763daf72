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

// maxPartitionsPerTopic bounds what one topic may ask for: its znode must fit a
// ZooKeeper request.
const maxPartitionsPerTopic = 20_000

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
	im := a.o.Image()
	var asked []cluster.NewTopic
	var at []int // index in specs of each asked
	for i := range specs {
		t, err := a.permit(im, &specs[i], count[specs[i].Name] > 1, asked)
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

// permit checks one topic against the rules, the image and the topics already
// permitted in the same request.
func (a *Admin) permit(im *cluster.Image, s *TopicSpec, repeated bool, before []cluster.NewTopic) (cluster.NewTopic, error) {
	switch {
	case repeated:
		return cluster.NewTopic{}, protocol.Fail(protocol.InvalidRequest, "Found multiple entries for this topic.")
	case s.Name == kafka.ClusterMetadataTopic:
		return cluster.NewTopic{}, protocol.Fail(protocol.InvalidRequest, fmt.Sprintf("Creation of internal topic %s is prohibited.", s.Name))
	}
	if err := kafka.ValidateTopicName(s.Name); err != nil {
		return cluster.NewTopic{}, protocol.Fail(protocol.InvalidTopic, err.Error())
	}
	if im.Topic(s.Name) != nil {
		return cluster.NewTopic{}, protocol.Fail(protocol.TopicAlreadyExists, fmt.Sprintf("Topic '%s' already exists.", s.Name))
	}
	if with := collisions(im, s.Name, before); len(with) > 0 {
		return cluster.NewTopic{}, protocol.Fail(protocol.InvalidTopic, fmt.Sprintf("Topic '%s' collides with existing topics: %s", s.Name, strings.Join(with, ", ")))
	}
	config, err := a.topicConfig(s.Configs)
	if err != nil {
		return cluster.NewTopic{}, err
	}
	t := cluster.NewTopic{Name: s.Name, Config: config}
	if len(s.Assignment) > 0 {
		if s.Partitions != -1 || s.ReplicationFactor != -1 {
			return t, protocol.Fail(protocol.InvalidRequest, "Both numPartitions or replicationFactor and replicasAssignments were set. Both cannot be used at the same time.")
		}
		t.Assignment, err = assignment(s.Assignment)
		t.Partitions = int32(len(t.Assignment))
		if err == nil {
			t.ReplicationFactor = len(t.Assignment[0])
		}
		return t, err
	}
	cfg := a.o.Config()
	t.Partitions, t.ReplicationFactor = s.Partitions, int(s.ReplicationFactor)
	if t.Partitions == -1 {
		t.Partitions = int32(cfg.Topics.Partitions)
	}
	if t.ReplicationFactor == -1 {
		t.ReplicationFactor = cfg.Topics.ReplicationFactor
	}
	return t, counts(im, &t)
}

// counts checks the number of partitions and replicas.
func counts(im *cluster.Image, t *cluster.NewTopic) error {
	live := 0
	for _, b := range im.Brokers() {
		if !b.Stopping {
			live++
		}
	}
	switch {
	case t.Partitions <= 0:
		return protocol.Fail(protocol.InvalidPartitions, "Number of partitions must be larger than 0.")
	case t.Partitions > maxPartitionsPerTopic:
		return protocol.Fail(protocol.InvalidPartitions, fmt.Sprintf("Number of partitions must be at most %d.", maxPartitionsPerTopic))
	case t.ReplicationFactor <= 0:
		return protocol.Fail(protocol.InvalidReplicationFactor, "Replication factor must be larger than 0.")
	case t.ReplicationFactor > live:
		return protocol.Fail(protocol.InvalidReplicationFactor, fmt.Sprintf("Replication factor: %d larger than available brokers: %d.", t.ReplicationFactor, live))
	}
	return nil
}

// collisions are the topics whose metric names would be those of name.
func collisions(im *cluster.Image, name string, before []cluster.NewTopic) []string {
	if !strings.ContainsAny(name, "._") {
		return nil
	}
	key := kafka.CollisionKey(name)
	var with []string
	for t := range im.Topics() {
		if kafka.CollisionKey(t.Name) == key {
			with = append(with, t.Name)
		}
	}
	for i := range before {
		if kafka.CollisionKey(before[i].Name) == key {
			with = append(with, before[i].Name)
		}
	}
	slices.Sort(with)
	return with
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
	seen := make([]bool, len(of))
	for _, p := range of {
		if p.Partition < 0 || int(p.Partition) >= len(of) || seen[p.Partition] {
			return nil, protocol.Fail(protocol.InvalidReplicaAssignment, "partitions should be a consecutive 0-based integer sequence")
		}
		seen[p.Partition] = true
		out[p.Partition] = p.Brokers
	}
	for i, brokers := range out {
		sorted := slices.Sorted(slices.Values(brokers))
		if len(slices.Compact(sorted)) != len(brokers) {
			return nil, protocol.Fail(protocol.InvalidReplicaAssignment, fmt.Sprintf("Duplicate replica assignment found: %d -> %v", i, brokers))
		}
		if len(brokers) != len(out[0]) {
			return nil, protocol.Fail(protocol.InvalidReplicaAssignment, "All partitions should have the same number of replicas")
		}
		if slices.ContainsFunc(brokers, func(id kafka.BrokerID) bool { return id < 0 }) {
			return nil, protocol.Fail(protocol.InvalidReplicaAssignment, fmt.Sprintf("Negative broker id in the assignment of partition %d: %v", i, brokers))
		}
	}
	return out, nil
}

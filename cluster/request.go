package cluster

import "barnabas/internal/kafka"

// NewTopic is a topic that the controller is asked to make. Its name and
// configs were validated before.
type NewTopic struct {
	Name string
	// Partitions and ReplicationFactor are wanted of the controller's own
	// placement; Assignment, indexed by partition, replaces it where not nil.
	Partitions        int32
	ReplicationFactor int
	Assignment        [][]kafka.BrokerID
	Config            map[string]string
}

// CreatedTopic is what became of a NewTopic.
type CreatedTopic struct {
	ID                kafka.TopicID
	Partitions        int32
	ReplicationFactor int
	// Err is nil if the topic was made, or would be; its code is in its chain.
	Err error
}

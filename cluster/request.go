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

// ISRChange is what a leader asks of the controller: another ISR for one
// partition.
type ISRChange struct {
	// TopicID names the topic; where it is zero (AlterPartition before version 2)
	// the name does.
	TopicID kafka.TopicID
	TP      kafka.TopicPartition
	// LeaderEpoch and PartitionEpoch are of the state that the change is made to.
	LeaderEpoch    kafka.LeaderEpoch
	PartitionEpoch kafka.PartitionEpoch
	ISR            []ISRMember
	// Recovering: the leader has not recovered yet from an unclean election.
	Recovering bool
}

// ISRMember is a broker of an ISR, with the registration that the leader saw it
// fetch under (KIP-903); -1 if unknown.
type ISRMember struct {
	ID    kafka.BrokerID
	Epoch kafka.BrokerEpoch
}

// ISRResult is what became of an ISRChange. It is a receipt: the state itself
// arrives by the log.
type ISRResult struct {
	Leader         kafka.BrokerID
	LeaderEpoch    kafka.LeaderEpoch
	ISR            []kafka.BrokerID
	Recovering     bool
	PartitionEpoch kafka.PartitionEpoch
	// Err is nil if the state is as was asked; its code is in its chain.
	Err error
}

// ElectionKind says what an election may choose.
type ElectionKind int8

const (
	// PreferredElection gives partitions back to the first of their replicas.
	PreferredElection ElectionKind = iota
	// UncleanElection gives partitions without a leader to one that was not in
	// sync, even where the topic's configs do not allow it.
	UncleanElection
)

// ElectionResult is what became of one partition of an election.
type ElectionResult struct {
	TP kafka.TopicPartition
	// Leader is the one elected, if Err is nil.
	Leader kafka.BrokerID
	// Err has its code and Kafka's text in its chain.
	Err error
}

// EndQuestion asks a broker where its replica of a partition ends.
type EndQuestion struct {
	TP      kafka.TopicPartition
	TopicID kafka.TopicID
	// LeaderEpoch is that of the state without a leader in which the question is
	// asked. A broker that does not know it yet may still copy from the old leader,
	// and answers UNKNOWN_LEADER_EPOCH.
	LeaderEpoch kafka.LeaderEpoch
}

// LogEnd is where a replica ends.
type LogEnd struct {
	// Epoch is the last that the log knows, NoLeaderEpoch if none; End the offset
	// after its last record.
	Epoch kafka.LeaderEpoch
	End   int64
	// Committed is the largest high watermark that this replica heard of, from its
	// leaders too: what lies below was acknowledged.
	Committed int64
	// Err is nil if the rest is known; its code is in its chain.
	Err error
}

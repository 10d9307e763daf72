// Package kafka holds the vocabulary that every room shares: typed ids and
// epochs, topic names, and the hash that places keys of internal topics. It
// knows no wire format, no file and no znode.
package kafka

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
)

// BrokerID names a broker; it is the last part of its registration's path.
type BrokerID int32

// NoBroker stands where a partition has no leader or a cluster no controller.
const NoBroker BrokerID = -1

// BrokerEpoch is the czxid of a broker's registration znode: it grows with
// each new registration of the same id.
type BrokerEpoch int64

// ControllerEpoch counts controller elections; the first elected has 1.
type ControllerEpoch int32

// LeaderEpoch counts the leaderships of one partition, starting at 0.
type LeaderEpoch int32

// NoLeaderEpoch is sent by clients that know no epoch.
const NoLeaderEpoch LeaderEpoch = -1

// PartitionEpoch is the znode version of a partition's state.
type PartitionEpoch int32

// ProducerID names an idempotent or transactional producer. -1 is none.
type ProducerID int64

// ProducerEpoch fences older instances of one producer. -1 is none.
type ProducerEpoch int16

// TopicPartition names one partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// String is the name of the partition's directory: topic, a dash, the number.
func (tp TopicPartition) String() string {
	return tp.Topic + "-" + strconv.Itoa(int(tp.Partition))
}

// ParseTopicPartition splits "topic-7" at its last dash.
func ParseTopicPartition(s string) (TopicPartition, error) {
	i := strings.LastIndexByte(s, '-')
	if i <= 0 || i == len(s)-1 {
		return TopicPartition{}, fmt.Errorf("kafka: %q is not a topic, a dash and a partition", s)
	}
	n, err := strconv.ParseUint(s[i+1:], 10, 31)
	if err != nil {
		return TopicPartition{}, fmt.Errorf("kafka: %q is not a topic, a dash and a partition", s)
	}
	return TopicPartition{Topic: s[:i], Partition: int32(n)}, nil
}

// TopicID tells a topic from an earlier one of the same name (KIP-516). The
// zero value means that none is known.
type TopicID [16]byte

// NewTopicID makes a random (version 4) id. Its text never begins with a dash
// and it is never one of the reserved ids.
func NewTopicID() TopicID {
	for {
		var id TopicID
		rand.Read(id[:]) // never fails: crypto/rand ends the process instead
		id[6] = id[6]&0x0f | 0x40
		id[8] = id[8]&0x3f | 0x80
		if id.String()[0] != '-' {
			return id
		}
	}
}

// IsZero reports whether no id is known.
func (id TopicID) IsZero() bool { return id == TopicID{} }

// String is Kafka's form: 22 characters of URL-safe base64 without padding.
func (id TopicID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// ParseTopicID reads what String prints.
func ParseTopicID(s string) (TopicID, error) {
	var id TopicID
	b, err := base64.RawURLEncoding.Strict().DecodeString(s) // so that an id has one text
	if err != nil || len(b) != len(id) {
		return TopicID{}, fmt.Errorf("kafka: %q is not a topic id of 22 base64 characters", s)
	}
	copy(id[:], b)
	return id, nil
}

// MaxTopicNameLength is the longest topic name; with a partition number it
// still fits a file name.
const MaxTopicNameLength = 249

// Internal topics, which clients may not produce to.
const (
	ConsumerOffsetsTopic  = "__consumer_offsets"
	TransactionStateTopic = "__transaction_state"
	ClusterMetadataTopic  = "__cluster_metadata"
)

// IsInternalTopic reports whether name belongs to the coordinators.
func IsInternalTopic(name string) bool {
	return name == ConsumerOffsetsTopic || name == TransactionStateTopic
}

// ErrInvalidTopicName is wrapped by what ValidateTopicName returns. The texts are
// those that Kafka sends to clients.
var ErrInvalidTopicName = errors.New("Topic name is invalid")

// ValidateTopicName applies the rules of org.apache.kafka.common.internals.Topic:
// 1 to 249 characters of [a-zA-Z0-9._-], but not "." or "..".
func ValidateTopicName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: the empty string is not allowed", ErrInvalidTopicName)
	case name == "." || name == "..":
		return fmt.Errorf("%w: '%s' is not allowed", ErrInvalidTopicName, name)
	case len(name) > MaxTopicNameLength:
		return fmt.Errorf("%w: the length of '%s' is longer than the max allowed length %d", ErrInvalidTopicName, name, MaxTopicNameLength)
	}
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return fmt.Errorf("%w: '%s' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'", ErrInvalidTopicName, name)
		}
	}
	return nil
}

// CollisionKey is equal for topic names that Kafka refuses side by side,
// because metric names turn dots into underscores.
func CollisionKey(name string) string { return strings.ReplaceAll(name, ".", "_") }

// JavaHash is java.lang.String.hashCode: over UTF-16 units, wrapping.
func JavaHash(s string) int32 {
	var h int32
	for _, u := range utf16.Encode([]rune(s)) {
		h = 31*h + int32(u)
	}
	return h
}

// PartitionFor is the partition of an internal topic that keeps key.
func PartitionFor(key string, partitions int32) int32 {
	return int32(uint32(JavaHash(key))&0x7fffffff) % partitions
}

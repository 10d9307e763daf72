package client

import (
	"math/rand/v2"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The partitioners are given to kgo.RecordPartitioner; a record whose Partition
// the program wants to choose itself takes kgo.ManualPartitioner. For one's own
// see the example of Custom.

// Murmur2 is what Kafka's Java producer does by default: a record with a key goes
// where the murmur2 hash of the key says (MurmurPartition), one without stays on a
// partition until a batch is full (Sticky). An empty key is a key, a nil one not.
func Murmur2() kgo.Partitioner { return kgo.StickyKeyPartitioner(javaHasher) }

// Sticky ignores keys and fills a batch of one partition before it goes on to
// another, chosen at random: large batches at any rate.
func Sticky() kgo.Partitioner { return kgo.StickyPartitioner() }

// RoundRobin ignores keys and goes over the partitions that have a leader, record
// by record (Java's RoundRobinPartitioner): even, with small batches.
func RoundRobin() kgo.Partitioner { return kgo.RoundRobinPartitioner() }

// Random ignores keys and chooses for each record one of the partitions that have
// a leader (Kafka's producers of 0.7, kcat's random).
func Random() kgo.Partitioner {
	return partitioner{func(_ *kgo.Record, n int) int { return rand.IntN(n) }, false}
}

// Custom chooses by a function, which gets the record and the number of the
// topic's partitions, n ≥ 1, and returns 0 to n-1; anything else fails the
// record. It is called for one record of a topic at a time. The same record must
// not depend on which partitions have a leader just now, so it counts all of them.
func Custom(choose func(r *kgo.Record, n int) int) kgo.Partitioner { return partitioner{choose, true} }

// partitioner chooses by a function without memory. With consistent it counts all
// partitions, else those that have a leader.
type partitioner struct {
	choose     func(r *kgo.Record, n int) int
	consistent bool
}

func (p partitioner) ForTopic(string) kgo.TopicPartitioner { return p }
func (p partitioner) RequiresConsistency(*kgo.Record) bool { return p.consistent }
func (p partitioner) Partition(r *kgo.Record, n int) int   { return p.choose(r, n) }
func javaHasher(key []byte, n int) int                     { return int(MurmurPartition(key, int32(n))) }

// MurmurPartition is the partition, of n, that Kafka's Java producer, Kafka
// Streams and Connect choose for a key: BuiltInPartitioner.partitionForKey.
func MurmurPartition(key []byte, n int32) int32 { return int32(murmur2(key)&0x7fffffff) % n }

// murmur2 is org.apache.kafka.common.utils.Utils.murmur2.
func murmur2(b []byte) uint32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	h := uint32(seed) ^ uint32(len(b))
	for len(b) >= 4 {
		k := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h *= m
		h ^= k
		b = b[4:]
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(b[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return h
}

package protocol

import (
	"encoding/binary"
	"fmt"
)

// ProduceRequest is a Produce request of versions 0 to 11. Parse fills it and
// reuses what it holds; names and records alias the body.
type ProduceRequest struct {
	// TransactionalID is nil for null.
	TransactionalID []byte
	Acks            int16
	TimeoutMs       int32
	Topics          []ProduceTopic
	// Partitions are those of all topics, in order.
	Partitions []ProducePartition
}

// ProduceTopic is a topic of a request; its partitions are the next Count of
// the request's.
type ProduceTopic struct {
	Name  []byte
	Count int
}

// ProducePartition is what a request has for one partition.
type ProducePartition struct {
	Partition int32
	// Records is nil for null.
	Records []byte
}

// Parse reads a body. Nothing is kept of an earlier one. The error wraps
// ErrMalformed.
func (p *ProduceRequest) Parse(version int16, body []byte) error {
	flexible := Flexible(KeyProduce, version)
	r := reader{b: body}
	clear(p.Topics)
	clear(p.Partitions)
	*p = ProduceRequest{Topics: p.Topics[:0], Partitions: p.Partitions[:0]}
	if version >= 3 {
		p.TransactionalID = r.nullableString(flexible)
	}
	p.Acks = r.int16()
	p.TimeoutMs = r.int32()
	for range r.array(flexible, 2) {
		t := ProduceTopic{Name: r.string(flexible)}
		t.Count = r.array(flexible, 5)
		for range t.Count {
			part := ProducePartition{Partition: r.int32(), Records: r.nullableBytes(flexible)}
			if flexible {
				r.tags(nil)
			}
			if r.bad || len(p.Partitions) == maxElements {
				return malformedProduce(version, body)
			}
			p.Partitions = append(p.Partitions, part)
		}
		if flexible {
			r.tags(nil)
		}
		if r.bad || len(p.Topics) == maxElements {
			return malformedProduce(version, body)
		}
		p.Topics = append(p.Topics, t)
	}
	if flexible {
		r.tags(nil)
	}
	if r.bad {
		return malformedProduce(version, body)
	}
	return nil
}

func malformedProduce(version int16, body []byte) error {
	return fmt.Errorf("%w: the body of a Produce version %d, %d bytes", ErrMalformed, version, len(body))
}

// ProduceTopicResult is a topic of an answer; its partitions are the next Count
// results.
type ProduceTopicResult struct {
	Name  string
	Count int
}

// ProduceResult answers for one partition.
type ProduceResult struct {
	Partition      int32
	Err            Error
	BaseOffset     int64
	LogAppendTime  int64
	LogStartOffset int64
	Records        []RecordError
	Message        string // empty is null
	// Leader is sent where the version has it, unless it is NoLeader.
	Leader Leader
}

// Leader names a partition's leader and its epoch (KIP-951).
type Leader struct {
	ID, Epoch int32
}

// NoLeader stands for a leader that is not told.
var NoLeader = Leader{-1, -1}

// Node is the address of a broker that an answer names as a leader (KIP-951).
type Node struct {
	ID   int32
	Host string
	Port int32
	Rack string // empty is null
}

// AppendProduceResponse writes the body of an answer.
func AppendProduceResponse(dst []byte, version int16, topics []ProduceTopicResult, results []ProduceResult, nodes []Node) []byte {
	flexible := Flexible(KeyProduce, version)
	dst = appendArray(dst, flexible, len(topics))
	for _, t := range topics {
		dst = appendString(dst, flexible, t.Name)
		dst = appendArray(dst, flexible, t.Count)
		for i := range t.Count {
			dst = appendProduceResult(dst, version, flexible, &results[i])
		}
		results = results[t.Count:]
		if flexible {
			dst = append(dst, 0)
		}
	}
	if version >= 1 {
		dst = append(dst, 0, 0, 0, 0) // throttle time
	}
	if flexible {
		if version < 10 {
			nodes = nil
		}
		dst = appendNodes(dst, nodes)
	}
	return dst
}

func appendProduceResult(dst []byte, version int16, flexible bool, r *ProduceResult) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(r.Partition))
	dst = binary.BigEndian.AppendUint16(dst, uint16(r.Err))
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.BaseOffset))
	if version >= 2 {
		dst = binary.BigEndian.AppendUint64(dst, uint64(r.LogAppendTime))
	}
	if version >= 5 {
		dst = binary.BigEndian.AppendUint64(dst, uint64(r.LogStartOffset))
	}
	if version >= 8 {
		dst = appendArray(dst, flexible, len(r.Records))
		for _, e := range r.Records {
			dst = binary.BigEndian.AppendUint32(dst, uint32(e.Index))
			dst = appendNullableString(dst, flexible, e.Message)
			if flexible {
				dst = append(dst, 0)
			}
		}
		dst = appendNullableString(dst, flexible, r.Message)
	}
	if !flexible {
		return dst
	}
	if version < 10 || r.Leader == NoLeader {
		return append(dst, 0)
	}
	dst = append(dst, 1)
	return appendLeader(dst, 0, r.Leader)
}

package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// KeyLogEnds is a request between brokers of ours that Kafka does not have: where
// do replicas end? It is far above all keys of Kafka, and not advertised. What it
// asks is what KIP-966's GetReplicaLogInfo asks.
const KeyLogEnds int16 = 20966

// ErrAnswer is wrapped by what reading an answer returns.
var ErrAnswer = errors.New("protocol: malformed answer")

// LogEndsRequest asks about replicas of the broker that it is sent to. It has one
// version, 0: an array of topic (16 bytes), partition and leader epoch (int32).
type LogEndsRequest struct {
	Partitions []LogEndsRequestPartition
}

// LogEndsRequestPartition names a replica and the leader epoch in which its log is
// to stand still: a broker that knows only an older one answers
// UNKNOWN_LEADER_EPOCH.
type LogEndsRequestPartition struct {
	TopicID     [16]byte
	Partition   int32
	LeaderEpoch int32
}

const logEndsAsk = 16 + 4 + 4

// LogEndsResponse answers in the order of the questions: error (int16), last epoch
// (int32), end and committed (int64).
type LogEndsResponse struct {
	Partitions []LogEndsResponsePartition
}

// LogEndsResponsePartition is where a replica ends: LastEpoch is of its last
// record, -1 if it has none, End the offset after it, and Committed the largest
// high watermark that it has heard of.
type LogEndsResponsePartition struct {
	ErrorCode      int16
	LastEpoch      int32
	End, Committed int64
}

const logEndsAnswer = 2 + 4 + 8 + 8

var (
	_ kmsg.Request  = (*LogEndsRequest)(nil)
	_ kmsg.Response = (*LogEndsResponse)(nil)
)

func (*LogEndsRequest) Key() int16                  { return KeyLogEnds }
func (*LogEndsRequest) MaxVersion() int16           { return 0 }
func (*LogEndsRequest) SetVersion(int16)            {}
func (*LogEndsRequest) GetVersion() int16           { return 0 }
func (*LogEndsRequest) IsFlexible() bool            { return false }
func (*LogEndsRequest) ResponseKind() kmsg.Response { return &LogEndsResponse{} }

// AppendTo encodes the request.
func (r *LogEndsRequest) AppendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Partitions)))
	for i := range r.Partitions {
		p := &r.Partitions[i]
		b = append(b, p.TopicID[:]...)
		b = binary.BigEndian.AppendUint32(b, uint32(p.Partition))
		b = binary.BigEndian.AppendUint32(b, uint32(p.LeaderEpoch))
	}
	return b
}

// ReadFrom decodes a request and keeps nothing of b; the error wraps
// ErrMalformed.
func (r *LogEndsRequest) ReadFrom(b []byte) error {
	var ok bool
	r.Partitions, ok = arrayOf(b, logEndsAsk, func(p *LogEndsRequestPartition, b []byte) {
		copy(p.TopicID[:], b)
		p.Partition = int32(binary.BigEndian.Uint32(b[16:]))
		p.LeaderEpoch = int32(binary.BigEndian.Uint32(b[20:]))
	})
	if !ok {
		return fmt.Errorf("%w: log ends", ErrMalformed)
	}
	return nil
}

// arrayOf reads an array of elements of a size; there must be nothing after it.
func arrayOf[T any](b []byte, size int, read func(into *T, b []byte)) ([]T, bool) {
	if len(b) < 4 {
		return nil, false
	}
	n, b := int(int32(binary.BigEndian.Uint32(b))), b[4:]
	if n < 0 || n > maxElements || len(b) != n*size {
		return nil, false
	}
	all := make([]T, n)
	for i := range all {
		read(&all[i], b[i*size:])
	}
	return all, true
}

func (*LogEndsResponse) Key() int16                { return KeyLogEnds }
func (*LogEndsResponse) MaxVersion() int16         { return 0 }
func (*LogEndsResponse) SetVersion(int16)          {}
func (*LogEndsResponse) GetVersion() int16         { return 0 }
func (*LogEndsResponse) IsFlexible() bool          { return false }
func (*LogEndsResponse) RequestKind() kmsg.Request { return &LogEndsRequest{} }

// AppendTo encodes the answer.
func (r *LogEndsResponse) AppendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Partitions)))
	for i := range r.Partitions {
		p := &r.Partitions[i]
		b = binary.BigEndian.AppendUint16(b, uint16(p.ErrorCode))
		b = binary.BigEndian.AppendUint32(b, uint32(p.LastEpoch))
		b = binary.BigEndian.AppendUint64(b, uint64(p.End))
		b = binary.BigEndian.AppendUint64(b, uint64(p.Committed))
	}
	return b
}

// ReadFrom decodes an answer; the error wraps ErrAnswer.
func (r *LogEndsResponse) ReadFrom(b []byte) error {
	var ok bool
	r.Partitions, ok = arrayOf(b, logEndsAnswer, func(p *LogEndsResponsePartition, b []byte) {
		p.ErrorCode = int16(binary.BigEndian.Uint16(b))
		p.LastEpoch = int32(binary.BigEndian.Uint32(b[2:]))
		p.End = int64(binary.BigEndian.Uint64(b[6:]))
		p.Committed = int64(binary.BigEndian.Uint64(b[14:]))
	})
	if !ok {
		return fmt.Errorf("%w: log ends", ErrAnswer)
	}
	return nil
}

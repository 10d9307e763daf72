package follower

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/replica"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// fakeLeader answers Fetch and ListOffsets over connections in memory. A log is
// a string, each byte a record.
type fakeLeader struct {
	mu       sync.Mutex // guards following
	cond     *sync.Cond
	logs     map[partKey]*fakeLog
	names    map[string]kafka.TopicID
	sessions map[int32]*fakeSession
	last     int32 // session id
	down     bool
	conns    []net.Conn
	dials    int
	history  []string // what each Fetch carried
}

type fakeSession struct {
	parts map[partKey]kmsg.FetchRequestTopicPartition
	epoch int32
}

type fakeLog struct {
	start   int64
	data    string // from offset 0
	fail    protocol.Error
	diverge *kmsg.FetchResponseTopicPartitionDivergingEpoch
	told    bool
}

func newFakeLeader() *fakeLeader {
	s := &fakeLeader{logs: map[partKey]*fakeLog{}, names: map[string]kafka.TopicID{}, sessions: map[int32]*fakeSession{}}
	s.cond = sync.NewCond(&s.mu)
	return s
}

func (s *fakeLeader) dial(context.Context, string, string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dials++
	if s.down {
		return nil, errors.New("refused")
	}
	a, b := net.Pipe()
	s.conns = append(s.conns, b)
	go s.serve(b)
	return a, nil
}

// change changes the leader and wakes who waits.
func (s *fakeLeader) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.cond.Broadcast()
}

// hangUp closes all connections.
func (s *fakeLeader) hangUp() {
	s.change(func() {
		for _, c := range s.conns {
			c.Close()
		}
		s.conns = nil
	})
}

func (s *fakeLeader) serve(c net.Conn) {
	defer c.Close()
	for {
		var size [4]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(c, frame); err != nil {
			return
		}
		h, body, err := protocol.ParseHeader(frame)
		if err != nil {
			return
		}
		var resp kmsg.Response
		switch h.Key {
		case 1:
			req := kmsg.NewPtrFetchRequest()
			req.Version = h.Version
			if req.ReadFrom(body) != nil {
				return
			}
			resp = s.fetch(req)
		case 2:
			req := kmsg.NewPtrListOffsetsRequest()
			req.Version = h.Version
			if req.ReadFrom(body) != nil {
				return
			}
			resp = s.listOffsets(req)
		}
		resp.SetVersion(h.Version)
		out := resp.AppendTo(protocol.AppendResponseHeader(nil, h.Key, h.Version, h.CorrelationID))
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

// note is a request in short: "full" or "more", partitions with offsets, and
// what is forgotten.
func note(req *kmsg.FetchRequest) string {
	var b strings.Builder
	b.WriteString(map[bool]string{true: "full", false: "more"}[req.SessionEpoch == 0])
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			fmt.Fprintf(&b, " %c%d@%d", t.TopicID[0], p.Partition, p.FetchOffset)
		}
	}
	for _, t := range req.ForgottenTopics {
		for _, p := range t.Partitions {
			fmt.Fprintf(&b, " -%c%d", t.TopicID[0], p)
		}
	}
	return b.String()
}

func (s *fakeLeader) fetch(req *kmsg.FetchRequest) kmsg.Response {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history = append(s.history, note(req))
	resp := kmsg.NewPtrFetchResponse()
	ses := s.sessions[req.SessionID]
	switch {
	case req.ReplicaState.ID != 1 || req.ReplicaState.Epoch != 77 || req.Version != 17:
		resp.ErrorCode = protocol.InvalidRequest.Code()
		return resp
	case req.SessionEpoch == 0:
		delete(s.sessions, req.SessionID)
		ses = &fakeSession{parts: map[partKey]kmsg.FetchRequestTopicPartition{}}
		s.last++
		req.SessionID = s.last
		s.sessions[s.last] = ses
	case ses == nil:
		resp.ErrorCode = protocol.FetchSessionIDNotFound.Code()
		return resp
	case req.SessionEpoch != ses.epoch:
		resp.ErrorCode = protocol.InvalidFetchSessionEpoch.Code()
		return resp
	}
	ses.epoch++
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			k := partKey{t.TopicID, p.Partition}
			ses.parts[k] = p
			if l := s.logs[k]; l != nil {
				l.told = false
			}
		}
	}
	for _, t := range req.ForgottenTopics {
		for _, p := range t.Partitions {
			delete(ses.parts, partKey{t.TopicID, p})
		}
	}
	resp.SessionID = req.SessionID
	late := false
	timer := time.AfterFunc(time.Duration(req.MaxWaitMillis)*time.Millisecond, func() { s.change(func() { late = true }) })
	defer timer.Stop()
	for {
		for k, p := range ses.parts {
			s.gather(resp, k, &p)
		}
		if len(resp.Topics) > 0 || late || req.MaxWaitMillis == 0 {
			return resp
		}
		s.cond.Wait()
	}
}

// gather adds what there is to say of a partition.
func (s *fakeLeader) gather(resp *kmsg.FetchResponse, k partKey, p *kmsg.FetchRequestTopicPartition) {
	out := kmsg.NewFetchResponseTopicPartition()
	out.Partition = k.partition
	l := s.logs[k]
	switch {
	case l == nil:
		out.ErrorCode = protocol.UnknownTopicID.Code()
	case l.fail != protocol.None:
		out.ErrorCode = l.fail.Code()
	case l.diverge != nil:
		out.DivergingEpoch, l.diverge = *l.diverge, nil
	case p.FetchOffset < l.start || p.FetchOffset > int64(len(l.data)):
		out.ErrorCode = protocol.OffsetOutOfRange.Code()
	case p.FetchOffset < int64(len(l.data)):
		end := min(int64(len(l.data)), p.FetchOffset+int64(p.PartitionMaxBytes))
		out.RecordBatches = []byte(l.data[p.FetchOffset:end])
		out.HighWatermark = int64(len(l.data))
	case l.told:
		return
	}
	if l != nil {
		l.told = true
		out.LogStartOffset = l.start
	}
	t := kmsg.NewFetchResponseTopic()
	t.TopicID, t.Partitions = k.id, append(t.Partitions, out)
	resp.Topics = append(resp.Topics, t)
}

func (s *fakeLeader) listOffsets(req *kmsg.ListOffsetsRequest) kmsg.Response {
	s.mu.Lock()
	defer s.mu.Unlock()
	resp := kmsg.NewPtrListOffsetsResponse()
	for _, t := range req.Topics {
		out := kmsg.NewListOffsetsResponseTopic()
		out.Topic = t.Topic
		for _, p := range t.Partitions {
			o := kmsg.NewListOffsetsResponseTopicPartition()
			o.Partition, o.Offset = p.Partition, -1
			if l := s.logs[partKey{s.names[t.Topic], p.Partition}]; l == nil || req.ReplicaID != 1 {
				o.ErrorCode = protocol.UnknownTopicOrPartition.Code()
			} else if o.Offset = l.start; p.Timestamp == replica.LatestTimestamp {
				o.Offset = int64(len(l.data))
			}
			out.Partitions = append(out.Partitions, o)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

// fakeReplicas are this broker's logs, in the same form.
type fakeReplicas struct {
	mu   sync.Mutex // guards following
	logs map[kafka.TopicPartition]*fakeReplica
	done []string // what was called beside FetchPosition
}

type fakeReplica struct {
	following replica.Following
	start     int64
	data      string // of offset 0 on; blank before start
	epoch     kafka.LeaderEpoch
	fail      error // of AppendFetched
	appends   int
	hang      chan struct{} // AppendFetched waits for it, if it is not nil
}

func (r *fakeReplicas) of(f *replica.Following) (*fakeReplica, error) {
	l := r.logs[f.TP]
	if l == nil || l.following != *f {
		return nil, replica.ErrNotFollowing
	}
	return l, nil
}

func (r *fakeReplicas) FetchPosition(f *replica.Following) (replica.Position, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, err := r.of(f)
	if err != nil {
		return replica.Position{}, err
	}
	return replica.Position{Offset: int64(len(l.data)), LastEpoch: l.epoch, Start: l.start}, nil
}

func (r *fakeReplicas) AppendFetched(f *replica.Following, recs []byte, _, _ int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, err := r.of(f)
	if err != nil {
		return err
	}
	l.appends++
	if l.hang != nil {
		hang := l.hang
		r.mu.Unlock()
		<-hang
		r.mu.Lock()
	}
	if l.fail != nil {
		return l.fail
	}
	l.data += string(recs)
	return nil
}

func (r *fakeReplicas) Diverged(f *replica.Following, leader replica.EpochEnd) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, err := r.of(f)
	if err != nil {
		return err
	}
	r.done = append(r.done, fmt.Sprintf("%s diverged at %d of epoch %d", f.TP, leader.Offset, leader.Epoch))
	l.data, l.epoch = l.data[:leader.Offset], leader.Epoch
	return nil
}

func (r *fakeReplicas) OutOfRange(f *replica.Following, start, end int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, err := r.of(f)
	if err != nil {
		return err
	}
	r.done = append(r.done, fmt.Sprintf("%s out of range %d-%d", f.TP, start, end))
	if end < int64(len(l.data)) {
		l.data = l.data[:end]
	} else if start > int64(len(l.data)) {
		l.start, l.data = start, strings.Repeat(" ", int(start))
	}
	return nil
}

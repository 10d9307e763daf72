//go:build integration

package integration

import (
	wirebytes "encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// line is a bare connection to a broker, one request after the other: thousands
// cost a test little.
type line struct {
	net.Conn
	id int32
}

func dialLine(t testing.TB, b *broker) *line {
	t.Helper()
	l, err := b.dialLine()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func (b *broker) dialLine() (*line, error) {
	c, err := net.DialTimeout("tcp", b.addr, 30*time.Second)
	return &line{Conn: c}, err
}

// call sends a request in a version and reads its answer into it.
func (l *line) call(req kmsg.Request, version int16) (kmsg.Response, error) {
	req.SetVersion(version)
	l.id++
	if err := l.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return nil, err
	}
	if _, err := l.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("line")).AppendRequest(nil, req, l.id)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(l, size[:]); err != nil {
		return nil, err
	}
	body := make([]byte, wirebytes.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(l, body); err != nil {
		return nil, err
	}
	resp := req.ResponseKind()
	header := 4
	if resp.IsFlexible() {
		header = 5
	}
	if len(body) < header {
		return nil, fmt.Errorf("an answer of %d bytes", len(body))
	}
	return resp, resp.ReadFrom(body[header:])
}

// lightMember is a member of a group on a line of its own or with others.
type lightMember struct {
	line       *line
	group, id  string
	session    time.Duration
	generation int32
	// assigned is what the leader gave: the member's id.
	assigned string
}

// join becomes a member of the next generation and gets its assignment, however
// often the group begins anew meanwhile. news makes it a rebalance.
func (m *lightMember) join(news string) error {
	for {
		r := kmsg.NewPtrJoinGroupRequest()
		r.Group, r.MemberID, r.ProtocolType = m.group, m.id, "consumer"
		r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = int32(m.session.Milliseconds()), 60_000
		sub := kmsg.NewConsumerMemberMetadata()
		sub.Topics, sub.UserData = []string{"t"}, []byte(news)
		r.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: sub.AppendTo(nil)}}
		resp, err := m.line.call(r, 7)
		if err != nil {
			return err
		}
		j := resp.(*kmsg.JoinGroupResponse)
		switch err := kerr.ErrorForCode(j.ErrorCode); {
		case errors.Is(err, kerr.MemberIDRequired):
			m.id = j.MemberID
			continue
		case errors.Is(err, kerr.RebalanceInProgress),
			errors.Is(err, kerr.NotCoordinator), errors.Is(err, kerr.CoordinatorLoadInProgress): // another partition's groups were answered sooner
			continue
		case err != nil:
			return fmt.Errorf("join of %s: %w", m.id, err)
		}
		m.id, m.generation = j.MemberID, j.Generation
		s := kmsg.NewPtrSyncGroupRequest()
		s.Group, s.MemberID, s.Generation = m.group, m.id, m.generation
		for _, of := range j.Members {
			s.GroupAssignment = append(s.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: of.MemberID, MemberAssignment: []byte(of.MemberID)})
		}
		if resp, err = m.line.call(s, 3); err != nil {
			return err
		}
		sync := resp.(*kmsg.SyncGroupResponse)
		switch err := kerr.ErrorForCode(sync.ErrorCode); {
		case errors.Is(err, kerr.RebalanceInProgress):
			continue
		case err != nil:
			return fmt.Errorf("sync of %s: %w", m.id, err)
		}
		m.assigned = string(sync.MemberAssignment)
		return nil
	}
}

// heartbeat tells that the member lives.
func (m *lightMember) heartbeat() error {
	r := kmsg.NewPtrHeartbeatRequest()
	r.Group, r.MemberID, r.Generation = m.group, m.id, m.generation
	resp, err := m.line.call(r, 3)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.(*kmsg.HeartbeatResponse).ErrorCode)
}

// commit commits an offset for the first partitions of topic t.
func (m *lightMember) commit(partitions int, offset int64) error {
	r := kmsg.NewPtrOffsetCommitRequest()
	r.Group, r.MemberID, r.Generation = m.group, m.id, m.generation
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic = "t"
	for i := range partitions {
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset, p.LeaderEpoch = int32(i), offset, -1
		topic.Partitions = append(topic.Partitions, p)
	}
	r.Topics = append(r.Topics, topic)
	resp, err := m.line.call(r, 7)
	if err != nil {
		return err
	}
	for _, p := range resp.(*kmsg.OffsetCommitResponse).Topics[0].Partitions {
		if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
			return fmt.Errorf("commit of %s for partition %d: %w", m.group, p.Partition, err)
		}
	}
	return nil
}

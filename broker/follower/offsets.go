package follower

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/replica"
	"barnabas/internal/kafka"
	"barnabas/net/peer"
	"barnabas/protocol"
)

// listOffsetsVersion has leader epochs and is flexible.
const listOffsetsVersion = 7

// find asks for the range of the leader's logs of the lost partitions, and lets
// each begin again within it.
func (l *loop) find(ctx context.Context) error {
	lost := l.lost
	l.lost = nil
	// The start is asked for last: between the two it only grows.
	ends, err := l.offsets(ctx, lost, replica.LatestTimestamp)
	if err == nil {
		var starts map[kafka.TopicPartition]offset
		if starts, err = l.offsets(ctx, lost, replica.EarliestTimestamp); err == nil {
			for _, p := range lost {
				l.resume(p, starts[p.what.TP], ends[p.what.TP])
			}
			return nil
		}
	}
	for _, p := range lost {
		l.goOn(p, false) // it has left the session, so it is asked for again
	}
	return err
}

// resume moves a partition into the leader's range.
func (l *loop) resume(p *part, start, end offset) {
	err := start.err
	if err == nil {
		err = end.err
	}
	if err == nil {
		l.busy.Store(&p.what.TP)
		err = l.f.o.Replicas.OutOfRange(&p.what, start.at, end.at)
		l.busy.Store(nil)
	}
	if err != nil {
		l.rest(p, err)
		return
	}
	l.goOn(p, true)
}

// offset is a leader's answer; unanswered until it came.
type offset struct {
	at  int64
	err error
}

// offsets asks the leader for one end of partitions' logs.
func (l *loop) offsets(ctx context.Context, parts []*part, timestamp int64) (map[kafka.TopicPartition]offset, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID = listOffsetsVersion, int32(l.f.o.Self)
	found := make(map[kafka.TopicPartition]offset, len(parts))
	for _, p := range parts {
		found[p.what.TP] = offset{err: peer.ErrMalformed} // unless it is answered
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != p.what.TP.Topic {
			t := kmsg.NewListOffsetsRequestTopic()
			t.Topic = p.what.TP.Topic
			req.Topics = append(req.Topics, t)
		}
		lp := kmsg.NewListOffsetsRequestTopicPartition()
		lp.Partition, lp.CurrentLeaderEpoch, lp.Timestamp = p.what.TP.Partition, int32(p.what.Epoch), timestamp
		t := &req.Topics[len(req.Topics)-1]
		t.Partitions = append(t.Partitions, lp)
	}
	r, err := l.conn.Request(ctx, req)
	if err != nil {
		return nil, err
	}
	for _, t := range r.(*kmsg.ListOffsetsResponse).Topics {
		for _, p := range t.Partitions {
			tp := kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}
			if _, asked := found[tp]; !asked {
				continue
			}
			switch code := protocol.Error(p.ErrorCode); {
			case code != protocol.None:
				found[tp] = offset{err: code}
			case p.Offset >= 0:
				found[tp] = offset{at: p.Offset}
			}
		}
	}
	return found, nil
}

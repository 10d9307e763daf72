package follower

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/replica"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// fetchVersion is 3.9's newest.
const fetchVersion = 17

// session is what the leader keeps for a loop (KIP-227). Epoch 0 asks for a new
// one, in place of that of id.
type session struct{ id, epoch int32 }

// restart asks for a new session.
func (l *loop) restart() {
	l.session.epoch = 0
	for _, p := range l.parts {
		p.inSession = false
	}
	l.forget = l.forget[:0]
}

// round makes one request and does what its answer says.
func (l *loop) round(ctx context.Context) error {
	registration, ok := l.f.o.Epoch()
	if !ok {
		return errUnregistered
	}
	if l.conn == nil {
		conn, err := l.f.o.Peers.Conn(ctx, l.key.leader)
		if err != nil {
			return err
		}
		l.conn = conn
	}
	l.build(registration)
	body, hurried, err := l.exchange(ctx)
	if err != nil {
		if hurried && ctx.Err() == nil {
			l.disconnect()
			l.restart()
			return nil
		}
		return err
	}
	if err := l.answer(ctx, body); err != nil {
		return err
	}
	if hurried {
		l.disconnect() // its deadline has passed; the session goes on
	}
	return nil
}

// build makes the request: all partitions for a new session, else what changed.
func (l *loop) build(registration kafka.BrokerEpoch) {
	o, r := &l.f.o, l.req
	r.Version = fetchVersion
	r.ReplicaState.ID, r.ReplicaState.Epoch = int32(o.Self), int64(registration)
	r.MinBytes, r.MaxBytes = clamp(o.FetchMinBytes), clamp(o.ResponseMaxBytes)
	r.SessionID, r.SessionEpoch = l.session.id, l.session.epoch
	if l.session.epoch == 0 {
		for _, p := range l.parts {
			if p.until.IsZero() && !p.dirty {
				l.dirty, p.dirty = append(l.dirty, p), true
			}
		}
	}
	slices.SortFunc(l.dirty, func(a, b *part) int {
		return cmp.Or(strings.Compare(a.what.TP.Topic, b.what.TP.Topic), cmp.Compare(a.what.TP.Partition, b.what.TP.Partition))
	})
	r.Topics = r.Topics[:0]
	for _, p := range l.dirty {
		p.dirty = false
		if !p.gone && p.until.IsZero() {
			l.ask(p)
		}
	}
	clear(l.dirty)
	l.dirty = l.dirty[:0]
	r.ForgottenTopics = nil
	for _, k := range l.forget {
		if p := l.byID[k]; p == nil || !p.inSession {
			l.drop(k)
		}
	}
	l.forget = l.forget[:0]
}

// ask adds a partition to the request.
func (l *loop) ask(p *part) {
	ts := l.req.Topics
	if n := len(ts); n == 0 || ts[n-1].TopicID != p.what.TopicID {
		if n < cap(ts) {
			ts = ts[:n+1]
		} else {
			ts = append(ts, kmsg.NewFetchRequestTopic())
		}
		ts[n].TopicID, ts[n].Partitions = p.what.TopicID, ts[n].Partitions[:0]
		l.req.Topics = ts
	}
	fp := kmsg.NewFetchRequestTopicPartition()
	fp.Partition = p.what.TP.Partition
	fp.CurrentLeaderEpoch, fp.LastFetchedEpoch = int32(p.what.Epoch), int32(p.pos.LastEpoch)
	fp.FetchOffset, fp.LogStartOffset = p.pos.Offset, p.pos.Start
	fp.PartitionMaxBytes = clamp(l.f.o.PartitionMaxBytes)
	t := &ts[len(ts)-1]
	t.Partitions = append(t.Partitions, fp)
	p.asked, p.askedEpoch, p.inSession = p.pos, p.what.Epoch, true
}

// drop lets the session forget a partition.
func (l *loop) drop(k partKey) {
	ts := l.req.ForgottenTopics
	if n := len(ts); n == 0 || ts[n-1].TopicID != k.id {
		t := kmsg.NewFetchRequestForgottenTopic()
		t.TopicID = k.id
		l.req.ForgottenTopics = append(ts, t)
	}
	t := &l.req.ForgottenTopics[len(l.req.ForgottenTopics)-1]
	t.Partitions = append(t.Partitions, k.partition)
}

// exchange sends the request. hurried reports that a new partition came, after
// which the connection is of no use; the answer may be there all the same.
func (l *loop) exchange(ctx context.Context) (body []byte, hurried bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	l.f.mu.Lock()
	wait := l.patience(time.Now(), len(l.inbox) > 0)
	if wait > newsWait {
		l.interrupt = cancel
	}
	l.f.mu.Unlock()
	l.req.MaxWaitMillis = int32(wait / time.Millisecond)
	body, err = l.conn.Exchange(ctx, l.req)
	l.f.mu.Lock()
	l.interrupt = nil
	l.f.mu.Unlock()
	return body, context.Cause(ctx) == errNews, err
}

// patience is how long the request may wait at the leader.
func (l *loop) patience(now time.Time, news bool) time.Duration {
	wait := l.f.o.FetchWaitMax
	if len(l.resting) > 0 {
		wait = min(wait, l.untilRested(now))
	}
	if news {
		wait = 0
	} else if now.Sub(l.news) < newsFor {
		wait = min(wait, newsWait)
	}
	return wait
}

// answer does what an answer says.
func (l *loop) answer(ctx context.Context, body []byte) error {
	a, err := protocol.ReadFetchAnswer(body)
	if err != nil {
		return err
	}
	if a.Err != protocol.None {
		return l.refused(a.Err)
	}
	switch {
	case a.Session == 0: // the leader keeps none: each request names all
		l.session = session{}
	case l.session.epoch == math.MaxInt32:
		l.session.epoch = 1
	default:
		l.session = session{a.Session, l.session.epoch + 1}
	}
	for got := (protocol.Fetched{}); ; {
		more, err := a.Next(&got)
		if err != nil {
			return err
		}
		if !more || l.abandoned.Load() {
			break
		}
		if p := l.byID[partKey{got.TopicID, got.Partition}]; p != nil && p.inSession {
			l.take(p, &got)
		}
	}
	l.failures = 0
	if len(l.lost) == 0 {
		return nil
	}
	return l.find(ctx)
}

// refused handles an answer that is an error as a whole. The session is begun
// anew, at once if that is all that it is about.
func (l *loop) refused(code protocol.Error) error {
	begun := l.session.epoch != 0
	if code == protocol.FetchSessionIDNotFound {
		l.session.id = 0
	}
	l.restart()
	l.logger.Debug("fetch session refused; beginning a new one", "error", code)
	switch code {
	case protocol.FetchSessionIDNotFound, protocol.InvalidFetchSessionEpoch, protocol.FetchSessionTopicIDError:
		if begun {
			return nil
		}
	}
	return fmt.Errorf("follower: fetching: %w", code)
}

// take stores what was fetched of one partition.
func (l *loop) take(p *part, got *protocol.Fetched) {
	var err error
	l.busy.Store(&p.what.TP)
	switch {
	case got.Err == protocol.OffsetOutOfRange:
		l.leaveSession(p)
		l.lost = append(l.lost, p)
		return
	case got.Err != protocol.None:
		err = got.Err
	case got.Diverged:
		err = l.f.o.Replicas.Diverged(&p.what, replica.EpochEnd{Epoch: kafka.LeaderEpoch(got.Diverging.Epoch), Offset: got.Diverging.EndOffset})
	default:
		l.countThrottled(p, got)
		err = l.f.o.Replicas.AppendFetched(&p.what, got.Records, got.HighWatermark, got.LogStartOffset)
	}
	l.busy.Store(nil)
	if err != nil {
		l.rest(p, err)
		return
	}
	if l.goOn(p, got.Diverged); p.until.IsZero() {
		p.failures = 0
	}
}

func clamp(n int) int32 { return int32(min(n, math.MaxInt32)) }

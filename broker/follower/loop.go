package follower

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/replica"
	"barnabas/internal/kafka"
	"barnabas/net/peer"
	"barnabas/protocol"
)

const (
	// firstPause is the pause after a first failure: mostly the leader has not
	// heard yet what this broker knows.
	firstPause = 20 * time.Millisecond
	// newsFor is how long after a new partition requests wait only newsWait at
	// the leader, since new partitions come in swarms.
	newsFor, newsWait = 200 * time.Millisecond, 20 * time.Millisecond
	// diskPause is the pause of a partition that this broker's disk refuses, for
	// which records would be fetched in vain. A new state ends it.
	diskPause = 10 * time.Second
	// sayEvery bounds how often the same trouble is logged.
	sayEvery = 30 * time.Second
	// usual is how many failures in a row belong to a change of leaders.
	usual = 5
)

var (
	// errNews ends a request that waits, because a new partition came.
	errNews = errors.New("follower: a partition came")
	// errUnregistered: this broker has no registration to fetch under.
	errUnregistered = errors.New("follower: this broker is not registered")
	// errStuck: the leader asks for a change, and there was none.
	errStuck = errors.New("follower: the logs differ and nothing was cut; no progress")
)

// part is a partition that a loop copies. Only the loop touches it.
type part struct {
	what replica.Following
	pos  replica.Position // where to go on
	// asked is what the session has of it, if inSession.
	asked      replica.Position
	askedEpoch kafka.LeaderEpoch
	inSession  bool
	// leaderHW is the leader's high watermark as last heard in this leadership; -1
	// if not yet.
	leaderHW int64
	dirty    bool      // in loop.dirty
	until    time.Time // in loop.resting until then, if not zero
	gone     bool      // no partition of the loop any more
	failures int       // in a row
	said     time.Time // when its trouble was last logged
}

// partKey is a partition as answers name it.
type partKey struct {
	id        kafka.TopicID
	partition int32
}

func (p *part) key() partKey { return partKey{p.what.TopicID, p.what.TP.Partition} }

// order is news for a loop.
type order struct {
	what replica.Following
	on   bool
}

// loop copies from one leader.
type loop struct {
	f      *Follower
	key    loopKey
	logger *slog.Logger
	wake   chan struct{} // has a value after an order came

	// busy is the partition whose log the loop waits for, nil if for none.
	busy      atomic.Pointer[kafka.TopicPartition]
	abandoned atomic.Bool                    // another loop has taken its place
	inbox     map[kafka.TopicPartition]order // guarded by Follower.mu
	interrupt context.CancelCauseFunc        // of a request that waits long; guarded by Follower.mu

	conn     *peer.Conn // nil if there is none
	failures int        // of connections, in a row
	said     time.Time  // when that was last logged
	news     time.Time  // when a partition last came
	session  session
	parts    map[kafka.TopicPartition]*part
	byID     map[partKey]*part
	dirty    []*part   // what the session does not know yet
	resting  []*part   // after a failure
	lost     []*part   // out of the leader's range
	forget   []partKey // what the session has and is not to have
	req      *kmsg.FetchRequest
}

func newLoop(f *Follower, key loopKey) *loop {
	return &loop{
		f: f, key: key, logger: f.o.Logger.With("leader", int32(key.leader), "fetcher", key.fetcher), wake: make(chan struct{}, 1),
		inbox: map[kafka.TopicPartition]order{}, parts: map[kafka.TopicPartition]*part{}, byID: map[partKey]*part{},
		req: kmsg.NewPtrFetchRequest(),
	}
}

// putLocked leaves an order. One that brings a partition ends a request that
// waits.
func (l *loop) putLocked(what replica.Following, on, isNew bool) {
	l.inbox[what.TP] = order{what, on}
	if isNew && l.interrupt != nil {
		l.interrupt(errNews)
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run copies until ctx ends or nothing is left to copy.
func (l *loop) run(ctx context.Context) {
	defer l.disconnect()
	for ctx.Err() == nil && !l.abandoned.Load() {
		l.takeOrders()
		if len(l.parts) == 0 && l.f.forget(l) {
			return
		}
		l.wakeParts(time.Now())
		if len(l.parts) == len(l.resting) {
			l.pause(ctx, l.untilRested(time.Now()), l.wake)
			continue
		}
		if err := l.round(ctx); err != nil && ctx.Err() == nil {
			l.broke(err)
			// A new leadership ends a long pause: the leader may just have come back.
			l.pause(ctx, firstPause, nil)
			l.pause(ctx, l.pauseAfter(l.failures)-firstPause, l.wake)
		}
	}
}

// pause waits for a time, an order, or ctx.
func (l *loop) pause(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
	}
}

// pauseAfter is the pause after so many failures in a row.
func (l *loop) pauseAfter(failures int) time.Duration {
	return min(firstPause<<min(failures-1, 16), l.f.o.Backoff)
}

// takeOrders brings the partitions to what was ordered.
func (l *loop) takeOrders() {
	l.f.mu.Lock()
	if len(l.inbox) == 0 {
		l.f.mu.Unlock()
		return
	}
	orders := l.inbox
	l.inbox = map[kafka.TopicPartition]order{}
	l.f.mu.Unlock()
	for tp, o := range orders {
		p := l.parts[tp]
		if p != nil && (!o.on || p.what.TopicID != o.what.TopicID) {
			l.remove(p)
			p = nil
		}
		if !o.on {
			continue
		}
		if p == nil {
			p = &part{what: replica.Following{TP: tp, TopicID: o.what.TopicID, Epoch: kafka.NoLeaderEpoch}, leaderHW: -1}
			l.parts[tp] = p
			l.byID[partKey{o.what.TopicID, tp.Partition}] = p
		}
		if p.what != o.what {
			l.news = time.Now()
			p.what.Leader, p.what.Epoch = o.what.Leader, o.what.Epoch // the rest is the same, and busy may point to it
			p.failures, p.leaderHW = 0, -1
		}
		if !p.until.IsZero() {
			p.until = time.Unix(1, 0) // its rest is over
			continue
		}
		l.goOn(p, false)
	}
}

func (l *loop) remove(p *part) {
	l.leaveSession(p)
	p.gone = true
	delete(l.parts, p.what.TP)
	delete(l.byID, p.key())
	for i, r := range l.resting {
		if r == p {
			l.resting = append(l.resting[:i], l.resting[i+1:]...)
			break
		}
	}
}

func (l *loop) leaveSession(p *part) {
	if p.inSession {
		p.inSession = false
		l.forget = append(l.forget, p.key())
	}
}

// wakeParts ends the rest of partitions whose time has come.
func (l *loop) wakeParts(now time.Time) {
	resting := l.resting
	l.resting = l.resting[:0] // goOn may add again what is read by then
	for _, p := range resting {
		if now.Before(p.until) {
			l.resting = append(l.resting, p)
			continue
		}
		p.until = time.Time{}
		l.goOn(p, false)
	}
}

// untilRested is when the first of the resting partitions may go on; at least a
// millisecond, at most the back-off.
func (l *loop) untilRested(now time.Time) time.Duration {
	d := l.f.o.Backoff
	for _, p := range l.resting {
		d = min(d, p.until.Sub(now))
	}
	return max(d, time.Millisecond)
}

// goOn asks where a partition stands and lets it be fetched from there. mustMove
// says that this must not be where it was fetched from before.
func (l *loop) goOn(p *part, mustMove bool) {
	l.busy.Store(&p.what.TP)
	pos, err := l.f.o.Replicas.FetchPosition(&p.what)
	l.busy.Store(nil)
	if err == nil && mustMove && pos == p.asked {
		err = errStuck
	}
	if err != nil {
		l.rest(p, err)
		return
	}
	p.pos = pos
	if wait := l.heldBack(p); wait > 0 {
		l.restUntil(p, time.Now().Add(wait))
		return
	}
	if !p.dirty && (!p.inSession || p.pos != p.asked || p.askedEpoch != p.what.Epoch) {
		p.dirty = true
		l.dirty = append(l.dirty, p)
	}
}

// rest takes a partition out for a time, after a failure. What the leader says
// is a plain protocol.Error.
func (l *loop) rest(p *part, err error) {
	p.failures++
	pause := l.pauseAfter(p.failures)
	if _, leaders := err.(protocol.Error); !leaders && errors.Is(err, protocol.KafkaStorageError) {
		pause = diskPause
	}
	l.restUntil(p, time.Now().Add(pause))
	if errors.Is(err, replica.ErrNotFollowing) || p.failures <= usual && isUsual(err) || time.Since(p.said) < sayEvery {
		return
	}
	p.said = time.Now()
	what := "copying a partition fails; trying again"
	if errors.Is(err, protocol.CorruptMessage) {
		what = "the leader's records are damaged; none of them was stored, trying again"
	}
	l.logger.Warn(what, "partition", p.what.TP.String(), "leader_epoch", int32(p.what.Epoch), "offset", p.pos.Offset,
		"failures", p.failures, "pause", pause, "error", err)
}

// restUntil takes a partition out of the session for a time.
func (l *loop) restUntil(p *part, t time.Time) {
	p.until = t
	l.resting = append(l.resting, p)
	l.leaveSession(p)
}

// isUsual reports whether an error belongs to a change of leaders.
func isUsual(err error) bool {
	switch protocol.CodeOf(err) {
	case protocol.NotLeaderOrFollower, protocol.FencedLeaderEpoch, protocol.UnknownLeaderEpoch, protocol.UnknownTopicOrPartition,
		protocol.UnknownTopicID, protocol.InconsistentTopicID, protocol.LeaderNotAvailable, protocol.ReplicaNotAvailable:
		return true
	}
	return false
}

// broke begins anew after a request that failed as a whole.
func (l *loop) broke(err error) {
	l.disconnect()
	l.restart()
	l.failures++
	if l.failures <= usual || time.Since(l.said) < sayEvery {
		return
	}
	l.said = time.Now()
	if errors.Is(err, peer.ErrUnknownBroker) || errors.Is(err, errUnregistered) {
		l.logger.Info("waiting to copy", "partitions", len(l.parts), "reason", err)
		return
	}
	l.logger.Warn("copying from a leader fails; trying again", "partitions", len(l.parts), "failures", l.failures, "error", err)
}

func (l *loop) disconnect() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}

package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"barnabas/broker/purgatory"
	"barnabas/internal/kafka"
	"barnabas/log"
)

// Options is what a Manager needs.
type Options struct {
	// Self is this broker's id.
	Self kafka.BrokerID
	// Logs has the partitions' files.
	Logs *log.Manager
	// Topic is what the configuration says of a topic with the given overrides:
	// min.insync.replicas, and the options of its logs.
	Topic func(overrides map[string]string) (minISR int, o log.Options)
	// OnLeadership is told, outside any lock, when this broker begins (leading)
	// or ceases to lead a partition; the coordinators load and unload by it. It
	// may be told the same again. Nil: nobody cares.
	OnLeadership func(tp kafka.TopicPartition, leading bool, epoch kafka.LeaderEpoch)
	// Propose takes an ISR change to the controller, without waiting. What comes of
	// it shows as a new state, or by Refused. Required once a partition has a second
	// replica.
	Propose func(*Proposal)
	// OnFollow is told, outside any lock, what a partition is to be copied from,
	// on, or that it is not any more. It may be told the same again.
	OnFollow func(f Following, on bool)
	// OnOffline is told, outside any lock, that what Unavailable answers may have
	// changed. It must not wait. Nil: nobody cares.
	OnOffline func()
	// MoveThreads is how many logs are moved between directories at a time; default
	// 1. MoveRate bounds the bytes per second of all of them; math.MaxInt64 does not,
	// nor does nil.
	MoveThreads int
	MoveRate    func() int64
	// LagMax is how long a member of the ISR may not have caught up
	// (replica.lag.time.max.ms). Default 30 s.
	LagMax time.Duration
	// FlushWhenAlone makes acks=all wait for a sync while the leader is the only
	// one in sync of several replicas (log.flush.when.alone).
	FlushWhenAlone bool
	// RackAware sends consumers that may read from followers to one in their rack
	// (replica.selector.class).
	RackAware bool
	// Workers bounds how many partitions are moved at a time; default 8.
	Workers int
	Logger  *slog.Logger
}

// unregistered is above every zxid: under it this broker may lead nothing.
const unregistered = math.MaxInt64

// Manager holds all partitions of this broker.
type Manager struct {
	self         kafka.BrokerID
	logs         *log.Manager
	topicOptions func(map[string]string) (int, log.Options)
	onLeadership func(kafka.TopicPartition, bool, kafka.LeaderEpoch)
	propose      func(*Proposal)
	onFollow     func(Following, bool)
	onOffline    func()
	lagMax       time.Duration
	workers      int
	logger       *slog.Logger

	flushWhenAlone bool
	rackAware      bool
	syncs          syncs

	// registration is the czxid of the present registration; unregistered if
	// there is none. States up to since are not this broker's.
	registration, since atomic.Int64
	// lastRegistration is the last one that there was.
	lastRegistration atomic.Int64
	// born is the first that since was: what was created later was made by this
	// process if anybody made it here.
	born atomic.Int64

	isr isrChanges

	produces *purgatory.Purgatory[kafka.TopicPartition]
	fetches  *purgatory.Purgatory[kafka.TopicPartition]

	mu         sync.RWMutex // guards the fields below; taken before a partition's
	partitions map[kafka.TopicPartition]*Partition
	gone       Traffic // of partitions that were removed

	queue queue
	moves moves
}

// NewManager makes a manager without partitions that leads nothing until
// SetRegistration.
func NewManager(o Options) *Manager {
	m := &Manager{
		self: o.Self, logs: o.Logs, topicOptions: o.Topic, onLeadership: o.OnLeadership, workers: o.Workers, logger: o.Logger,
		propose: o.Propose, onFollow: o.OnFollow, onOffline: o.OnOffline, lagMax: o.LagMax, flushWhenAlone: o.FlushWhenAlone, rackAware: o.RackAware,
		produces:   purgatory.New[kafka.TopicPartition](),
		fetches:    purgatory.New[kafka.TopicPartition](),
		partitions: map[kafka.TopicPartition]*Partition{},
	}
	if m.workers <= 0 {
		m.workers = 8
	}
	if m.onLeadership == nil {
		m.onLeadership = func(kafka.TopicPartition, bool, kafka.LeaderEpoch) {}
	}
	if m.propose == nil {
		m.propose = m.Refused
	}
	if m.onFollow == nil {
		m.onFollow = func(Following, bool) {}
	}
	if m.lagMax <= 0 {
		m.lagMax = 30 * time.Second
	}
	m.registration.Store(unregistered)
	m.since.Store(unregistered)
	m.born.Store(unregistered)
	if m.onOffline == nil {
		m.onOffline = func() {}
	}
	m.queue.init()
	m.moves.init(o.MoveThreads, o.MoveRate)
	m.logs.OnOpen(func(tp kafka.TopicPartition) { m.queue.again([]kafka.TopicPartition{tp}) })
	m.syncs.init()
	return m
}

// SetRegistration tells the czxid of this broker's present registration, 0 that
// there is none, and the zxid by which the change log told of it, 0 that it has not
// yet. Only states from then on are this broker's: an earlier one may have been
// planned for the broker that was there before, and be written late. All waiters
// look again.
func (m *Manager) SetRegistration(epoch kafka.BrokerEpoch, told int64) {
	e, since := int64(epoch), max(int64(epoch), told-1)
	if epoch == 0 {
		e = unregistered
	}
	if epoch == 0 || told == 0 {
		since = unregistered
	}
	if before := m.registration.Swap(e); m.since.Swap(since) == since && before == e {
		return
	}
	if e != unregistered && m.lastRegistration.Swap(e) > e {
		// Numbers of transactions only grow, unless ZooKeeper was restored from a
		// backup: what is known by the larger ones must not pass for newer.
		m.logger.Error("ZooKeeper's transactions are older than they were; all states are taken anew", "broker_epoch", e)
		m.born.Store(unregistered)
		for _, p := range m.all() {
			p.forget()
		}
	}
	if since != unregistered {
		m.born.CompareAndSwap(unregistered, since)
	}
	var tps []kafka.TopicPartition
	for _, p := range m.all() {
		tps = append(tps, p.tp)
		m.wake(p.tp)
		// Without its lock, which a write that does not end may hold.
		for _, call := range p.copiers.Fire(p.readers.Fire(nil, nil), nil) {
			call()
		}
	}
	m.queue.again(tps)
}

// Partition returns a partition that this broker has or is to have, or nil.
func (m *Manager) Partition(tp kafka.TopicPartition) *Partition {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.partitions[tp]
}

// Log returns a partition's log whatever the broker's part in it, or nil.
func (m *Manager) Log(tp kafka.TopicPartition) *log.Log {
	p := m.Partition(tp)
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.unlock()
	return p.log
}

// absent is the answer for a partition that is not here: another broker leads
// it, or nobody knows it.
func (m *Manager) absent(tp kafka.TopicPartition) error {
	if im := m.queue.newest(); im != nil {
		if p := im.Partition(tp); p != nil {
			return &NotLeaderError{Leader: p.Leader, Epoch: p.LeaderEpoch}
		}
	}
	return fmt.Errorf("%w: %s", ErrUnknownPartition, tp)
}

func (m *Manager) all() []*Partition {
	m.mu.RLock()
	defer m.mu.RUnlock()
	out := make([]*Partition, 0, len(m.partitions))
	for _, p := range m.partitions {
		out = append(out, p)
	}
	return out
}

// Len is the number of partitions.
func (m *Manager) Len() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.partitions)
}

// wake lets all who wait on a partition look again. No lock may be held.
func (m *Manager) wake(tp kafka.TopicPartition) {
	m.produces.Wake(tp)
	m.fetches.Wake(tp)
}

// Append stores what a producer or a coordinator sent to a partition that this
// broker leads. recs is one or more whole batches; offsets and epoch are written
// into it, and it is not kept. acks is 0, 1 or -1 (all), which only decides
// whether min.insync.replicas is asked for. The errors are this package's and
// package log's; nothing was stored then.
func (m *Manager) Append(tp kafka.TopicPartition, recs []byte, acks int16, origin log.Origin) (Appended, error) {
	p := m.Partition(tp)
	if p == nil {
		return Appended{}, m.absent(tp)
	}
	a, moved, err := p.append(recs, acks, origin, kafka.NoLeaderEpoch)
	if moved || a.Followed {
		m.wake(tp)
	}
	return a, err
}

// AppendIn is Append for a coordinator, in one leadership only: in another it
// fails with NotLeaderError.
func (m *Manager) AppendIn(tp kafka.TopicPartition, epoch kafka.LeaderEpoch, recs []byte, acks int16) (Appended, error) {
	p := m.Partition(tp)
	if p == nil {
		return Appended{}, m.absent(tp)
	}
	a, moved, err := p.append(recs, acks, log.Coordinator, epoch)
	if moved || a.Followed {
		m.wake(tp)
	}
	return a, err
}

// AwaitReplicated calls done once the high watermark has passed last, the last
// offset of an append made in the leadership of epoch: with nil, or with why it did not (NotLeaderError, ErrTimedOut,
// ErrNotEnoughReplicasAfterAppend). done may run before AwaitReplicated returns;
// it does not run any more after cancel, unless it has already.
func (m *Manager) AwaitReplicated(tp kafka.TopicPartition, last int64, epoch kafka.LeaderEpoch, wait time.Duration, done func(error)) (cancel func()) {
	p := m.Partition(tp)
	if p == nil {
		done(m.absent(tp))
		return func() {}
	}
	w := m.produces.Park([]kafka.TopicPartition{tp}, wait,
		func() bool { ok, _ := p.replicated(last, epoch); return ok },
		func(purgatory.Outcome) {
			ok, err := p.replicated(last, epoch)
			if !ok {
				err = fmt.Errorf("%w: %s", ErrTimedOut, tp)
			}
			done(err)
		})
	return func() { w.Cancel() }
}

// Fetches parks fetches under the partitions that they wait for; they are woken
// whenever one may have more to give, or changes hands.
func (m *Manager) Fetches() *purgatory.Purgatory[kafka.TopicPartition] { return m.fetches }

// Parked is the number of produces and fetches that wait.
func (m *Manager) Parked() (produces, fetches int) { return m.produces.Len(), m.fetches.Len() }

// AwaitLeading waits until this broker serves those of the partitions that the
// newest image says it leads, or ctx ends.
func (m *Manager) AwaitLeading(ctx context.Context, tps []kafka.TopicPartition) error {
	im := m.queue.newest()
	if im == nil {
		return nil
	}
	var mine []kafka.TopicPartition
	for _, tp := range tps {
		if p := im.Partition(tp); p != nil && p.Leader == m.self {
			mine = append(mine, tp)
		}
	}
	return m.awaitLed(ctx, mine)
}

// AwaitLed is AwaitLeading for all partitions that the newest image says this
// broker leads, without those that are still being checked after the start.
func (m *Manager) AwaitLed(ctx context.Context) error {
	im := m.queue.newest()
	if im == nil {
		return nil
	}
	var mine []kafka.TopicPartition
	for t := range im.Topics() {
		for i, p := range t.Partitions {
			tp := kafka.TopicPartition{Topic: t.Name, Partition: int32(i)}
			if p != nil && p.Leader == m.self && !errors.Is(m.logs.Opening(tp), log.ErrOpening) {
				mine = append(mine, tp)
			}
		}
	}
	return m.awaitLed(ctx, mine)
}

// AwaitServing waits until this broker serves partitions as their leader, or ctx ends.
func (m *Manager) AwaitServing(ctx context.Context, tps []kafka.TopicPartition) error {
	return m.awaitLed(ctx, tps)
}

// awaitLed waits until this broker serves partitions as their leader.
func (m *Manager) awaitLed(ctx context.Context, mine []kafka.TopicPartition) error {
	if len(mine) == 0 {
		return nil
	}
	// What leads once is not asked again: many partitions come one by one.
	var led atomic.Int64
	ready := func() bool {
		i := led.Load()
		for ; int(i) < len(mine); i++ {
			if _, err := m.leaderFor(mine[i], kafka.TopicID{}, kafka.NoLeaderEpoch); err != nil {
				break
			}
		}
		led.Store(i)
		return int(i) == len(mine)
	}
	done := make(chan struct{})
	w := m.fetches.Park(mine, time.Hour, ready, func(purgatory.Outcome) { close(done) })
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		w.Cancel()
		return context.Cause(ctx)
	}
}

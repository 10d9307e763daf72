package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/log"
)

// queue holds the partitions that are to be moved, each at most once, and those
// being moved, so that no two workers take the same one.
type queue struct {
	mu    sync.Mutex // guards the fields below
	cond  *sync.Cond
	image *cluster.Image // the newest
	// urgent go before waiting: somebody writes to them.
	urgent, waiting []kafka.TopicPartition
	queued          map[kafka.TopicPartition]bool
	busy            map[kafka.TopicPartition]bool
	closed          bool
}

func (q *queue) init() {
	q.cond = sync.NewCond(&q.mu)
	q.queued = map[kafka.TopicPartition]bool{}
	q.busy = map[kafka.TopicPartition]bool{}
}

// put makes im the newest image and queues partitions.
func (q *queue) put(im *cluster.Image, urgent, others []kafka.TopicPartition) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.image = im
	q.urgent = q.addLocked(q.urgent, urgent)
	q.waiting = q.addLocked(q.waiting, others)
}

// again queues partitions under the newest image.
func (q *queue) again(tps []kafka.TopicPartition) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.image != nil {
		q.waiting = q.addLocked(q.waiting, tps)
	}
}

func (q *queue) addLocked(to, tps []kafka.TopicPartition) []kafka.TopicPartition {
	for _, tp := range tps {
		if !q.queued[tp] {
			q.queued[tp] = true
			to = append(to, tp)
		}
	}
	q.cond.Broadcast()
	return to
}

func (q *queue) newest() *cluster.Image {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.image
}

// take waits for a partition that nobody works on; ok is false once closed.
func (q *queue) take() (tp kafka.TopicPartition, im *cluster.Image, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if q.closed {
			return kafka.TopicPartition{}, nil, false
		}
		for _, from := range []*[]kafka.TopicPartition{&q.urgent, &q.waiting} {
			if tp, ok = q.firstLocked(from); ok {
				delete(q.queued, tp)
				q.busy[tp] = true
				return tp, q.image, true
			}
		}
		q.cond.Wait()
	}
}

// firstLocked takes the first partition that nobody works on: nearly always the
// first of all, since few are worked on at a time.
func (q *queue) firstLocked(from *[]kafka.TopicPartition) (kafka.TopicPartition, bool) {
	list := *from
	for i, tp := range list {
		if !q.busy[tp] {
			copy(list[1:], list[:i])
			*from = list[1:]
			return tp, true
		}
	}
	return kafka.TopicPartition{}, false
}

func (q *queue) done(tp kafka.TopicPartition) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.busy, tp)
	q.cond.Broadcast()
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.cond.Broadcast()
}

// idle reports whether all that was queued has been moved.
func (q *queue) idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.urgent)+len(q.waiting) == 0 && len(q.busy) == 0
}

// Run moves partitions towards the newest image until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, m.queue.close)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { m.watchLag(ctx) })
	wg.Go(func() { m.moveLogs(ctx) })
	wg.Go(func() { m.sweepStrays(ctx) })
	wg.Go(func() { m.syncAlone(ctx) })
	for range m.workers {
		wg.Go(func() {
			for {
				tp, im, ok := m.queue.take()
				if !ok {
					return
				}
				m.move(tp, im)
				m.queue.done(tp)
			}
		})
	}
	wg.Wait()
	return ctx.Err()
}

// Follow takes a new image and what changed since the one before. It only
// queues.
func (m *Manager) Follow(im *cluster.Image, changes []cluster.Change) {
	var tps []kafka.TopicPartition
	brokers := map[kafka.BrokerID]bool{}
	for _, c := range changes {
		if c.Asked {
			m.markDoomed(c.Topic, c.TopicID)
		}
		switch c.Kind {
		case cluster.BrokerUp, cluster.BrokerDown, cluster.BrokerBounced, cluster.BrokerChanged:
			brokers[c.Broker] = true
		case cluster.TopicCreated, cluster.PartitionsChanged:
			for _, p := range c.Partitions {
				tps = append(tps, kafka.TopicPartition{Topic: c.Topic, Partition: p})
			}
		case cluster.TopicDeleted, cluster.ConfigChanged:
			for _, p := range m.all() {
				if p.tp.Topic == c.Topic {
					tps = append(tps, p.tp)
					p.touch() // fetches ask the image, too
				}
			}
		}
	}
	var urgent, others []kafka.TopicPartition
	for _, tp := range tps {
		if m.isWritten(tp) {
			urgent = append(urgent, tp)
		} else {
			others = append(others, tp)
		}
	}
	m.queue.put(im, urgent, others)
	if len(brokers) > 0 {
		m.brokersChanged(brokers)
	}
}

// isWritten reports whether somebody writes to a partition: its log has records
// that the background's sync has not come to. When a broker with thousands of
// partitions dies, those are not to wait for all the others.
func (m *Manager) isWritten(tp kafka.TopicPartition) bool {
	p := m.Partition(tp)
	if p == nil {
		return false
	}
	s := p.seen.Load()
	return s != nil && s.log != nil && s.log.RecoveryPoint() < s.log.EndOffset()
}

// Reconfigure gives all logs the options that their topics have by now.
func (m *Manager) Reconfigure() {
	var tps []kafka.TopicPartition
	for _, p := range m.all() {
		tps = append(tps, p.tp)
	}
	m.queue.again(tps)
}

// Idle reports whether every partition is where the newest image wants it.
func (m *Manager) Idle() bool { return m.queue.idle() }

// move brings one partition to what an image says of it.
func (m *Manager) move(tp kafka.TopicPartition, im *cluster.Image) {
	t := im.Topic(tp.Topic)
	p := m.Partition(tp)
	var want *cluster.Partition
	if t != nil {
		want = t.Partition(tp.Partition)
	}
	if p != nil && (want == nil || p.topicID() != t.ID) {
		m.remove(p, "the topic was deleted", p.doomed.Load())
		p = nil
	}
	if want != nil && !want.HasState {
		return // not elected yet; or a hand destroyed the state, which is no reason to drop records
	}
	if want == nil || !slices.Contains(want.Replicas, m.self) {
		if p != nil {
			m.remove(p, "the replica was moved away", want != nil && !slices.Contains(want.ISR, m.self))
		} else if want != nil {
			m.removeLate(tp, t.ID, want)
		}
		return
	}
	s := State{
		TopicID: t.ID, Replicas: want.Replicas, Adding: want.Adding, Removing: want.Removing, ISR: want.ISR, Leader: want.Leader, LeaderEpoch: want.LeaderEpoch,
		PartitionEpoch: want.PartitionEpoch, Zxid: want.Zxid, Created: want.Created, Assigned: m.assigned(t, want),
	}
	if want.ByHand { // known, and nobody's yet
		s.Zxid = 0
	}
	var o log.Options
	s.MinISR, o = m.topicOptions(t.Config)
	if err := m.Become(tp, s, o); err != nil && !errors.Is(err, log.ErrOpening) {
		m.logger.Error("partition is not available here", "partition", tp.String(), "leader_epoch", int32(s.LeaderEpoch), "error", err)
		if errors.Is(err, log.ErrNoRoom) { // it may pass
			time.AfterFunc(time.Second, func() { m.queue.again([]kafka.TopicPartition{tp}) })
		}
	}
}

// Become makes this broker leader or follower of a partition whose log is to
// have the given options. The log is made if there is none. On an error the
// partition answers with it until the next state.
func (m *Manager) Become(tp kafka.TopicPartition, s State, o log.Options) error {
	p := m.Partition(tp)
	if p == nil {
		p = newPartition(tp, m)
		m.mu.Lock()
		m.partitions[tp] = p
		m.mu.Unlock()
	}
	l, err := m.open(tp, &s)
	if err != nil {
		m.failed(p, s, err)
		return fmt.Errorf("replica: opening %s: %w", tp, err)
	}
	l.SetOptions(o)
	leading, tell, err := p.become(s, l)
	if errors.Is(err, errReplaced) {
		m.queue.again([]kafka.TopicPartition{tp})
		return nil
	}
	if err != nil {
		m.failed(p, s, err)
		return err
	}
	if tell {
		m.logger.Debug("partition moved", "partition", tp.String(), "topic_id", s.TopicID.String(), "leader", int32(s.Leader), "leader_epoch", int32(s.LeaderEpoch), "leads", leading, "isr", s.ISR)
		m.onLeadership(tp, leading, s.LeaderEpoch)
	}
	follow := s.Leader != m.self && s.Leader != kafka.NoBroker
	m.onFollow(Following{TP: tp, TopicID: s.TopicID, Leader: s.Leader, Epoch: s.LeaderEpoch}, follow)
	m.wake(tp)
	m.onOffline()
	if _, ok := m.logs.Future(tp); ok {
		m.moves.put(tp)
	}
	return nil
}

// failed leaves a partition without a log.
func (m *Manager) failed(p *Partition, s State, err error) {
	if p.fail(s, err) {
		m.onLeadership(p.tp, false, s.LeaderEpoch)
	}
	m.onFollow(Following{TP: p.tp}, false)
	m.wake(p.tp)
	m.onOffline()
}

// open returns the partition's log. One that belonged to an earlier topic of
// this name is set aside first: nobody here saw that its deletion was asked for.
// One that should be there and is not is not made anew where it may come back with
// its directory (docs/coordination.md §7).
func (m *Manager) open(tp kafka.TopicPartition, s *State) (*log.Log, error) {
	l, err := m.logs.GetOrCreate(tp, s.TopicID, m.isNew(s))
	if errors.Is(err, log.ErrTopicIDMismatch) {
		if err := m.logs.SetAside(tp, "it belongs to an earlier topic of this name"); err != nil {
			return nil, err
		}
		l, err = m.logs.GetOrCreate(tp, s.TopicID, true)
	}
	inSync := slices.Contains(s.ISR, m.self)
	switch {
	case errors.Is(err, log.ErrNotFound) && inSync:
		m.logger.Error("an in-sync replica has no log; starting it empty: records that only this broker had are lost",
			"partition", tp.String(), "leader_epoch", int32(s.LeaderEpoch), "isr", s.ISR)
		return m.logs.GetOrCreate(tp, s.TopicID, true)
	case errors.Is(err, log.ErrNotFound), errors.Is(err, log.ErrMissing) && !inSync: // copied from the leader
		return m.logs.GetOrCreate(tp, s.TopicID, true)
	case errors.Is(err, log.ErrMissing):
		m.logs.NoteMissing(tp, s.TopicID)
	}
	return l, err
}

// markDoomed notes that the deletion of a topic was asked for.
func (m *Manager) markDoomed(topic string, id kafka.TopicID) {
	for _, p := range m.all() {
		if p.tp.Topic == topic {
			p.doomed.Store(p.topicID() == id)
		}
	}
}

// remove stops serving a partition. Its files go if that was asked for; else they
// are set aside.
func (m *Manager) remove(p *Partition, why string, asked bool) {
	if !p.lockUnlessReplaced() { // after an append under way
		m.queue.again([]kafka.TopicPartition{p.tp})
		return
	}
	epoch := p.state.LeaderEpoch
	p.setLocked(nil, ErrUnknownPartition, p.state)
	p.leading = false
	p.unlock()
	m.mu.Lock()
	delete(m.partitions, p.tp)
	p.mu.Lock()
	m.gone.add(p.trafficLocked()) // what is sent of it from now on is not counted
	p.unlock()
	m.mu.Unlock()
	m.onLeadership(p.tp, false, epoch)
	m.onFollow(Following{TP: p.tp}, false)
	away := m.logs.SetAside
	if asked {
		away = m.logs.Delete
	}
	if err := away(p.tp, why); err != nil && !errors.Is(err, log.ErrNotFound) {
		m.logger.Error("deleting a replica failed", "partition", p.tp.String(), "error", err)
	}
	m.wake(p.tp)
}

// removeLate deletes the log of a replica that was moved away while this broker
// was down.
func (m *Manager) removeLate(tp kafka.TopicPartition, id kafka.TopicID, now *cluster.Partition) {
	l, ok := m.logs.Get(tp)
	if !ok || l.TopicID() != id || slices.Contains(now.ISR, m.self) {
		return
	}
	if err := m.logs.Delete(tp, "the replica was moved away while this broker was down"); err != nil && !errors.Is(err, log.ErrNotFound) {
		m.logger.Error("deleting a replica failed", "partition", tp.String(), "error", err)
	}
}

func (p *Partition) topicID() (id kafka.TopicID) {
	if s := p.seen.Load(); s != nil {
		id = s.state.TopicID
	}
	return id
}

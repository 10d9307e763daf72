package group

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// Coordinator serves the groups of the partitions of __consumer_offsets that
// this broker leads. It is for use by many goroutines.
//
// Life: New, Run in a goroutine, BecomeLeader and Resign as leadership moves,
// Close.
type Coordinator struct {
	opt    Options
	cfg    Config
	limits Limits
	log    *slog.Logger

	ctx    context.Context // ends at Close
	stop   context.CancelFunc
	tasks  sync.WaitGroup // loads, and appends that were handed over
	lags   lags
	loaded loaded
	loads  chan struct{} // holds a token per running load
	closed bool          // guarded by mu

	mu         sync.RWMutex // guards partitions, closed
	partitions map[int32]*partition
}

// concurrentLoads bounds how many partitions are read at once.
const concurrentLoads = 4

// New makes a coordinator that leads nothing yet.
func New(o Options) (*Coordinator, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	c := &Coordinator{opt: o, cfg: o.Config.withDefaults(), log: o.Logger, partitions: map[int32]*partition{}, loads: make(chan struct{}, concurrentLoads)}
	c.limits = Limits{MaxSize: c.cfg.MaxSize, InitialDelay: c.cfg.InitialRebalanceDelay, MaxMetadata: c.cfg.MaxMetadata, Retention: c.cfg.OffsetsRetention}
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c, nil
}

// Run looks for expired offsets, and for lag, until ctx ends or the coordinator is closed.
func (c *Coordinator) Run(ctx context.Context) error {
	if c.opt.Lags != nil && !c.start(func() { c.watchLag(ctx) }) {
		return nil
	}
	t := time.NewTicker(c.cfg.RetentionCheckInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.ctx.Done():
			return nil
		case <-t.C:
			c.expire()
		}
	}
}

// Close resigns from everything, answers all who wait, and returns when no
// goroutine of the coordinator runs any more.
func (c *Coordinator) Close() {
	c.mu.Lock()
	c.closed = true
	all := make([]*partition, 0, len(c.partitions))
	for _, p := range c.partitions {
		all = append(all, p)
	}
	c.mu.Unlock()
	c.stop()
	for _, p := range all {
		c.unload(p, p.disown(maxEpoch))
	}
	c.tasks.Wait()
}

// start runs f as a task that Close waits for; false after Close.
func (c *Coordinator) start(f func()) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return false
	}
	c.tasks.Go(f)
	return true
}

// partitionOf finds the partition that keeps a group.
func (c *Coordinator) partitionOf(group string) (*partition, protocol.Error) {
	n := c.opt.Partitions()
	if n <= 0 {
		return nil, errNotCoordinator
	}
	c.mu.RLock()
	p, closed := c.partitions[kafka.PartitionFor(group, n)], c.closed
	c.mu.RUnlock()
	switch {
	case closed:
		return nil, errNotAvailable
	case p == nil:
		return nil, errNotCoordinator
	}
	return p, ok
}

// lock finds a group and returns its instance locked, or nil without an error
// if it is unknown and create is not set.
func (c *Coordinator) lock(group string, create bool) (*instance, protocol.Error) {
	p, err := c.partitionOf(group)
	if err != ok {
		return nil, err
	}
	for {
		g, err := p.get(group, func(t *tenure) *instance {
			if !create {
				return nil
			}
			return newInstance(c, p, t, NewMachine(group, c.limits, time.Now()))
		})
		if err != ok || g == nil {
			return nil, err
		}
		g.mu.Lock()
		if g.m.State() != Dead {
			return g, ok
		}
		// It was dropped, or the partition resigned, since it was found.
		g.mu.Unlock()
		p.forget(group, g)
	}
}

// expire forgets what is too old, in all groups, one after the other.
func (c *Coordinator) expire() {
	c.forget(c.instances(), true, func(m *Machine, now time.Time) ([]kafka.TopicPartition, bool) { return m.Expire(now) })
}

// DropTopics forgets the offsets of deleted topics.
func (c *Coordinator) DropTopics(topics []string) {
	// First the loads: what ends loading after this is among the instances below,
	// or knows of the topics.
	c.mu.RLock()
	for _, p := range c.partitions {
		p.doom(topics)
	}
	c.mu.RUnlock()
	c.dropTopics(c.instances(), topics)
}

func (c *Coordinator) dropTopics(from []*instance, topics []string) {
	gone := make(map[string]struct{}, len(topics))
	for _, t := range topics {
		gone[t] = struct{}{}
	}
	deleted := func(topic string) bool { _, is := gone[topic]; return is }
	// Kept or not, what can't be appended comes back with the next load; until
	// then a new topic of that name is better off without them.
	c.forget(from, false, func(m *Machine, now time.Time) ([]kafka.TopicPartition, bool) { return m.DropTopics(now, deleted) })
}

func (c *Coordinator) forget(from []*instance, keep bool, which forgetting) {
	removed := 0
	for _, g := range from {
		removed += g.forget(which, keep, nil)
	}
	if removed > 0 {
		c.log.Info("removed offsets of consumer groups", "offsets", removed)
	}
}

// instances lists all groups of the partitions that are led and loaded.
func (c *Coordinator) instances() []*instance {
	var all []*instance
	c.mu.RLock()
	parts := make([]*partition, 0, len(c.partitions))
	for _, p := range c.partitions {
		parts = append(parts, p)
	}
	c.mu.RUnlock()
	for _, p := range parts {
		all = p.appendAll(all)
	}
	return all
}

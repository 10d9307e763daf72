package group

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"barnabas/internal/kafka"
	"barnabas/protocol"
)

const maxEpoch = kafka.LeaderEpoch(math.MaxInt32)

// ownership is what this broker is to a partition of __consumer_offsets.
type ownership int8

const (
	notOwned ownership = iota // led elsewhere
	loading                   // led; its records are being read
	active                    // led, and all its groups are known
)

// tenure is one time of ownership. What was begun in it is appended in its epoch
// or refused by the store: never under a later tenure, whose groups were loaded
// anew.
type tenure struct {
	epoch atomic.Int32
}

// partition is one partition of __consumer_offsets and the groups that it keeps.
type partition struct {
	index   int32
	appends appends

	mu     sync.Mutex // guards what follows
	state  ownership
	epoch  kafka.LeaderEpoch
	tenure *tenure
	groups map[string]*instance // nil unless active
	cancel context.CancelFunc   // ends the load
	// doomed are topics that were deleted during the load.
	doomed []string
}

// BecomeLeader makes this broker the coordinator of the groups of a partition
// and loads them in the background. Calls for older epochs are ignored; a newer
// epoch of a partition that is led already only counts. The epoch of a
// resignation may be led again: it has one leader, who may have been offline.
func (c *Coordinator) BecomeLeader(index int32, epoch kafka.LeaderEpoch) {
	c.mu.Lock()
	p := c.partitions[index]
	if p == nil {
		p = &partition{index: index, epoch: -1}
		c.partitions[index] = p
	}
	c.mu.Unlock()
	p.mu.Lock()
	if epoch < p.epoch || epoch == p.epoch && p.state != notOwned {
		p.mu.Unlock()
		return
	}
	p.epoch = epoch
	if p.state != notOwned {
		p.tenure.epoch.Store(int32(epoch))
		p.mu.Unlock()
		return
	}
	ctx, cancel := context.WithCancel(c.ctx)
	t := new(tenure)
	t.epoch.Store(int32(epoch))
	p.state, p.cancel, p.tenure = loading, cancel, t
	p.mu.Unlock()
	c.loaded.begin()
	if !c.start(func() { c.load(ctx, p, t) }) {
		c.loadEnded()
		cancel()
		p.disown(maxEpoch)
	}
}

// Resign ends what BecomeLeader began. Whoever waits for a group of the
// partition is told to look for its new coordinator. Epochs older than the one
// that is led are ignored.
func (c *Coordinator) Resign(index int32, epoch kafka.LeaderEpoch) {
	c.mu.RLock()
	p := c.partitions[index]
	c.mu.RUnlock()
	if p != nil {
		c.unload(p, p.disown(epoch))
	}
}

// disown makes the partition not owned and returns the groups that it had.
func (p *partition) disown(epoch kafka.LeaderEpoch) map[string]*instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	if epoch < p.epoch {
		return nil
	}
	if epoch != maxEpoch {
		p.epoch = epoch
	}
	if p.cancel != nil {
		p.cancel()
		p.cancel = nil
	}
	groups := p.groups
	p.state, p.groups, p.doomed = notOwned, nil, nil
	return groups
}

func (c *Coordinator) unload(p *partition, groups map[string]*instance) {
	for _, g := range groups {
		g.step(func(now time.Time) Effects { return g.m.Unload(now) })
	}
	if len(groups) > 0 {
		c.log.Info("resigned as group coordinator", "partition", p.index, "groups", len(groups))
	}
}

// activate publishes loaded groups unless the load was cancelled.
func (p *partition) activate(ctx context.Context, groups map[string]*instance) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil || p.state != loading {
		return false
	}
	p.state, p.groups = active, groups
	return true
}

// doom keeps topics that were deleted, for the end of the load; nothing
// is kept if the partition is not being loaded.
func (p *partition) doom(topics []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == loading {
		p.doomed = append(p.doomed, topics...)
	}
}

// takeDoomed gives them and forgets them.
func (p *partition) takeDoomed() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	topics := p.doomed
	p.doomed = nil
	return topics
}

// get finds a group, or makes it if make gives one.
func (p *partition) get(group string, make func(*tenure) *instance) (*instance, protocol.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch p.state {
	case notOwned:
		return nil, errNotCoordinator
	case loading:
		return nil, errLoading
	}
	g := p.groups[group]
	if g == nil {
		if g = make(p.tenure); g != nil {
			p.groups[group] = g
		}
	}
	return g, ok
}

// forget takes a group that is over out of the table.
func (p *partition) forget(group string, g *instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.groups[group] == g && g.over.Load() {
		delete(p.groups, group)
	}
}

func (p *partition) appendAll(all []*instance) []*instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range p.groups {
		all = append(all, g)
	}
	return all
}

func (p *partition) ownership() ownership {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

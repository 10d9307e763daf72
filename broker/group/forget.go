package group

import (
	"time"

	"barnabas/internal/kafka"
	"barnabas/log/batch"
	"barnabas/protocol/grouplog"
)

// forgotten is what a deletion has removed from a machine, until its tombstones
// are in the log. If they can't be appended the group has what it had: otherwise
// it would be gone from memory alone, and come back with its old offsets under
// the next coordinator. (GroupMetadataManager.cleanupGroupMetadata lets that be.)
type forgotten struct {
	offsets
	since time.Time // when the group entered its state
}

// Keep gives back what a deletion has removed; what was committed since stays. A
// group that is Dead by that deletion is Empty again.
func (m *Machine) Keep(f forgotten) {
	if m.state == Dead {
		m.state, m.since = Empty, f.since
	}
	for tp, c := range f.stable {
		m.offsets.put(tp, c)
	}
	for p, list := range f.open {
		for tp, c := range list {
			m.offsets.begin(p, tp, c)
		}
	}
}

// forgetting chooses what is removed from a group: Machine.Expire and the like.
type forgetting func(*Machine, time.Time) (gone []kafka.TopicPartition, tombstone bool)

// forget removes offsets, and the group if it has become Dead by that. It
// returns how many offsets were removed. done, if not nil, gets the outcome of
// the append once, if there was something to append. keep tells whether the group
// keeps what could not be appended.
func (g *instance) forget(which forgetting, keep bool, done func(error)) int {
	g.mu.Lock()
	return g.forgetLocked(which, keep, done)
}

// forgetLocked is forget with g.mu held; it unlocks.
func (g *instance) forgetLocked(which forgetting, keep bool, done func(error)) int {
	was := g.m.State()
	gone, tombstone := which(g.m, time.Now())
	removed := g.m.forgotten
	g.m.forgotten = forgotten{}
	dead, generation := was != Dead && g.m.State() == Dead, g.m.generation
	if dead {
		g.over.Store(true)
	}
	if len(gone) > 0 || tombstone {
		a := &appending{
			tenure:   g.t,
			sequence: batch.Absent,
			records: func(b *batch.Builder, ts int64) {
				for _, tp := range gone {
					b.Append(ts, grouplog.AppendOffsetKey(nil, g.m.id, tp.Topic, tp.Partition), nil)
				}
				if tombstone {
					b.Append(ts, grouplog.AppendGroupKey(nil, g.m.id), nil)
				}
			},
		}
		if keep {
			a.failed = func(err error) {
				g.c.log.Warn("could not store the deletion of offsets of a group; it keeps them", "group", g.m.id, "offsets", len(gone), "error", err)
				g.unforget(removed)
			}
		}
		if done != nil {
			a.done = func(_ int64, err error) { done(err) }
		}
		g.p.appends.add(a)
	}
	g.arm(time.Now())
	g.mu.Unlock()
	if dead {
		if tombstone { // whoever joins begins with generation 1 again
			g.c.log.Info("group is forgotten", "group", g.m.id, "generation", generation, "offsets", len(gone))
		}
		g.p.forget(g.m.id, g)
	}
	g.c.drain(g.p)
	return len(gone)
}

// unforget undoes forget, unless the partition is led elsewhere or was loaded
// anew. If the group was made anew meanwhile, that one gets what it has not got.
func (g *instance) unforget(f forgotten) {
	for {
		into := g.p.restore(g)
		if into == nil {
			return
		}
		into.mu.Lock()
		// Another that is Dead is leaving the table.
		if into == g || into.m.State() != Dead {
			into.m.Keep(f)
			into.arm(time.Now())
			into.mu.Unlock()
			return
		}
		into.mu.Unlock()
		g.p.forget(g.m.id, into)
	}
}

// restore puts a group back into the table, or returns the one that has its
// place; nil if the partition is not led any more as it was.
func (p *partition) restore(g *instance) *instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != active || p.tenure != g.t {
		return nil
	}
	if other := p.groups[g.m.id]; other != nil && other != g {
		return other
	}
	g.over.Store(false)
	p.groups[g.m.id] = g
	return g
}

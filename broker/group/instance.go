package group

import (
	"sync"
	"sync/atomic"
	"time"

	"barnabas/log/batch"
	"barnabas/protocol/grouplog"
)

// instance is a group at work: its machine, who waits for it, and its timer.
// Inside mu the lock of its partition's queue may be taken, no other.
type instance struct {
	c *Coordinator
	p *partition
	t *tenure

	mu    sync.Mutex // guards m and what follows
	m     *Machine
	joins map[Ticket]chan JoinResponse
	syncs map[Ticket]chan SyncResponse
	last  Ticket
	timer *time.Timer
	armed time.Time // when timer fires; zero if it does not

	// over: the group is Dead, and the partition's table may forget it. It is
	// cleared under the partition's lock when a deletion has failed.
	over atomic.Bool
}

func newInstance(c *Coordinator, p *partition, t *tenure, m *Machine) *instance {
	return &instance{c: c, p: p, t: t, m: m}
}

// step does one step of the machine and what it asks for.
func (g *instance) step(f func(now time.Time) Effects) {
	g.mu.Lock()
	g.finish(g.perform(f))
}

// rest is what is left to do after a step, without the lock.
type rest struct {
	notes   []Note
	dropped bool
}

// perform does a step with g.mu held; finish must follow.
func (g *instance) perform(f func(now time.Time) Effects) rest {
	now := time.Now()
	e := f(now)
	for i := range e.Joins {
		a := &e.Joins[i]
		if ch := g.joins[a.To]; ch != nil {
			delete(g.joins, a.To)
			ch <- a.Response // it has room for one
		}
	}
	for i := range e.Syncs {
		a := &e.Syncs[i]
		if ch := g.syncs[a.To]; ch != nil {
			delete(g.syncs, a.To)
			ch <- a.Response
		}
	}
	for _, w := range e.Writes {
		g.p.appends.add(g.writing(w))
	}
	r := rest{notes: e.Notes}
	if g.m.Vacant() {
		g.m.Drop(now)
		g.over.Store(true)
		r.dropped = true
	}
	g.arm(now)
	return r
}

// finish unlocks g.mu and does the rest.
func (g *instance) finish(r rest) {
	g.mu.Unlock()
	if r.dropped {
		g.p.forget(g.m.id, g)
	}
	for _, n := range r.notes {
		g.c.log.Info(n.What, "group", g.m.id, "reason", n.Reason, "generation", n.Generation, "members", n.Members)
	}
	g.c.drain(g.p)
}

// arm makes the timer fire at the machine's deadline. A timer that fires early
// does no harm, so later deadlines leave it alone.
func (g *instance) arm(now time.Time) {
	at := g.m.Deadline()
	switch {
	case g.m.State() == Dead || at.IsZero():
		if g.timer != nil {
			g.timer.Stop()
		}
		g.armed = time.Time{}
	case g.armed.IsZero() || at.Before(g.armed):
		g.armed = at
		if g.timer == nil {
			g.timer = time.AfterFunc(at.Sub(now), g.tick)
		} else {
			g.timer.Reset(at.Sub(now))
		}
	}
}

func (g *instance) tick() {
	g.step(func(now time.Time) Effects {
		g.armed = time.Time{}
		return g.m.Tick(now)
	})
}

// writing is the append of a group record.
func (g *instance) writing(w Write) *appending {
	return &appending{
		tenure:   g.t,
		sequence: batch.Absent,
		records: func(b *batch.Builder, ts int64) {
			b.Append(ts, grouplog.AppendGroupKey(nil, g.m.id), grouplog.AppendGroupValue(nil, w.Value))
		},
		done: func(_ int64, err error) {
			if err != nil {
				g.c.log.Warn("could not store the metadata of a group", "group", g.m.id, "generation", w.Value.Generation, "error", err)
			}
			g.step(func(now time.Time) Effects { return g.m.Stored(now, w.ID, err) })
		},
	}
}

// waitJoin registers a caller; its channel has room for the one answer.
func (g *instance) waitJoin() (Ticket, chan JoinResponse) {
	ch := make(chan JoinResponse, 1)
	if g.joins == nil {
		g.joins = map[Ticket]chan JoinResponse{}
	}
	g.last++
	g.joins[g.last] = ch
	return g.last, ch
}

func (g *instance) waitSync() (Ticket, chan SyncResponse) {
	ch := make(chan SyncResponse, 1)
	if g.syncs == nil {
		g.syncs = map[Ticket]chan SyncResponse{}
	}
	g.last++
	g.syncs[g.last] = ch
	return g.last, ch
}

// giveUp forgets a caller whose connection is gone. The machine still counts its
// member as waiting, as Kafka does: it may come back before the answer.
func (g *instance) giveUp(t Ticket) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.joins, t)
	delete(g.syncs, t)
}

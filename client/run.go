package client

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// onEvent takes a watch event; it only marks what is to be read.
func (c *Cluster) onEvent(e session.Event) {
	c.again(stale{
		brokers: strings.HasPrefix(e.Path, zkpaths.BrokerIDs),
		log:     strings.HasPrefix(e.Path, zkpaths.MetadataChanges),
	})
}

// onState takes a change of the session: watches may be gone.
func (c *Cluster) onState(s session.State) {
	if s.Kind == session.NewSession || s.Kind == session.Connected {
		c.again(stale{true, true})
	}
}

func (c *Cluster) again(s stale) {
	c.mu.Lock()
	c.stale.brokers = c.stale.brokers || s.brokers
	c.stale.log = c.stale.log || s.log
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// retryAfter is how soon a failed read is tried again, if nothing else happens.
const retryAfter = time.Second

// run reads what is stale and passes it on, until ctx ends.
func (c *Cluster) run(ctx context.Context) {
	tick := time.NewTicker(c.o.interval)
	defer tick.Stop()
	later := time.NewTimer(0)
	defer later.Stop()
	for {
		wait, soon := retryAfter, !c.look(ctx)
		for _, f := range c.followers() {
			f.reseed(c.Addrs(), c.o.Logger)
			if w, more := f.urge(time.Now()); more {
				wait, soon = min(wait, w), true
			}
		}
		if soon {
			later.Reset(wait)
		}
		select {
		case <-c.wake:
		case <-later.C:
		case <-tick.C:
			c.again(stale{true, true})
		case <-ctx.Done():
			return
		}
	}
}

// look reads what is stale; what fails is stale still, and makes it false.
func (c *Cluster) look(ctx context.Context) bool {
	c.mu.Lock()
	todo := c.stale
	c.stale = stale{}
	c.mu.Unlock()
	var failed stale
	// Brokers first: a leader that the log names is then known.
	if todo.brokers {
		failed.brokers = c.tell(ctx, "reading the brokers", c.readBrokers(ctx))
	}
	if todo.log {
		failed.log = c.tell(ctx, "reading the change log", c.readLog(ctx))
	}
	c.mu.Lock()
	c.stale.brokers = c.stale.brokers || failed.brokers
	c.stale.log = c.stale.log || failed.log
	if todo.log && !failed.log && !c.reading {
		c.reading = true
		c.movedLocked()
	}
	c.mu.Unlock()
	return failed == (stale{})
}

// tell logs an error and reports whether there was one.
func (c *Cluster) tell(ctx context.Context, what string, err error) bool {
	if err != nil && ctx.Err() == nil {
		c.o.Logger.Warn(what+" failed, will try again", "err", err)
	}
	return err != nil
}

// readBrokers reads all registrations and leaves watches.
func (c *Cluster) readBrokers(ctx context.Context) error {
	names, _, err := c.zk.ChildrenW(ctx, zkpaths.BrokerIDs)
	if errors.Is(err, session.ErrNoNode) { // no broker was ever started here
		if _, ok, err := c.zk.ExistsW(ctx, zkpaths.BrokerIDs); err != nil || !ok {
			return err
		}
		names, _, err = c.zk.ChildrenW(ctx, zkpaths.BrokerIDs)
	}
	if err != nil {
		return err
	}
	var ids []int32
	var paths []string
	for _, n := range names {
		if id, ok := zkpaths.ParseBrokerID(n); ok {
			ids, paths = append(ids, int32(id)), append(paths, zkpaths.BrokerPath(id))
		}
	}
	found := make(map[int32]Broker, len(ids))
	c.zk.GetAllW(ctx, paths, func(i int, data []byte, _ session.Stat, e error) {
		if errors.Is(e, session.ErrNoNode) {
			return // gone meanwhile
		}
		var reg *zkpaths.Registration
		if e == nil {
			if reg, e = zkpaths.DecodeRegistration(data); e != nil {
				c.o.Logger.Warn("a broker's registration can't be read", "broker", ids[i], "err", e)
				return
			}
			if addr, ok := c.endpoint(reg); ok {
				found[ids[i]] = Broker{ids[i], addr, reg.Rack}
			}
			return
		}
		err = e
	})
	if err != nil {
		return err
	}
	c.setBrokers(found)
	return nil
}

// endpoint chooses the address of a broker.
func (c *Cluster) endpoint(reg *zkpaths.Registration) (addr string, ok bool) {
	i := 0
	if c.o.Listener != "" {
		i = slices.IndexFunc(reg.Endpoints, func(e zkpaths.Endpoint) bool { return strings.EqualFold(e.Listener, c.o.Listener) })
	} else {
		i = max(0, slices.IndexFunc(reg.Endpoints, func(e zkpaths.Endpoint) bool { return e.Protocol == "PLAINTEXT" }))
	}
	if i < 0 || i >= len(reg.Endpoints) {
		return "", false
	}
	return reg.Endpoints[i].Addr(), true
}

// setBrokers takes what was read.
func (c *Cluster) setBrokers(found map[int32]Broker) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(found) == 0 || maps.Equal(c.brokers, found) {
		return
	}
	c.brokers = found
	c.movedLocked()
}

// movedLocked wakes those who wait for what Cluster.moved is about.
func (c *Cluster) movedLocked() {
	close(c.moved)
	c.moved = make(chan struct{})
}

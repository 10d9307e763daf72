package controller

import (
	"context"
	"errors"
	"sync"

	"barnabas/cluster"
	"barnabas/controller/plan"
	"barnabas/zkpaths/session"
)

// ahead bounds the transactions of one write that are under way at a time, and so
// what is in memory for them: that many times maxBytes, and as many answers.
const ahead = 4

// independent reports whether no step needs another to be done before it: each
// sets the state of another partition. Such transactions may be done in any order,
// and one that fails takes no other with it.
func independent(steps []plan.Step) bool {
	paths := make(map[string]struct{}, len(steps))
	for i := range steps {
		s := &steps[i]
		if len(s.Ops) != 1 || s.Ops[0].Kind != plan.Set || len(s.States) != 1 || len(s.Topics)+len(s.Brokers) > 0 || s.AllBrokers {
			return false
		}
		paths[s.Ops[0].Path] = struct{}{}
	}
	return len(paths) == len(steps)
}

// sent is a transaction under way.
type sent struct {
	steps []plan.Step
	all   []session.Op
	entry *cluster.Entry
	done  chan struct{} // closed once err is set
	err   error
}

// writeAhead carries independent steps out without waiting for one transaction
// before the next: ZooKeeper, the log's readers and this broker work at the same
// time. Once one fails no more are sent; those under way are waited for.
func (c *Controller) writeAhead(ctx context.Context, reason cluster.Reason, steps []plan.Step) error {
	if c.reign == nil {
		return ErrNotController
	}
	var under []*sent
	var wg sync.WaitGroup
	defer wg.Wait()
	var failed error
	for len(under) > 0 || len(steps) > 0 && failed == nil {
		if len(steps) > 0 && len(under) < ahead && failed == nil {
			ops, entry, n := c.pack(steps, reason, nil)
			s := &sent{steps: steps[:n], all: c.seal(ops, entry), entry: entry, done: make(chan struct{})}
			under, steps = append(under, s), steps[n:]
			wg.Go(func() {
				_, s.err = c.zk.Multi(ctx, s.all...)
				close(s.done)
			})
			continue
		}
		s := under[0]
		<-s.done
		under = under[1:]
		failed = errors.Join(failed, c.concluded(ctx, reason, s))
	}
	if c.reign == nil {
		return failed
	}
	// Also after a failure: what comes next is planned on what was done.
	_, err := c.meta.CatchUp(ctx, false)
	return errors.Join(failed, err)
}

// concluded finds out what became of a transaction. One that is too large is sent
// in smaller ones.
func (c *Controller) concluded(ctx context.Context, reason cluster.Reason, s *sent) error {
	if s.err == nil {
		return nil
	}
	err := c.outcome(ctx, s.all, s.entry, s.err)
	if isLarge(err) && c.reign != nil && len(s.steps) > 1 {
		half := len(s.steps) / 2
		c.log.Warn("a transaction was too large, sending half of it", "steps", len(s.steps), "ops", len(s.all), "err", err)
		return errors.Join(c.writeInOrder(ctx, reason, s.steps[:half]), c.writeInOrder(ctx, reason, s.steps[half:]))
	}
	if topic := topicOfStep(&s.steps[0]); isLarge(err) && topic != "" {
		return &tooLarge{topic, err}
	}
	return err
}

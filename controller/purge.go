package controller

import (
	"context"
	"errors"
	"slices"
	"time"

	"barnabas/cluster"
	"barnabas/controller/plan"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

const (
	keepEntries = 100              // the newest, always
	purgeEvery  = time.Minute      // between looks
	minEntryAge = 2 * time.Minute  // twice a session timeout, at least
	keepNotes   = 15 * time.Minute // of /config/changes, as Apache Kafka
	// renewAbove is the default of Options.RenewAbove. ZooKeeper counts creations and
	// deletions of entries together, twice their number, in 32 bits with a sign: it
	// would have to be far below 1 << 30.
	renewAbove = 1 << 28
)

// housekeeping removes what nobody needs any more; failing is harmless.
func (c *Controller) housekeeping(ctx context.Context) {
	r := c.reign
	if r == nil || !r.ready {
		return
	}
	if err := c.rebalance(ctx); err != nil && ctx.Err() == nil {
		c.log.Warn("giving leaders back to first replicas failed, will try again", "err", err)
	}
	if c.reign != r { // lost meanwhile
		return
	}
	if err := c.scrub(ctx); err != nil && ctx.Err() == nil {
		c.log.Warn("comparing partition states failed, will try again", "err", err)
	}
	if c.reign != nil && r.leaderless {
		c.queue.put("elect", evElect)
	}
	if r = c.reign; r == nil || time.Since(r.purgedAt) < purgeEvery {
		return
	}
	r.purgedAt = time.Now()
	if err := c.purgeEntries(ctx); err != nil && ctx.Err() == nil {
		c.log.Warn("purging the change log failed, will try again", "err", err)
	}
	if err := c.purgeNotes(ctx); err != nil && ctx.Err() == nil {
		c.log.Warn("purging config change notifications failed, will try again", "err", err)
	}
}

// purgeEntries deletes the oldest entries: a prefix, never the newest hundred,
// and nothing that a broker may still be about to read. A log whose numbers are
// near their end is begun anew.
func (c *Controller) purgeEntries(ctx context.Context) error {
	st, ok, err := c.zk.Exists(ctx, zkpaths.MetadataChanges)
	renew := c.meta.Current().Next > c.opts.RenewAbove
	if err != nil || !ok || st.NumChildren <= 2*keepEntries && !renew {
		return err
	}
	if renew {
		return c.renewLog(ctx)
	}
	numbers, err := c.entries(ctx)
	if err != nil || len(numbers) <= keepEntries {
		return err
	}
	newest, ok, err := c.zk.Exists(ctx, zkpaths.MetadataChangePath(numbers[len(numbers)-1]))
	if err != nil || !ok {
		return err
	}
	age := c.opts.EntryAge
	if age <= 0 {
		age = max(minEntryAge, 2*c.zk.SessionTimeout())
	}
	ops, err := c.deletions(ctx, numbers[:min(len(numbers)-keepEntries, maxOps-3)], func(st session.Stat) bool {
		return newest.Ctime-st.Ctime >= age.Milliseconds()
	})
	if err == nil && len(ops) > 0 {
		_, err = c.commit(ctx, ops, c.restated())
	}
	return err
}

// entries are the numbers of the entries that there are, in order.
func (c *Controller) entries(ctx context.Context) ([]int64, error) {
	names, _, err := c.zk.Children(ctx, zkpaths.MetadataChanges)
	var numbers []int64
	for _, name := range names {
		if n, ok := zkpaths.ParseMetadataChange(name); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, err
}

// deletions deletes entries up to the first that is not due.
func (c *Controller) deletions(ctx context.Context, numbers []int64, due func(session.Stat) bool) ([]session.Op, error) {
	stats, paths := make([]session.Stat, len(numbers)), make([]string, len(numbers))
	for i, n := range numbers {
		paths[i] = zkpaths.MetadataChangePath(n)
	}
	var failed error
	c.zk.GetAll(ctx, paths, func(i int, _ []byte, st session.Stat, err error) {
		stats[i], failed = st, errors.Join(failed, err)
	})
	if failed != nil {
		return nil, failed
	}
	var ops []session.Op
	for i, st := range stats {
		if !due(st) {
			break
		}
		ops = append(ops, session.DeleteOp(paths[i], st.Version))
	}
	return ops, nil
}

// restated is an entry that tells again of what is purged and must still be found:
// since when the log knows of each registration.
func (c *Controller) restated() *cluster.Entry {
	return &cluster.Entry{Reason: cluster.Reason{Code: "restated"}, Brokers: plan.Restate(c.meta.Current())}
}

// renewLog empties and re-creates the log's parent long before the numbers of
// sequential znodes end. Every broker then loads fully, and another reign begins:
// brokers tell by epoch and number who has read more (protocol.Stamp), and numbers
// go back here.
func (c *Controller) renewLog(ctx context.Context) error {
	for {
		numbers, err := c.entries(ctx)
		if err != nil {
			return err
		}
		last := len(numbers) <= maxOps-5
		ops, err := c.deletions(ctx, numbers[:min(len(numbers), maxOps-5)], func(session.Stat) bool { return true })
		if err != nil {
			return err
		}
		if last {
			st, ok, err := c.zk.Exists(ctx, zkpaths.MetadataChanges)
			if err != nil || !ok {
				return err
			}
			ops = append(ops, session.DeleteOp(zkpaths.MetadataChanges, st.Version), session.CreateOp(zkpaths.MetadataChanges, nil, session.Persistent))
			c.log.Info("beginning the change log anew, since its numbers are near their end", "number", c.meta.Current().Next)
		}
		if _, err := c.commit(ctx, ops, c.restated()); err != nil {
			return err
		}
		if r := c.reign; last && r != nil {
			c.resign("the change log was begun anew")
			c.abdicate(ctx, r)
			c.queue.put(zkpaths.ControllerPath, evController)
		}
		if last {
			return nil
		}
	}
}

// purgeNotes deletes notifications of config changes that all have read.
func (c *Controller) purgeNotes(ctx context.Context) error {
	names, _, err := c.zk.Children(ctx, zkpaths.ConfigChanges)
	if err != nil || len(names) == 0 {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		path := zkpaths.ConfigChanges + "/" + name
		st, ok, err := c.zk.Exists(ctx, path)
		if err != nil {
			return err
		}
		if !ok || time.Now().UnixMilli()-st.Ctime < keepNotes.Milliseconds() {
			break
		}
		if err := c.zk.Delete(ctx, path, -1); err != nil && !errors.Is(err, session.ErrNoNode) {
			return err
		}
	}
	return nil
}

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
	keepEntries   = 100              // the newest, always
	purgeEvery    = time.Minute      // between looks
	minEntryAge   = 2 * time.Minute  // twice a session timeout, at least
	keepNotes     = 15 * time.Minute // of /config/changes, as Apache Kafka
	recreateAbove = 1 << 30          // entry number at which a new log is begun
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
// and nothing that a broker may still be about to read.
func (c *Controller) purgeEntries(ctx context.Context) error {
	st, ok, err := c.zk.Exists(ctx, zkpaths.MetadataChanges)
	if err != nil || !ok || st.NumChildren <= 2*keepEntries {
		return err
	}
	names, _, err := c.zk.Children(ctx, zkpaths.MetadataChanges)
	if err != nil {
		return err
	}
	var numbers []int64
	for _, name := range names {
		if n, ok := zkpaths.ParseMetadataChange(name); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	if len(numbers) <= keepEntries {
		return nil
	}
	newest, ok, err := c.zk.Exists(ctx, zkpaths.MetadataChangePath(numbers[len(numbers)-1]))
	if err != nil || !ok {
		return err
	}
	old := numbers[:min(len(numbers)-keepEntries, maxOps-3)]
	stats := make([]session.Stat, len(old))
	paths := make([]string, len(old))
	for i, n := range old {
		paths[i] = zkpaths.MetadataChangePath(n)
	}
	c.zk.GetAll(ctx, paths, func(i int, _ []byte, st session.Stat, gerr error) {
		stats[i], err = st, errors.Join(err, gerr)
	})
	if err != nil {
		return err
	}
	age := c.opts.EntryAge
	if age <= 0 {
		age = max(minEntryAge, 2*c.zk.SessionTimeout())
	}
	var ops []session.Op
	for i, st := range stats {
		if newest.Ctime-st.Ctime < age.Milliseconds() {
			break
		}
		ops = append(ops, session.DeleteOp(paths[i], st.Version))
	}
	if len(ops) > 0 {
		if _, err := c.commit(ctx, ops, c.restated()); err != nil {
			return err
		}
	}
	if numbers[len(numbers)-1] > recreateAbove {
		return c.newLog(ctx)
	}
	return nil
}

// restated is an entry that tells again of what is purged and must still be found:
// since when the log knows of each registration.
func (c *Controller) restated() *cluster.Entry {
	return &cluster.Entry{Reason: cluster.Reason{Code: "restated"}, Brokers: plan.Restate(c.meta.Current())}
}

// newLog empties and re-creates the log's parent long before the numbers of
// sequential znodes end. Every broker then loads fully.
func (c *Controller) newLog(ctx context.Context) error {
	names, st, err := c.zk.Children(ctx, zkpaths.MetadataChanges)
	if err != nil || len(names) > maxOps-4 {
		return err
	}
	var ops []session.Op
	for _, name := range names {
		ops = append(ops, session.DeleteOp(zkpaths.MetadataChanges+"/"+name, -1))
	}
	ops = append(ops, session.DeleteOp(zkpaths.MetadataChanges, st.Version), session.CreateOp(zkpaths.MetadataChanges, nil, session.Persistent))
	_, err = c.commit(ctx, ops, c.restated())
	return err
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

package client

import (
	"context"
	"errors"

	"barnabas/cluster"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// changeLog is where a Cluster is in /metadata_changes. It begins at the end: what
// was before is what a client's first metadata request answers.
type changeLog struct {
	id     int64 // czxid of the parent; 0: none was found yet
	next   int64 // number of the first entry that was not read
	absent bool  // it was looked for in vain
}

// window bounds the entries that are asked for at once.
const window = 32

// readLog reads what follows and leaves a watch on the first entry that is
// absent.
func (c *Cluster) readLog(ctx context.Context) error {
	// The watch tells of its creation and of its deletion, not of entries. Without
	// it, this is Apache Kafka's cluster, or one to be.
	st, ok, err := c.zk.ExistsW(ctx, zkpaths.MetadataChanges)
	if err != nil || !ok {
		c.log.absent = c.log.absent || err == nil
		return err
	}
	if st.Czxid != c.log.id {
		begun := c.log.id != 0 || c.log.absent
		c.log = changeLog{id: st.Czxid, next: endOf(st)}
		if begun { // made since, perhaps anew: who knows what it said
			c.refreshAll()
		}
	}
	for {
		if err := c.readOn(ctx); err != nil {
			return err
		}
		_, ok, err := c.zk.ExistsW(ctx, zkpaths.MetadataChangePath(c.log.next))
		if err != nil {
			return err
		}
		if ok {
			continue // it came just now
		}
		if st, ok, err = c.zk.Exists(ctx, zkpaths.MetadataChanges); err != nil || !ok || st.Czxid != c.log.id {
			return err // the watch tells that it is another one
		}
		if end := endOf(st); end > c.log.next {
			if _, ok, err := c.zk.Exists(ctx, zkpaths.MetadataChangePath(c.log.next)); err != nil {
				return err
			} else if !ok { // it was deleted before we read it
				c.log.next = end
				c.refreshAll()
			}
			continue
		}
		return nil
	}
}

// endOf is the number that the next entry gets: creations and deletions of
// children both count in cversion.
func endOf(st session.Stat) int64 { return (int64(st.Cversion) + int64(st.NumChildren)) / 2 }

// readOn reads entries until one is absent.
func (c *Cluster) readOn(ctx context.Context) error {
	type got struct {
		data []byte
		err  error
	}
	for ask := 1; ; ask = min(2*ask, window) {
		paths := make([]string, ask)
		for i := range paths {
			paths[i] = zkpaths.MetadataChangePath(c.log.next + int64(i))
		}
		answers := make([]got, ask)
		c.zk.GetAll(ctx, paths, func(i int, data []byte, _ session.Stat, err error) { answers[i] = got{data, err} })
		for _, a := range answers {
			if errors.Is(a.err, session.ErrNoNode) {
				return nil
			}
			if a.err != nil {
				return a.err
			}
			c.apply(a.data)
			c.log.next++
		}
	}
}

// apply tells of the leaders in an entry. One that can't be read, as of a later
// version, may have told anything.
func (c *Cluster) apply(data []byte) {
	e, err := cluster.DecodeEntry(data)
	if err != nil {
		c.o.Logger.Warn("an entry of the change log can't be read", "entry", c.log.next, "err", err)
		c.refreshAll()
		return
	}
	followers := c.followers()
	for _, s := range e.States {
		for _, p := range s.Partitions {
			l := Leader{s.Topic, p.Partition, int32(p.Leader), int32(p.LeaderEpoch)}
			c.o.OnLeader(l)
			for _, f := range followers {
				f.expect(l)
			}
		}
	}
}

// refreshAll makes all clients ask for metadata.
func (c *Cluster) refreshAll() {
	for _, f := range c.followers() {
		f.cl.ForceMetadataRefresh()
	}
}

package group

import (
	"context"

	"barnabas/protocol"
	"barnabas/protocol/grouplog"
)

// CommitLegacy stores the offsets of an OffsetCommit of version 0 in ZooKeeper.
// Any broker does; groups and generations play no part.
func (c *Coordinator) CommitLegacy(ctx context.Context, r *CommitRequest) {
	if c.opt.Legacy == nil {
		r.failAll(errNotAvailable)
		return
	}
	for i := range r.Topics {
		t := &r.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			switch {
			case p.Err != ok:
			case !validPathName(r.Group):
				p.Err = errInvalidGroupID
			case !fitsMetadata(p.Metadata, c.cfg.MaxMetadata):
				p.Err = errMetadataTooLarge
			default:
				if err := c.opt.Legacy.SetOffset(ctx, r.Group, t.Topic, p.Partition, p.Offset); err != nil {
					p.Err = c.legacyError(err, r.Group)
				}
			}
		}
	}
}

// FetchLegacy reads what CommitLegacy stored, for topics that exist.
func (c *Coordinator) FetchLegacy(ctx context.Context, r *FetchRequest, exists func(topic string, partition int32) bool) FetchResponse {
	var res FetchResponse
	for _, t := range r.Topics {
		f := FetchedTopic{Topic: t.Topic}
		for _, p := range t.Partitions {
			q := FetchedPartition{Partition: p, Offset: -1, LeaderEpoch: grouplog.NoEpoch, Err: errUnknownPartition}
			switch {
			case c.opt.Legacy == nil:
				q.Err = errNotAvailable
			case exists(t.Topic, p) && validPathName(r.Group):
				offset, found, err := c.opt.Legacy.Offset(ctx, r.Group, t.Topic, p)
				switch {
				case err != nil:
					q.Err = c.legacyError(err, r.Group)
				case found:
					q.Offset, q.Err = offset, ok
				}
			}
			f.Partitions = append(f.Partitions, q)
		}
		res.Topics = append(res.Topics, f)
	}
	return res
}

func (c *Coordinator) legacyError(err error, group string) protocol.Error {
	c.log.Warn("offsets in ZooKeeper are not reachable", "group", group, "error", err)
	return errUnknownServer
}

// validPathName reports whether s can be one step of a znode's path.
func validPathName(s string) bool {
	if s == "" || s == "." || s == ".." || len(s) > 1<<12 {
		return false
	}
	for _, r := range s {
		switch {
		case r == '/' || r < 0x20 || r >= 0x7f && r <= 0x9f,
			r >= 0xd800 && r <= 0xf8ff, r >= 0xfff0:
			return false
		}
	}
	return true
}

package metadata

import (
	"context"
	"errors"
	"math"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// findTold looks in the log for the entries that first told of the registrations
// which a load has read: a state that is older than that was perhaps written by a
// controller that did not know of the birth, even if it is younger than the
// registration itself. It reads backwards from next, as far as is needed. Whoever
// purges entries tells again of all brokers, with what it purges.
func (r *Reader) findTold(ctx context.Context, e *cluster.Edit, log, next int64) error {
	open := e.Untold()
	first := map[kafka.BrokerID]int64{} // the oldest entry that names it
	horizon := int64(math.MaxInt64)     // all entries after it were read
	for to := next; to > 0 && len(open) > 0; to = max(to-window, 0) {
		from := max(to-window, 0)
		entries, czxids, err := r.entries(ctx, from, to)
		if err != nil {
			return err
		}
		for i := len(entries) - 1; i >= 0; i-- {
			en := entries[i]
			if en == nil { // purged, or of a later format
				settleTold(e, open, first, horizon)
				return nil
			}
			horizon = czxids[i]
			for j := range en.Brokers {
				b := &en.Brokers[j]
				if epoch, wanted := open[b.ID]; !wanted || b.Epoch != epoch || b.State == cluster.Down {
					continue
				}
				if first[b.ID] = horizon; b.Told != 0 {
					e.SetTold(b.ID, b.Told)
					delete(open, b.ID)
				}
			}
			for id, epoch := range open {
				if int64(epoch) > horizon { // nothing older can name it
					e.SetTold(id, first[id])
					delete(open, id)
				}
			}
		}
	}
	settleTold(e, open, first, log) // which was empty then
	return nil
}

// settleTold ends the search. A registration that no entry after horizon names, and
// that is younger, was never told of. An older one was told of by what is purged:
// only logs of builds that did not tell again lack it.
func settleTold(e *cluster.Edit, open map[kafka.BrokerID]kafka.BrokerEpoch, first map[kafka.BrokerID]int64, horizon int64) {
	for id, epoch := range open {
		switch {
		case first[id] != 0:
			e.SetTold(id, first[id])
		case int64(epoch) <= horizon:
			e.SetTold(id, int64(epoch))
		}
	}
}

// entries reads those from number from up to to; what is absent or can't be read
// is nil.
func (r *Reader) entries(ctx context.Context, from, to int64) ([]*cluster.Entry, []int64, error) {
	paths := make([]string, to-from)
	for i := range paths {
		paths[i] = zkpaths.MetadataChangePath(from + int64(i))
	}
	entries, czxids := make([]*cluster.Entry, len(paths)), make([]int64, len(paths))
	var failed error
	r.zk.GetAll(ctx, paths, func(i int, data []byte, st session.Stat, err error) {
		switch {
		case err == nil:
			entries[i], _ = cluster.DecodeEntry(data)
			czxids[i] = st.Czxid
		case !errors.Is(err, session.ErrNoNode):
			failed = err
		}
	})
	return entries, czxids, failed
}

package api

import (
	"context"
	"errors"
	"sync/atomic"

	"barnabas/broker/purgatory"
	"barnabas/broker/replica"
	"barnabas/internal/kafka"
)

// A client, or a follower, hears of a new leadership from whichever broker it asks, and
// then asks the leader with the epoch of it (KIP-320), who may read of it a few
// milliseconds later. Refused, it would come back after its backoff, of 0.1 s to
// seconds. So a request that names an epoch which is newer than the partition's waits
// for up to Options.NewerWait, and is refused then.
//
// A Fetch parks, as one that waits for records does, and holds no more than that one. It
// is answered as ever once other partitions have enough for it, which is not to be held
// back: followers ask for thousands at once, and a broker that takes over many moves
// them one by one. Else it is answered as soon as all that it names are known, be it
// with nothing. The other requests, which are served one at a time on the goroutine of
// their connection, wait there.

// isNewer reports whether an error says that the reader knows a newer leadership.
func isNewer(err error) bool { return err != nil && errors.Is(err, replica.ErrUnknownEpoch) }

// awaitNewer makes f wait for leaderships that it knows and this broker does not, unless
// it is answered for another reason. That it wants no bytes is none.
func (f *fetch) awaitNewer() { f.behind, f.minBytes = true, max(f.minBytes, 1) }

// leaderships are those that a request names, as far as this broker is behind them.
type leaderships struct {
	tps    []kafka.TopicPartition
	epochs []kafka.LeaderEpoch
}

// add notes what a request knows of a partition, if that is news.
func (l *leaderships) add(a *API, topic string, partition, epoch int32) {
	tp := kafka.TopicPartition{Topic: topic, Partition: partition}
	if epoch >= 0 && a.opt.Replicas.Behind(tp, kafka.LeaderEpoch(epoch)) {
		l.tps, l.epochs = append(l.tps, tp), append(l.epochs, kafka.LeaderEpoch(epoch))
	}
}

// await waits until this broker has come to all of them, or for NewerWait. Whatever
// comes of it, each partition finds out.
func (l *leaderships) await(ctx context.Context, a *API) {
	if len(l.tps) == 0 {
		return
	}
	var known atomic.Int64 // the first ones; no epoch goes back, so they are not asked again
	ready := func() bool {
		i := int(known.Load())
		for i < len(l.tps) && !a.opt.Replicas.Behind(l.tps[i], l.epochs[i]) {
			i++
		}
		known.Store(int64(i))
		return i == len(l.tps)
	}
	done := make(chan struct{})
	w := a.opt.Fetches.Park(distinct(l.tps), a.opt.NewerWait, ready, func(purgatory.Outcome) { close(done) })
	select {
	case <-done:
	case <-ctx.Done():
		w.Cancel()
	}
}

// distinct are the partitions without those that are named again.
func distinct(tps []kafka.TopicPartition) []kafka.TopicPartition {
	seen := make(map[kafka.TopicPartition]bool, len(tps))
	out := make([]kafka.TopicPartition, 0, len(tps))
	for _, tp := range tps {
		if !seen[tp] {
			seen[tp] = true
			out = append(out, tp)
		}
	}
	return out
}

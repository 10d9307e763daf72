package api

import (
	"context"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/cluster"
	"barnabas/internal/kafka"
)

// A client whose leader has died asks who leads now, often before this is decided,
// and some believe the answer for seconds: franz-go does not ask again for 5 s. So
// an answer that would name a broker whose process has just ended waits for the
// verdict on it, and for the elections after it, within the bounds of
// Deaths.AwaitVerdict. And a new leader lets a Produce wait until it has heard that it
// leads: the client may have heard sooner, from another broker, and if it were refused
// it would ask again, and be told nothing new, for as long.
//
// Questions on connections that carry Produce or Fetch don't wait: what they send behind their
// question would wait, too, although it is for leaders that live. The clients that
// share connections so, Java's and librdkafka, ask again within 0.1 s.

// serveWithin bounds the wait of a Produce, since others of its connection, to
// partitions that are led, may wait behind it: a broker reads of its leaderships
// within milliseconds of the others.
const serveWithin = 250 * time.Millisecond

// awaitLeaders waits as long as an answer to a Metadata would name a leader that may
// be dead.
func (a *API) awaitLeaders(ctx context.Context, c *Call, req *kmsg.MetadataRequest) {
	if c.Streams {
		return
	}
	a.opt.Deaths.AwaitVerdict(ctx, func(doubts []cluster.Doubt) bool {
		im := a.opt.Image()
		undecided := func(t *cluster.Topic) bool {
			return t != nil && slices.ContainsFunc(t.Partitions, func(p *cluster.Partition) bool { return undecided(im, doubts, p) })
		}
		if wantsAll(c.Version, req) {
			for t := range im.Topics() {
				if undecided(t) {
					return true
				}
			}
			return false
		}
		for i := range req.Topics {
			q := &req.Topics[i]
			t := im.TopicByID(kafka.TopicID(q.TopicID))
			if q.Topic != nil {
				t = im.Topic(*q.Topic)
			}
			if undecided(t) {
				return true
			}
		}
		return false
	})
}

// awaitCoordinators waits as long as an answer would name a coordinator of groups
// that may be dead.
func (a *API) awaitCoordinators(ctx context.Context, c *Call, keys []string) {
	if c.Streams {
		return
	}
	a.opt.Deaths.AwaitVerdict(ctx, func(doubts []cluster.Doubt) bool {
		im := a.opt.Image()
		t := im.Topic(kafka.ConsumerOffsetsTopic)
		if t == nil || len(t.Partitions) == 0 {
			return false
		}
		return slices.ContainsFunc(keys, func(key string) bool {
			return undecided(im, doubts, t.Partition(kafka.PartitionFor(key, int32(len(t.Partitions)))))
		})
	})
}

// awaitLeading waits until this broker leads those partitions of a Produce that it is
// about to lead.
func (p *produce) awaitLeading(ctx context.Context) {
	a := p.a
	each := func(do func(tp kafka.TopicPartition) bool) bool {
		parts := p.req.Partitions
		for _, t := range p.req.Topics {
			for i := range parts[:t.Count] {
				if do(kafka.TopicPartition{Topic: string(t.Name), Partition: parts[i].Partition}) {
					return true
				}
			}
			parts = parts[t.Count:]
		}
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, serveWithin)
	defer cancel()
	a.opt.Deaths.AwaitVerdict(ctx, func(doubts []cluster.Doubt) bool {
		im := a.opt.Image()
		return each(func(tp kafka.TopicPartition) bool {
			q := im.Partition(tp)
			return undecided(im, doubts, q) && slices.Contains(q.ISR, a.opt.BrokerID)
		})
	})
	im := a.opt.Image()
	var mine []kafka.TopicPartition
	each(func(tp kafka.TopicPartition) bool {
		if q := im.Partition(tp); q != nil && q.HasState && q.Leader == a.opt.BrokerID {
			mine = append(mine, tp)
		}
		return false
	})
	// Whatever comes of it, each append finds out.
	_ = a.opt.Replicas.AwaitServing(ctx, mine)
}

// undecided reports whether a partition's leader is in doubt and another one would be
// elected in its place.
func undecided(im *cluster.Image, doubts []cluster.Doubt, p *cluster.Partition) bool {
	if p == nil || !p.HasState {
		return false
	}
	doubted := func(id kafka.BrokerID) bool {
		return slices.ContainsFunc(doubts, func(d cluster.Doubt) bool {
			b := im.Broker(id)
			return d.ID == id && (b == nil || b.Epoch == d.Epoch)
		})
	}
	return doubted(p.Leader) && slices.ContainsFunc(p.ISR, func(id kafka.BrokerID) bool { return im.Alive(id) && !doubted(id) })
}

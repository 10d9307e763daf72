package broker

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// stamp is how far this broker has read the change log.
func (b *Broker) stamp() protocol.Stamp {
	im := b.metadata.Current()
	return protocol.Stamp{Epoch: im.ControllerEpoch, Next: im.Next}
}

// heard takes what another broker says of itself.
func (b *Broker) heard(s protocol.Stamp) {
	if s.Newer(b.stamp()) {
		b.registrar.Behind()
	}
}

const (
	// askAround is how often a broker that has lost ZooKeeper asks others how far
	// they have read, in case that none of them has anything to ask of it; askedAtOnce
	// of them each time.
	askAround, askedAtOnce = time.Second, 3
)

// listenAround asks others, as long as this broker's session may be over.
func (b *Broker) listenAround(ctx context.Context) error {
	tick := time.NewTicker(askAround)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if !b.registrar.Overdue() || b.registrar.Doubtful() {
			continue
		}
		var others []kafka.BrokerID
		for _, o := range b.metadata.Current().Brokers() {
			if o.ID != b.id {
				others = append(others, o.ID)
			}
		}
		rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
		for _, id := range others[:min(askedAtOnce, len(others))] {
			req := kmsg.NewPtrDescribeClusterRequest()
			req.Version = 1
			bounded, cancel := context.WithTimeout(ctx, askAround)
			_, err := b.peers.Request(bounded, id, req) // the header of its answer is what counts
			cancel()
			if err != nil {
				b.logger.Debug("asking another broker how far it has read", "peer", int32(id), "error", err)
			}
		}
	}
}

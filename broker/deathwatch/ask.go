package deathwatch

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/controller/detector"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// ask asks another broker whether it saw the same.
func (w *Watch) ask(ctx context.Context, e detector.Effect, of kafka.BrokerID) {
	bounded, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	yes, err := w.question(bounded, of, e.ID, e.Epoch)
	if err != nil && ctx.Err() == nil {
		w.o.Logger.Debug("asking another broker about a death", "asked", int32(of), "peer", int32(e.ID), "error", err)
	}
	w.told(ctx, func(now time.Time) []detector.Effect { return w.d.Confirmed(now, e.ID, e.Epoch, of, yes) })
}

// question is DescribeCluster with a tagged field of ours.
func (w *Watch) question(ctx context.Context, of, id kafka.BrokerID, epoch kafka.BrokerEpoch) (yes bool, err error) {
	req := kmsg.NewPtrDescribeClusterRequest()
	req.Version = 1
	req.UnknownTags.Set(protocol.TagSuspect, protocol.AppendSuspect(nil, id, epoch))
	resp, err := w.o.Peers.Request(ctx, of, req)
	if err != nil {
		return false, err
	}
	err = errNoAnswer
	resp.(*kmsg.DescribeClusterResponse).UnknownTags.Each(func(key uint32, v []byte) {
		if key == protocol.TagSuspect && len(v) > 0 {
			yes, err = v[0] == 1, nil
		}
	})
	return yes, err
}

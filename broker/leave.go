package broker

import (
	"context"
	"slices"
	"time"

	"barnabas/cluster"
	"barnabas/controller/plan"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

const (
	// handOverWait bounds the time that a stop spends on a controller that does not
	// answer.
	handOverWait = 5 * time.Second
	// leaveWait bounds how long a stop waits for others to lead what this broker led.
	leaveWait = time.Second
)

// handOver lets others lead what this broker leads, while it still serves
// (controlled.shutdown.enable). What nobody else could lead yet is tried again
// when the cluster has changed or after controlled.shutdown.retry.backoff.ms; what
// nobody else will be able to lead is not waited for.
func (b *Broker) handOver() {
	c := &b.config.Load().Broker
	if b.registrar == nil || b.forward == nil || !c.ControlledShutdown {
		return
	}
	epoch, ok := b.registrar.Epoch()
	if !ok || !b.others() {
		return
	}
	began := time.Now()
	for try := 1; b.zk.Connected(); try++ { // else nobody can be elected
		im := b.metadata.Current()
		remaining, err := b.askToStop(epoch)
		remaining = slices.DeleteFunc(remaining, func(tp kafka.TopicPartition) bool { return !plan.Movable(b.metadata.Current(), tp, b.id) })
		switch code := protocol.CodeOf(err); {
		case err == nil && len(remaining) == 0:
			b.logger.Info("other brokers lead now what this one led", "took", time.Since(began).Round(time.Millisecond))
			return
		case code == protocol.BrokerNotAvailable || code == protocol.StaleBrokerEpoch: // we are not registered any more
			return
		case try >= max(c.ControlledShutdownRetries, 1), err != nil && time.Since(began) >= handOverWait:
			b.logger.Warn("stopping though this broker may still lead", "partitions", len(remaining), "tries", try, "error", err)
			return
		}
		b.awaitChance(im, remaining, c.ControlledShutdownRetryBackoff)
	}
}

// others reports whether there is another broker that is not stopping.
func (b *Broker) others() bool {
	return slices.ContainsFunc(b.metadata.Current().Brokers(), func(o *cluster.Broker) bool { return o.ID != b.id && !o.Stopping })
}

func (b *Broker) askToStop(epoch kafka.BrokerEpoch) ([]kafka.TopicPartition, error) {
	ctx, cancel := context.WithTimeout(b.ctx, handOverWait)
	defer cancel()
	return b.forward.ControlledShutdown(ctx, epoch)
}

// awaitChance waits until it makes sense to ask again: another controller than in
// im, or a follower of what remains that is in sync by now.
func (b *Broker) awaitChance(im *cluster.Image, remaining []kafka.TopicPartition, atMost time.Duration) {
	ctx, cancel := context.WithTimeout(b.ctx, atMost)
	defer cancel()
	// Whatever comes of it, it is tried again.
	_ = b.metadata.WaitFor(ctx, func(now *cluster.Image) bool {
		if now.ControllerEpoch != im.ControllerEpoch && now.LiveController() != kafka.NoBroker {
			return true
		}
		return slices.ContainsFunc(remaining, func(tp kafka.TopicPartition) bool {
			p := now.Partition(tp)
			return p == nil || p.Leader != b.id || len(p.ISR) > 1
		})
	})
}

// leave takes the broker out of the cluster while it still answers, so that its
// clients are sent to the new leaders instead of into closed connections.
func (b *Broker) leave() {
	b.leaving()
	b.members.Wait()
	if b.registrar == nil {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, leaveWait)
	defer cancel()
	if err := b.registrar.Leave(ctx); err != nil {
		b.logger.Warn("the registration could not be removed; it ends with the session", "error", err)
		return
	}
	b.metadata.WaitFor(ctx, func(im *cluster.Image) bool { return !im.CanHandOver(b.id) })
}

package plan

import (
	"slices"

	"barnabas/cluster"
	"barnabas/internal/kafka"
)

// Stop returns what makes a broker ready to stop: it is told to be stopping; what
// it leads goes to another member of the ISR; and it leaves every ISR, so that
// nobody waits for it. remaining are the partitions that it goes on leading, since
// nobody else in sync could. skip names topics that are being deleted.
//
// Partitions with one replica are left alone, as in Kafka: they have no leader
// once it is gone, and it leads them again afterwards. Other than in Kafka a leader
// whose ISR only shrinks keeps its leader epoch: it has waited for all members, so
// those left have all that was acknowledged, and no producer has to try again.
func (c Controller) Stop(im *cluster.Image, id kafka.BrokerID, skip func(topic string) bool) (steps []Step, remaining []kafka.TopicPartition) {
	b := im.Broker(id)
	if !b.Stopping {
		steps = append(steps, Step{Brokers: []cluster.EntryBroker{entryBroker(b, true)}})
	}
	var shrinks []Step
	for _, t := range sortedTopics(im) {
		if skip(t.Name) || t.ID.IsZero() {
			continue
		}
		for i, p := range t.Partitions {
			if p == nil || !p.HasState || len(p.Replicas) < 2 || !slices.Contains(p.ISR, id) && p.Leader != id {
				continue
			}
			s, moved, ok := c.without(im, t, int32(i), p, id)
			switch {
			case !ok && p.Leader == id:
				remaining = append(remaining, kafka.TopicPartition{Topic: t.Name, Partition: int32(i)})
			case !ok:
			case moved:
				steps = append(steps, stateStep(t, int32(i), p, s, false))
			default:
				shrinks = append(shrinks, stateStep(t, int32(i), p, s, false))
			}
		}
	}
	return append(steps, shrinks...), remaining
}

// without is a state that a broker about to stop has no part in; ok is false where
// it is the only one. moved tells that it led.
func (c Controller) without(im *cluster.Image, t *cluster.Topic, number int32, p *cluster.Partition, id kafka.BrokerID) (s cluster.EntryState, moved, ok bool) {
	s, due := c.next(im, t, number, p)
	if s.Leader == kafka.NoBroker || !slices.Contains(s.ISR, id) {
		return s, due, due
	}
	stays := func(of kafka.BrokerID) bool {
		b := im.Broker(of)
		return of != id && b != nil && !b.Stopping
	}
	others := filter(s.ISR, stays)
	if len(others) == 0 {
		return s, due, due && s.Leader != id
	}
	s.ControllerEpoch = c.Epoch
	if moved = s.Leader == id; moved {
		s.Leader, s.LeaderEpoch = c.prefer(im, p.Replicas, others), p.LeaderEpoch+1
	}
	s.ISR = filter(s.ISR, func(of kafka.BrokerID) bool { return of != id && (of == s.Leader || stays(of)) })
	return s, moved || due, true
}

// Movable reports whether waiting may let a broker that stops hand over a
// partition: another replica is alive, is not stopping itself, and has its log.
func Movable(im *cluster.Image, tp kafka.TopicPartition, id kafka.BrokerID) bool {
	p := im.Partition(tp)
	return p != nil && slices.ContainsFunc(p.Replicas, func(of kafka.BrokerID) bool {
		b := im.Broker(of)
		return of != id && b != nil && !b.Stopping && !slices.Contains(p.Offline, of)
	})
}

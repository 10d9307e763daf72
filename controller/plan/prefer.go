package plan

import (
	"fmt"
	"slices"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// Prefer returns the states to write so that partitions are led by the first of
// their replicas, and one result for each, with the errors of Kafka 3.9's
// KafkaController.processReplicaLeaderElection. deleted names topics that are
// being deleted.
func (c Controller) Prefer(im *cluster.Image, tps []kafka.TopicPartition, deleted func(topic string) bool) ([]Step, []cluster.ElectionResult) {
	var steps []Step
	results := make([]cluster.ElectionResult, len(tps))
	done := map[kafka.TopicPartition]int{} // named twice, elected once
	for i, tp := range tps {
		if first, twice := done[tp]; twice {
			results[i] = results[first]
			continue
		}
		done[tp] = i
		results[i].TP = tp
		t, p, err := electable(im, tp, deleted)
		if err != nil {
			results[i].Err = err
			continue
		}
		if p.HasState && p.Leader == p.Replicas[0] && im.Alive(p.Leader) {
			results[i].Err = errNotNeeded
			continue
		}
		s, ok := c.preferred(im, t, tp.Partition, p)
		if !ok {
			results[i].Err = notElected(protocol.PreferredLeaderNotAvailable, tp, "PreferredReplicaPartitionLeaderElectionStrategy")
			continue
		}
		results[i].Leader = s.Leader
		steps = append(steps, stateStep(t, tp.Partition, p, s, false))
	}
	return steps, results
}

var errNotNeeded = protocol.Fail(protocol.ElectionNotNeeded, "Leader election not needed for topic partition.")

// electable finds a partition that an election is asked for.
func electable(im *cluster.Image, tp kafka.TopicPartition, deleted func(string) bool) (*cluster.Topic, *cluster.Partition, error) {
	t, p := im.Topic(tp.Topic), im.Partition(tp)
	switch {
	case p == nil || t.ID.IsZero() || len(p.Replicas) == 0:
		return nil, nil, protocol.Fail(protocol.UnknownTopicOrPartition, "The partition does not exist.")
	case deleted(tp.Topic):
		return nil, nil, protocol.Fail(protocol.InvalidTopic, "The topic is being deleted")
	}
	return t, p, nil
}

// notElected is Kafka's StateChangeFailedException.
func notElected(code protocol.Error, tp kafka.TopicPartition, strategy string) error {
	return protocol.Fail(code, fmt.Sprintf("Failed to elect leader for partition %s under strategy %s", tp, strategy))
}

// preferred is the state in which the first replica leads; ok is false where it
// may not. A death or birth that the state does not know yet comes into it, too.
func (c Controller) preferred(im *cluster.Image, t *cluster.Topic, number int32, p *cluster.Partition) (s cluster.EntryState, ok bool) {
	first := p.Replicas[0]
	b := im.Broker(first)
	if b == nil || b.Stopping {
		return s, false
	}
	s, _ = c.next(im, t, number, p)
	if !slices.Contains(s.ISR, first) || s.Leader == kafka.NoBroker || slices.Contains(s.Offline, first) {
		return s, false
	}
	s.Leader, s.LeaderEpoch, s.ControllerEpoch = first, p.LeaderEpoch+1, c.Epoch
	return s, true
}

// Imbalanced lists the partitions to give back to the first of their replicas:
// those of brokers that do not lead more than percentage of the partitions whose
// first replica they are (leader.imbalance.per.broker.percentage). As in Kafka's
// checkAndTriggerAutoLeaderRebalance there are none while any partition is being
// reassigned.
func (c Controller) Imbalanced(im *cluster.Image, percentage int, deleted func(topic string) bool) []kafka.TopicPartition {
	type count struct{ all, elsewhere int }
	of := map[kafka.BrokerID]*count{}
	topics := sortedTopics(im)
	for _, t := range topics {
		if deleted(t.Name) {
			continue
		}
		for _, p := range t.Partitions {
			if p == nil || len(p.Replicas) == 0 {
				continue
			}
			if len(p.Adding)+len(p.Removing) > 0 {
				return nil
			}
			n := of[p.Replicas[0]]
			if n == nil {
				n = &count{}
				of[p.Replicas[0]] = n
			}
			if n.all++; p.HasState && p.Leader != p.Replicas[0] {
				n.elsewhere++
			}
		}
	}
	var out []kafka.TopicPartition
	for _, t := range topics {
		if deleted(t.Name) || t.ID.IsZero() {
			continue
		}
		for i, p := range t.Partitions {
			if p == nil || len(p.Replicas) == 0 || !p.HasState || p.Leader == p.Replicas[0] {
				continue
			}
			if n := of[p.Replicas[0]]; n.elsewhere*100 <= n.all*percentage {
				continue
			}
			if _, ok := c.preferred(im, t, int32(i), p); ok {
				out = append(out, kafka.TopicPartition{Topic: t.Name, Partition: int32(i)})
			}
		}
	}
	return out
}

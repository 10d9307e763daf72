package plan

import (
	"fmt"
	"slices"
	"strings"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// Where no member of an ISR lived on whole, its replicas are asked where their
// logs end before one is elected: the one with the largest last leader epoch, and
// among those the largest end, has all that the others have (KIP-966). Surveys says
// whom to ask, somebody asks, and with the answers as Controller.Ends the ordinary
// plan elects.

// Survey is a partition whose replicas are to be asked.
type Survey struct {
	TP    kafka.TopicPartition
	Topic *cluster.Topic
	// State is the partition as it is; answers hold only as long as it does.
	State *cluster.Partition
	// Ask are the replicas that live. Absent are members of the ISR that do not: what
	// only they have will be lost.
	Ask, Absent []kafka.BrokerID
	// Others are replicas that do not live and were not in the ISR: one of them may
	// have kept what all crashed members lost.
	Others []kafka.BrokerID
	// Unclean: the election is allowed whoever is absent. Else members of the ISR
	// have crashed, the absent ones are to be waited for, and all who live must have
	// answered.
	Unclean bool
}

// End is what a replica answered, and the registration that it was asked under.
type End struct {
	cluster.LogEnd
	Registration kafka.BrokerEpoch
}

// Ends are the answers of replicas by partition. Those of one state say nothing
// about another, so the state itself is the key.
type Ends map[*cluster.Partition]map[kafka.BrokerID]End

// Surveys lists the partitions without a leader whose replicas must be asked
// before one can be elected. skip names topics that are being deleted. While a
// member of the ISR was declared dead by evidence, and its session may not have
// ended, an unclean election is not allowed.
func (c Controller) Surveys(im *cluster.Image, skip func(topic string) bool) []Survey {
	var out []Survey
	for _, t := range sortedTopics(im) {
		if skip(t.Name) || t.ID.IsZero() {
			continue
		}
		for i, p := range t.Partitions {
			if p == nil || !p.HasState || p.Leader != kafka.NoBroker {
				continue
			}
			s := c.survey(im, t, int32(i))
			s.Unclean = c.uncleanAllowed(t) && !slices.ContainsFunc(s.Absent, func(id kafka.BrokerID) bool { return c.Alarmed[id] })
			crashed := len(s.Absent) < len(p.ISR)
			if _, due := c.next(im, t, int32(i), p); due || len(s.Ask) == 0 || !s.Unclean && !crashed {
				continue
			}
			out = append(out, s)
		}
	}
	return out
}

func (c Controller) survey(im *cluster.Image, t *cluster.Topic, partition int32) Survey {
	p := t.Partition(partition)
	usable := c.usable(im, t, partition, p)
	return Survey{
		TP: kafka.TopicPartition{Topic: t.Name, Partition: partition}, Topic: t, State: p, Ask: filter(p.Replicas, usable),
		Absent: filter(p.ISR, func(id kafka.BrokerID) bool { return !usable(id) }),
		Others: filter(p.Replicas, func(id kafka.BrokerID) bool { return !usable(id) && !slices.Contains(p.ISR, id) }),
	}
}

// Question is what the survey asks.
func (s *Survey) Question() cluster.EndQuestion {
	return cluster.EndQuestion{TP: s.TP, TopicID: s.Topic.ID, LeaderEpoch: s.State.LeaderEpoch}
}

// Forced returns the surveys of an unclean election that somebody asks for, and
// the results that are known without asking, with the errors of Kafka 3.9; a
// partition has either.
func (c Controller) Forced(im *cluster.Image, tps []kafka.TopicPartition, deleted func(topic string) bool) (surveys []Survey, results []cluster.ElectionResult) {
	for _, tp := range tps {
		t, p, err := electable(im, tp, deleted)
		switch {
		case err != nil:
		case p.HasState && im.Alive(p.Leader):
			err = errNotNeeded
		case !p.HasState:
			err = NotElectable(tp)
		default:
			s := c.survey(im, t, tp.Partition)
			if s.Unclean = true; len(s.Ask) > 0 {
				surveys = append(surveys, s)
				continue
			}
			err = NotElectable(tp)
		}
		results = append(results, cluster.ElectionResult{TP: tp, Err: err})
	}
	return surveys, results
}

// NotElectable is the answer where no replica can lead.
func NotElectable(tp kafka.TopicPartition) error {
	return notElected(protocol.EligibleLeadersNotAvailable, tp, "OfflinePartitionLeaderElectionStrategy(true)")
}

// longest is the replica with the longest log of those that answered and have not
// been registered anew since; among equal ones one that is not about to stop, then
// a member of the ISR, then the first.
func longest(im *cluster.Image, p *cluster.Partition, usable func(kafka.BrokerID) bool, ends map[kafka.BrokerID]End) kafka.BrokerID {
	rank := func(id kafka.BrokerID) (r int) {
		if !im.Broker(id).Stopping {
			r += 2
		}
		if slices.Contains(p.ISR, id) {
			r++
		}
		return r
	}
	chosen, best := kafka.NoBroker, End{}
	for _, id := range filter(p.Replicas, usable) {
		e, ok := ends[id]
		if !ok || e.Err != nil || e.Registration != im.Broker(id).Epoch {
			continue
		}
		longer := e.Epoch > best.Epoch || e.Epoch == best.Epoch && e.End > best.End
		equal := e.Epoch == best.Epoch && e.End == best.End
		if chosen == kafka.NoBroker || longer || equal && rank(id) > rank(chosen) {
			chosen, best = id, e
		}
	}
	return chosen
}

// Enough reports whether a survey's answers allow an election: any for an unclean
// one, else those of all who live, each of whom must know its end. One whose directory
// is offline may have kept what the crashed members lost, be it a member of the ISR or
// not, and may answer before it is known to be so. Nor may one have gone since it
// answered: its log may be the longest, and it is to be waited for.
func (s *Survey) Enough(im *cluster.Image, ends map[kafka.BrokerID]End) bool {
	if s.Unclean {
		return slices.ContainsFunc(s.Ask, func(id kafka.BrokerID) bool { e, ok := ends[id]; return ok && e.Err == nil })
	}
	for _, id := range s.Ask {
		b := im.Broker(id)
		if e, ok := ends[id]; !ok || e.Err != nil || b == nil || b.Epoch != e.Registration {
			return false
		}
	}
	return true
}

// Loss is what an election by survey chose, and what may be missing.
type Loss struct {
	TP     kafka.TopicPartition
	Leader kafka.BrokerID
	End
	// Known is the largest high watermark that any of those asked had heard of, and
	// Missing how many acknowledged records below it the chosen log does not have, at
	// least.
	Known, Missing int64
	// Silent were in sync and did not answer: records that only they have are gone,
	// too, if they were acknowledged after the others left the ISR.
	Silent []kafka.BrokerID
}

// String is how a change entry tells it.
func (l *Loss) String() string {
	var silent strings.Builder
	for i, id := range l.Silent {
		if i > 0 {
			silent.WriteByte(',')
		}
		fmt.Fprint(&silent, int32(id))
	}
	return fmt.Sprintf("leader=%d epoch=%d end=%d known=%d missing=%d silent=%s", l.Leader, l.Epoch, l.LogEnd.End, l.Known, l.Missing, silent.String())
}

// Settled elects for surveys whose answers are in c.Ends, as far as their states
// are still those of the image: the steps, and what each lost.
func (c Controller) Settled(im *cluster.Image, surveys []Survey) (steps []Step, losses []Loss) {
	for i := range surveys {
		s := &surveys[i]
		t := im.Topic(s.TP.Topic)
		ends, ok := c.Ends[s.State]
		if !ok || im.Partition(s.TP) != s.State || t.ID != s.Topic.ID {
			continue
		}
		next, due := c.next(im, t, s.TP.Partition, s.State)
		if !due || next.Leader == kafka.NoBroker {
			continue
		}
		l := Loss{TP: s.TP, Leader: next.Leader, End: ends[next.Leader]}
		for _, id := range s.State.Replicas {
			switch e, ok := ends[id]; {
			case ok && e.Err == nil:
				l.Known = max(l.Known, e.Committed)
			case slices.Contains(s.State.ISR, id):
				l.Silent = append(l.Silent, id)
			}
		}
		l.Missing = max(0, l.Known-l.LogEnd.End)
		steps, losses = append(steps, stateStep(t, s.TP.Partition, s.State, next, false)), append(losses, l)
	}
	return steps, losses
}

package plan

import (
	"fmt"
	"slices"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// ISRAsk is what one leader asks for: AlterPartition (KIP-497).
type ISRAsk struct {
	Leader  kafka.BrokerID
	Epoch   kafka.BrokerEpoch // of its registration
	Changes []cluster.ISRChange
}

// ISRAnswer answers an ISRAsk: Err for the whole of it, or one result for each
// change. Results hold once all steps were carried out.
type ISRAnswer struct {
	Results []cluster.ISRResult
	Err     error
}

// AlterPartitions decides what many leaders ask for, together: a step for each
// partition that changes. What was written before is answered with success, so
// leaders, and whoever carries out the steps, may ask again. skip names topics
// that can't be written now; their leaders are told to come back.
func (c Controller) AlterPartitions(im *cluster.Image, asks []ISRAsk, skip func(topic string) bool) (steps []Step, answers []ISRAnswer) {
	answers = make([]ISRAnswer, len(asks))
	changed := map[*cluster.Partition]cluster.EntryState{} // in this batch
	for i := range asks {
		a := &asks[i]
		if b := im.Broker(a.Leader); b == nil || b.Epoch != a.Epoch {
			answers[i].Err = protocol.StaleBrokerEpoch
			continue
		}
		answers[i].Results = make([]cluster.ISRResult, len(a.Changes))
		for j := range a.Changes {
			st, r := c.alterOne(im, a.Leader, &a.Changes[j], changed, skip)
			if answers[i].Results[j] = r; st != nil {
				steps = append(steps, *st)
			}
		}
	}
	return steps, answers
}

// alterOne decides one change, and notes in changed what it writes.
func (c Controller) alterOne(im *cluster.Image, leader kafka.BrokerID, ch *cluster.ISRChange, changed map[*cluster.Partition]cluster.EntryState,
	skip func(topic string) bool) (*Step, cluster.ISRResult) {
	t, p, err := target(im, ch)
	if err != nil {
		return nil, cluster.ISRResult{Err: err}
	}
	if skip(t.Name) {
		return nil, cluster.ISRResult{Err: protocol.Fail(protocol.UnknownServerError, "the topic's znodes are being changed by somebody else")}
	}
	if s, twice := changed[p]; twice {
		return nil, again(s, ch)
	}
	s, err := c.alter(im, t, p, leader, ch)
	switch {
	case err != nil:
		return nil, cluster.ISRResult{Err: err}
	case s == nil: // is so already
		return nil, present(p)
	}
	st := stateStep(t, ch.TP.Partition, p, *s, false)
	changed[p] = st.States[0].EntryState
	return &st, receipt(&st.States[0].EntryState)
}

// target finds the partition that a change is about.
func target(im *cluster.Image, ch *cluster.ISRChange) (*cluster.Topic, *cluster.Partition, error) {
	t, unknown := im.TopicByID(ch.TopicID), protocol.UnknownTopicID
	if ch.TopicID.IsZero() {
		t, unknown = im.Topic(ch.TP.Topic), protocol.UnknownTopicOrPartition
	}
	if t == nil {
		return nil, nil, unknown
	}
	p := t.Partition(ch.TP.Partition)
	if p == nil || !p.HasState {
		return nil, nil, protocol.UnknownTopicOrPartition
	}
	return t, p, nil
}

// alter checks one change in the order of Kafka's controller, and returns the
// state to write, or nil where the present one says the same. Beyond Kafka it
// refuses what no leader should ask: an ISR of brokers that are no replicas, or
// without the leader.
func (c Controller) alter(im *cluster.Image, t *cluster.Topic, p *cluster.Partition, leader kafka.BrokerID, ch *cluster.ISRChange) (*cluster.EntryState, error) {
	isr := make([]kafka.BrokerID, len(ch.ISR))
	for i, m := range ch.ISR {
		isr[i] = m.ID
	}
	switch {
	case ch.PartitionEpoch > p.PartitionEpoch || ch.LeaderEpoch > p.LeaderEpoch:
		return nil, protocol.NotController // the leader knows a newer state than we do
	case ch.LeaderEpoch < p.LeaderEpoch:
		return nil, protocol.FencedLeaderEpoch
	case leader != p.Leader:
		return nil, invalid("broker %d does not lead", leader)
	case slices.Equal(isr, p.ISR) && ch.Recovering == p.Recovering:
		return nil, nil
	case ch.PartitionEpoch < p.PartitionEpoch:
		return nil, protocol.InvalidUpdateVersion
	case ch.Recovering && len(isr) > 1:
		return nil, invalid("an ISR of more than the leader while it recovers")
	case ch.Recovering && !p.Recovering:
		return nil, invalid("the leader had recovered")
	case !slices.Contains(isr, leader):
		return nil, invalid("the ISR is without its leader")
	}
	if _, due := c.next(im, t, ch.TP.Partition, p); due {
		// A death or birth that the state does not know yet: a new leader epoch
		// comes first (docs/coordination.md §7).
		return nil, protocol.InvalidUpdateVersion
	}
	for i, m := range ch.ISR {
		if err := mayBeInSync(im, p, m, slices.Contains(isr[:i], m.ID)); err != nil {
			return nil, err
		}
	}
	return &cluster.EntryState{Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, ISR: isr, ControllerEpoch: c.Epoch,
		Recovering: ch.Recovering, Offline: p.Offline}, nil
}

func invalid(format string, args ...any) error {
	return protocol.Fail(protocol.InvalidRequest, fmt.Sprintf(format, args...))
}

// mayBeInSync checks one member of a proposed ISR. It must live, in the
// registration that its leader saw it fetch under (KIP-903): one that died and
// came back since may have lost what it had. One that is about to stop does not
// enter; one that stops while in sync leaves by its controlled shutdown, and
// holds up no other change until then.
func mayBeInSync(im *cluster.Image, p *cluster.Partition, m cluster.ISRMember, twice bool) error {
	if twice || !slices.Contains(p.Replicas, m.ID) {
		return invalid("broker %d is no replica, or is named twice", m.ID)
	}
	b := im.Broker(m.ID)
	entering := !slices.Contains(p.ISR, m.ID)
	switch {
	case b == nil:
		return ineligible("broker %d is not registered", m.ID)
	case m.Epoch >= 0 && m.Epoch != b.Epoch:
		return ineligible("broker %d is not registered as %d any more", m.ID, m.Epoch)
	case entering && b.Stopping:
		return ineligible("broker %d is stopping", m.ID)
	case slices.Contains(p.Offline, m.ID):
		return ineligible("the log of broker %d is offline", m.ID)
	}
	return nil
}

func ineligible(format string, args ...any) error {
	return protocol.Fail(protocol.IneligibleReplica, fmt.Sprintf(format, args...))
}

// again answers a change of a partition that the same batch changes already.
func again(s cluster.EntryState, ch *cluster.ISRChange) cluster.ISRResult {
	same := ch.LeaderEpoch == s.LeaderEpoch && ch.Recovering == s.Recovering &&
		slices.EqualFunc(ch.ISR, s.ISR, func(m cluster.ISRMember, id kafka.BrokerID) bool { return m.ID == id })
	if !same {
		return cluster.ISRResult{Err: protocol.InvalidUpdateVersion}
	}
	return receipt(&s)
}

func receipt(s *cluster.EntryState) cluster.ISRResult {
	return cluster.ISRResult{Leader: s.Leader, LeaderEpoch: s.LeaderEpoch, ISR: s.ISR, Recovering: s.Recovering,
		PartitionEpoch: kafka.PartitionEpoch(s.ZnodeVersion)}
}

// present tells the present state as the answer to a change.
func present(p *cluster.Partition) cluster.ISRResult {
	return cluster.ISRResult{Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, ISR: p.ISR, Recovering: p.Recovering, PartitionEpoch: p.PartitionEpoch}
}

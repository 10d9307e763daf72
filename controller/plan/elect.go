package plan

import (
	"maps"
	"slices"
	"strings"

	"barnabas/cluster"
	"barnabas/internal/kafka"
)

// uncleanKey is the topic config that allows a leader that was not in sync.
const uncleanKey = "unclean.leader.election.enable"

// Settle returns the states to write so that every partition has a leader that
// may lead, as far as there is one. It is the same for a broker that died, was
// born, or did both, for new partitions, and for what an earlier controller left
// half done: each state is compared with who is alive now. skip names topics
// that are being deleted.
func (c Controller) Settle(im *cluster.Image, skip func(topic string) bool) []Step {
	var steps []Step
	for _, t := range sortedTopics(im) {
		if !skip(t.Name) {
			steps = append(steps, c.SettleTopic(im, t)...)
		}
	}
	return steps
}

// SettleTopic is Settle for one topic. A topic without an id is left until it
// is adopted.
func (c Controller) SettleTopic(im *cluster.Image, t *cluster.Topic) []Step {
	if t.ID.IsZero() {
		return nil
	}
	var steps []Step
	for i, p := range t.Partitions {
		if p == nil {
			continue
		}
		if s, ok := c.next(im, t, int32(i), p); ok {
			steps = append(steps, stateStep(t, int32(i), p, s, false))
		}
	}
	return steps
}

func sortedTopics(im *cluster.Image) []*cluster.Topic {
	return slices.SortedFunc(im.Topics(), func(a, b *cluster.Topic) int {
		switch {
		case a.Name < b.Name:
			return -1
		case a.Name > b.Name:
			return 1
		}
		return 0
	})
}

// next is the state that partition number of t, p, must have now, if it is not the
// present one.
func (c Controller) next(im *cluster.Image, t *cluster.Topic, number int32, p *cluster.Partition) (cluster.EntryState, bool) {
	if !p.HasState {
		return c.first(im, p)
	}
	s := cluster.EntryState{Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, ISR: p.ISR, Recovering: p.Recovering}
	usable := c.usable(im, t, number, p)
	sound := func(id kafka.BrokerID) bool { return usable(id) && !c.born(im, p, id) }
	if staying := filter(p.ISR, sound); len(staying) > 0 && p.Leader != kafka.NoBroker {
		s.ISR = staying
		if !slices.Contains(staying, p.Leader) {
			s.Leader = c.prefer(im, p.Replicas, staying)
		}
	} else {
		s.Leader, s.ISR, s.Recovering = c.revive(im, p, usable)
	}
	s.Offline = filter(p.Replicas, func(id kafka.BrokerID) bool { return im.Alive(id) && !usable(id) })
	same := !p.ByHand && s.Leader == p.Leader && (p.Leader == kafka.NoBroker || !c.born(im, p, p.Leader))
	if same && slices.Equal(s.ISR, p.ISR) && sameMembers(s.Offline, p.Offline) {
		return s, false
	}
	if s.ControllerEpoch = c.Epoch; !same { // one that goes on leading waited for all who leave: those left have what it acknowledged
		s.LeaderEpoch++
	}
	return s, true
}

// born reports whether a broker was registered after a partition's state was
// written: it has died and was born since, and has no part in it.
func (c Controller) born(im *cluster.Image, p *cluster.Partition, id kafka.BrokerID) bool {
	b := im.Broker(id)
	return b != nil && (b.Told == 0 || p.Zxid < max(b.Told, c.Born[id]))
}

// usable tells which replicas of partition number of t, p, live and have its log.
// A member of the ISR that a hand took out of the replicas has set it aside.
func (c Controller) usable(im *cluster.Image, t *cluster.Topic, number int32, p *cluster.Partition) func(kafka.BrokerID) bool {
	replica := func(id kafka.BrokerID) bool { return slices.Contains(p.Replicas, id) }
	strict := slices.ContainsFunc(p.ISR, replica)
	return func(id kafka.BrokerID) bool {
		return im.Alive(id) && (!strict || replica(id)) && !c.offline(im, t, number, p, id, c.born(im, p, id))
	}
}

// first is the state of a partition that never had one: all replicas that are
// alive are in sync, the first leads.
func (c Controller) first(im *cluster.Image, p *cluster.Partition) (cluster.EntryState, bool) {
	isr := filter(p.Replicas, im.Alive)
	if len(isr) == 0 {
		return cluster.EntryState{}, false
	}
	return cluster.EntryState{Leader: c.prefer(im, p.Replicas, isr), ISR: isr, ControllerEpoch: c.Epoch}, true
}

// revive finds a leader where no member of the ISR lived on. All of them had
// what was acknowledged, so one that came back may lead alone. One whose machine
// crashed may have lost some of it, be it the last member: another replica may have
// left the ISR only because nobody knew yet that this one was gone. If all who came
// back crashed, or none came back, replicas are asked for the ends of their logs
// first (see Survey), and the longest leads. While none may, the ISR stays: its
// members are who is waited for.
func (c Controller) revive(im *cluster.Image, p *cluster.Partition, usable func(kafka.BrokerID) bool) (kafka.BrokerID, []kafka.BrokerID, bool) {
	back := filter(p.ISR, usable)
	whole := filter(back, func(id kafka.BrokerID) bool { return !im.Broker(id).Crashed })
	if len(p.Replicas) == 1 { // nobody else can have more
		whole = back
	}
	if len(whole) > 0 {
		leader := c.prefer(im, p.Replicas, whole)
		return leader, []kafka.BrokerID{leader}, p.Recovering
	}
	if leader := longest(im, p, usable, c.Ends[p]); leader != kafka.NoBroker {
		return leader, []kafka.BrokerID{leader}, p.Recovering || !slices.Contains(p.ISR, leader)
	}
	return kafka.NoBroker, p.ISR, p.Recovering
}

func (c Controller) uncleanAllowed(t *cluster.Topic) bool {
	switch v := strings.TrimSpace(t.Config[uncleanKey]); { // in any case, as Kafka's ConfigDef
	case strings.EqualFold(v, "true"):
		return true
	case strings.EqualFold(v, "false"):
		return false
	}
	return c.Unclean
}

// prefer picks the first of candidates in the order of assignment, one that is
// not stopping if there is any. There is at least one candidate; one that a hand
// took out of the assignment comes last.
func (c Controller) prefer(im *cluster.Image, order, candidates []kafka.BrokerID) kafka.BrokerID {
	chosen := kafka.NoBroker
	for _, id := range slices.Concat(order, candidates) {
		if !slices.Contains(candidates, id) {
			continue
		}
		if b := im.Broker(id); b != nil && !b.Stopping {
			return id
		}
		if chosen == kafka.NoBroker {
			chosen = id
		}
	}
	return chosen
}

// filter keeps order and makes a new slice; never nil, so that JSON has [].
func filter(ids []kafka.BrokerID, keep func(kafka.BrokerID) bool) []kafka.BrokerID {
	out := make([]kafka.BrokerID, 0, len(ids))
	for _, id := range ids {
		if keep(id) {
			out = append(out, id)
		}
	}
	return out
}

// Brokers compares the registrations that exist with the image: who vanished,
// is new, was registered anew, or changed what it tells. The states that follow
// from it are Settle's, on the image after these steps. With all it tells of all
// that are registered, changed or not. born are the new registrations.
func Brokers(im *cluster.Image, registered map[kafka.BrokerID]*cluster.Broker, all bool) (steps []Step, born []kafka.BrokerID) {
	st := Step{AllBrokers: all}
	for _, b := range im.Brokers() {
		if registered[b.ID] == nil {
			st.Brokers = append(st.Brokers, cluster.EntryBroker{ID: b.ID, Epoch: b.Epoch, State: cluster.Down})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(registered)) {
		b, old := registered[id], im.Broker(id)
		known := old != nil && old.Epoch == b.Epoch && old.Told != 0
		if !known {
			born = append(born, id)
		} else if old.Zxid >= b.Zxid && !all {
			continue
		}
		e := entryBroker(b, known && old.Stopping)
		if known {
			e.Told = old.Told
		}
		st.Brokers = append(st.Brokers, e)
	}
	if len(st.Brokers) == 0 {
		return nil, nil
	}
	return []Step{st}, born
}

// Restate tells again of all brokers that the log has told of: what told of them
// before may then be purged, and who loads still finds when each became known.
func Restate(im *cluster.Image) []cluster.EntryBroker {
	var out []cluster.EntryBroker
	for _, b := range im.Brokers() {
		if b.Told != 0 {
			out = append(out, entryBroker(b, b.Stopping))
		}
	}
	return out
}

func entryBroker(b *cluster.Broker, stopping bool) cluster.EntryBroker {
	e := cluster.EntryBroker{ID: b.ID, Epoch: b.Epoch, State: cluster.Up, Told: b.Told, Rack: b.Rack, Features: b.Features, Crashed: b.Crashed, FastDeath: b.FastDeath, Barnabas: b.Version, Process: b.Process}
	if stopping {
		e.State = cluster.Stopping
	}
	for _, ep := range b.Endpoints {
		e.Endpoints = append(e.Endpoints, cluster.EntryEndpoint(ep))
	}
	return e
}

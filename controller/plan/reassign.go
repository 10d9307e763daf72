package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/protocol"
	"barnabas/zkpaths"
)

// A reassignment (KIP-455) has two writes. The first puts the union of the old
// and the new replicas into the topic's znode, with those that come (adding) and
// go (removing). The second, once all of the target are in sync, leaves only
// these. Each goes with the states of its partitions in one transaction, so that
// at no time a leader or a member of the ISR is not among the replicas.

// movesPerStep bounds the partitions that are moved in one transaction: each
// brings a state, and all of them one topic znode.
const movesPerStep = 100

// change is another assignment of one partition, and the state that goes with it.
type change struct {
	partition int32
	old       *cluster.Partition
	to        cluster.Assignment
	state     cluster.EntryState // if old has one
}

// Reassign decides about wishes, together: steps for all that are granted, and an
// error, in Kafka's words, for each that is not. skip names topics that are being
// deleted. anyBroker takes targets that are not alive, as the znode of old tools
// does. Of two wishes for one partition the later counts.
func (c Controller) Reassign(im *cluster.Image, moves []cluster.Move, anyBroker bool, skip func(topic string) bool) ([]Step, []error) {
	errs := make([]error, len(moves))
	last := map[kafka.TopicPartition]int{}
	for i := range moves {
		last[moves[i].TP] = i
	}
	changes := map[*cluster.Topic][]change{}
	for i := range moves {
		if last[moves[i].TP] != i {
			continue
		}
		t := im.Topic(moves[i].TP.Topic)
		ch, err := c.reassignOne(im, t, &moves[i], anyBroker, skip)
		if errs[i] = err; err == nil {
			changes[t] = append(changes[t], ch)
		}
	}
	for i := range moves {
		errs[i] = errs[last[moves[i].TP]]
	}
	return changeSteps(changes), errs
}

// reassignOne checks one wish, in the order of Kafka's controller.
func (c Controller) reassignOne(im *cluster.Image, t *cluster.Topic, m *cluster.Move, anyBroker bool, skip func(topic string) bool) (change, error) {
	p := &cluster.Partition{} // what Kafka takes an unknown one for, until the end
	known := t != nil && t.Partition(m.TP.Partition) != nil
	if known {
		p = t.Partition(m.TP.Partition)
	}
	target := m.Replicas
	if m.Cancel {
		if !p.Moving() {
			return change{}, protocol.Fail(protocol.NoReassignmentInProgress, protocol.NoReassignmentInProgress.Message())
		}
		target = p.Origin()
	} else if err := checkTarget(im, p, target, anyBroker); err != nil {
		return change{}, err
	}
	if !known || skip(t.Name) {
		return change{}, protocol.Fail(protocol.UnknownTopicOrPartition, "The partition does not exist.")
	}
	return c.towards(im, t, m.TP.Partition, p, target), nil
}

// checkTarget has the texts of KafkaController.validateReplicas.
func checkTarget(im *cluster.Image, p *cluster.Partition, target []kafka.BrokerID, anyBroker bool) error {
	refuse := func(format string, args ...any) error {
		return protocol.Fail(protocol.InvalidReplicaAssignment, fmt.Sprintf(format, args...))
	}
	switch {
	case len(target) == 0:
		return refuse("Empty replica list specified in partition reassignment.")
	case len(distinct(target)) != len(target):
		return refuse("Duplicate replica ids in partition reassignment replica list: ArrayBuffer(%s)", listed(target))
	case slices.Min(target) < 0:
		return refuse("Invalid broker id in replica list: ArrayBuffer(%s)", listed(target))
	case anyBroker:
		return nil
	}
	adding := moveTo(p, target).Adding
	if !slices.ContainsFunc(adding, func(id kafka.BrokerID) bool { return !im.Alive(id) }) {
		return nil
	}
	var live []kafka.BrokerID
	for _, b := range im.Brokers() {
		live = append(live, b.ID)
	}
	return refuse("Replica assignment has brokers that are not alive. Replica list: ArrayBuffer(%s), live broker list: Set(%s)", listed(adding), listed(live))
}

// moveTo is Kafka's ReplicaAssignment.reassignTo: whatever runs is replaced, and
// where it came from is kept.
func moveTo(p *cluster.Partition, target []kafka.BrokerID) cluster.Assignment {
	origin := p.Origin()
	all := distinct(slices.Concat(target, origin))
	return cluster.Assignment{Replicas: all, Adding: missing(all, origin), Removing: missing(all, target)}
}

// towards begins a reassignment, or turns a running one round. Replicas that come
// no more are dropped at once, except where only they have all that was
// acknowledged: these stay, as adding and removing at once, until others have
// caught up. The leader epoch rises, so that what a dropped replica once fetched
// says nothing if it is made anew.
func (c Controller) towards(im *cluster.Image, t *cluster.Topic, partition int32, p *cluster.Partition, target []kafka.BrokerID) change {
	ch := change{partition: partition, old: p, to: moveTo(p, target)}
	if !p.HasState {
		return ch
	}
	// What this entry tells will look as if it knew of all deaths and births.
	s, _ := c.next(im, t, partition, p)
	if !slices.ContainsFunc(s.ISR, func(id kafka.BrokerID) bool { return slices.Contains(ch.to.Replicas, id) && im.Alive(id) }) {
		only := missing(s.ISR, ch.to.Replicas)
		ch.to.Replicas = slices.Concat(ch.to.Replicas, only)
		ch.to.Adding = slices.Concat(ch.to.Adding, only)
		ch.to.Removing = slices.Concat(ch.to.Removing, only)
	}
	ch.state = c.within(im, p, s, ch.to.Replicas)
	return ch
}

// within takes brokers that are no replicas any more out of a state, and lets
// another lead where the leader was one of them.
func (c Controller) within(im *cluster.Image, p *cluster.Partition, s cluster.EntryState, replicas []kafka.BrokerID) cluster.EntryState {
	stays := func(id kafka.BrokerID) bool { return slices.Contains(replicas, id) }
	s.ISR, s.Offline = filter(s.ISR, stays), filter(s.Offline, stays)
	if s.Leader != kafka.NoBroker && !stays(s.Leader) {
		s.Leader = kafka.NoBroker
		if alive := filter(s.ISR, im.Alive); len(alive) > 0 {
			s.Leader = c.prefer(im, replicas, alive)
		}
	}
	s.LeaderEpoch, s.ControllerEpoch = p.LeaderEpoch+1, c.Epoch
	return s
}

// FinishMoves completes the reassignments whose targets are all in sync: these
// alone are replicas from then on, and one of them leads. only names the topics
// to look at, nil all; skip those that can't be written now.
func (c Controller) FinishMoves(im *cluster.Image, only []string, skip func(topic string) bool) []Step {
	changes := map[*cluster.Topic][]change{}
	look := func(t *cluster.Topic) {
		if t == nil || t.ID.IsZero() || skip(t.Name) {
			return
		}
		for i, p := range t.Partitions {
			if p == nil || !p.Moving() || !p.HasState {
				continue
			}
			if s, ok := c.arrived(im, t, int32(i), p); ok {
				changes[t] = append(changes[t], change{partition: int32(i), old: p, to: cluster.Assignment{Replicas: p.Target()}, state: s})
			}
		}
	}
	if only == nil {
		for t := range im.Topics() {
			look(t)
		}
	}
	for _, name := range only {
		look(im.Topic(name))
	}
	return changeSteps(changes)
}

// arrived is the last state of a reassignment, if all of its target are in sync.
// A member of the ISR that is dead is no replica to rely on, whatever Kafka does:
// those that go stay until it is back.
func (c Controller) arrived(im *cluster.Image, t *cluster.Topic, number int32, p *cluster.Partition) (cluster.EntryState, bool) {
	target := p.Target()
	if len(target) == 0 {
		return cluster.EntryState{}, false
	}
	for _, id := range target {
		if !slices.Contains(p.ISR, id) || !im.Alive(id) {
			return cluster.EntryState{}, false
		}
	}
	s, due := c.next(im, t, number, p)
	if due { // is settled first
		return cluster.EntryState{}, false
	}
	return c.within(im, p, s, target), true
}

// changeSteps writes changes, some of one topic to a step.
func changeSteps(changes map[*cluster.Topic][]change) []Step {
	var steps []Step
	byName := func(a, b *cluster.Topic) int { return strings.Compare(a.Name, b.Name) }
	for _, t := range slices.SortedFunc(maps.Keys(changes), byName) {
		list := changes[t]
		slices.SortFunc(list, func(a, b change) int { return int(a.partition) - int(b.partition) })
		a, version := assignmentOf(t), t.Version
		for some := range slices.Chunk(list, movesPerStep) {
			st, written := changeStep(t, a, version, some)
			if written {
				version++
			}
			steps = append(steps, st)
		}
	}
	return steps
}

// changeStep writes some changes of a topic, whose znode is a at version, and
// brings a up to date. written reports whether the topic's znode is among it.
func changeStep(t *cluster.Topic, a *zkpaths.Assignment, version int32, some []change) (st Step, written bool) {
	e := cluster.EntryTopic{Name: t.Name, ID: cluster.TopicIDText(t.ID), Change: cluster.Changed, Assigned: true, ZnodeVersion: version + 1,
		Partitions: map[int32][]kafka.BrokerID{}, Adding: map[int32][]kafka.BrokerID{}, Removing: map[int32][]kafka.BrokerID{}}
	put := func(m map[int32][]kafka.BrokerID, p int32, ids []kafka.BrokerID) {
		if delete(m, p); len(ids) > 0 {
			m[p] = ids
		}
	}
	var states Step
	for i := range some {
		ch := &some[i]
		if !slices.Equal(ch.to.Replicas, ch.old.Replicas) || !slices.Equal(ch.to.Adding, ch.old.Adding) || !slices.Equal(ch.to.Removing, ch.old.Removing) {
			a.Partitions[ch.partition], e.Partitions[ch.partition] = ch.to.Replicas, ch.to.Replicas
			for _, m := range []map[int32][]kafka.BrokerID{a.Adding, e.Adding} {
				put(m, ch.partition, ch.to.Adding)
			}
			for _, m := range []map[int32][]kafka.BrokerID{a.Removing, e.Removing} {
				put(m, ch.partition, ch.to.Removing)
			}
		}
		if ch.old.HasState {
			s := stateStep(t, ch.partition, ch.old, ch.state, false)
			states.Ops, states.States = append(states.Ops, s.Ops...), append(states.States, s.States...)
		}
	}
	if len(e.Partitions) == 0 {
		return states, false
	}
	states.Ops = append([]Op{{Kind: Set, Path: zkpaths.TopicPath(t.Name), Data: a.Encode(), Version: version}}, states.Ops...)
	states.Topics = []cluster.EntryTopic{e}
	return states, true
}

// Moving lists the reassignments under way, of the named partitions or, if of is
// nil, all; by topic and partition.
func Moving(im *cluster.Image, of []kafka.TopicPartition) []cluster.Moving {
	var out []cluster.Moving
	add := func(tp kafka.TopicPartition, p *cluster.Partition) {
		if p != nil && p.Moving() {
			out = append(out, cluster.Moving{TP: tp, Assignment: cluster.Assignment{Replicas: p.Replicas, Adding: p.Adding, Removing: p.Removing}})
		}
	}
	if of != nil {
		for _, tp := range of {
			add(tp, im.Partition(tp))
		}
		return out
	}
	for _, t := range sortedTopics(im) {
		for i, p := range t.Partitions {
			add(kafka.TopicPartition{Topic: t.Name, Partition: int32(i)}, p)
		}
	}
	return out
}

// Awaited are the brokers that reassignments wait for and that are not alive,
// each with the partitions that it is to hold.
func Awaited(im *cluster.Image) map[kafka.BrokerID][]kafka.TopicPartition {
	out := map[kafka.BrokerID][]kafka.TopicPartition{}
	for t := range im.Topics() {
		for i, p := range t.Partitions {
			if p == nil || !p.Moving() {
				continue
			}
			for _, id := range p.Target() {
				if !im.Alive(id) {
					out[id] = append(out[id], kafka.TopicPartition{Topic: t.Name, Partition: int32(i)})
				}
			}
		}
	}
	return out
}

// distinct keeps the first of each.
func distinct(ids []kafka.BrokerID) []kafka.BrokerID {
	out := make([]kafka.BrokerID, 0, len(ids))
	for _, id := range ids {
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

// missing are the ids that others do not have.
func missing(ids, others []kafka.BrokerID) []kafka.BrokerID {
	return filter(ids, func(id kafka.BrokerID) bool { return !slices.Contains(others, id) })
}

// listed shows broker ids as Kafka's messages do.
func listed(ids []kafka.BrokerID) string {
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = fmt.Sprint(int32(id))
	}
	return strings.Join(words, ", ")
}

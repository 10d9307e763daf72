package plan

import (
	"maps"
	"slices"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/zkpaths"
)

// NewTopic is a topic to be made.
type NewTopic struct {
	Name       string
	ID         kafka.TopicID
	Assignment map[int32][]kafka.BrokerID
	Config     map[string]string
	// ConfigVersion is that of a config znode that is there already; -1: none.
	ConfigVersion int32
}

// CreateTopic makes a topic and, in the steps after the first, the states of
// those partitions that have a live replica.
func (c Controller) CreateTopic(im *cluster.Image, n NewTopic) []Step {
	a := zkpaths.Assignment{ID: n.ID, Partitions: n.Assignment}
	configOp := Op{Kind: Create, Path: zkpaths.TopicConfigPath(n.Name), Data: zkpaths.EncodeConfig(n.Config)}
	if n.ConfigVersion >= 0 {
		configOp.Kind, configOp.Version = Set, n.ConfigVersion
	}
	steps := []Step{{
		Ops: []Op{configOp, {Kind: Create, Path: zkpaths.TopicPath(n.Name), Data: a.Encode()}, {Kind: Create, Path: zkpaths.PartitionsPath(n.Name)}},
		Topics: []cluster.EntryTopic{{Name: n.Name, ID: cluster.TopicIDText(n.ID), Change: cluster.Created, Assigned: true,
			Partitions: n.Assignment, Config: &cluster.EntryConfig{ZnodeVersion: n.ConfigVersion + 1, Values: n.Config}}},
	}}
	return append(steps, c.firstStates(im, &cluster.Topic{Name: n.Name, ID: n.ID}, n.Assignment, true)...)
}

func (c Controller) firstStates(im *cluster.Image, t *cluster.Topic, assignment map[int32][]kafka.BrokerID, fresh bool) []Step {
	var steps []Step
	for _, p := range slices.Sorted(maps.Keys(assignment)) {
		if s, ok := c.first(im, &cluster.Partition{Replicas: assignment[p]}); ok {
			steps = append(steps, stateStep(t, p, nil, s, fresh))
		}
	}
	return steps
}

// AddPartitions extends a topic.
func (c Controller) AddPartitions(im *cluster.Image, t *cluster.Topic, added map[int32][]kafka.BrokerID) []Step {
	a := assignmentOf(t)
	maps.Copy(a.Partitions, added)
	steps := []Step{{
		Ops: []Op{{Kind: Set, Path: zkpaths.TopicPath(t.Name), Data: a.Encode(), Version: t.Version}},
		Topics: []cluster.EntryTopic{{Name: t.Name, ID: cluster.TopicIDText(t.ID), Change: cluster.Changed,
			Assigned: true, ZnodeVersion: t.Version + 1, Partitions: added}},
	}}
	return append(steps, c.firstStates(im, t, added, false)...)
}

// assignmentOf is the topic znode as the image has it.
func assignmentOf(t *cluster.Topic) *zkpaths.Assignment {
	a := &zkpaths.Assignment{ID: t.ID, Partitions: map[int32][]kafka.BrokerID{},
		Adding: map[int32][]kafka.BrokerID{}, Removing: map[int32][]kafka.BrokerID{}}
	for i, p := range t.Partitions {
		if p == nil {
			continue
		}
		a.Partitions[int32(i)] = p.Replicas
		if len(p.Adding) > 0 {
			a.Adding[int32(i)] = p.Adding
		}
		if len(p.Removing) > 0 {
			a.Removing[int32(i)] = p.Removing
		}
	}
	return a
}

// FoundTopic is what the znodes of a topic say.
type FoundTopic struct {
	Name          string
	Assignment    *zkpaths.Assignment
	Version       int32
	Zxid          int64 // of its last write
	Config        map[string]string
	ConfigVersion int32 // -1: there is no config znode
	ConfigZxid    int64 // of its last write
	States        map[int32]FoundState
	// NewID is used if the topic has none.
	NewID kafka.TopicID
	// Unreadable: the topic znode holds no assignment. Assignment is the image's
	// then, and is put back.
	Unreadable bool
}

// FoundState is a state znode with its version.
type FoundState struct {
	zkpaths.State
	Version int32
	Zxid    int64 // of its last write
	// Unreadable: the znode holds no state; only Version means something.
	Unreadable bool
}

// FromImage is what is found of a topic whose znode can't be read.
func FromImage(t *cluster.Topic) *zkpaths.Assignment { return assignmentOf(t) }

// Adopt takes a topic as a hand has left it: made, extended or edited. What the
// image has already gives no step. With repair it takes edited states too, since
// a transaction of ours met them, and puts back what a hand has destroyed.
func (c Controller) Adopt(im *cluster.Image, f FoundTopic, repair bool) []Step {
	t := im.Topic(f.Name)
	id := f.Assignment.ID
	var st Step
	e := cluster.EntryTopic{Name: f.Name, Change: cluster.Changed}
	// One without an id was never told of: a load has found it, and others may not have.
	if t == nil || t.ID.IsZero() || t.ID != id && !id.IsZero() {
		e.Change, t = cluster.Created, &cluster.Topic{Name: f.Name, ConfigVersion: -1, Version: -1}
	}
	if id.IsZero() {
		if id = t.ID; id.IsZero() {
			id = f.NewID
		}
	}
	e.ID = cluster.TopicIDText(id)
	if f.Unreadable || f.Version != t.Version || f.Zxid > t.Zxid || t.ID != id || f.Assignment.ID != id {
		c.adoptAssignment(&st, &e, t, f, id)
	}
	if f.ConfigVersion != t.ConfigVersion || f.ConfigZxid > t.ConfigZxid {
		if f.ConfigVersion >= 0 {
			st.Ops = append(st.Ops, Op{Kind: Check, Path: zkpaths.TopicConfigPath(f.Name), Version: f.ConfigVersion})
		}
		e.Config = &cluster.EntryConfig{ZnodeVersion: f.ConfigVersion, Values: f.Config}
	}
	if e.Assigned || e.Config != nil {
		st.Topics = []cluster.EntryTopic{e}
	}
	steps := []Step{st}
	if len(st.Topics) == 0 {
		steps = nil
	}
	if e.Change == cluster.Created || repair {
		steps = append(steps, c.adoptStates(im, t, id, f)...)
	}
	return steps
}

// adoptAssignment takes the topic znode; one without an id gets it by a write,
// others are checked.
func (c Controller) adoptAssignment(st *Step, e *cluster.EntryTopic, t *cluster.Topic, f FoundTopic, id kafka.TopicID) {
	op := Op{Kind: Check, Path: zkpaths.TopicPath(f.Name), Version: f.Version}
	e.Assigned, e.ZnodeVersion = true, f.Version
	if wished := wishes(t, f.Assignment); wished || f.Unreadable || f.Assignment.ID != id {
		a := *f.Assignment
		a.ID, a.Version = id, 0
		op.Kind, op.Data = Set, a.Encode()
		e.ZnodeVersion++
	}
	st.Ops = append(st.Ops, op)
	e.Partitions, e.Adding, e.Removing = f.Assignment.Partitions, f.Assignment.Adding, f.Assignment.Removing
	for i, p := range t.Partitions {
		if _, ok := f.Assignment.Partitions[int32(i)]; p != nil && !ok {
			e.Gone = append(e.Gone, int32(i))
		}
	}
}

// wishes turns what a hand has written for partitions of t into reassignments where
// a member of the ISR is no replica any more: it would drop its log, which may be
// the only one, while the state still calls it in sync. An empty list is put back.
// It reports whether a is not as it was found.
func wishes(t *cluster.Topic, a *zkpaths.Assignment) (wished bool) {
	for i, p := range t.Partitions {
		n := int32(i)
		replicas, ok := a.Partitions[n]
		if p == nil || !p.HasState || !ok || len(missing(p.ISR, replicas)) == 0 {
			continue
		}
		to := cluster.Assignment{Replicas: p.Replicas, Adding: p.Adding, Removing: p.Removing}
		if target := distinct(missing(replicas, a.Removing[n])); len(target) > 0 {
			to.Replicas = distinct(slices.Concat(target, p.Replicas))
			to.Adding, to.Removing = missing(to.Replicas, p.Origin()), missing(to.Replicas, target)
		}
		if !wished {
			a.Partitions, a.Adding, a.Removing = cloned(a.Partitions), cloned(a.Adding), cloned(a.Removing)
		}
		wished = true
		a.Partitions[n] = to.Replicas
		for m, ids := range map[*map[int32][]kafka.BrokerID][]kafka.BrokerID{&a.Adding: to.Adding, &a.Removing: to.Removing} {
			if delete(*m, n); len(ids) > 0 {
				(*m)[n] = ids
			}
		}
	}
	return wished
}

// cloned is a copy of a map; never nil.
func cloned(m map[int32][]kafka.BrokerID) map[int32][]kafka.BrokerID {
	out := make(map[int32][]kafka.BrokerID, len(m))
	maps.Copy(out, m)
	return out
}

// adoptStates takes states that differ in version from the image's. One that
// can't be read, or that the image has and ZooKeeper has not, is written again.
func (c Controller) adoptStates(im *cluster.Image, t *cluster.Topic, id kafka.TopicID, f FoundTopic) []Step {
	var steps []Step
	named := &cluster.Topic{Name: f.Name, ID: id, Config: t.Config}
	for _, p := range slices.Sorted(maps.Keys(f.Assignment.Partitions)) {
		s, found := f.States[p]
		old := t.Partition(p)
		if old == nil {
			old = &cluster.Partition{}
		}
		switch {
		case !found && !old.HasState, found && !s.Unreadable && old.HasState && int32(old.PartitionEpoch) == s.Version && s.Zxid <= old.Zxid:
		case !found || s.Unreadable:
			if st, ok := c.restore(im, named, p, f.Assignment.Partitions[p], old, s); ok {
				steps = append(steps, st)
			}
		default:
			steps = append(steps, c.adoptState(im, named, p, f.Assignment.Partitions[p], old, s))
		}
	}
	return steps
}

// adoptState takes a state that a hand has written. The entry would make it look
// as if it knew of every death up to now, so what follows from those is written
// with it.
func (c Controller) adoptState(im *cluster.Image, t *cluster.Topic, p int32, replicas []kafka.BrokerID, old *cluster.Partition, found FoundState) Step {
	is := &cluster.Partition{Replicas: replicas, Leader: found.Leader, LeaderEpoch: found.LeaderEpoch, ISR: found.ISR, Recovering: found.Recovering,
		PartitionEpoch: kafka.PartitionEpoch(found.Version), HasState: true, Zxid: found.Zxid, Offline: old.Offline}
	if old.HasState {
		is.Zxid = old.Zxid
	}
	if old.HasState { // edited by hand: nobody may lead in an epoch that was another's, nor be in sync as somebody else
		is.LeaderEpoch = max(is.LeaderEpoch, old.LeaderEpoch)
		if is.ISR = filter(found.ISR, func(id kafka.BrokerID) bool { return slices.Contains(replicas, id) }); len(is.ISR) == 0 {
			is.ISR = old.ISR
		}
	}
	s, due := c.next(im, t, p, is)
	if old.HasState && s.LeaderEpoch <= old.LeaderEpoch { // be it that a follower died, too
		s.LeaderEpoch, s.ControllerEpoch, due = old.LeaderEpoch+1, c.Epoch, true
	}
	if due {
		return stateStep(t, p, is, s, false)
	}
	return Step{
		Ops: []Op{{Kind: Check, Path: zkpaths.StatePath(kafka.TopicPartition{Topic: t.Name, Partition: p}), Version: found.Version}},
		States: []State{{Topic: t.Name, ID: t.ID, EntryState: cluster.EntryState{Partition: p, Leader: is.Leader, LeaderEpoch: is.LeaderEpoch,
			ISR: is.ISR, ControllerEpoch: found.ControllerEpoch, Recovering: is.Recovering, ZnodeVersion: found.Version, Offline: is.Offline}}},
	}
}

// restore writes a state that a hand destroyed: what the image remembers, in a
// new leader epoch. If nobody remembers, who was in sync is known only of a
// partition with one replica; its leader epoch was at most the znode's version,
// since each new one was a write. Others stay without a leader until somebody
// who knows writes the znode.
func (c Controller) restore(im *cluster.Image, t *cluster.Topic, p int32, replicas []kafka.BrokerID, old *cluster.Partition, found FoundState) (Step, bool) {
	s := cluster.EntryState{ControllerEpoch: c.Epoch}
	switch {
	case old.HasState:
		var moved bool
		if s, moved = c.next(im, t, p, old); !moved || s.LeaderEpoch == old.LeaderEpoch {
			s.LeaderEpoch, s.ControllerEpoch = old.LeaderEpoch+1, c.Epoch
		}
	case len(replicas) == 1:
		s.Leader, s.LeaderEpoch, s.ISR = kafka.NoBroker, kafka.LeaderEpoch(found.Version)+1, replicas
	default:
		return Step{}, false
	}
	at := &cluster.Partition{HasState: found.Unreadable, PartitionEpoch: kafka.PartitionEpoch(found.Version)}
	return stateStep(t, p, at, s, false), true
}

// Announce tells what was written after the last entry of the log, so by nobody
// who told of it: the controller knows it by its load, others don't. skip names
// topics that can't be told of.
//
// found is the horizon for topics and configs, which a load may have found though
// entries came after them. States have none but the log's end: an entry makes a
// state look as if it knew of every death and birth up to now, so that none may be
// told twice.
func Announce(im *cluster.Image, horizon, found int64, skip func(topic string) bool) []Step {
	var steps []Step
	for _, t := range sortedTopics(im) {
		if !skip(t.Name) {
			steps = append(steps, announceTopic(t, horizon, found)...)
		}
	}
	return steps
}

func announceTopic(t *cluster.Topic, horizon, found int64) []Step {
	var st Step
	e := cluster.EntryTopic{Name: t.Name, ID: cluster.TopicIDText(t.ID), Change: cluster.Created}
	if t.ID.IsZero() { // is adopted
		return nil
	}
	if t.Zxid > found {
		a := assignmentOf(t)
		st.Ops = append(st.Ops, Op{Kind: Check, Path: zkpaths.TopicPath(t.Name), Version: t.Version})
		e.Assigned, e.ZnodeVersion, e.Partitions, e.Adding, e.Removing = true, t.Version, a.Partitions, a.Adding, a.Removing
	} else {
		e.Change = cluster.Changed
	}
	if t.ConfigZxid > found {
		st.Ops = append(st.Ops, Op{Kind: Check, Path: zkpaths.TopicConfigPath(t.Name), Version: t.ConfigVersion})
		e.Config = &cluster.EntryConfig{ZnodeVersion: t.ConfigVersion, Values: t.Config}
	}
	var steps []Step
	if len(st.Ops) > 0 {
		st.Topics = []cluster.EntryTopic{e}
		steps = append(steps, st)
	}
	for i, p := range t.Partitions {
		if p == nil || !p.HasState || p.Zxid <= horizon || p.ByHand { // that gets an epoch of its own, by Settle
			continue
		}
		tp := kafka.TopicPartition{Topic: t.Name, Partition: int32(i)}
		steps = append(steps, Step{
			Ops: []Op{{Kind: Check, Path: zkpaths.StatePath(tp), Version: int32(p.PartitionEpoch)}},
			States: []State{{Topic: t.Name, ID: t.ID, EntryState: cluster.EntryState{Partition: int32(i), Leader: p.Leader, LeaderEpoch: p.LeaderEpoch,
				ISR: p.ISR, ControllerEpoch: p.ControllerEpoch, Recovering: p.Recovering, ZnodeVersion: int32(p.PartitionEpoch), Offline: p.Offline}}},
		})
	}
	return steps
}

// Forget tells that a topic's znode is gone: how is cluster.Deleted if that was
// asked for, else cluster.Vanished.
func Forget(t *cluster.Topic, how cluster.TopicChange) []Step {
	return []Step{{Topics: []cluster.EntryTopic{{Name: t.Name, ID: cluster.TopicIDText(t.ID), Change: how}}}}
}

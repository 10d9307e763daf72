package cluster

import (
	"maps"
	"slices"

	"barnabas/internal/kafka"
)

// Edit makes a new image out of an older one, sharing what does not move. It
// takes reads of znodes and entries of the log. Entries are given in the order
// of the log. A read may come at any time, as long as it was not asked before
// an entry that was applied already, except for deleted topics: their
// tombstones refuse late reads.
//
// An Edit belongs to one goroutine and ends with Publish.
type Edit struct {
	base, im *Image
	// Which parts of im are no longer shared with base.
	ownBrokers, ownTopics, ownIDs bool
	own                           map[*Topic]bool
	// tombs are the zxids of topic deletions.
	tombs map[string]int64
	// asked are the topics that somebody asked to delete.
	asked map[kafka.TopicID]bool
	// told are transactions that entries of the log told of; nil: nobody asks.
	told map[int64]bool
	// What may differ from base.
	brokers map[kafka.BrokerID]bool
	topics  map[string]bool
}

// NewEdit starts from base, which stays as it is.
func NewEdit(base *Image) *Edit {
	im := *base
	return &Edit{base: base, im: &im,
		own: map[*Topic]bool{}, tombs: map[string]int64{}, asked: map[kafka.TopicID]bool{},
		brokers: map[kafka.BrokerID]bool{}, topics: map[string]bool{}}
}

// Publish ends the edit: the new image, and what moved from base to it.
func (e *Edit) Publish() (*Image, []Change) {
	changes := diff(e.base, e.im, e.brokers, e.topics)
	for i := range changes {
		c := &changes[i]
		c.Asked = c.Kind == TopicDeleted && e.asked[c.TopicID]
	}
	return e.im, changes
}

// SetCluster sets the cluster's id.
func (e *Edit) SetCluster(id string) { e.im.ClusterID = id }

// SetLog says which log the image follows: its identity, the first entry that
// is not contained, and the zxid up to which all is.
func (e *Edit) SetLog(log, next, zxid int64) {
	e.im.Log, e.im.Next, e.im.Zxid = log, next, zxid
}

// Tell begins to note which transactions entries tell of: those given, and those of
// the entries that are applied from now on.
func (e *Edit) Tell(zxids []int64) {
	e.told = map[int64]bool{}
	for _, z := range zxids {
		e.told[z] = true
	}
}

// MarkByHand marks, at the end of a load, the states that no entry told of, of those
// that are younger than the oldest entry known to Tell.
func (e *Edit) MarkByHand() {
	if len(e.told) == 0 {
		return
	}
	oldest := slices.Min(slices.Collect(maps.Keys(e.told)))
	for name, t := range e.im.topics {
		for i, p := range t.Partitions {
			if p != nil && p.HasState && p.Zxid > oldest && !e.told[p.Zxid] {
				np := *p
				np.ByHand = true
				e.topic(name).Partitions[i] = &np
			}
		}
	}
}

// NoteUntold notes, after all reads and before the first entry, whether a load has
// read what no entry before it tells of.
func (e *Edit) NoteUntold() {
	for _, t := range e.im.topics {
		untold := t.Zxid > e.im.Zxid || t.ConfigZxid > e.im.Zxid
		for _, p := range t.Partitions {
			untold = untold || p != nil && p.HasState && p.Zxid > e.im.Zxid
		}
		if untold {
			e.im.Untold = e.im.Zxid
			return
		}
	}
}

// ReadController takes the content of /controller_epoch and /controller.
func (e *Edit) ReadController(id kafka.BrokerID, epoch kafka.ControllerEpoch) {
	if epoch >= e.im.ControllerEpoch {
		e.im.Controller, e.im.ControllerEpoch = id, epoch
	}
}

// ReadBroker takes a registration. The Edit keeps b. Unless b.Told says which entry
// told of it, the next one that names it does.
func (e *Edit) ReadBroker(b *Broker) { e.putBroker(b) }

// Untold are the registrations of which it is not known which entry told of them.
func (e *Edit) Untold() map[kafka.BrokerID]kafka.BrokerEpoch {
	out := map[kafka.BrokerID]kafka.BrokerEpoch{}
	for id, b := range e.im.brokers {
		if b.Told == 0 {
			out[id] = b.Epoch
		}
	}
	return out
}

// SetTold notes which entry told of the registration that was read of a broker.
func (e *Edit) SetTold(id kafka.BrokerID, zxid int64) {
	e.needBrokers()
	if b := e.im.brokers[id]; b != nil {
		nb := *b
		nb.Told = zxid
		e.im.brokers[id] = &nb
	}
}

// ReadTopic takes a topic znode. The Edit keeps the assignment's slices.
func (e *Edit) ReadTopic(t TopicRead) {
	if e.tombs[t.Name] >= t.Zxid {
		return
	}
	old := e.im.topics[t.Name]
	if old != nil && old.Zxid >= t.Zxid {
		return
	}
	if old != nil && old.ID != t.ID && !old.ID.IsZero() {
		e.dropTopic(t.Name)
	}
	nt := e.topic(t.Name)
	e.setID(nt, t.ID)
	nt.Zxid, nt.Version = t.Zxid, t.Version
	for i := range nt.Partitions {
		if _, ok := t.Assignment[int32(i)]; !ok {
			e.dropPartition(nt, int32(i))
		}
	}
	for p, a := range t.Assignment {
		e.assign(nt, p, a)
	}
}

// TopicRead is the content of a topic znode with its Stat.
type TopicRead struct {
	Name       string
	ID         kafka.TopicID
	Assignment map[int32]Assignment
	Zxid       int64 // mzxid
	Version    int32
}

// Assignment says which brokers hold a partition.
type Assignment struct {
	Replicas, Adding, Removing []kafka.BrokerID
}

// ReadConfig takes a topic's config znode; values is kept. A topic that is not
// in the image is passed over.
func (e *Edit) ReadConfig(topic string, values map[string]string, zxid int64, version int32) {
	if t := e.im.topics[topic]; t != nil && t.ConfigZxid < zxid {
		e.setConfig(topic, values, zxid, version)
	}
}

// ReadState takes a state znode, without what no znode holds, made at created and
// last written at zxid. A partition that is not in the image is passed over.
func (e *Edit) ReadState(tp kafka.TopicPartition, s EntryState, created, zxid int64) {
	switch p := e.im.Partition(tp); {
	case p == nil:
	case p.Zxid < zxid:
		e.setState(tp.Topic, &s, created, zxid)
	case p.Created == 0: // a later entry came before this read, and did not say it
		np := *p
		np.Created = created
		e.topic(tp.Topic).Partitions[tp.Partition] = &np
	}
}

// Apply applies entry number, created at czxid. Items that are as new are left.
func (e *Edit) Apply(number int64, en *Entry, czxid int64) {
	e.im.Next, e.im.Zxid = number+1, max(e.im.Zxid, czxid)
	if e.told != nil {
		e.told[czxid] = true
	}
	if en.Epoch > e.im.ControllerEpoch || en.Begins && en.Epoch == e.im.ControllerEpoch {
		e.im.Controller, e.im.ControllerEpoch, e.im.BegunAt = en.Controller, en.Epoch, -1
		if en.Begins {
			e.im.BegunAt = number
		}
	}
	for i := range en.Brokers {
		e.applyBroker(&en.Brokers[i], czxid)
	}
	if en.AllBrokers {
		e.dropUnnamed(en.Brokers, czxid)
	}
	for i := range en.Topics {
		e.applyTopic(&en.Topics[i], czxid)
	}
	for i := range en.States {
		e.applyStates(&en.States[i], czxid)
	}
}

func (e *Edit) applyBroker(b *EntryBroker, czxid int64) {
	switch b.State {
	case Down:
		e.applyDown(b, czxid)
	default:
		nb := &Broker{ID: b.ID, Epoch: b.Epoch, Rack: b.Rack, Features: b.Features, Stopping: b.State == Stopping,
			Crashed: b.Crashed, FastDeath: b.FastDeath, Version: b.Barnabas, Process: b.Process, Told: b.Told, Zxid: czxid, Endpoints: make([]Endpoint, len(b.Endpoints))}
		for i, ep := range b.Endpoints {
			nb.Endpoints[i] = Endpoint(ep)
		}
		if nb.Told == 0 {
			nb.Told = czxid
		}
		e.putBroker(nb)
	}
}

// dropUnnamed takes down the brokers that a complete list does not name. One that
// registered after the list was made is told of by an entry that follows, with
// the same epoch, so that nothing is remembered against that.
func (e *Edit) dropUnnamed(named []EntryBroker, czxid int64) {
	for _, b := range e.im.Brokers() {
		is := func(n EntryBroker) bool { return n.ID == b.ID }
		if b.Zxid < czxid && !slices.ContainsFunc(named, is) {
			e.needBrokers()
			delete(e.im.brokers, b.ID)
			e.brokers[b.ID] = true
		}
	}
}

func (e *Edit) putBroker(b *Broker) {
	if old := e.im.brokers[b.ID]; old != nil && (b.Epoch < old.Epoch || b.Epoch == old.Epoch && b.Zxid <= old.Zxid) {
		return
	}
	if d, ok := e.im.downs[b.ID]; ok && b.Epoch <= d.epoch {
		return
	}
	if old := e.im.brokers[b.ID]; old != nil && old.Epoch == b.Epoch && old.Told != 0 {
		b.Told = old.Told
	}
	e.needBrokers()
	e.im.brokers[b.ID] = b
	e.brokers[b.ID] = true
}

func (e *Edit) applyDown(b *EntryBroker, czxid int64) {
	e.needBrokers()
	if d := e.im.downs[b.ID]; b.Epoch > d.epoch {
		e.im.downs[b.ID] = down{b.Epoch, czxid, b.Alarm, b.Process}
	}
	if old := e.im.brokers[b.ID]; old != nil && old.Epoch <= b.Epoch {
		delete(e.im.brokers, b.ID)
		e.brokers[b.ID] = true
	}
}

func (e *Edit) applyTopic(t *EntryTopic, czxid int64) {
	old := e.im.topics[t.Name]
	id := kafka.TopicID(t.ID)
	switch {
	case t.Change == Deleted || t.Change == Vanished:
		if t.Change == Deleted && !id.IsZero() {
			e.asked[id] = true
		}
		e.tombs[t.Name] = max(e.tombs[t.Name], czxid)
		if old != nil && old.Zxid < czxid {
			e.dropTopic(t.Name)
		}
		return
	case t.Change == Changed && (old == nil || old.ID != id && !old.ID.IsZero() && !id.IsZero()):
		return // it speaks of a topic that was gone when the load read
	case t.Change == Created && old == nil && e.tombs[t.Name] >= czxid:
		return
	}
	if t.Change == Created && old != nil && old.Zxid < czxid && old.ID != id && !old.ID.IsZero() { // else it is given one
		e.dropTopic(t.Name)
		old = nil
	}
	if t.Assigned && (old == nil || old.Zxid < czxid) {
		e.applyAssignment(t, czxid)
	}
	if now := e.im.topics[t.Name]; t.Config != nil && now != nil && now.ConfigZxid < czxid {
		e.setConfig(t.Name, t.Config.Values, czxid, t.Config.ZnodeVersion)
	}
}

func (e *Edit) applyAssignment(t *EntryTopic, czxid int64) {
	nt := e.topic(t.Name)
	e.setID(nt, kafka.TopicID(t.ID))
	nt.Zxid, nt.Version = czxid, t.ZnodeVersion
	for p, replicas := range t.Partitions {
		e.assign(nt, p, Assignment{replicas, t.Adding[p], t.Removing[p]})
	}
	for _, p := range t.Gone {
		e.dropPartition(nt, p)
	}
}

func (e *Edit) applyStates(s *EntryStates, czxid int64) {
	t := e.im.topics[s.Topic]
	if t == nil || t.ID != kafka.TopicID(s.ID) {
		return
	}
	for i := range s.Partitions {
		if p := e.im.topics[s.Topic].Partition(s.Partitions[i].Partition); p != nil && p.Zxid < czxid {
			created := int64(0)
			if !p.HasState && s.Partitions[i].ZnodeVersion == 0 { // what a hand makes anew is not younger
				created = czxid
			}
			e.setState(s.Topic, &s.Partitions[i], created, czxid)
		}
	}
}

// topic returns the topic, made if need be, in a copy that may be changed.
func (e *Edit) topic(name string) *Topic {
	t := e.im.topics[name]
	if t != nil && e.own[t] {
		return t
	}
	e.needTopics()
	nt := &Topic{Name: name, ConfigVersion: -1}
	if t != nil {
		*nt = *t
		nt.Partitions = slices.Clone(t.Partitions)
	}
	e.im.topics[name] = nt
	e.own[nt], e.topics[name] = true, true
	return nt
}

func (e *Edit) setID(t *Topic, id kafka.TopicID) {
	if t.ID == id {
		return
	}
	e.needIDs()
	if e.im.ids[t.ID] == t.Name {
		delete(e.im.ids, t.ID)
	}
	t.ID = id
	if !id.IsZero() {
		e.im.ids[id] = t.Name
	}
}

func (e *Edit) assign(t *Topic, p int32, a Assignment) {
	if p < 0 || p >= MaxPartitions {
		return
	}
	for int(p) >= len(t.Partitions) {
		t.Partitions = append(t.Partitions, nil)
	}
	np := &Partition{Leader: kafka.NoBroker}
	if old := t.Partitions[p]; old != nil {
		*np = *old
	} else {
		e.im.partitions++
	}
	np.Replicas, np.Adding, np.Removing = a.Replicas, a.Adding, a.Removing
	t.Partitions[p] = np
}

func (e *Edit) dropPartition(t *Topic, p int32) {
	if t.Partition(p) == nil {
		return
	}
	t.Partitions[p] = nil
	e.im.partitions--
	for n := len(t.Partitions); n > 0 && t.Partitions[n-1] == nil; n-- {
		t.Partitions = t.Partitions[:n-1]
	}
}

func (e *Edit) dropTopic(name string) {
	t := e.im.topics[name]
	e.needTopics()
	delete(e.im.topics, name)
	if e.im.ids[t.ID] == name {
		e.needIDs()
		delete(e.im.ids, t.ID)
	}
	e.im.partitions -= t.Count()
	e.topics[name] = true
}

func (e *Edit) setConfig(topic string, values map[string]string, zxid int64, version int32) {
	t := e.topic(topic)
	t.Config, t.ConfigZxid, t.ConfigVersion = values, zxid, version
}

func (e *Edit) setState(topic string, s *EntryState, created, zxid int64) {
	t := e.topic(topic)
	np := *t.Partitions[s.Partition]
	if np.Created == 0 {
		np.Created = created
	}
	np.HasState, np.Leader, np.LeaderEpoch, np.ISR = true, s.Leader, s.LeaderEpoch, s.ISR
	np.PartitionEpoch, np.ControllerEpoch = kafka.PartitionEpoch(s.ZnodeVersion), s.ControllerEpoch
	np.Recovering, np.Offline, np.Zxid = s.Recovering, s.Offline, zxid
	np.ByHand = false
	t.Partitions[s.Partition] = &np
}

func (e *Edit) needBrokers() {
	if !e.ownBrokers {
		e.im.brokers, e.im.downs = maps.Clone(e.im.brokers), maps.Clone(e.im.downs)
		e.ownBrokers = true
	}
}

func (e *Edit) needTopics() {
	if !e.ownTopics {
		e.im.topics = maps.Clone(e.im.topics)
		e.ownTopics = true
	}
}

func (e *Edit) needIDs() {
	if !e.ownIDs {
		e.im.ids = maps.Clone(e.im.ids)
		e.ownIDs = true
	}
}

// Apply is an Edit with one entry.
func (im *Image) Apply(number int64, en *Entry, czxid int64) (*Image, []Change) {
	e := NewEdit(im)
	e.Apply(number, en, czxid)
	return e.Publish()
}

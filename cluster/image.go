package cluster

import (
	"iter"
	"maps"
	"slices"

	"barnabas/internal/kafka"
)

// Image is one state of the cluster. The zero value is not usable; Empty makes
// the first one.
type Image struct {
	// ClusterID is the content of /cluster/id; "" before it is known.
	ClusterID string
	// Log is the identity of the change log: the czxid of /metadata_changes.
	Log int64
	// Next is the number of the first entry that is not applied yet.
	Next int64
	// Zxid is the czxid of the last entry applied, or of the last that was there
	// when the load began. What has a larger one was not told by any entry.
	Zxid int64
	// Untold is where the log ended when the load began, if the load read something
	// newer, which an entry may tell later or none; else 0.
	Untold int64
	// Controller wrote the last "epoch begins"; NoBroker if none is known.
	Controller kafka.BrokerID
	// ControllerEpoch is the largest epoch seen in the log; 0 if none.
	ControllerEpoch kafka.ControllerEpoch
	// BegunAt is the number of the entry with which ControllerEpoch began, -1
	// if it lies before what was applied to this image one by one.
	BegunAt int64

	brokers map[kafka.BrokerID]*Broker
	// downs keeps the last epoch of brokers that the log declared down.
	downs  map[kafka.BrokerID]down
	topics map[string]*Topic
	ids    map[kafka.TopicID]string
	// partitions is the sum over all topics.
	partitions int
}

// down is what stays of a broker that is gone: entries and reads about
// registrations up to epoch are old news.
type down struct {
	epoch kafka.BrokerEpoch
	zxid  int64
	alarm bool // declared by evidence
	// process is that of an alarm's registration, "" if it is not known.
	process string
}

// Alarm is a registration that was removed because its process was declared dead by
// evidence.
type Alarm struct {
	Epoch   kafka.BrokerEpoch
	Process string // "" if it is not known
}

// Empty is an image that knows nothing.
func Empty() *Image {
	return &Image{
		Controller: kafka.NoBroker,
		BegunAt:    -1,
		brokers:    map[kafka.BrokerID]*Broker{},
		downs:      map[kafka.BrokerID]down{},
		topics:     map[string]*Topic{},
		ids:        map[kafka.TopicID]string{},
	}
}

// Broker returns the live broker id, or nil.
func (im *Image) Broker(id kafka.BrokerID) *Broker { return im.brokers[id] }

// Alive reports whether broker id is registered, be it stopping or not.
func (im *Image) Alive(id kafka.BrokerID) bool { return im.brokers[id] != nil }

// Brokers returns the live brokers, by id.
func (im *Image) Brokers() []*Broker {
	out := make([]*Broker, 0, len(im.brokers))
	for _, b := range im.brokers {
		out = append(out, b)
	}
	slices.SortFunc(out, func(a, b *Broker) int { return int(a.ID) - int(b.ID) })
	return out
}

// Alarms are the last alarms of each broker.
func (im *Image) Alarms() map[kafka.BrokerID]Alarm {
	out := map[kafka.BrokerID]Alarm{}
	for id, d := range im.downs {
		if d.alarm {
			out[id] = Alarm{d.epoch, d.process}
		}
	}
	return out
}

// LiveController is the controller if it is alive, else NoBroker.
func (im *Image) LiveController() kafka.BrokerID {
	if im.Alive(im.Controller) {
		return im.Controller
	}
	return kafka.NoBroker
}

// Topic returns the topic called name, or nil.
func (im *Image) Topic(name string) *Topic { return im.topics[name] }

// TopicByID returns the topic with this id, or nil; never one for the zero id.
func (im *Image) TopicByID(id kafka.TopicID) *Topic { return im.topics[im.ids[id]] }

// Topics ranges over all topics in no order.
func (im *Image) Topics() iter.Seq[*Topic] { return maps.Values(im.topics) }

// TopicCount is the number of topics, PartitionCount of their partitions.
func (im *Image) TopicCount() int { return len(im.topics) }

// PartitionCount is the number of partitions of all topics.
func (im *Image) PartitionCount() int { return im.partitions }

// Partition returns one partition, or nil.
func (im *Image) Partition(tp kafka.TopicPartition) *Partition {
	if t := im.topics[tp.Topic]; t != nil {
		return t.Partition(tp.Partition)
	}
	return nil
}

// CanHandOver reports whether a broker leads a partition that another live member
// of its ISR could lead in its place.
func (im *Image) CanHandOver(id kafka.BrokerID) bool {
	for _, t := range im.topics {
		for _, p := range t.Partitions {
			if p != nil && p.Leader == id && slices.ContainsFunc(p.ISR, func(r kafka.BrokerID) bool { return r != id && im.Alive(r) }) {
				return true
			}
		}
	}
	return false
}

// CountsOnPast reports whether a partition's state still counts a broker as in sync
// by what it had before its present registration: the controller has not yet
// judged that, or found nobody better who could lead.
func (im *Image) CountsOnPast(id kafka.BrokerID) bool {
	b := im.brokers[id]
	for _, t := range im.topics {
		for _, p := range t.Partitions {
			if p == nil || !slices.Contains(p.ISR, id) {
				continue
			}
			if p.Leader == kafka.NoBroker || b == nil || !p.UsableBy(b) {
				return true
			}
		}
	}
	return false
}

// Endpoint is an address that a broker tells to others.
type Endpoint struct {
	Listener string // name in upper case
	Host     string // without brackets, also for IPv6
	Port     int32
	Protocol string // PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL
}

// Feature is the range of versions that a broker supports of one feature.
type Feature struct {
	Min int16 `json:"min"`
	Max int16 `json:"max"`
}

// Broker is one registered broker.
type Broker struct {
	ID    kafka.BrokerID
	Epoch kafka.BrokerEpoch // czxid of the registration
	// Told is the zxid of the entry that told of this registration first; 0 if none
	// has. Whoever planned an older state may not have known that the broker was born
	// anew.
	Told      int64
	Endpoints []Endpoint
	Rack      string // "" if none
	Features  map[string]Feature
	// Stopping: it asked to be stopped; it leads nothing new.
	Stopping bool
	// Crashed: its machine was restarted without a clean stop before this
	// registration, so unsynced records may be missing from its logs.
	Crashed bool
	// FastDeath: it may be declared dead by evidence, before its session ends.
	FastDeath bool
	// Process is another one for each start of a process; "" if it is not known.
	Process string
	// Version is that of Barnabas, from the registration's marker; "" for
	// brokers of another make.
	Version string
	// Zxid set this item.
	Zxid int64
}

// Endpoint returns the address of the named listener.
func (b *Broker) Endpoint(listener string) (Endpoint, bool) {
	for _, e := range b.Endpoints {
		if e.Listener == listener {
			return e, true
		}
	}
	return Endpoint{}, false
}

// Topic is one topic with all its partitions.
type Topic struct {
	Name string
	// ID is zero only for topics that were made by hand and not adopted yet.
	ID kafka.TopicID
	// Partitions is indexed by number; an element is nil where the topic znode
	// has no such key.
	Partitions []*Partition
	// Config holds the topic's overrides; nil and empty mean none.
	Config map[string]string

	Zxid          int64 // set name, id and assignment
	Version       int32 // of the topic znode
	ConfigZxid    int64 // set Config
	ConfigVersion int32 // of the config znode; -1 if there is none
}

// Partition returns partition p, or nil.
func (t *Topic) Partition(p int32) *Partition {
	if p < 0 || int(p) >= len(t.Partitions) {
		return nil
	}
	return t.Partitions[p]
}

// Count is the number of partitions that exist.
func (t *Topic) Count() int {
	n := 0
	for _, p := range t.Partitions {
		if p != nil {
			n++
		}
	}
	return n
}

// Partition is one partition: its assignment, from the topic znode, and its
// state, from the state znode.
type Partition struct {
	// Replicas in order of preference; Adding and Removing are the subsets that
	// a reassignment moves.
	Replicas, Adding, Removing []kafka.BrokerID

	// HasState tells whether a leader was ever elected. Without it Leader is
	// NoBroker and the rest is zero.
	HasState        bool
	Leader          kafka.BrokerID
	LeaderEpoch     kafka.LeaderEpoch
	ISR             []kafka.BrokerID
	PartitionEpoch  kafka.PartitionEpoch // version of the state znode
	ControllerEpoch kafka.ControllerEpoch
	// Recovering: the leader was elected out of sync and has not yet said that
	// it recovered.
	Recovering bool
	// Offline are replicas whose log directory failed; no znode holds them.
	Offline []kafka.BrokerID
	// Zxid is the mzxid of the state znode.
	Zxid int64
	// Created is the transaction that made the state znode, as far as it is known to
	// have been the first of this partition; else 0. Before it no broker had a log.
	Created int64
	// ByHand: a load found the state, and none of the entries that were still there
	// has told of it, so somebody else than a controller wrote it. It may name another
	// leader in an epoch that was told: nobody leads by it until a controller has
	// given it an epoch of its own.
	ByHand bool
}

// UsableBy reports whether a broker may act on this state. One that was not planned
// after the log told of its present registration is known, but not its own yet:
// whoever wrote it meant the broker that was there before.
func (p *Partition) UsableBy(b *Broker) bool {
	return p.HasState && !p.ByHand && b.Told != 0 && p.Zxid >= b.Told
}

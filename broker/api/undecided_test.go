package api

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/group"
	"barnabas/cluster"
	"barnabas/internal/kafka"
)

// deaths has one broker in doubt until it was asked about in vain once; then settle
// is called, and that is all there is to wait for.
type deaths struct {
	doubts []cluster.Doubt
	settle func()
	waited int
}

func (d *deaths) InDoubt() bool           { return len(d.doubts) > 0 }
func (d *deaths) Doubts() []cluster.Doubt { return d.doubts }
func (d *deaths) AwaitVerdict(_ context.Context, undecided func([]cluster.Doubt) bool) {
	if undecided(d.doubts) {
		d.waited++
		d.settle()
	}
}

// imageWith is image, in which broker 2 leads b in the ISR 2, 1 and broker 1 leads all
// else, changed by edit.
func imageWith(edit func(e *cluster.Edit)) *cluster.Image {
	e := cluster.NewEdit(image())
	for p := range int32(3) {
		e.ReadState(kafka.TopicPartition{Topic: "b", Partition: p}, cluster.EntryState{Partition: p, Leader: 2, LeaderEpoch: 8, ISR: []kafka.BrokerID{2, 1}}, 8, 8)
	}
	if edit != nil {
		edit(e)
	}
	im, _ := e.Publish()
	return im
}

func lead(topic string, leader kafka.BrokerID, isr ...kafka.BrokerID) func(*cluster.Edit) {
	return func(e *cluster.Edit) {
		for p := range int32(3) {
			e.ReadState(kafka.TopicPartition{Topic: topic, Partition: p}, cluster.EntryState{Partition: p, Leader: leader, LeaderEpoch: 9, ISR: isr}, 9, 9)
		}
	}
}

// A Metadata that would name a leader which has just died waits until another one is
// elected; what has nothing to do with it, and what shares its connection with
// Produce, does not.
func TestMetadataAwaitsTheVerdict(t *testing.T) {
	doubt := []cluster.Doubt{{ID: 2, Epoch: 5, Until: time.Now().Add(time.Hour)}}
	for _, c := range []struct {
		name     string
		topics   []kmsg.MetadataRequestTopic
		before   func(*cluster.Edit)
		doubts   []cluster.Doubt
		produced bool
		waits    bool
	}{
		{"by name", topics("a", "b"), nil, doubt, false, true},
		{"by id", []kmsg.MetadataRequestTopic{{TopicID: idB}}, nil, doubt, false, true},
		{"all", nil, nil, doubt, false, true},
		{"of others", topics("a", "none"), nil, doubt, false, false},
		{"none", []kmsg.MetadataRequestTopic{}, nil, doubt, false, false},
		{"nobody else to elect", topics("b"), lead("b", 2, 2), doubt, false, false},
		{"the other one is in doubt, too", topics("b"), nil, append([]cluster.Doubt{{ID: 1, Epoch: 5, Until: doubt[0].Until}}, doubt...), false, false},
		{"it is registered anew", topics("b"), nil, []cluster.Doubt{{ID: 2, Epoch: 4, Until: doubt[0].Until}}, false, false},
		{"no doubt", topics("b"), nil, nil, false, false},
		{"beside Produce", topics("b"), nil, doubt, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBroker(t)
			im := imageWith(c.before)
			d := &deaths{doubts: c.doubts, settle: func() { im = imageWith(lead("b", 1, 1)) }}
			b.api.opt.Deaths, b.api.opt.Image = d, func() *cluster.Image { return im }
			cl := b.dial()
			if c.produced {
				r := kmsg.NewPtrProduceRequest()
				r.SetVersion(9)
				r.Acks = 1
				call[*kmsg.ProduceResponse](cl, r)
			}
			r := kmsg.NewPtrMetadataRequest()
			r.SetVersion(12)
			r.Topics = c.topics
			m := call[*kmsg.MetadataResponse](cl, r)
			if want := map[bool]int{true: 1}[c.waits]; d.waited != want {
				t.Errorf("waited %d times, want %d", d.waited, want)
			}
			for _, topic := range m.Topics {
				for _, p := range topic.Partitions {
					if p.Leader == 2 && c.waits {
						t.Errorf("%s-%d is led by the dead broker", *topic.Topic, p.Partition)
					}
				}
			}
		})
	}
}

func topics(names ...string) (out []kmsg.MetadataRequestTopic) {
	for _, n := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &n
		out = append(out, t)
	}
	return out
}

// So does a FindCoordinator that would name a dead one.
func TestFindCoordinatorAwaitsTheVerdict(t *testing.T) {
	for _, version := range []int16{3, 4} {
		b := newBroker(t)
		im := imageWith(lead(kafka.ConsumerOffsetsTopic, 2, 2, 1))
		image := func() *cluster.Image { return im }
		d := &deaths{doubts: []cluster.Doubt{{ID: 2, Epoch: 5}}, settle: func() { im = imageWith(nil) }}
		b.api.opt.Deaths, b.api.opt.Image = d, image
		b.api.opt.Coordinators = &group.Finder{Image: image, Create: func(string) {}}
		r := kmsg.NewPtrFindCoordinatorRequest()
		r.SetVersion(version)
		r.CoordinatorKey, r.CoordinatorKeys = "group", []string{"group"}
		m := call[*kmsg.FindCoordinatorResponse](b.dial(), r)
		node := m.NodeID
		if version >= 4 {
			node = m.Coordinators[0].NodeID
		}
		if d.waited != 1 || node != 1 {
			t.Errorf("version %d: waited %d times, then named %d", version, d.waited, node)
		}
	}
}

// late is replicas that serve as leader only once they were awaited.
type late struct {
	*replicas
	awaited []kafka.TopicPartition
}

func (l *late) AwaitServing(_ context.Context, tps []kafka.TopicPartition) error {
	l.awaited = tps
	return nil
}

// A Produce waits until this broker has heard that it leads; its client may have
// heard before. What it leads already, or never will, is not waited for.
func TestProduceAwaitsItsLeadership(t *testing.T) {
	for _, c := range []struct {
		name   string
		before func(*cluster.Edit)
		waits  bool
		await  []kafka.TopicPartition
	}{
		{"about to be elected", nil, true, []kafka.TopicPartition{{Topic: "a"}, {Topic: "b"}}},
		{"elected", lead("b", 1, 1), false, []kafka.TopicPartition{{Topic: "a"}, {Topic: "b"}}},
		{"out of the ISR", lead("b", 2, 2), false, []kafka.TopicPartition{{Topic: "a"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			rep := &late{}
			fake := newBroker(t)
			rep.replicas = fake.rep
			b := serve(t, rep, fake.rep.fetches)
			im := imageWith(c.before)
			d := &deaths{doubts: []cluster.Doubt{{ID: 2, Epoch: 5}}, settle: func() { im = imageWith(lead("b", 1, 1)) }}
			b.api.opt.Deaths, b.api.opt.Image = d, func() *cluster.Image { return im }
			r := kmsg.NewPtrProduceRequest()
			r.SetVersion(9)
			r.Acks = 1
			for _, name := range []string{"a", "b"} {
				rt := kmsg.NewProduceRequestTopic()
				rt.Topic = name
				rp := kmsg.NewProduceRequestTopicPartition()
				rt.Partitions = append(rt.Partitions, rp)
				r.Topics = append(r.Topics, rt)
			}
			call[*kmsg.ProduceResponse](b.dial(), r)
			if d.waited != map[bool]int{true: 1}[c.waits] || !slices.Equal(rep.awaited, c.await) {
				t.Errorf("waited %d times, then for %v", d.waited, rep.awaited)
			}
		})
	}
}

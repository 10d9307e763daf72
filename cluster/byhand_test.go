package cluster

import (
	"testing"

	"barnabas/internal/kafka"
)

// TestByHand: a load knows the states that no entry told of, be the entry one from
// before the load or one that comes with it, and an entry that tells of one ends that.
func TestByHand(t *testing.T) {
	id := kafka.TopicID{1}
	e := NewEdit(Empty())
	e.SetLog(1, 5, 100)
	e.Tell([]int64{50, 70})
	e.ReadTopic(TopicRead{Name: "t", ID: id, Zxid: 40, Assignment: map[int32]Assignment{
		0: {Replicas: []kafka.BrokerID{1}}, 1: {Replicas: []kafka.BrokerID{1}}, 2: {Replicas: []kafka.BrokerID{1}}, 3: {Replicas: []kafka.BrokerID{1}}}})
	for p, zxid := range []int64{45, 70, 60, 110} { // too old to know, told, by hand, told by the next entry
		e.ReadState(kafka.TopicPartition{Topic: "t", Partition: int32(p)}, EntryState{Partition: int32(p), Leader: 1, ISR: []kafka.BrokerID{1}}, 41, zxid)
	}
	e.Apply(5, &Entry{}, 110)
	e.MarkByHand()
	im, _ := e.Publish()
	check := func(want ...bool) {
		t.Helper()
		for p, want := range want {
			if got := im.Topic("t").Partitions[p].ByHand; got != want {
				t.Errorf("partition %d: by hand %v, want %v", p, got, want)
			}
		}
	}
	check(false, false, true, false)
	b := &Broker{ID: 1, Told: 44}
	if p := im.Topic("t").Partitions; !p[1].UsableBy(b) || p[2].UsableBy(b) {
		t.Error("a broker leads by what a hand wrote, or not by what was told")
	}
	im, _ = im.Apply(6, &Entry{States: []EntryStates{{Topic: "t", ID: TopicIDText(id), Partitions: []EntryState{{Partition: 2, Leader: 1, LeaderEpoch: 1}}}}}, 120)
	check(false, false, false, false)

	e = NewEdit(Empty()) // a log without entries: another system's cluster
	e.Tell(nil)
	e.ReadTopic(TopicRead{Name: "t", ID: id, Zxid: 40, Assignment: map[int32]Assignment{0: {Replicas: []kafka.BrokerID{1}}}})
	e.ReadState(kafka.TopicPartition{Topic: "t"}, EntryState{Leader: 1}, 41, 60)
	e.MarkByHand()
	im, _ = e.Publish()
	check(false)
}

package plan

import (
	"testing"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/zkpaths"
)

// TestAdoptedAfterALoad: the controller's load has found a topic without an id, made
// by hand or by an old system. It tells of it as of a new one: a broker that has only
// read on knows nothing of it. Who has found it, too, keeps what it found.
func TestAdoptedAfterALoad(t *testing.T) {
	const name = "h"
	replicas := map[int32][]kafka.BrokerID{0: {1, 2}, 1: {2, 1}}
	state := zkpaths.State{Leader: 2, LeaderEpoch: 3, ISR: []kafka.BrokerID{2, 1}, ControllerEpoch: 4}
	load := cluster.NewEdit(cluster.Empty())
	load.ReadTopic(cluster.TopicRead{Name: name, Zxid: 50, Assignment: map[int32]cluster.Assignment{0: {Replicas: replicas[0]}, 1: {Replicas: replicas[1]}}})
	load.ReadState(kafka.TopicPartition{Topic: name, Partition: 1}, cluster.EntryState{Partition: 1, Leader: 2, LeaderEpoch: 3, ISR: state.ISR,
		ControllerEpoch: 4, ZnodeVersion: 5}, 50, 51)
	loaded, _ := load.Publish()
	for _, broker := range []kafka.BrokerID{1, 2} {
		loaded, _ = loaded.Apply(0, &cluster.Entry{Brokers: []cluster.EntryBroker{{ID: broker, Epoch: 60, State: cluster.Up}}}, 60)
	}
	found := FoundTopic{Name: name, Assignment: &zkpaths.Assignment{Version: 1, Partitions: replicas}, Zxid: 50, NewID: kafka.TopicID{9}, ConfigVersion: -1,
		States: map[int32]FoundState{1: {State: state, Version: 5, Zxid: 51}}}
	steps := Controller{ID: 1, Epoch: 7}.Adopt(loaded, found, false)

	readOn, _ := cluster.Empty().Apply(0, &cluster.Entry{}, 60)
	had := loaded.Partition(kafka.TopicPartition{Topic: name, Partition: 1})
	for _, im := range []**cluster.Image{&loaded, &readOn} {
		s := &script{im: *im, zxid: 70, ctl: Controller{ID: 1, Epoch: 7}}
		s.carryOut(steps)
		*im = s.im
	}
	for who, im := range map[string]*cluster.Image{"who has loaded": loaded, "who has read on": readOn} {
		topic := im.Topic(name)
		if topic == nil || topic.ID != (kafka.TopicID{9}) || topic.Count() != 2 {
			t.Fatalf("%s knows %+v", who, topic)
		}
		if p := topic.Partition(1); !p.HasState || p.Leader != 2 || p.LeaderEpoch < had.LeaderEpoch || p.PartitionEpoch < 5 {
			t.Errorf("%s knows the state %+v", who, p)
		}
	}
}

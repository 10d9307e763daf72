package replica

import (
	"testing"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/protocol"
)

// What a replica tells of its end must stay true until the next leader is known,
// so one that may still copy from an older leader does not tell.
func TestLogEnds(t *testing.T) {
	m := start(t, vfs.NewMem())
	s := leading(4, self, 2)
	become(t, m, s)
	produce(t, m, 7)
	ask := func(id kafka.TopicID, epoch kafka.LeaderEpoch) cluster.LogEnd {
		return m.LogEnds([]cluster.EndQuestion{{TP: tp, TopicID: id, LeaderEpoch: epoch}})[0]
	}
	id := s.TopicID
	if e := ask(id, 5); protocol.CodeOf(e.Err) != protocol.UnknownLeaderEpoch {
		t.Errorf("before the state without a leader is known: %+v", e)
	}
	s.Leader, s.LeaderEpoch, s.PartitionEpoch = 2, 5, 1
	become(t, m, s)
	// The leader tells a follower of a high watermark that it has not reached.
	if err := m.AppendFetched(&Following{TP: tp, TopicID: id, Leader: 2, Epoch: 5}, nil, 30, 0); err != nil {
		t.Fatal(err)
	}
	s.Leader, s.LeaderEpoch, s.PartitionEpoch = kafka.NoBroker, 6, 2
	become(t, m, s)
	if e := ask(id, 6); e != (cluster.LogEnd{Epoch: 4, End: 7, Committed: 30}) {
		t.Errorf("got %+v", e)
	}
	if e := ask(kafka.TopicID{9}, 6); protocol.CodeOf(e.Err) != protocol.UnknownTopicID {
		t.Errorf("another topic of this name: %+v", e)
	}
	other := m.LogEnds([]cluster.EndQuestion{{TP: kafka.TopicPartition{Topic: "none"}}})[0]
	if protocol.CodeOf(other.Err) != protocol.UnknownTopicOrPartition {
		t.Errorf("no replica: %+v", other)
	}
}

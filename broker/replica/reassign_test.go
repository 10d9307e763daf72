package replica

import (
	"path"
	"slices"
	"strings"
	"testing"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
)

// arriving is a state in which broker 3 comes and 2 goes.
func arriving() State {
	s := leading(0, self, 2)
	s.Replicas, s.Adding, s.Removing = []kafka.BrokerID{3, self, 2}, []kafka.BrokerID{3}, []kafka.BrokerID{2}
	return s
}

// A replica that comes is none yet: the partition is not under-replicated by it
// (Kafka's OngoingReassignmentState), and what it copies is counted apart.
func TestReplicasThatComeAreCountedApart(t *testing.T) {
	m, _ := startCluster(t)
	become(t, m, arriving())
	produce(t, m, 10)
	size := fetch(t, m, 3, 0).Records.Length
	for _, id := range []kafka.BrokerID{2, 3} {
		d := fetch(t, m, id, 0)
		d.CountSent()
	}
	c := m.Census(nil)
	if c.Reassigning != 1 || c.UnderReplicated != 0 || c.Traffic.ReplicationOut != 2*size || c.Traffic.ReassignmentOut != size || c.Traffic.BytesOut != 0 {
		t.Errorf("got %+v", c)
	}
	s := arriving()
	s.Adding, s.Removing, s.PartitionEpoch = nil, nil, 1
	become(t, m, s)
	if c := m.Census(nil); c.Reassigning != 0 || c.UnderReplicated != 1 {
		t.Errorf("afterwards %+v", c)
	}
}

// Who follows counts what it copies.
func TestCopiesForAReassignmentAreCounted(t *testing.T) {
	m, _ := startCluster(t)
	s := arriving()
	s.Leader, s.Adding = 2, []kafka.BrokerID{self}
	become(t, m, s)
	f := &Following{TP: tp, TopicID: s.TopicID, Leader: 2, Epoch: 0}
	recs := records(t, 3)
	if err := m.AppendFetched(f, recs, 0, 0); err != nil {
		t.Fatal(err)
	}
	if c := m.Census(nil).Traffic; c.ReplicationIn != int64(len(recs)) || c.ReassignmentIn != int64(len(recs)) {
		t.Errorf("got %+v", c)
	}
}

// A throttle holds back who is out of sync, and nobody else; where it is, is
// noted all the same.
func TestAThrottledFollowerGetsWhatThereIsRoomFor(t *testing.T) {
	m, _ := startCluster(t)
	become(t, m, arriving())
	produce(t, m, 10)
	one := fetch(t, m, 2, 0).Records.Length
	produce(t, m, 10)
	for _, c := range []struct {
		id   kafka.BrokerID
		room int
		one  bool
		want int64
	}{
		{3, 0, true, 0}, {3, 1, true, one}, {3, 1, false, 1}, {3, int(one), false, one}, {3, 1 << 20, false, 2 * one},
		{2, 0, false, 2 * one}, // in sync
	} {
		d, err := m.Read(&ReadArgs{TP: tp, Epoch: kafka.NoLeaderEpoch, LastFetched: kafka.NoLeaderEpoch, MaxBytes: 1 << 20, MinOne: c.one,
			Follower: &FollowerArgs{ID: c.id, Epoch: 100, Limited: true, Room: c.room}})
		if err != nil {
			t.Fatal(err)
		}
		if d.Records.Length != c.want {
			t.Errorf("%+v: got %d bytes", c, d.Records.Length)
		}
		d.Records.Release()
	}
	if r := m.Partition(tp).remotes[3]; r.end != 0 {
		t.Errorf("its end was not noted: %d", r.end)
	}
}

// A replica that was moved away goes, at once or when its broker is back; but not
// one that, by a hand's mistake, is still counted on.
func TestReplicasThatGo(t *testing.T) {
	id := cluster.TopicIDText(kafka.TopicID{1})
	entry := func(epoch kafka.LeaderEpoch, replicas, isr []kafka.BrokerID) *cluster.Entry {
		return &cluster.Entry{Epoch: 1,
			Topics: []cluster.EntryTopic{{Name: tp.Topic, ID: id, Change: cluster.Created, Assigned: true, Partitions: map[int32][]kafka.BrokerID{tp.Partition: replicas}}},
			States: []cluster.EntryStates{{Topic: tp.Topic, ID: id, Partitions: []cluster.EntryState{{Partition: tp.Partition, Leader: isr[0], LeaderEpoch: epoch, ISR: isr}}}},
		}
	}
	for _, c := range []struct {
		name string
		down bool // while it was moved away
		isr  []kafka.BrokerID
		want string
	}{
		{"at once", false, []kafka.BrokerID{2}, "-delete"},
		{"when it is back", true, []kafka.BrokerID{2}, "-delete"},
		{"by a mistake", false, []kafka.BrokerID{self}, "-stray"},
		{"by a mistake, while it was down", true, []kafka.BrokerID{self}, "t-0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := vfs.NewMem()
			m := start(t, fs)
			settle := func(im *cluster.Image, changes []cluster.Change) {
				for m.Follow(im, changes); !m.Idle(); {
					tp, im, _ := m.queue.take()
					m.move(tp, im)
					m.queue.done(tp)
				}
			}
			im, changes := cluster.Empty().Apply(0, entry(0, []kafka.BrokerID{self, 2}, []kafka.BrokerID{self, 2}), 200)
			settle(im, changes)
			dir := path.Dir(m.Log(tp).Dir())
			im, changes = im.Apply(1, entry(1, []kafka.BrokerID{2}, c.isr), 300)
			if c.down {
				delete(m.partitions, tp) // as it begins: the log is there, and nothing is known
			}
			settle(im, changes)
			names, err := fs.List(dir)
			if err != nil || m.Partition(tp) != nil || !slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, c.want) }) {
				t.Errorf("the directory has %v, %v; want one that ends in %s", names, err, c.want)
			}
		})
	}
}

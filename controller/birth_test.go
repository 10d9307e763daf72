package controller_test

import (
	"slices"
	"testing"
	"time"

	"barnabas/cluster"
	"barnabas/controller"
	"barnabas/internal/kafka"
	"barnabas/internal/zktest"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// TestBirthNoticedLateByALoad: a controller that does not know yet that a broker
// registered again writes a state, and ends. The next one knows everything by a
// load. It finds in the log that the state is older than the news of the birth, or
// that nobody ever told of it, and elects anew; what was written by one that knew
// stays in force, also when the entry that told was purged.
func TestBirthNoticedLateByALoad(t *testing.T) {
	type act int
	const (
		write act = iota // the state
		tell             // of the birth
		again            // of the birth, since it was told, and purge what told
	)
	for _, test := range []struct {
		name  string
		acts  []act
		stays bool
	}{
		{"told of after the state", []act{write, tell}, false},
		{"never told of", []act{write}, false},
		{"told of before the state", []act{tell, write}, true},
		{"told of before, which was purged", []act{tell, write, again}, true},
		{"told of after, which was purged", []act{write, tell, again}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			zktest.Both(t, func(t *testing.T, connect string) {
				still := func(o *controller.Options) { o.EntryAge = time.Hour }
				one := startNode(t, connect, 1, still)
				one.awaitReign()
				raw, err := session.Open(t.Context(), session.Options{Connect: connect})
				if err != nil {
					t.Fatal(err)
				}
				defer raw.Close()
				two := &node{t: t, id: 2, zk: raw}
				two.register()
				one.await("both", func(im *cluster.Image) bool { return im.Alive(1) && im.Alive(2) })
				one.create(cluster.NewTopic{Name: "t", Assignment: [][]kafka.BrokerID{{2, 1}}})
				im := one.await("the topic", led("t", 1))
				id := im.Topic("t").ID
				one.stop()

				if err := raw.Delete(t.Context(), zkpaths.BrokerPath(2), -1); err != nil {
					t.Fatal(err)
				}
				two.register()
				reg, _, err := raw.Exists(t.Context(), zkpaths.BrokerPath(2))
				if err != nil {
					t.Fatal(err)
				}
				entry := cluster.Entry{Version: cluster.EntryVersion, Controller: 1, Epoch: 1, Reason: cluster.Reason{Code: "test"}}
				birth := cluster.EntryBroker{ID: 2, Epoch: kafka.BrokerEpoch(reg.Czxid), State: cluster.Up, Barnabas: "test",
					Endpoints: []cluster.EntryEndpoint{{Listener: "PLAINTEXT", Host: "localhost", Port: 9002, Protocol: "PLAINTEXT"}}}
				state := zkpaths.State{Leader: 2, LeaderEpoch: 7, ISR: []kafka.BrokerID{2}, ControllerEpoch: 1}
				tp := kafka.TopicPartition{Topic: "t"}
				var told string
				for i, a := range test.acts {
					e := entry
					e.Token = cluster.Token{Broker: 1, Session: 1, Counter: int64(i)}
					var ops []session.Op
					switch a {
					case write:
						st, _, err := raw.Exists(t.Context(), zkpaths.StatePath(tp))
						if err != nil {
							t.Fatal(err)
						}
						ops = append(ops, session.SetOp(zkpaths.StatePath(tp), state.Encode(), st.Version))
						e.States = []cluster.EntryStates{{Topic: "t", ID: cluster.TopicIDText(id), Partitions: []cluster.EntryState{
							{Leader: 2, LeaderEpoch: 7, ISR: state.ISR, ControllerEpoch: 1, ZnodeVersion: st.Version + 1}}}}
					case tell:
						e.Brokers = []cluster.EntryBroker{birth}
					case again:
						st, _, err := raw.Exists(t.Context(), told)
						if err != nil {
							t.Fatal(err)
						}
						names, _, err := raw.Children(t.Context(), zkpaths.MetadataChanges)
						if err != nil {
							t.Fatal(err)
						}
						for _, n := range names {
							ops = append(ops, session.DeleteOp(zkpaths.MetadataChanges+"/"+n, -1))
						}
						birth.Told = st.Czxid
						e.Brokers = []cluster.EntryBroker{birth}
					}
					res, err := raw.Multi(t.Context(), append(ops, session.CreateOp(zkpaths.NewMetadataChange, e.Encode(), session.PersistentSequential))...)
					if err != nil {
						t.Fatal(err)
					}
					if a == tell {
						told = res[len(res)-1].Path
					}
				}

				three := startNode(t, connect, 3, still)
				three.awaitReign()
				im, err = three.meta.CatchUp(t.Context(), true)
				if err != nil {
					t.Fatal(err)
				}
				p, b := im.Partition(tp), im.Broker(2)
				if stays := p.LeaderEpoch == 7; stays != test.stays {
					t.Errorf("leader epoch %d", p.LeaderEpoch)
				}
				if p.Leader != 2 || !slices.Equal(p.ISR, []kafka.BrokerID{2}) || b == nil || !p.UsableBy(b) {
					t.Errorf("the state is %+v, the broker %+v", p, b)
				}
			})
		})
	}
}

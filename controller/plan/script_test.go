package plan

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/zkpaths"
)

// script is a cluster whose steps are applied as soon as they are planned.
type script struct {
	im   *cluster.Image
	zxid int64
	ctl  Controller
	live map[kafka.BrokerID]*cluster.Broker
	ids  byte

	horizon int64
}

// TestScripts runs the scenarios of testdata. Commands:
//
//	brokers          lines "id [rack=r] [crashed]": the registrations that exist; one
//	                 that was there keeps its epoch, "again" is a new registration
//	create NAME      lines "partition: replicas": a topic; argument unclean (or unclean=TRUE), config=version
//	extend NAME      the same for more partitions
//	adopt NAME       the same for a topic made by hand; arguments version=n, id,
//	                 unreadable, repair, what its states are:
//	                 garbage=(partition:version,...), missing, else unchanged,
//	                 leaderless=(partition:version,...) as written by hand, or
//	                 led=(partition:version:leader,...)
//	outside NAME N   what a hand made the replicas of a partition is taken as it is,
//	                 as by a load
//	by-hand NAME P L as by a load that found P led by L in a state that nobody told of
//	load, announce   what was written after load is told to the log
//	settle           elects; arguments skip=NAME, alarmed=ID (declared dead by evidence)
//	prefer           a preferred election for the partitions of the input; argument
//	                 deleted=(NAME), as with the next three
//	imbalanced N     the partitions to give back above N %
//	stop ID          makes a broker ready to stop
//	survey           asks where logs end, and elects; each line is an answer,
//	                 "t-0 2: epoch end committed"; arguments force=(t-0), impatient
//	isr LEADER...    each line asks its leader's change: "t-0 le=0 pe=0 [recovering] 1 2@epoch",
//	                 all leaders together; "?" is an unknown topic id, "name:" asks by
//	                 name; arguments epoch=n (of the leaders), skip=NAME
//	report ID        lines "t-0": all replicas that the broker can't serve
//	stopping ID      the broker is about to stop
//	move             each line wishes: "t-0: 1 2 3", or "t-0: cancel"; arguments any (dead
//	                 targets, too), skip=NAME
//	finish-moves     completes what is in sync; argument skip=NAME
//	moving           the reassignments under way and the dead brokers that they wait for
//	place            nodes=1,2:rack,... from, count, rf, start, shift
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &script{im: cluster.Empty(), zxid: 100, ctl: Controller{ID: 1, Epoch: 5, Born: map[kafka.BrokerID]int64{}}, live: map[kafka.BrokerID]*cluster.Broker{}}
		datadriven.RunTest(t, path, s.run)
	})
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	s.zxid += 10
	switch d.Cmd {
	case "brokers":
		s.register(d)
		steps, born := Brokers(s.im, s.live, d.HasArg("all"))
		out := s.carryOut(steps)
		for _, id := range born {
			s.ctl.Born[id] = s.zxid
		}
		return out
	case "announce":
		return s.carryOut(Announce(s.im, s.horizon, s.horizon, func(string) bool { return false }))
	case "load": // as if the image was loaded now, the log having ended before
		s.horizon = s.zxid
		return "ok\n"
	case "by-hand": // a load found that somebody wrote another leader: NAME PARTITION LEADER
		var partition, leader int
		fmt.Sscan(d.CmdArgs[1].Key, &partition)
		fmt.Sscan(d.CmdArgs[2].Key, &leader)
		e := cluster.NewEdit(s.im)
		e.Tell([]int64{s.zxid - 1})
		tp := kafka.TopicPartition{Topic: d.CmdArgs[0].Key, Partition: int32(partition)}
		p := s.im.Partition(tp)
		e.ReadState(tp, cluster.EntryState{Partition: tp.Partition, Leader: kafka.BrokerID(leader), LeaderEpoch: p.LeaderEpoch, ISR: p.ISR,
			ControllerEpoch: p.ControllerEpoch, ZnodeVersion: int32(p.PartitionEpoch) + 1}, p.Created, s.zxid)
		e.MarkByHand()
		s.im, _ = e.Publish()
		return "ok\n"
	case "settle":
		var skip string
		d.MaybeScanArgs(t, "skip", &skip)
		alarmed := -1
		d.MaybeScanArgs(t, "alarmed", &alarmed)
		s.ctl.Alarmed = map[kafka.BrokerID]bool{kafka.BrokerID(alarmed): true}
		return s.carryOut(s.ctl.Settle(s.im, func(name string) bool { return name == skip }))
	case "create":
		s.ids++
		n := NewTopic{Name: d.CmdArgs[0].Key, ID: kafka.TopicID{s.ids}, Assignment: assigned(d.Input), Config: map[string]string{}, ConfigVersion: -1}
		if a, ok := d.Arg("unclean"); ok {
			n.Config[uncleanKey] = "true"
			if len(a.Vals) > 0 {
				n.Config[uncleanKey] = a.Vals[0]
			}
		}
		if d.HasArg("config") {
			var v int
			d.ScanArgs(t, "config", &v)
			n.ConfigVersion = int32(v)
		}
		return s.carryOut(s.ctl.CreateTopic(s.im, n))
	case "extend":
		return s.carryOut(s.ctl.AddPartitions(s.im, s.im.Topic(d.CmdArgs[0].Key), assigned(d.Input)))
	case "adopt":
		s.ids++
		f := FoundTopic{Name: d.CmdArgs[0].Key, Assignment: &zkpaths.Assignment{Partitions: assigned(d.Input)}, ConfigVersion: -1, NewID: kafka.TopicID{s.ids}}
		var v int
		if d.MaybeScanArgs(t, "version", &v); s.im.Topic(f.Name) != nil && d.HasArg("id") {
			f.Assignment.ID = s.im.Topic(f.Name).ID
		}
		f.Version = int32(v)
		f.Unreadable = d.HasArg("unreadable")
		f.States = s.foundStates(d, f.Name)
		return s.carryOut(s.ctl.Adopt(s.im, f, d.HasArg("repair")))
	case "outside":
		p, _ := strconv.Atoi(d.CmdArgs[1].Key)
		arg, _ := d.Arg("replicas")
		s.outside(d.CmdArgs[0].Key, int32(p), arg.Vals)
		return "ok\n"
	case "prefer":
		return s.prefer(t, d)
	case "survey":
		return s.survey(t, d)
	case "imbalanced":
		return s.imbalanced(d)
	case "stop":
		return s.stop(d)
	case "isr":
		return s.alter(t, d)
	case "report":
		id, _ := strconv.Atoi(d.CmdArgs[0].Key)
		s.report(t, kafka.BrokerID(id), d.Input)
		return "ok\n"
	case "stopping":
		id, _ := strconv.Atoi(d.CmdArgs[0].Key)
		return s.carryOut([]Step{{Brokers: []cluster.EntryBroker{entryBroker(s.live[kafka.BrokerID(id)], true)}}})
	case "place":
		return place(t, d)
	case "move", "finish-moves", "moving":
		return s.moves(t, d)
	}
	return "unknown command"
}

// foundStates are the states that the image has, but for those that a hand has
// overwritten.
func (s *script) foundStates(d *datadriven.TestData, name string) map[int32]FoundState {
	found := map[int32]FoundState{}
	if t := s.im.Topic(name); t != nil && !d.HasArg("missing") {
		for i, p := range t.Partitions {
			if p != nil && p.HasState {
				found[int32(i)] = FoundState{Version: int32(p.PartitionEpoch), Zxid: p.Zxid,
					State: zkpaths.State{Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, ISR: p.ISR, ControllerEpoch: p.ControllerEpoch}}
			}
		}
	}
	for _, key := range []string{"garbage", "leaderless", "led"} {
		arg, _ := d.Arg(key)
		for _, v := range arg.Vals {
			var n, at int32
			leader := kafka.NoBroker
			fmt.Sscanf(v, "%d:%d:%d", &n, &at, &leader)
			f := found[n]
			f.Version, f.Zxid, f.Unreadable, f.Leader = at, s.zxid, key == "garbage", leader
			found[n] = f
		}
	}
	return found
}

func (s *script) register(d *datadriven.TestData) {
	old := s.live
	s.live = map[kafka.BrokerID]*cluster.Broker{}
	for line := range strings.Lines(d.Input) {
		words := strings.Fields(line)
		n, _ := strconv.Atoi(words[0])
		id := kafka.BrokerID(n)
		b := old[id]
		if b == nil || slices.Contains(words, "again") {
			s.zxid++
			b = &cluster.Broker{ID: id, Epoch: kafka.BrokerEpoch(s.zxid), Zxid: s.zxid, Crashed: slices.Contains(words, "crashed")}
		}
		s.live[id] = b
	}
}

// outside changes the replicas of a partition as an entry would.
func (s *script) outside(topic string, partition int32, ids []string) {
	t := s.im.Topic(topic)
	var to []kafka.BrokerID
	for _, v := range ids {
		n, _ := strconv.Atoi(v)
		to = append(to, kafka.BrokerID(n))
	}
	e := &cluster.Entry{Epoch: s.ctl.Epoch, Topics: []cluster.EntryTopic{{Name: topic, ID: cluster.TopicIDText(t.ID), Change: cluster.Changed,
		Assigned: true, ZnodeVersion: t.Version, Partitions: map[int32][]kafka.BrokerID{partition: to}}}}
	s.im, _ = s.im.Apply(s.im.Next, e, s.zxid)
}

// assigned reads lines "partition: broker broker".
func assigned(text string) map[int32][]kafka.BrokerID {
	out := map[int32][]kafka.BrokerID{}
	for line := range strings.Lines(text) {
		p, list, _ := strings.Cut(line, ":")
		n, _ := strconv.Atoi(p)
		out[int32(n)] = []kafka.BrokerID{}
		for _, w := range strings.Fields(list) {
			id, _ := strconv.Atoi(w)
			out[int32(n)] = append(out[int32(n)], kafka.BrokerID(id))
		}
	}
	return out
}

// carryOut shows steps, and moves the image as their entries would.
func (s *script) carryOut(steps []Step) string {
	var b strings.Builder
	for _, st := range steps {
		s.zxid++
		e := &cluster.Entry{Epoch: s.ctl.Epoch, Brokers: st.Brokers, AllBrokers: st.AllBrokers, Topics: st.Topics}
		for _, x := range st.States {
			e.States = append(e.States, cluster.EntryStates{Topic: x.Topic, ID: cluster.TopicIDText(x.ID), Partitions: []cluster.EntryState{x.EntryState}})
		}
		s.im, _ = s.im.Apply(s.im.Next, e, s.zxid)
		for _, op := range st.Ops {
			fmt.Fprintf(&b, "%s %s", op.Kind, op.Path)
			if op.Kind == Set || op.Kind == Check || op.Kind == Delete {
				fmt.Fprintf(&b, " v%d", op.Version)
			}
			fmt.Fprintln(&b)
		}
		for _, x := range st.Brokers {
			fmt.Fprintf(&b, "  entry: broker %d %s epoch %d\n", x.ID, x.State, x.Epoch)
		}
		for _, x := range st.Topics {
			fmt.Fprintf(&b, "  entry: topic %s %s v%d partitions %v", x.Name, x.Change, x.ZnodeVersion, slices.Sorted(maps.Keys(x.Partitions)))
			if len(x.Gone) > 0 {
				fmt.Fprintf(&b, " gone %v", x.Gone)
			}
			if x.Config != nil {
				fmt.Fprintf(&b, " config v%d %v", x.Config.ZnodeVersion, x.Config.Values)
			}
			fmt.Fprintln(&b)
		}
		for _, x := range st.States {
			fmt.Fprintf(&b, "  entry: %s-%d leader %d epoch %d isr %v v%d", x.Topic, x.Partition, x.Leader, x.LeaderEpoch, x.ISR, x.ZnodeVersion)
			if x.Recovering {
				b.WriteString(" recovering")
			}
			if len(x.Offline) > 0 {
				fmt.Fprintf(&b, " offline %v", x.Offline)
			}
			fmt.Fprintln(&b)
		}
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

func (s *script) report(t *testing.T, id kafka.BrokerID, text string) {
	var named []zkpaths.LogDirTopic
	for line := range strings.Lines(text) {
		tp, err := kafka.ParseTopicPartition(strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		named = append(named, zkpaths.LogDirTopic{ID: s.im.Topic(tp.Topic).ID, Partitions: []int32{tp.Partition}})
	}
	if s.ctl.Reports == nil {
		s.ctl.Reports = map[kafka.BrokerID]*Report{}
	}
	s.ctl.Reports[id] = NewReport(s.zxid, named)
}

func place(t *testing.T, d *datadriven.TestData) string {
	var from, count, rf, start, shift int
	d.MaybeScanArgs(t, "from", &from)
	d.ScanArgs(t, "count", &count)
	d.ScanArgs(t, "rf", &rf)
	d.MaybeScanArgs(t, "start", &start)
	d.MaybeScanArgs(t, "shift", &shift)
	var nodes []cluster.Node
	for _, w := range strings.Fields(d.Input) {
		id, rack, _ := strings.Cut(w, ":")
		n, _ := strconv.Atoi(id)
		nodes = append(nodes, cluster.Node{ID: kafka.BrokerID(n), Rack: rack})
	}
	got := cluster.Place(nodes, int32(from), int32(count), rf, start, shift)
	var b strings.Builder
	for _, p := range slices.Sorted(maps.Keys(got)) {
		fmt.Fprintf(&b, "%d: %v\n", p, got[p])
	}
	return b.String()
}

func TestNodesWithSomeRacks(t *testing.T) {
	e := &cluster.Entry{Brokers: []cluster.EntryBroker{{ID: 1, Epoch: 1, State: cluster.Up, Rack: "a"}, {ID: 2, Epoch: 2, State: cluster.Up}}}
	im, _ := cluster.Empty().Apply(0, e, 5)
	if _, err := cluster.Nodes(im, true); !errors.Is(err, cluster.ErrRacks) {
		t.Errorf("got %v", err)
	}
	if got, err := cluster.Nodes(im, false); err != nil || got[0].Rack != "" {
		t.Errorf("got %v, %v", got, err)
	}
}

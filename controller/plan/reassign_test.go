package plan

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"barnabas/cluster"
	"barnabas/internal/kafka"
)

// moves runs the commands about reassignments, and shows all under way.
func (s *script) moves(t *testing.T, d *datadriven.TestData) string {
	var skipped, out string
	d.MaybeScanArgs(t, "skip", &skipped)
	skip := func(name string) bool { return name == skipped }
	switch d.Cmd {
	case "move":
		wishes := wishesOf(d.Input)
		steps, errs := s.ctl.Reassign(s.im, wishes, d.HasArg("any"), skip)
		out = s.carryOut(steps)
		for i, err := range errs {
			if err != nil {
				out += fmt.Sprintf("%s: %s\n", wishes[i].TP, err)
			}
		}
	case "finish-moves":
		out = s.carryOut(s.ctl.FinishMoves(s.im, nil, skip))
	}
	for _, m := range Moving(s.im, nil) {
		out += fmt.Sprintf("moving: %s %v adding %v removing %v\n", m.TP, m.Replicas, m.Adding, m.Removing)
	}
	waiting := Awaited(s.im)
	for _, id := range slices.Sorted(maps.Keys(waiting)) {
		out += fmt.Sprintf("waiting for broker %d: %v\n", id, waiting[id])
	}
	if out == "" {
		return "nothing\n"
	}
	return out
}

func wishesOf(text string) []cluster.Move {
	var out []cluster.Move
	for line := range strings.Lines(text) {
		name, list, _ := strings.Cut(line, ":")
		at := strings.LastIndexByte(name, '-')
		n, _ := strconv.Atoi(name[at+1:])
		m := cluster.Move{TP: kafka.TopicPartition{Topic: name[:at], Partition: int32(n)}}
		for _, w := range strings.Fields(list) {
			if w == "cancel" {
				m.Cancel = true
				continue
			}
			id, _ := strconv.Atoi(w)
			m.Replicas = append(m.Replicas, kafka.BrokerID(id))
		}
		out = append(out, m)
	}
	return out
}

// TestMovesOfALargeTopic: the states go in slices, each with the topic's znode in
// the version that the slice before left.
func TestMovesOfALargeTopic(t *testing.T) {
	im, _ := cluster.Empty().Apply(0, &cluster.Entry{Epoch: 1, Brokers: []cluster.EntryBroker{
		{ID: 1, Epoch: 1, State: cluster.Up}, {ID: 2, Epoch: 2, State: cluster.Up}}}, 5)
	c := Controller{ID: 1, Epoch: 1}
	n := NewTopic{Name: "big", ID: kafka.TopicID{1}, Assignment: map[int32][]kafka.BrokerID{}, Config: map[string]string{}, ConfigVersion: -1}
	var wishes []cluster.Move
	for p := range int32(2*movesPerStep + 1) {
		n.Assignment[p] = []kafka.BrokerID{1}
		wishes = append(wishes, cluster.Move{TP: kafka.TopicPartition{Topic: "big", Partition: p}, Replicas: []kafka.BrokerID{2}})
	}
	zxid := int64(10)
	apply := func(steps []Step) {
		for _, st := range steps {
			zxid++
			e := &cluster.Entry{Epoch: 1, Topics: st.Topics}
			for _, x := range st.States {
				e.States = append(e.States, cluster.EntryStates{Topic: x.Topic, ID: cluster.TopicIDText(x.ID), Partitions: []cluster.EntryState{x.EntryState}})
			}
			im, _ = im.Apply(im.Next, e, zxid)
		}
	}
	apply(c.CreateTopic(im, n))
	steps, errs := c.Reassign(im, wishes, false, func(string) bool { return false })
	if len(steps) != 3 {
		t.Fatalf("%d steps", len(steps))
	}
	for i, st := range steps {
		if st.Ops[0].Kind != Set || st.Ops[0].Version != int32(i) || st.Topics[0].ZnodeVersion != int32(i)+1 || len(st.States) != len(st.Topics[0].Partitions) {
			t.Errorf("step %d: %s version %d, entry version %d, %d states of %d", i, st.Ops[0].Kind, st.Ops[0].Version, st.Topics[0].ZnodeVersion, len(st.States), len(st.Topics[0].Partitions))
		}
	}
	for i, err := range errs {
		if err != nil {
			t.Fatalf("partition %d: %v", i, err)
		}
	}
	apply(steps)
	if got := len(Moving(im, nil)); got != len(wishes) {
		t.Errorf("%d are moving", got)
	}
	if got := Moving(im, []kafka.TopicPartition{{Topic: "big", Partition: 7}, {Topic: "none"}}); len(got) != 1 || !slices.Equal(got[0].Adding, []kafka.BrokerID{2}) {
		t.Errorf("partition 7: %+v", got)
	}
}

package journal

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"barnabas/cluster"
	"barnabas/internal/kafka"
)

var id = kafka.TopicID{15: 1}

// history is a small cluster whose log is noted and applied at once. Each entry
// comes a minute after the one before.
type history struct {
	im  *cluster.Image
	j   *Journal
	at  time.Time
	num int64
}

func newHistory() *history {
	return &history{im: cluster.Empty(), j: New(), at: time.Date(2026, 11, 27, 18, 0, 0, 0, time.UTC)}
}

func (h *history) entry(e cluster.Entry) {
	e.Version, e.Controller = cluster.EntryVersion, 1
	if e.Epoch == 0 {
		e.Epoch = 7
	}
	edit := cluster.NewEdit(h.im)
	edit.Apply(h.num, &e, 100+h.num)
	h.im, _ = edit.Publish()
	h.j.Note(5, h.num, h.at.UnixMilli(), &e)
	h.num, h.at = h.num+1, h.at.Add(time.Minute)
}

func reason(code string, args ...string) cluster.Reason {
	r := cluster.Reason{Code: code, Args: map[string]string{}}
	for i := 0; i < len(args); i += 2 {
		r.Args[args[i]] = args[i+1]
	}
	return r
}

func (h *history) broker(code string, id kafka.BrokerID, state cluster.BrokerState) {
	h.entry(cluster.Entry{Reason: reason(code, "broker", fmt.Sprint(int32(id))),
		Brokers: []cluster.EntryBroker{{ID: id, Epoch: kafka.BrokerEpoch(10 + id), State: state, Barnabas: "1.2",
			Endpoints: []cluster.EntryEndpoint{{Listener: "PLAINTEXT", Host: "h", Port: 9092, Protocol: "PLAINTEXT"}}}}})
}

func (h *history) state(r cluster.Reason, leader kafka.BrokerID, epoch kafka.LeaderEpoch, isr ...kafka.BrokerID) {
	h.entry(cluster.Entry{Reason: r, States: []cluster.EntryStates{{Topic: "t", ID: cluster.TopicIDText(id),
		Partitions: []cluster.EntryState{{Partition: 0, Leader: leader, LeaderEpoch: epoch, ISR: isr}}}}})
}

func (h *history) begin() {
	h.entry(cluster.Entry{Begins: true, Reason: reason("epoch-begins")})
	for b := kafka.BrokerID(1); b <= 3; b++ {
		h.broker("brokers", b, cluster.Up)
	}
	h.entry(cluster.Entry{Reason: reason("topic-created", "topic", "t"), Topics: []cluster.EntryTopic{{Name: "t", ID: cluster.TopicIDText(id),
		Change: cluster.Created, Assigned: true, Partitions: map[int32][]kafka.BrokerID{0: {1, 2, 3}}}},
		States: []cluster.EntryStates{{Topic: "t", ID: cluster.TopicIDText(id), Partitions: []cluster.EntryState{{Leader: 1, ISR: []kafka.BrokerID{1, 2, 3}}}}}})
}

// says explains a subject, by way of JSON as it goes over the wire.
func (h *history) says(t *testing.T, subject string) string {
	t.Helper()
	e, err := Explain(h.im, h.j, subject, func(map[string]string) Settings { return Settings{MinISR: 2} })
	if err != nil {
		return err.Error()
	}
	e.Now = h.at.UnixMilli()
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	back := new(Explanation)
	if err := json.Unmarshal(data, back); err != nil {
		t.Fatal(err)
	}
	return back.String()
}

func want(t *testing.T, got string, lines ...string) {
	t.Helper()
	if d := cmp.Diff(strings.Split(strings.TrimSuffix(got, "\n"), "\n"), lines); d != "" {
		t.Errorf("-got +want\n%s", d)
	}
}

func TestPartition(t *testing.T) {
	h := newHistory()
	h.begin()
	want(t, h.says(t, "t-0"),
		"t-0 is led by broker 1, in leader epoch 0.",
		"  since: 2026-11-27 18:04:00 UTC (1m0s ago)",
		"  why:   the topic was created",
		"  replicas 1,2,3; in sync 1,2,3; acks=all needs 2 in sync (min.insync.replicas)",
		"It is healthy.",
		"Changes, newest first:",
		"  2026-11-27 18:04:00  leader 1, epoch 0, in sync 1,2,3: the topic was created [change 4, controller 1]")

	h.state(reason("isr", "out", "3"), 1, 0, 1, 2)
	h.broker("process-dead", 1, cluster.Down)
	h.state(reason("election"), 2, 1, 2)
	want(t, h.says(t, "t-0"),
		"t-0 is led by broker 2, in leader epoch 1.",
		"  since: 2026-11-27 18:07:00 UTC (1m0s ago)",
		"  why:   the controller elected by who is alive; before it broker 1 led, which was found dead before its ZooKeeper session ended",
		"  replicas 1,2,3; in sync 2; acks=all needs 2 in sync (min.insync.replicas)",
		"What is missing for it to be healthy:",
		"  * broker 1 is not alive; it was found dead before its ZooKeeper session ended: start it",
		"  * broker 3 is alive and has not caught up with the leader",
		"  * 1 more in sync: until then acks=all is refused (NOT_ENOUGH_REPLICAS)",
		"Changes, newest first:",
		"  2026-11-27 18:07:00  leader 2, epoch 1, in sync 2: the controller elected by who is alive [change 7, controller 1]",
		"  2026-11-27 18:05:00  leader 1, epoch 0, in sync 1,2: the leader proposed other in-sync replicas; fell behind or went away: 3 [change 5, controller 1]",
		"  2026-11-27 18:04:00  leader 1, epoch 0, in sync 1,2,3: the topic was created [change 4, controller 1]")

	again := func(id kafka.BrokerID, state cluster.BrokerState) { // another registration
		h.entry(cluster.Entry{Reason: reason("brokers"), Brokers: []cluster.EntryBroker{{ID: id, Epoch: 100, State: state, Barnabas: "1.2"}}})
	}
	again(1, cluster.Up)
	for _, x := range []struct {
		isr  []kafka.BrokerID
		want string
	}{
		{[]kafka.BrokerID{2, 1}, "  * broker 2 leads in place of the preferred one, broker 1"}, // beside broker 3, which is missing
		{[]kafka.BrokerID{2, 1, 3}, "  * nothing but that broker 2 leads in place of the preferred one, broker 1"},
	} {
		h.state(reason("isr"), 2, 1, x.isr...)
		if got := h.says(t, "t-0"); !strings.Contains(got, x.want+"\n") {
			t.Errorf("no line %q in\n%s", x.want, got)
		}
	}
	again(1, cluster.Down)

	h.broker("brokers", 2, cluster.Down)
	h.state(reason("election"), kafka.NoBroker, 2, 2)
	got := h.says(t, "t-0")
	for _, line := range []string{
		"t-0 has no leader, so that nobody can write or read.",
		"  why:   the controller elected by who is alive; before it broker 2 led, which went away: it was stopped, or its ZooKeeper session ended",
		"  * a broker of those that were last in sync: start one of 2. The others lack records; unclean.leader.election.enable is false",
	} {
		if !strings.Contains(got, line+"\n") {
			t.Errorf("no line %q in\n%s", line, got)
		}
	}
}

func TestBrokerAndController(t *testing.T) {
	h := newHistory()
	h.begin()
	h.state(reason("isr", "out", "3"), 1, 0, 1, 2)
	want(t, h.says(t, "broker 3"),
		"Broker 3 is registered at PLAINTEXT://h:9092, version 1.2.",
		"  since: 2026-11-27 18:03:00 UTC (3m0s ago)",
		"  why:   it registered (anew)",
		"  it has 1 replicas, leads 0 of them, and is out of sync in 1",
		"What is missing: it has to catch up, among others in t-0; `explain` tells more of each.",
		"Changes, newest first:",
		"  2026-11-27 18:03:00  up: it registered (anew) [change 3, controller 1]")
	h.broker("brokers", 3, cluster.Down)
	if got := h.says(t, "broker 3"); !strings.Contains(got, "Broker 3 is not registered.\n") || !strings.Contains(got, "why:   it went away") {
		t.Error(got)
	}
	if got := h.says(t, "broker 9"); !strings.Contains(got, "nothing is remembered of it") {
		t.Error(got)
	}
	want(t, h.says(t, "controller"),
		"Broker 1 is the controller, in epoch 7.",
		"  since: 2026-11-27 18:00:00 UTC (7m0s ago)",
		"It is healthy.",
		"  2026-11-27 18:00:00  broker 1, epoch 7 [change 0]")
	h.broker("brokers", 1, cluster.Down)
	if got := h.says(t, "controller"); !strings.Contains(got, "There is no controller") {
		t.Error(got)
	}
}

func TestWhatCannotBeExplained(t *testing.T) {
	h := newHistory()
	h.begin()
	for subject, text := range map[string]string{
		"":          "is neither a partition",
		"broker x":  `"x" is not the id of a broker`,
		"broker -1": `"-1" is not the id of a broker`,
		"no-0":      "there is no topic no",
		"t-9":       "topic t has no partition 9; it has 1 partitions",
	} {
		if got := h.says(t, subject); !strings.Contains(got, text) {
			t.Errorf("%q: %s", subject, got)
		}
	}
}

func TestBounds(t *testing.T) {
	j := New()
	tp := func(i int) kafka.TopicPartition { return kafka.TopicPartition{Topic: "t", Partition: int32(i)} }
	note := func(number int64, p int) {
		j.Note(5, number, 0, &cluster.Entry{States: []cluster.EntryStates{{Topic: "t", Partitions: []cluster.EntryState{{Partition: int32(p)}}}}})
	}
	number := int64(0)
	for range 3 * perPartition { // one partition never has more than its share
		note(number, 0)
		number++
	}
	if list := j.Partition(tp(0)); len(list) != perPartition || list[0].Entry != 2*perPartition {
		t.Errorf("%d changes, the first is %d", len(list), list[0].Entry)
	}
	note(0, 0) // an old one again
	if list := j.Partition(tp(0)); list[perPartition-1].Entry != number-1 {
		t.Errorf("an entry was noted twice: %d", list[perPartition-1].Entry)
	}
	for p := range allChanges { // all together never more than theirs: the oldest go
		note(number, p+1)
		number++
	}
	if list := j.Partition(tp(0)); len(list) != 0 {
		t.Errorf("%d changes of the oldest partition are left", len(list))
	}
	if len(j.partitions) != allChanges || len(j.ring) != allChanges {
		t.Errorf("%d partitions, %d places", len(j.partitions), len(j.ring))
	}
	j.Note(6, 0, 0, &cluster.Entry{Begins: true}) // another log begins at 0
	if len(j.Reigns()) != 1 {
		t.Error("the first entry of a new log was passed over")
	}
	for i := range 2 * perBroker {
		j.Note(6, int64(i+1), 0, &cluster.Entry{Brokers: []cluster.EntryBroker{{ID: 1, Epoch: kafka.BrokerEpoch(i), State: cluster.Up}}})
		j.Note(6, int64(100+i), 0, &cluster.Entry{Begins: true})
	}
	if n := len(j.Broker(1)); n > perBroker {
		t.Errorf("%d changes of a broker", n)
	}
	if n := len(j.Reigns()); n != reigns {
		t.Errorf("%d reigns", n)
	}
}

func TestWords(t *testing.T) {
	for _, x := range []struct {
		r    cluster.Reason
		want string
	}{
		{reason("stopping", "broker", "3"), "broker 3 asked to be stopped, and handed over what it led"},
		{reason("stopping"), "broker an unknown broker asked to be stopped, and handed over what it led"},
		{reason("isr", "in", "3", "out", "1, 2"), "the leader proposed other in-sync replicas; caught up: 3; fell behind or went away: 1, 2"},
		{reason("from-the-future"), `"from-the-future" (this version knows no words for it)`},
	} {
		if got := Words(x.r); got != x.want {
			t.Errorf("%v: %s", x.r, got)
		}
	}
}

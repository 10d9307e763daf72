package cluster

import (
	"testing"

	"barnabas/internal/kafka"
)

// TestCountsOnPast: a broker's past counts as long as a state that is older than
// its registration, or one without a leader, has it in the ISR.
func TestCountsOnPast(t *testing.T) {
	for name, test := range map[string]struct {
		state Partition
		want  bool
	}{
		"not judged yet":           {Partition{HasState: true, Leader: 2, ISR: []kafka.BrokerID{1, 2}, Zxid: 9}, true},
		"out of the ISR":           {Partition{HasState: true, Leader: 2, ISR: []kafka.BrokerID{2}, Zxid: 9}, false},
		"back in the ISR":          {Partition{HasState: true, Leader: 2, ISR: []kafka.BrokerID{2, 1}, Zxid: 11}, false},
		"leads":                    {Partition{HasState: true, Leader: 1, ISR: []kafka.BrokerID{1}, Zxid: 11}, false},
		"waiting for another one":  {Partition{HasState: true, Leader: kafka.NoBroker, ISR: []kafka.BrokerID{1, 2}, Zxid: 11}, true},
		"no state":                 {Partition{}, false},
		"of no concern, no leader": {Partition{HasState: true, Leader: kafka.NoBroker, ISR: []kafka.BrokerID{2}, Zxid: 9}, false},
	} {
		im := Empty()
		im.brokers[1] = &Broker{ID: 1, Epoch: 10, Told: 10}
		im.topics["t"] = &Topic{Name: "t", Partitions: []*Partition{nil, &test.state}}
		if got := im.CountsOnPast(1); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// TestTold: what counts is the entry that told of a registration first, not the
// registration and not what tells of it again.
func TestTold(t *testing.T) {
	im := Empty()
	tell := func(number, epoch, czxid int64) {
		im, _ = im.Apply(number, &Entry{Epoch: 1, Brokers: []EntryBroker{{ID: 1, Epoch: kafka.BrokerEpoch(epoch), State: Up}}}, czxid)
	}
	for i, step := range []struct{ epoch, czxid, want int64 }{{10, 12, 12}, {10, 20, 12}, {30, 33, 33}, {10, 40, 33}} {
		tell(int64(i), step.epoch, step.czxid)
		if got := im.Broker(1).Told; got != step.want {
			t.Errorf("entry %d: told at %d, want %d", i, got, step.want)
		}
	}
	p := &Partition{HasState: true, Zxid: 32}
	if p.UsableBy(im.Broker(1)) {
		t.Error("a state from before the log told of the registration is its own")
	}
	if p.Zxid = 33; !p.UsableBy(im.Broker(1)) {
		t.Error("a state of the transaction that told is not its own")
	}
	// A load knows only what the log says.
	e := NewEdit(Empty())
	e.ReadBroker(&Broker{ID: 1, Epoch: 50, Zxid: 50})
	if im, _ = e.Publish(); im.Broker(1).Told != 0 || (&Partition{HasState: true, Zxid: 60}).UsableBy(im.Broker(1)) {
		t.Errorf("loaded: told at %d", im.Broker(1).Told)
	}
	if im, _ = im.Apply(0, &Entry{Brokers: []EntryBroker{{ID: 1, Epoch: 50, State: Up}}}, 70); im.Broker(1).Told != 70 {
		t.Errorf("told by the next entry at %d", im.Broker(1).Told)
	}
	if im, _ = Empty().Apply(9, &Entry{Brokers: []EntryBroker{{ID: 1, Epoch: 50, State: Up, Told: 55}}}, 70); im.Broker(1).Told != 55 {
		t.Errorf("told again: at %d", im.Broker(1).Told)
	}
}

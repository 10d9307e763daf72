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
		im.brokers[1] = &Broker{ID: 1, Epoch: 10}
		im.topics["t"] = &Topic{Name: "t", Partitions: []*Partition{nil, &test.state}}
		if got := im.CountsOnPast(1); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

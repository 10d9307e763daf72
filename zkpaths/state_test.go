package zkpaths

import (
	"testing"

	"barnabas/internal/kafka"
)

// TestStateByHand: a state is encoded by hand as encoding/json would.
func TestStateByHand(t *testing.T) {
	for _, s := range []State{
		{},
		{Leader: kafka.NoBroker, LeaderEpoch: 7, ControllerEpoch: 3, ISR: []kafka.BrokerID{1}},
		{Leader: 1<<31 - 1, LeaderEpoch: MaxEpoch, ControllerEpoch: -1, ISR: []kafka.BrokerID{3, 1, 1001}, Recovering: true},
	} {
		v := stateJSON{ControllerEpoch: s.ControllerEpoch, Leader: &s.Leader, Version: 1, LeaderEpoch: &s.LeaderEpoch, ISR: s.ISR}
		if v.ISR == nil {
			v.ISR = []kafka.BrokerID{}
		}
		if s.Recovering {
			v.Recovery = 1
		}
		if got, want := s.Encode(), render(v); string(got) != string(want) {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

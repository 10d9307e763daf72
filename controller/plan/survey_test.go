package plan

import (
	"testing"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// TestEnough: members of an ISR crashed. Whoever is asked must know its end, be it in
// the ISR or not: another replica was put out of it perhaps only because nobody knew
// of the crash yet, and its directory may come back with what the others lost.
func TestEnough(t *testing.T) {
	s := Survey{State: &cluster.Partition{ISR: []kafka.BrokerID{1}}, Ask: []kafka.BrokerID{1, 2}}
	good, bad := End{LogEnd: cluster.LogEnd{End: 7}}, End{LogEnd: cluster.LogEnd{Err: protocol.Fail(protocol.KafkaStorageError, "")}}
	for name, test := range map[string]struct {
		ends           map[kafka.BrokerID]End
		clean, unclean bool
	}{
		"all know":               {map[kafka.BrokerID]End{1: good, 2: good}, true, true},
		"a member can't tell":    {map[kafka.BrokerID]End{1: bad, 2: good}, false, true},
		"another can't tell":     {map[kafka.BrokerID]End{1: good, 2: bad}, false, true},
		"another did not answer": {map[kafka.BrokerID]End{1: good}, false, true},
		"nobody knows":           {map[kafka.BrokerID]End{1: bad, 2: bad}, false, false},
	} {
		for _, unclean := range []bool{false, true} {
			want := test.clean
			if s.Unclean = unclean; unclean {
				want = test.unclean
			}
			if got := s.Enough(test.ends); got != want {
				t.Errorf("%s, unclean %v: enough %v, want %v", name, unclean, got, want)
			}
		}
	}
}

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
	im := cluster.Empty()
	im, _ = im.Apply(0, &cluster.Entry{Brokers: []cluster.EntryBroker{{ID: 1, Epoch: 10, State: cluster.Up}, {ID: 2, Epoch: 20, State: cluster.Up}}}, 20)
	end := func(epoch kafka.BrokerEpoch) End { return End{LogEnd: cluster.LogEnd{End: 7}, Registration: epoch} }
	bad := End{LogEnd: cluster.LogEnd{Err: protocol.Fail(protocol.KafkaStorageError, "")}}
	for name, test := range map[string]struct {
		ends           map[kafka.BrokerID]End
		clean, unclean bool
	}{
		"all know":               {map[kafka.BrokerID]End{1: end(10), 2: end(20)}, true, true},
		"a member can't tell":    {map[kafka.BrokerID]End{1: bad, 2: end(20)}, false, true},
		"another can't tell":     {map[kafka.BrokerID]End{1: end(10), 2: bad}, false, true},
		"another did not answer": {map[kafka.BrokerID]End{1: end(10)}, false, true},
		"another was born since": {map[kafka.BrokerID]End{1: end(10), 2: end(19)}, false, true},
		"nobody knows":           {map[kafka.BrokerID]End{1: bad, 2: bad}, false, false},
	} {
		for _, unclean := range []bool{false, true} {
			want := test.clean
			if s.Unclean = unclean; unclean {
				want = test.unclean
			}
			if got := s.Enough(im, test.ends); got != want {
				t.Errorf("%s, unclean %v: enough %v, want %v", name, unclean, got, want)
			}
		}
	}
	s.Unclean = false
	im, _ = im.Apply(1, &cluster.Entry{Brokers: []cluster.EntryBroker{{ID: 2, Epoch: 20, State: cluster.Down}}}, 30)
	if s.Enough(im, map[kafka.BrokerID]End{1: end(10), 2: end(20)}) {
		t.Error("one has gone since it answered, with what may be the longest log")
	}
}

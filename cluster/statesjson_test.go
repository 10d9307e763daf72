package cluster

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"barnabas/internal/kafka"
)

// manyStates is an entry as an election writes it.
func manyStates(topics, each int) *Entry {
	e := &Entry{Version: EntryVersion, Controller: 1, Epoch: 7, Token: Token{1, -5, 9}, Reason: Reason{Code: "election", Args: map[string]string{"by": `,"states":[`}}}
	for i := range topics {
		s := EntryStates{Topic: fmt.Sprint("topic-", i)}
		s.ID[0], s.ID[15] = byte(i), 1
		for p := range each {
			s.Partitions = append(s.Partitions, EntryState{Partition: int32(p), Leader: kafka.BrokerID(1 + p%3), LeaderEpoch: kafka.LeaderEpoch(p),
				ISR: []kafka.BrokerID{1, 2, kafka.BrokerID(1000 + p)}, ControllerEpoch: 7, ZnodeVersion: int32(3 * p)})
		}
		e.States = append(e.States, s)
	}
	return e
}

// TestStatesByHand: what is written by hand is what encoding/json writes, and what
// is read by hand what it reads.
func TestStatesByHand(t *testing.T) {
	odd := manyStates(3, 4)
	odd.States[0].ID = TopicIDText{}
	odd.States[0].Partitions[0] = EntryState{Partition: 1<<31 - 1, Leader: -1, ISR: []kafka.BrokerID{}, ZnodeVersion: -1 << 31, Recovering: true, Offline: []kafka.BrokerID{3, 4}}
	odd.States[1].Partitions[2].ISR = nil
	long := &odd.States[1].Partitions[3]
	for id := range kafka.BrokerID(200) {
		long.ISR, long.Offline = append(long.ISR, id), append(long.Offline, id, id)
	}
	for name, e := range map[string]*Entry{
		"many": manyStates(16, 50), "odd": odd, "none": manyStates(0, 0), "no partitions": manyStates(2, 0),
		"a name that is none": {Version: 1, States: []EntryStates{{Topic: "\"ä\n<", Partitions: []EntryState{}}}},
	} {
		want, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.Encode(); string(got) != string(want) {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
		sameAsJSON(t, want)
	}
	good := string(manyStates(2, 2).Encode())
	if _, _, ok := cutStates([]byte(good)); !ok {
		t.Error("what we write is not read by hand")
	}
	for _, change := range [][2]string{
		{`"leader":1`, `"leader":01`}, {`"leader":1`, `"leader":-`}, {`"leader":1`, `"leader":99999999999`}, {`"leader":1`, `"leader":2147483648`},
		{`"leader":1`, `"leader":1.5`}, {`"leader":1`, `"leader":-0`}, {`"leader":1`, `"leader":null`}, {`"leader":1`, `"leader": 1`}, {`"leader":1`, `"new":{"a":[]},"leader":1`},
		{`"isr":[`, `"isr":[,`}, {`1000]`, `1000,]`}, {`"topic":"topic-0"`, `"topic":"topic-\u0030"`}, {`"topic":"topic-0"`, `"topic":"top` + "\xff" + `"`},
		{`"version":1`, `"version":1,"states":[{"topic":"x"}]`}, {`"version":1`, `"version":1,"States":[{"topic":"x"}]`}, {`"version":1`, `"version":1,"states":null`},
		{`"version":1`, `"version":1,"x":{"y":2`}, {`"version":1`, `"version":1,"x":[{"y":2`}, {`"version":1`, `"version":1,"x":{"y":2,"states":[]}`},
		{`]}]}`, `]}],"later":1}`}, {`]}]}`, `]}]}}`}, {`]}]}`, `]}]} `}, {`]}]}`, `]}]`}, {`"id":"A`, `"id":"?`},
	} {
		if text := strings.Replace(good, change[0], change[1], 1); text != good {
			sameAsJSON(t, []byte(text))
		} else {
			t.Errorf("%s is not in it", change[0])
		}
	}
	for n := range len(good) {
		sameAsJSON(t, []byte(good[:n]))
	}
}

// sameAsJSON wants unmarshal to do what encoding/json does.
func sameAsJSON(t *testing.T, b []byte) {
	t.Helper()
	var got, want Entry
	err, wantErr := got.unmarshal(b), json.Unmarshal(b, &want)
	if (err == nil) != (wantErr == nil) {
		t.Errorf("%s: error %v, want %v", b, err, wantErr)
	} else if err == nil && !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n%+v\nwant\n%+v", b, got, want)
	}
}

func BenchmarkDecodeEntry(b *testing.B) {
	data := manyStates(16, 50).Encode()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeEntry(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeEntry(b *testing.B) {
	e := manyStates(16, 50)
	b.SetBytes(int64(len(e.Encode())))
	b.ReportAllocs()
	for b.Loop() {
		e.Encode()
	}
}

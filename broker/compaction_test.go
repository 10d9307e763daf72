package broker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"barnabas/brokertest"
)

// TestCompaction: a compacted topic of a running broker comes down to the last
// record of each key.
func TestCompaction(t *testing.T) {
	c := brokertest.Start(t, brokertest.Brokers(2), brokertest.Config("log.cleaner.backoff.ms", "20"),
		brokertest.Topics(brokertest.Topic{Name: "cmp", ReplicationFactor: 2, Configs: map[string]string{
			"cleanup.policy": "compact", "segment.bytes": "20000", "min.cleanable.dirty.ratio": "0.01", "file.delete.delay.ms": "100",
		}}))
	cl := c.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic("cmp"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	const keys, rounds = 20, 100
	for round := range rounds {
		var recs []*kgo.Record
		for k := range keys {
			r := &kgo.Record{Key: fmt.Append(nil, k), Value: fmt.Appendf(nil, "%d-%s", round, strings.Repeat("x", 100))}
			if k == 7 && round == rounds-3 {
				r.Value = nil
			}
			if k == 7 && round > rounds-3 {
				continue
			}
			recs = append(recs, r)
		}
		if err := cl.ProduceSync(t.Context(), recs...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	read := func() (n int, last map[string]string) {
		last = map[string]string{}
		cons := c.Client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"cmp": {0: kgo.NewOffset().AtStart()}}))
		defer cons.Close()
		for end := int64(keys*rounds - 2); ; {
			f := cons.PollFetches(t.Context())
			if err := f.Err(); err != nil {
				t.Fatal(err)
			}
			done := false
			f.EachRecord(func(r *kgo.Record) {
				n++
				last[string(r.Key)], _, _ = strings.Cut(string(r.Value), "-")
				done = done || r.Offset == end-1
			})
			if done {
				return n, last
			}
		}
	}
	check := func(last map[string]string) {
		t.Helper()
		for k := range keys {
			want := fmt.Sprint(rounds - 1)
			if k == 7 {
				want = ""
			}
			if got := last[fmt.Sprint(k)]; got != want {
				t.Fatalf("key %d ends with round %q, want %q", k, got, want)
			}
		}
	}
	for n := keys * rounds; n > 600; { // the test's own time-out ends it
		var last map[string]string
		n, last = read()
		check(last)
	}
}

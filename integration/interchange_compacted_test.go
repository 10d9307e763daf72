//go:build integration

package integration

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// compacted is a topic of one partition that Apache Kafka and Barnabas compact in
// turns: its newest values by key, and how much was written.
type compacted struct {
	topic  string
	newest map[string]string
	at     map[string]int64 // where the newest were acknowledged
	end    int64
}

func newCompacted(t *testing.T, b *broker, topic string) *compacted {
	t.Helper()
	set := func(v string) *string { return &v }
	made, err := kadm.NewClient(b.client()).CreateTopics(t.Context(), 1, 1, map[string]*string{
		"cleanup.policy": set("compact"), "segment.bytes": set("4000"), "min.cleanable.dirty.ratio": set("0.01"), "delete.retention.ms": set("86400000"),
	}, topic)
	if err != nil || made[topic].Err != nil {
		t.Fatal(err, made[topic].Err)
	}
	return &compacted{topic: topic, newest: map[string]string{}, at: map[string]int64{}}
}

const compactedKeys = 20

// write gives each key forty values, some last of all none; one key stays who's
// first of all.
func (c *compacted) write(t *testing.T, b *broker, who string) {
	t.Helper()
	cl := b.client(kgo.DefaultProduceTopic(c.topic), kgo.ProducerBatchCompression(kgo.Lz4Compression(), kgo.NoCompression()))
	defer cl.Close()
	put := func(key, value string) {
		r := kgo.Record{Key: []byte(key)}
		if value != "" {
			r.Value = []byte(value)
		}
		cl.Produce(t.Context(), &r, func(r *kgo.Record, err error) {
			if err != nil {
				t.Errorf("%s: %v", key, err)
			}
			c.at[key], c.end = r.Offset, r.Offset+1
		})
		c.newest[key] = value
	}
	put("only-"+who, who)
	for n := range 40 {
		for k := range compactedKeys {
			put(fmt.Sprint(k), fmt.Sprintf("%s-%d-%d-%s", who, k, n, strings.Repeat("y", 200)))
		}
		if err := cl.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	put("3", "")
	for k := range compactedKeys / 2 { // into a last segment of its own accord
		put(fmt.Sprintf("last-%d", k), who)
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// check reads the topic: each key's newest value at its offset, offsets that grow,
// and what was superseded gone as far as whoever runs has compacted it, which it
// waits for.
func (c *compacted) check(t *testing.T, b *broker, who string) {
	t.Helper()
	eventually(t, patience, who+" to compact", func() error {
		records := readAll(t, b, c.topic, 1)
		newest, last := map[string]string{}, int64(-1)
		for _, r := range records {
			if r.Offset <= last || r.Offset >= c.end {
				t.Fatalf("%s: offset %d after %d, the end is %d", who, r.Offset, last, c.end)
			}
			last = r.Offset
			newest[string(r.Key)] = string(r.Value)
			if at := c.at[string(r.Key)]; r.Offset > at || r.Offset == at && string(r.Value) != c.newest[string(r.Key)] {
				t.Fatalf("%s: key %s at %d is %q; its newest is at %d", who, r.Key, r.Offset, r.Value, at)
			}
		}
		if !maps.Equal(newest, c.newest) {
			t.Fatalf("%s: newest values %v, want %v", who, newest, c.newest)
		}
		if len(records) > 300 { // the active segment has about a hundred
			return fmt.Errorf("%d records of %d", len(records), c.end)
		}
		return nil
	})
}

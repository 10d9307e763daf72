package brokertest

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"barnabas/internal/vfs"
)

// send produces one record to partition 0 and waits for the acknowledgement.
func send(t *testing.T, cl *kgo.Client, topic, value string) {
	t.Helper()
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// read returns the values of the next n records.
func read(t *testing.T, cl *kgo.Client, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var got []string
	for len(got) < n {
		f := cl.PollRecords(ctx, n-len(got))
		if err := ctx.Err(); err != nil {
			t.Fatalf("%d of %d records: %v", len(got), n, err)
		}
		f.EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
	}
	return got
}

func TestStart(t *testing.T) {
	for name, opts := range map[string][]Option{"memory": nil, "disk": {OnDisk()}} {
		t.Run(name, func(t *testing.T) {
			c := Start(t, append(opts, Topics(Topic{Name: "hello", Partitions: 2}))...)
			send(t, c.Client(), "hello", "dear castle")
			in := c.Client(kgo.ConsumeTopics("hello"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
			if got := read(t, in, 1); got[0] != "dear castle" {
				t.Errorf("read %q", got)
			}
			if len(c.Addrs()) != 1 || c.Bootstrap() != c.Broker(0).Addr() {
				t.Errorf("addresses: %q, %q", c.Addrs(), c.Bootstrap())
			}
		})
	}
}

// TestRestart: what was acknowledged before a stop or a kill is there after it,
// at the same address.
func TestRestart(t *testing.T) {
	for name, opts := range map[string][]Option{"memory": nil, "disk": {OnDisk()}} {
		for end, f := range map[string]func(*Broker){"stop": (*Broker).Stop, "kill": (*Broker).Kill, "restart only": func(*Broker) {}} {
			t.Run(name+"/"+end, func(t *testing.T) {
				c := Start(t, append(opts, Topics(Topic{Name: "kept"}))...)
				cl := c.Client()
				b := c.Broker(0)
				send(t, cl, "kept", "before")
				f(b)
				addr := b.Addr()
				b.Restart()
				if b.Addr() != addr || !b.Running() {
					t.Errorf("%s, running %v; it was at %s", b.Addr(), b.Running(), addr)
				}
				send(t, cl, "kept", "after")
				in := c.Client(kgo.ConsumeTopics("kept"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
				if got := read(t, in, 2); got[0] != "before" || got[1] != "after" {
					t.Errorf("read %q", got)
				}
			})
		}
	}
}

// TestKilledWritesNothing: a dead broker neither writes nor answers.
func TestKilledWritesNothing(t *testing.T) {
	c := Start(t)
	b := c.Broker(0)
	life := b.life
	f, err := life.Create("/file")
	if err != nil {
		t.Fatal(err)
	}
	b.Kill()
	if b.Running() {
		t.Error("it runs")
	}
	b.Kill() // again is nothing
	b.Stop()
	if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, vfs.ErrDead) {
		t.Errorf("writing: %v", err)
	}
	if _, err := life.dial(t.Context(), "tcp", c.zk.Addr()); !errors.Is(err, errKilled) {
		t.Errorf("dialing: %v", err)
	}
	if _, err := life.listen("tcp", "127.0.0.1:0"); !errors.Is(err, errKilled) {
		t.Errorf("listening: %v", err)
	}
}

// TestFailover: leaders move from a dead broker to a replica.
func TestFailover(t *testing.T) {
	c := Start(t, Brokers(3), Topics(Topic{Name: "r", Partitions: 6, ReplicationFactor: 2}))
	before := c.Await("all in sync", "r", func(p Partition) bool { return p.Leader >= 0 && len(p.ISR) == 2 })
	c.Broker(1).Kill()
	after := c.Await("without broker 1", "r", func(p Partition) bool { return p.Leader >= 0 && !slices.Contains(p.ISR, 1) })
	for i, p := range after {
		if p.Leader == 1 || before[i].Leader != 1 && p.Leader != before[i].Leader {
			t.Errorf("broker 1 is dead: partition %d, led by %d before, is led by %d", i, before[i].Leader, p.Leader)
		}
	}
	c.Broker(1).Restart()
	if got := len(c.running()); got != 3 {
		t.Errorf("%d brokers run", got)
	}
}

func BenchmarkStart(b *testing.B) {
	for name, opts := range map[string][]Option{
		"memory": nil, "disk": {OnDisk()}, "3 brokers": {Brokers(3)}, "topic": {Topics(Topic{Name: "t"})},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				Start(b, opts...).Close()
			}
		})
	}
}

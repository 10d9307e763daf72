package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	compactTopic  = "groupbench-compact"
	valueBytes    = 1024
	compactedPoll = 100 * time.Millisecond
)

// compaction measures the megabytes of log that the cleaner gets through per
// second of CPU: a log of records of 1 KiB in random order of keys is written and
// rolled; then its policy becomes compact. The CPU is that of the whole process
// until its size does not change any more, less what it takes when idle, which is
// measured under the same polling.
func (b *bench) compaction(s *side, _ int) ([]figure, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.addr), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic(compactTopic),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	if err := b.writeForCompaction(ctx, cl, adm); err != nil {
		return nil, err
	}
	w := &sizeWatch{s: s, adm: adm, rest: b.rest}
	before, err := w.look(ctx)
	if err != nil {
		return nil, err
	}
	idle, err := w.idle(ctx, 4*b.rest)
	if err != nil {
		return nil, err
	}
	if err := setTopic(ctx, adm, "cleanup.policy", "compact"); err != nil {
		return nil, err
	}
	began, start := time.Now(), w.cpu
	end, ended, err := w.settled(ctx, int64(b.compactKeys)*(valueBytes+200))
	if err != nil {
		return nil, err
	}
	used := (end - start).Seconds() - idle*ended.Sub(began).Seconds()
	if _, err := adm.DeleteTopics(ctx, compactTopic); err != nil {
		return nil, err
	}
	name := fmt.Sprintf("compaction, %d MiB, 1 KiB records, %d keys", b.compactMiB, b.compactKeys)
	return []figure{
		{name, "MB per CPU-second", float64(before) / 1e6 / max(used, 0.01), more},
		{name, "CPU-seconds", used, less},
		{name, "MB afterwards", float64(w.size) / 1e6, less},
	}, nil
}

func setTopic(ctx context.Context, adm *kadm.Client, key, value string) error {
	r, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: key, Value: &value}}, compactTopic)
	if err == nil && len(r) > 0 {
		err = r[0].Err
	}
	return err
}

func (b *bench) writeForCompaction(ctx context.Context, cl *kgo.Client, adm *kadm.Client) error {
	set := func(v string) *string { return &v }
	for {
		_, err := adm.CreateTopic(ctx, 1, 1, map[string]*string{"cleanup.policy": set("delete"), "segment.bytes": set("33554432"),
			"min.cleanable.dirty.ratio": set("0.01"), "file.delete.delay.ms": set("1000")}, compactTopic)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return err
		}
		time.Sleep(200 * time.Millisecond) // the last round's is being deleted
	}
	random := rand.New(rand.NewPCG(1, 2)) // the same records for both
	var failed error
	value := make([]byte, valueBytes)
	for range b.compactMiB << 10 {
		r := &kgo.Record{Key: fmt.Appendf(nil, "key-%010d", random.IntN(b.compactKeys)), Value: value}
		cl.Produce(ctx, r, func(_ *kgo.Record, err error) {
			if err != nil {
				failed = err
			}
		})
	}
	if err := errors.Join(cl.Flush(ctx), failed); err != nil {
		return err
	}
	// One more record, in a segment of its own: the active one is never compacted.
	if err := setTopic(ctx, adm, "segment.ms", "1"); err != nil {
		return err
	}
	time.Sleep(b.rest)
	return cl.ProduceSync(ctx, &kgo.Record{Key: []byte("last")}).FirstErr()
}

// sizeWatch looks at the size of the topic and the CPU of the process.
type sizeWatch struct {
	s    *side
	adm  *kadm.Client
	size int64
	cpu  time.Duration
	rest time.Duration
}

func (w *sizeWatch) look(ctx context.Context) (int64, error) {
	dirs, err := w.adm.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		return 0, err
	}
	w.size = 0
	for _, broker := range dirs {
		for _, dir := range broker {
			if p, ok := dir.Topics.Lookup(compactTopic, 0); ok {
				w.size = p.Size
			}
		}
	}
	w.cpu, err = w.s.cpu()
	return w.size, err
}

// idle is the CPU-seconds per second of a process that has nothing else to do.
func (w *sizeWatch) idle(ctx context.Context, during time.Duration) (float64, error) {
	time.Sleep(2 * w.rest) // what was written is being put to rest
	if _, err := w.look(ctx); err != nil {
		return 0, err
	}
	began, start := time.Now(), w.cpu
	for time.Since(began) < during {
		time.Sleep(compactedPoll)
		if _, err := w.look(ctx); err != nil {
			return 0, err
		}
	}
	return (w.cpu - start).Seconds() / time.Since(began).Seconds(), nil
}

// settled waits until the topic is at most so large and stays as it is for a
// while; it returns the CPU and the time at which it came to that size.
func (w *sizeWatch) settled(ctx context.Context, atMost int64) (cpu time.Duration, at time.Time, err error) {
	var size int64 = -1
	for {
		if _, err := w.look(ctx); err != nil {
			return 0, at, err
		}
		if w.size != size {
			size, cpu, at = w.size, w.cpu, time.Now()
		}
		if size <= atMost && time.Since(at) > 3*w.rest {
			return cpu, at, nil
		}
		time.Sleep(compactedPoll)
	}
}

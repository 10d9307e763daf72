package client_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"barnabas/brokertest"
)

// This is the worker pool of docs/consumers.md.

type assigned struct {
	topic     string
	partition int32
}

// worker handles the records of one partition, in order.
type worker struct {
	records chan []*kgo.Record
	done    chan struct{}
}

// pool has a worker for each partition that its client is assigned.
type pool struct {
	client *kgo.Client
	handle func(*kgo.Record)

	mu      sync.Mutex // guards workers
	workers map[assigned]*worker
}

func newPool(handle func(*kgo.Record), opts ...kgo.Opt) (*pool, error) {
	p := &pool{handle: handle, workers: map[assigned]*worker{}}
	var err error
	p.client, err = kgo.NewClient(append(opts,
		// Only what a worker marked is committed, and nobody takes a partition over
		// before its last records are handled and committed.
		kgo.AutoCommitMarks(),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(p.start),
		kgo.OnPartitionsRevoked(p.revoked),
		kgo.OnPartitionsLost(p.stop))...)
	return p, err
}

// run polls until ctx ends, and leaves the group with everything committed.
func (p *pool) run(ctx context.Context) {
	for ctx.Err() == nil {
		fetches := p.client.PollRecords(ctx, 1000)
		fetches.EachPartition(func(part kgo.FetchTopicPartition) {
			p.mu.Lock()
			w := p.workers[assigned{part.Topic, part.Partition}]
			p.mu.Unlock()
			if w != nil && len(part.Records) > 0 {
				w.records <- part.Records // waits for a slow worker: that bounds memory
			}
		})
		p.client.AllowRebalance()
	}
	p.client.CloseAllowingRebalance() // calls revoked
}

func (p *pool) start(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for topic, list := range parts {
		for _, n := range list {
			w := &worker{records: make(chan []*kgo.Record, 2), done: make(chan struct{})}
			p.workers[assigned{topic, n}] = w
			go func() {
				defer close(w.done)
				for batch := range w.records {
					for _, r := range batch {
						p.handle(r)
					}
					p.client.MarkCommitRecords(batch...)
				}
			}()
		}
	}
}

// revoked waits for the workers, then commits what they have done.
func (p *pool) revoked(ctx context.Context, cl *kgo.Client, parts map[string][]int32) {
	p.stop(ctx, cl, parts)
	if err := cl.CommitMarkedOffsets(ctx); err != nil {
		fmt.Println("commit:", err) // the next owner handles these records again
	}
}

// stop waits for the workers. Partitions that were lost have a new owner already.
func (p *pool) stop(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
	var ending []*worker
	p.mu.Lock()
	for topic, list := range parts {
		for _, n := range list {
			if w := p.workers[assigned{topic, n}]; w != nil {
				delete(p.workers, assigned{topic, n})
				close(w.records)
				ending = append(ending, w)
			}
		}
	}
	p.mu.Unlock()
	for _, w := range ending {
		<-w.done
	}
}

// TestWorkerPool: two pools share a topic, one leaves in the middle, and every
// record is handled once, in order within its partition.
func TestWorkerPool(t *testing.T) {
	c := brokertest.Start(t, brokertest.Topics(brokertest.Topic{Name: "jobs", Partitions: 6}))
	var mu sync.Mutex
	seen := map[string]int{}
	last := map[int32]int64{}
	handle := func(r *kgo.Record) {
		mu.Lock()
		defer mu.Unlock()
		seen[string(r.Value)]++
		if at, found := last[r.Partition]; found && r.Offset != at+1 {
			t.Errorf("partition %d: offset %d after %d", r.Partition, r.Offset, at)
		}
		last[r.Partition] = r.Offset
	}
	total := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(seen)
	}
	var pools sync.WaitGroup
	begin := func() context.CancelFunc {
		p, err := newPool(handle, kgo.SeedBrokers(c.Addrs()...), kgo.ConsumerGroup("workers"), kgo.ConsumeTopics("jobs"),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.HeartbeatInterval(100*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		pools.Go(func() { p.run(ctx) })
		return cancel
	}
	await := func(n int) {
		limit := time.After(60 * time.Second)
		for total() < n {
			select {
			case <-limit:
				t.Fatalf("%d of %d records", total(), n)
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	producer := c.Client()
	send := func(from, to int) {
		var records []*kgo.Record
		for i := from; i < to; i++ {
			records = append(records, &kgo.Record{Topic: "jobs", Key: fmt.Append(nil, i), Value: fmt.Append(nil, i)})
		}
		if err := producer.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	one := begin()
	send(0, 2000)
	await(500)
	two := begin()
	send(2000, 4000)
	await(2500)
	one() // leaves with work on its way
	send(4000, 6000)
	await(6000)
	two()
	pools.Wait()
	for value, n := range seen {
		if n != 1 {
			t.Errorf("record %s was handled %d times", value, n)
		}
	}
	admin := kadm.NewClient(producer)
	lags, err := admin.Lag(t.Context(), "workers")
	if err != nil {
		t.Fatal(err)
	}
	if lag := lags["workers"].Lag.Total(); lag != 0 {
		t.Errorf("%d records are not committed", lag)
	}
}

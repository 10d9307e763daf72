//go:build integration

package integration

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// reader is a group member that commits what it has counted.
type reader struct {
	client *kgo.Client
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu         sync.Mutex // guards the following
	partitions map[int32]bool
	seen       map[string]int
	err        error
}

func startReader(b *broker, topic, group string) *reader {
	b.t.Helper()
	r := &reader{partitions: map[int32]bool{}, seen: map[string]int{}}
	note := func(have bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, moved map[string][]int32) {
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, p := range moved[topic] {
				if have {
					r.partitions[p] = true
				} else {
					delete(r.partitions, p)
				}
			}
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.client = b.client(kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsAssigned(note(true)), kgo.OnPartitionsRevoked(note(false)), kgo.OnPartitionsLost(note(false)))
	r.done.Go(func() { r.poll(ctx) })
	b.t.Cleanup(r.leave)
	return r
}

func (r *reader) poll(ctx context.Context) {
	for {
		fetches := r.client.PollFetches(ctx)
		if ctx.Err() != nil || fetches.IsClientClosed() {
			return
		}
		records := fetches.Records()
		r.mu.Lock()
		for _, rec := range records {
			r.seen[string(rec.Value)]++
		}
		r.mu.Unlock()
		if len(records) > 0 {
			// What was counted is committed, whenever the member leaves.
			commit, cancel := context.WithTimeout(context.Background(), patience)
			err := r.client.CommitRecords(commit, records...)
			cancel()
			if err != nil {
				r.mu.Lock()
				r.err = err
				r.mu.Unlock()
			}
		}
	}
}

// leave ends the member; the group notices at once.
func (r *reader) leave() {
	r.cancel()
	r.done.Wait()
	r.client.Close()
}

func (r *reader) state() (partitions, distinct, total int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.seen {
		total += n
	}
	return len(r.partitions), len(r.seen), total
}

func produceSync(t testing.TB, c *kgo.Client, topic string, values []string) {
	t.Helper()
	var records []*kgo.Record
	for _, v := range values {
		records = append(records, &kgo.Record{Topic: topic, Key: []byte(v), Value: []byte(v)})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := c.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// TestFranzGroup: two members share, one leaves, the broker restarts, and all
// goes on from what was committed.
func TestFranzGroup(t *testing.T) {
	b := newBroker(t)
	producer := b.client()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	created, err := kadm.NewClient(producer).CreateTopics(ctx, 6, 1, nil, "work")
	if err != nil || created["work"].Err != nil {
		t.Fatal(err, created["work"].Err)
	}
	one, two := startReader(b, "work", "team"), startReader(b, "work", "team")
	eventually(t, patience, "two members with three partitions each", func() error {
		p1, _, _ := one.state()
		p2, _, _ := two.state()
		if p1 != 3 || p2 != 3 {
			return fmt.Errorf("they have %d and %d", p1, p2)
		}
		return nil
	})
	produceSync(t, producer, "work", numbered("first", 1000))
	eventually(t, patience, "1,000 records are read", func() error {
		_, n1, _ := one.state()
		_, n2, _ := two.state()
		if n1+n2 != 1000 || n1 == 0 || n2 == 0 {
			return fmt.Errorf("%d and %d", n1, n2)
		}
		return nil
	})
	two.leave()
	eventually(t, patience, "the one left has all partitions", func() error {
		if p, _, _ := one.state(); p != 6 {
			return fmt.Errorf("it has %d", p)
		}
		return nil
	})
	produceSync(t, producer, "work", numbered("second", 500))
	eventually(t, patience, "1,500 records are read", func() error {
		_, n1, _ := one.state()
		_, n2, _ := two.state()
		if n1+n2 != 1500 {
			return fmt.Errorf("%d and %d", n1, n2)
		}
		return nil
	})

	b.stop()
	b.start()
	b.awaitReady(patience)
	produceSync(t, producer, "work", numbered("third", 500))
	eventually(t, patience, "the member goes on after the restart", func() error {
		_, n1, _ := one.state()
		_, n2, _ := two.state()
		if n1+n2 != 2000 {
			return fmt.Errorf("%d and %d", n1, n2)
		}
		return nil
	})
	one.leave()
	if _, distinct, total := one.state(); distinct != total {
		t.Errorf("the member read %d records for %d: commits were lost", total, distinct)
	}

	// A new member finds what they committed, not the beginning.
	produceSync(t, producer, "work", numbered("fourth", 100))
	three := startReader(b, "work", "team")
	eventually(t, patience, "a new member reads what is new", func() error {
		if _, n, _ := three.state(); n != 100 {
			return fmt.Errorf("%d records", n)
		}
		return nil
	})
	three.leave()
	for _, r := range []*reader{one, three} {
		if r.err != nil {
			t.Errorf("commit: %v", r.err)
		}
	}
}

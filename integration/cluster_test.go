//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"barnabas/internal/zktest"
)

// newCluster starts n brokers, 1 to n, on one chroot of the real ZooKeeper.
func newCluster(t *testing.T, n int, lines ...string) []*broker {
	t.Helper()
	connect := zktest.Chroot(t, zktest.Real(t))
	var brokers []*broker
	for i := range n {
		b := prepareBroker(t, connect, append([]string{fmt.Sprint("broker.id=", i+1)}, lines...)...)
		b.start()
		brokers = append(brokers, b)
	}
	for _, b := range brokers {
		b.awaitReady(patience)
	}
	awaitEachOther(t, brokers)
	return brokers
}

// awaitInSync waits until every partition of a topic has so many members in its
// ISR.
func awaitInSync(t *testing.T, b *broker, topic string, members int) {
	t.Helper()
	admin := kadm.NewClient(b.client(kgo.MetadataMinAge(20 * time.Millisecond))) // else each answer is kept for 5 s
	eventually(t, patience, fmt.Sprintf("%d in-sync replicas of %s", members, topic), func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		topics, err := admin.ListTopics(ctx, topic)
		if err != nil {
			return err
		}
		for _, p := range topics[topic].Partitions.Sorted() {
			if len(p.ISR) != members || p.Leader < 0 {
				return fmt.Errorf("partition %d: leader %d, ISR %v", p.Partition, p.Leader, p.ISR)
			}
		}
		return topics.Error()
	})
}

// replicated makes a topic with three replicas of each partition and writes to it.
func replicated(t *testing.T, brokers []*broker, topic string, partitions int32, opts ...kgo.Opt) *load {
	t.Helper()
	admin := kadm.NewClient(brokers[0].client())
	eventually(t, patience, "the topic is made", func() error { // all brokers must be known by then
		created, err := admin.CreateTopics(t.Context(), partitions, 3, nil, topic)
		return errors.Join(err, created[topic].Err)
	})
	awaitInSync(t, brokers[0], topic, 3)
	var seeds []string
	for _, b := range brokers {
		seeds = append(seeds, b.addr)
	}
	return startLoad(brokers[0], topic, 8, append(opts, kgo.SeedBrokers(seeds...))...)
}

// TestClusterUnderKills kills each of three brokers in turn while idempotent
// producers write with acks=all to partitions with three replicas: nothing that
// was acknowledged is lost, doubled or moved, and all replicas are in sync again
// after each round.
func TestClusterUnderKills(t *testing.T) {
	brokers := newCluster(t, 3, "min.insync.replicas=2", "replica.lag.time.max.ms=10000", "log.segment.bytes=65536")
	const topic, partitions = "replicated", 6
	l := replicated(t, brokers, topic, partitions)
	l.progress(t, 500, patience, "by all three")
	l.lap()
	for i, b := range brokers {
		b.proc.Kill()
		l.progress(t, 1000, patience, "while a broker is down")
		b.start()
		b.awaitReady(patience)
		awaitInSync(t, brokers[(i+1)%len(brokers)], topic, 3)
		l.progress(t, 500, patience, "by all three")
		t.Logf("broker %d killed and back: longest gap %v", i+1, l.lap().Round(time.Millisecond))
	}
	l.end(t, brokers[0], topic, partitions)
	t.Logf("%d records acknowledged", l.count())
}

// TestRollingRestart stops and starts each of three brokers in turn, as an
// operator does for an upgrade, under the same load and with the same demands.
func TestRollingRestart(t *testing.T) {
	brokers := newCluster(t, 3, longSession, "min.insync.replicas=2")
	const topic, partitions = "rolling", 6
	l := replicated(t, brokers, topic, partitions)
	plain := startPlain(brokers, topic)
	l.progress(t, 500, patience, "by all three")
	l.lap()
	for i, b := range brokers {
		b.stop()
		l.progress(t, 500, patience, "by the other two")
		down := l.lap()
		if down > longestGap {
			t.Errorf("broker %d stopped: a gap of %v", i+1, down)
		}
		b.start()
		b.awaitReady(patience)
		awaitInSync(t, brokers[(i+1)%len(brokers)], topic, 3)
		l.progress(t, 500, patience, "by all three")
		t.Logf("broker %d restarted: longest gap %v at the stop, %v at the start", i+1, down.Round(time.Millisecond), l.lap().Round(time.Millisecond))
	}
	plain.end(t)
	l.end(t, brokers[0], topic, partitions)
	t.Logf("%d records acknowledged", l.count())
}

// plain is a client as it comes, with its default retries.
type plain struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	mu     sync.Mutex // guards the following
	sent   int
	failed []error
}

func startPlain(brokers []*broker, topic string) *plain {
	var seeds []string
	for _, b := range brokers {
		seeds = append(seeds, b.addr)
	}
	p := &plain{}
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(context.Background())
	client := brokers[0].client(kgo.SeedBrokers(seeds...), kgo.DefaultProduceTopic(topic))
	for w := range 4 {
		p.done.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				_, err := client.ProduceSync(context.Background(), kgo.StringRecord(fmt.Sprintf("plain-%d-%d", w, n))).First()
				p.mu.Lock()
				if p.sent++; err != nil {
					p.failed = append(p.failed, err)
				}
				p.mu.Unlock()
			}
		})
	}
	return p
}

// end stops it; no send may have failed.
func (p *plain) end(t *testing.T) {
	t.Helper()
	p.cancel()
	p.done.Wait()
	if len(p.failed) > 0 {
		t.Errorf("%d of %d sends of a client with default retries failed, the first by: %v", len(p.failed), p.sent, p.failed[0])
	}
	t.Logf("a client with default retries sent %d records", p.sent)
}

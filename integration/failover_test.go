//go:build integration

package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/client"
)

// gaps notes the longest time between two acknowledgements of a partition.
type gaps struct {
	mu      sync.Mutex // guards the following
	last    map[int32]time.Time
	longest time.Duration
	acked   int
}

func newGaps() *gaps { return &gaps{last: map[int32]time.Time{}} }

func (g *gaps) note(partition int32, at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if last, ok := g.last[partition]; ok {
		g.longest = max(g.longest, at.Sub(last))
	}
	g.last[partition] = at
	g.acked++
}

// lap gives the longest gap since the last call.
func (g *gaps) lap() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.longest
	g.longest = 0
	return d
}

// since wants an acknowledgement of each partition that is not older than begin.
func (g *gaps) since(begin time.Time, partitions int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	fresh := 0
	for _, at := range g.last {
		if at.After(begin) {
			fresh++
		}
	}
	if fresh < partitions {
		return fmt.Errorf("%d of %d partitions", fresh, partitions)
	}
	return nil
}

// writeAll sends a record to each partition every 20 ms until the test ends.
func writeAll(t *testing.T, c *kgo.Client, topic string, partitions int32) *gaps {
	g := newGaps()
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			<-tick.C
			for p := range partitions {
				c.TryProduce(ctx, &kgo.Record{Topic: topic, Partition: p, Value: []byte("x")}, func(r *kgo.Record, err error) {
					if err == nil {
						g.note(r.Partition, time.Now())
					}
				})
			}
		}
	})
	t.Cleanup(func() { cancel(); done.Wait(); c.Close() })
	return g
}

// writeJava runs Kafka's verifiable producer with the producer's default
// settings; the partitions that its keys go to are found by and by.
func writeJava(t *testing.T, bootstrap []string, topic string) *gaps {
	config := filepath.Join(t.TempDir(), "producer.properties")
	// The tool would turn retries off.
	if err := os.WriteFile(config, []byte("retries=2147483647\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "java", javaArgs(t, "org.apache.kafka.tools.VerifiableProducer", []string{"--bootstrap-server", strings.Join(bootstrap, ","),
		"--topic", topic, "--throughput", "1500", "--acks", "-1", "--repeating-keys", "300", "--producer.config", config})...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	g := newGaps()
	var done sync.WaitGroup
	done.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var line struct {
				Name      string
				Timestamp int64
				Partition int32
			}
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Name == "producer_send_success" {
				g.note(line.Partition, time.UnixMilli(line.Timestamp))
			}
		}
	})
	t.Cleanup(func() { cancel(); done.Wait(); cmd.Wait() })
	return g
}

// lastMetadata notes when a client was last told metadata. One that has just been
// waits for MetadataMinAge after the next error, whatever brokers do.
type lastMetadata struct{ at atomic.Int64 }

// OnBrokerRead implements kgo.HookBrokerRead.
func (l *lastMetadata) OnBrokerRead(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key == int16(kmsg.Metadata) {
		l.at.Store(time.Now().UnixNano())
	}
}

func (l *lastMetadata) longAgo() error {
	const minAge = 5 * time.Second // franz-go's default
	if d := time.Since(time.Unix(0, l.at.Load())); d <= minAge {
		return fmt.Errorf("it was told %v ago", d)
	}
	return nil
}

// TestDefaultClientsAfterFailover kills a leader, and then the controller that
// leads, and measures how long producers with the settings they come with go
// without an acknowledgement: one that watches ZooKeeper, franz-go, and Java's.
// BARNABAS_FAILOVERS sets the number of kills of each kind.
func TestDefaultClientsAfterFailover(t *testing.T) {
	rounds := 1
	if n, err := strconv.Atoi(os.Getenv("BARNABAS_FAILOVERS")); err == nil {
		rounds = n
	}
	brokers := newCluster(t, 3, "min.insync.replicas=2")
	const topic, partitions = "failover", 30
	admin := kadm.NewClient(brokers[0].client(kgo.SeedBrokers(addrs(brokers)...), kgo.MetadataMinAge(20*time.Millisecond)))
	created, err := admin.CreateTopics(t.Context(), partitions, 3, nil, topic)
	if err := errors.Join(err, created[topic].Err); err != nil {
		t.Fatal(err)
	}
	awaitInSync(t, brokers[0], topic, 3)

	manual := kgo.RecordPartitioner(kgo.ManualPartitioner())
	watching, err := client.New(t.Context(), client.Options{ZooKeeper: brokers[0].zk}, manual)
	if err != nil {
		t.Fatal(err)
	}
	var asked lastMetadata
	polling, err := kgo.NewClient(kgo.SeedBrokers(addrs(brokers)...), manual, kgo.WithHooks(&asked))
	if err != nil {
		t.Fatal(err)
	}
	eager, err := kgo.NewClient(kgo.SeedBrokers(addrs(brokers)...), manual, kgo.MetadataMinAge(20*time.Millisecond), kgo.ProducerLinger(0),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }))
	if err != nil {
		t.Fatal(err)
	}
	writers := []struct {
		name string
		*gaps
	}{
		{"franz-go that asks all the time", writeAll(t, eager, topic, partitions)},
		{"franz-go that watches ZooKeeper", writeAll(t, watching, topic, partitions)},
		{"franz-go", writeAll(t, polling, topic, partitions)},
		{"Java", writeJava(t, addrs(brokers), topic)},
	}
	fresh := func(when string) {
		t.Helper()
		begin := time.Now()
		for _, w := range writers {
			eventually(t, patience, w.name+" writes to all partitions "+when, func() error { return w.since(begin, partitions) })
		}
	}
	for n := range 2 * rounds {
		fresh("before a kill")
		eventually(t, patience, "franz-go may ask for metadata at the first error", asked.longAgo)
		victim := (controllerOf(t, admin) + n%2) % 3 // the controller in every second round
		for _, w := range writers {
			w.lap()
		}
		brokers[victim].proc.Kill()
		waited := says(brokers, "not declared dead before its session ends")
		fresh("after a kill")
		line := fmt.Sprintf("%s killed:", []string{"leader and controller", "leader"}[n%2])
		for _, w := range writers {
			gap := w.lap()
			line += fmt.Sprintf(" %s %.2f s;", w.name, gap.Seconds())
			if gap > 30*time.Second {
				t.Errorf("%s went without acknowledgement for %v", w.name, gap)
			}
		}
		if says(brokers, "not declared dead before its session ends") > waited {
			line += " (its session was waited for)"
		}
		t.Log(line)
		brokers[victim].start()
		brokers[victim].awaitReady(patience)
		awaitInSync(t, brokers[(victim+1)%3], topic, 3)
		eventually(t, patience, "the preferred leaders are elected", func() error {
			_, err := admin.ElectLeaders(t.Context(), kadm.ElectPreferredReplica, nil)
			return err
		})
	}
}

func addrs(brokers []*broker) (list []string) {
	for _, b := range brokers {
		list = append(list, b.addr)
	}
	return list
}

// controllerOf is the number of the controller's broker.
func controllerOf(t *testing.T, admin *kadm.Client) (i int) {
	t.Helper()
	eventually(t, patience, "a controller", func() error {
		meta, err := admin.BrokerMetadata(t.Context())
		if err == nil && meta.Controller < 1 {
			err = errors.New("there is none")
		}
		i = int(meta.Controller) - 1
		return err
	})
	return i
}

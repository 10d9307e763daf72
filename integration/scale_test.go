//go:build integration && scale

package integration

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/zktest"
)

// TestScaleReplicas measures three real brokers of which each has a replica of
// every one of some thousand partitions: how long they take to be made, what the
// brokers cost when nobody asks for anything, and how soon one that was killed is
// back in every ISR.
func TestScaleReplicas(t *testing.T) {
	tellLoad(t)
	connect := zktest.Chroot(t, zktest.NewOwn(t).Addr())
	var brokers []*broker
	for i := range 3 {
		b := prepareBroker(t, connect, fmt.Sprint("broker.id=", i+1), "auto.leader.rebalance.enable=false")
		b.start()
		brokers = append(brokers, b)
	}
	for _, b := range brokers {
		b.awaitReady(patience)
	}
	awaitEachOther(t, brokers)

	const topic = "many"
	count := *scaleReps
	admin := kadm.NewClient(brokers[0].client(kgo.RequestTimeoutOverhead(time.Minute)))
	began := time.Now()
	created, err := admin.CreateTopics(t.Context(), int32(count), 3, nil, topic)
	if err = errors.Join(err, created[topic].Err); err != nil {
		t.Fatal(err)
	}
	answered := time.Since(began)
	for _, b := range brokers {
		awaitISR(t, b, topic, count, 3)
	}
	t.Logf("%d partitions x 3 made: answered after %v, known to all after %v", count,
		answered.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))

	fill(t, brokers[0], topic, count)
	idle(t, brokers)
	var times []time.Duration
	for i := range *rounds {
		b, other := brokers[i%3], brokers[(i+1)%3]
		b.proc.Kill()
		awaitISR(t, other, topic, count, 2)
		began := time.Now()
		b.start()
		awaitISR(t, other, topic, count, 3)
		times = append(times, time.Since(began))
	}
	t.Logf("from the start after kill -9 to full ISR: %s", median(times))
	idle(t, brokers)
}

// awaitISR asks one broker until every partition has a leader and so many members
// in its ISR.
func awaitISR(t *testing.T, b *broker, topic string, partitions, members int) {
	t.Helper()
	c := b.client()
	defer c.Close()
	eventually(t, scaleLimit, fmt.Sprintf("ISRs of %d", members), func() error {
		req := kmsg.NewPtrMetadataRequest()
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = kmsg.StringPtr(topic)
		req.Topics = append(req.Topics, rt)
		resp, err := req.RequestWith(t.Context(), c.SeedBrokers()[0])
		if err != nil {
			return err
		}
		n := 0
		for _, p := range resp.Topics[0].Partitions {
			if p.Leader >= 0 && len(p.ISR) == members {
				n++
			}
		}
		if n != partitions {
			return fmt.Errorf("%d of %d partitions", n, partitions)
		}
		return nil
	})
}

// fill writes a record to every partition, so that each log has something.
func fill(t *testing.T, b *broker, topic string, partitions int) {
	t.Helper()
	c := b.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic(topic))
	defer c.Close()
	var records []*kgo.Record
	for p := range partitions {
		records = append(records, &kgo.Record{Partition: int32(p), Value: make([]byte, 100)})
	}
	began := time.Now()
	if err := c.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	t.Logf("a record to each of %d partitions, acks=all: %v", partitions, time.Since(began).Round(time.Millisecond))
}

// idle reports resident memory, and the CPU that is used over ten seconds in
// which nobody asks for anything.
func idle(t *testing.T, brokers []*broker) {
	t.Helper()
	const while = 10 * time.Second
	before := make([]time.Duration, len(brokers))
	for i, b := range brokers {
		before[i] = cpuOf(t, b.proc.PID())
	}
	<-time.After(while)
	for i, b := range brokers {
		used := cpuOf(t, b.proc.PID()) - before[i]
		now, peak := residentOf(t, b.proc.PID())
		t.Logf("broker %d idle: %.1f %% of a processor, %d MB resident, %d at most", i+1, 100*used.Seconds()/while.Seconds(), now>>20, peak>>20)
	}
}

// cpuOf is the CPU time that a process used, by Linux' clock ticks of 10 ms.
func cpuOf(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	var ticks int
	for _, f := range fields[11:13] { // utime and stime
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

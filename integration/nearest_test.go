//go:build integration

package integration

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"barnabas/internal/testaddr"
	"barnabas/internal/zktest"
)

// answered counts the bytes of Fetch answers by broker.
type answered struct {
	mu    sync.Mutex // guards bytes
	bytes map[int32]int
}

func (a *answered) OnBrokerRead(m kgo.BrokerMetadata, key int16, n int, _, _ time.Duration, _ error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if key == 1 {
		a.bytes[m.NodeID] += n
	}
}

func (a *answered) of(id int32) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.bytes[id]
}

var _ kgo.HookBrokerRead = (*answered)(nil)

// TestNearestReplica (KIP-392): consumers that say where they are read from the
// broker of their rack: franz-go's, kcat's and the Java one.
func TestNearestReplica(t *testing.T) {
	connect := zktest.Chroot(t, zktest.Real(t))
	var brokers []*broker
	var pages []string
	for i := range 3 {
		pages = append(pages, testaddr.Reserve(t))
		b := prepareBroker(t, connect, fmt.Sprint("broker.id=", i+1), fmt.Sprint("broker.rack=rack", i+1), "barnabas.http.listen="+pages[i],
			"replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector")
		b.start()
		brokers = append(brokers, b)
	}
	for _, b := range brokers {
		b.awaitReady(patience)
	}
	awaitEachOther(t, brokers)
	const records, size = 2000, 1000
	barnabas(t, "", "topics", "--bootstrap-server", brokers[0].addr, "--create", "--topic", "near", "--replica-assignment", "1:2:3")
	awaitInSync(t, brokers[0], "near", 3)
	producer := brokers[0].client(kgo.DefaultProduceTopic("near"), kgo.ProducerBatchCompression(kgo.NoCompression()))
	for range records {
		producer.Produce(t.Context(), &kgo.Record{Value: make([]byte, size)}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := producer.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for rack := int32(1); rack <= 3; rack++ {
		hook := &answered{bytes: map[int32]int{}}
		c := brokers[0].client(kgo.ConsumeTopics("near"), kgo.Rack(fmt.Sprint("rack", rack)), kgo.WithHooks(hook))
		for n := 0; n < records; {
			fs := c.PollFetches(t.Context())
			if err := fs.Err(); err != nil {
				t.Fatal(err)
			}
			n += fs.NumRecords()
		}
		t.Logf("rack%d: bytes of fetches by broker %v", rack, hook.bytes)
		for id := int32(1); id <= 3; id++ {
			if got := hook.of(id); (got > records*size) != (id == rack) {
				t.Errorf("rack%d read %d bytes from broker %d", rack, got, id)
			}
		}
	}
	// read runs a client of a rack and tells how many bytes each broker sent.
	read := func(rack int, what string, name string, args ...string) {
		t.Helper()
		before := bytesOut(t, pages)
		out := must(t, "", name, args...)
		if n := strings.Count(out, "\n"); n != records {
			t.Errorf("%s read %d records", what, n)
		}
		for i, n := range bytesOut(t, pages) {
			if n -= before[i]; (n >= records*size) != (i+1 == rack) {
				t.Errorf("%s in rack%d read %d bytes from broker %d", what, rack, n, i+1)
			}
		}
	}
	read(2, "kcat", "kcat", "-b", brokers[0].addr, "-C", "-t", "near", "-o", "beginning", "-e", "-q", "-f", "%o\n", "-X", "client.rack=rack2")
	read(3, "the Java consumer", "java", javaArgs(t, "org.apache.kafka.tools.consumer.ConsoleConsumer", []string{"--bootstrap-server", brokers[0].addr,
		"--topic", "near", "--from-beginning", "--max-messages", fmt.Sprint(records), "--consumer-property", "client.rack=rack3",
		"--property", "print.value=false", "--property", "print.offset=true"})...)
}

// bytesOut is what brokers have sent to consumers, by their metrics.
func bytesOut(t *testing.T, pages []string) []int {
	t.Helper()
	var out []int
	for _, page := range pages {
		resp, err := http.Get("http://" + page + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		n := -1
		for line := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(line, "kafka_server_brokertopicmetrics_bytesout_total "); ok {
				n, _ = strconv.Atoi(strings.TrimSpace(v))
			}
		}
		if n < 0 {
			t.Fatalf("no bytes out on the page of %s", page)
		}
		out = append(out, n)
	}
	return out
}

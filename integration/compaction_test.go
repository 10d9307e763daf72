//go:build integration

package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// keyed is what one key was given: values count up, some of them are tombstones.
type keyed struct {
	sent, acked int
	tombstone   map[int]bool
}

// keyWriter writes the keys of its own, some at a time.
type keyWriter struct {
	name  string
	keys  []keyed
	acked int // records
}

// write writes random keys until stop is closed. What was refused or got lost with
// its connection may be stored or not.
func (w *keyWriter) write(c *kgo.Client, topic string, stop <-chan struct{}, progress func(int)) {
	random := rand.New(rand.NewPCG(7, uint64(len(w.keys))))
	pad := strings.Repeat("x", 200)
	for {
		select {
		case <-stop:
			return
		default:
		}
		var recs []*kgo.Record
		var which []int
		for _, k := range random.Perm(len(w.keys))[:10] {
			of := &w.keys[k]
			of.sent++
			r := &kgo.Record{Topic: topic, Key: fmt.Append(nil, w.name, "-", k), Value: fmt.Append(nil, of.sent, " ", pad)}
			if random.IntN(10) == 0 {
				of.tombstone[of.sent], r.Value = true, nil
			}
			r.Headers = []kgo.RecordHeader{{Key: "n", Value: strconv.AppendInt(nil, int64(of.sent), 10)}}
			recs, which = append(recs, r), append(which, k)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		// Results come in the order of completion.
		for _, res := range c.ProduceSync(ctx, recs...) {
			if res.Err != nil {
				continue
			}
			for i, r := range recs {
				if r == res.Record {
					of := &w.keys[which[i]]
					of.acked = of.sent
					w.acked++
					progress(1)
				}
			}
		}
		cancel()
	}
}

// TestCompactionUnderKills kills the broker again and again while its cleaner is
// at work on a topic that is being written: the last value of each key stays, and
// compaction goes on.
func TestCompactionUnderKills(t *testing.T) {
	b := newBroker(t, "log.cleaner.backoff.ms=20", "log.cleaner.io.buffer.size=65536", "log.flush.offset.checkpoint.interval.ms=100")
	const topic, partitions, rounds = "cmp", 2, 8
	admin := kadm.NewClient(b.client())
	set := func(v string) *string { return &v }
	if r, err := admin.CreateTopics(t.Context(), partitions, 1, map[string]*string{"cleanup.policy": set("compact"), "segment.bytes": set("50000"),
		"min.cleanable.dirty.ratio": set("0.01"), "delete.retention.ms": set("200"), "file.delete.delay.ms": set("100"), "index.interval.bytes": set("1024")}, topic); err != nil || r[topic].Err != nil {
		t.Fatal(err, r[topic].Err)
	}
	var acked sync.Map
	total := func() (n int) {
		acked.Range(func(_, v any) bool { n += v.(int); return true })
		return n
	}
	stop := make(chan struct{})
	var writing sync.WaitGroup
	var writers []*keyWriter
	for i := range 4 {
		w := &keyWriter{name: fmt.Sprint("w", i), keys: make([]keyed, 40)}
		for k := range w.keys {
			w.keys[k].tombstone = map[int]bool{}
		}
		writers = append(writers, w)
		c := b.client(kgo.ProducerLinger(0), kgo.DialTimeout(time.Second), kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
			kgo.MetadataMinAge(20*time.Millisecond), kgo.UnknownTopicRetries(-1))
		writing.Go(func() {
			n := 0
			w.write(c, topic, stop, func(more int) { n += more; acked.Store(w.name, n) })
		})
	}
	cleaned := func() (sum int64) {
		for _, n := range cleanedTo(t, b, topic) {
			sum += n
		}
		return sum
	}
	for round := range rounds {
		records, offset := total(), cleaned()
		eventually(t, patience, fmt.Sprintf("round %d: writes and compaction go on", round), func() error {
			if n, at := total()-records, cleaned()-offset; n < 1000 || at <= 0 {
				return fmt.Errorf("%d records more, cleaned %d offsets further", n, at)
			}
			return nil
		})
		b.proc.Kill()
		b.start()
	}
	b.awaitReady(patience)
	close(stop)
	writing.Wait()
	for p := range int32(partitions) { // the end of each is a record that stays
		last := &kgo.Record{Topic: topic, Partition: p, Key: []byte("end"), Value: []byte("end")}
		if err := b.client(kgo.RecordPartitioner(kgo.ManualPartitioner())).ProduceSync(t.Context(), last).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	records := awaitExact(t, b, topic, partitions)
	if len(records) > total()/2 {
		t.Errorf("%d records of %d are left: no test", len(records), total())
	}
	t.Logf("%d records acknowledged, %d left", total(), len(records))
	checkLast(t, writers, records)
}

// cleanedTo is how far each partition was cleaned, by what the broker has noted.
func cleanedTo(t *testing.T, b *broker, topic string) map[int32]int64 {
	t.Helper()
	text, _ := os.ReadFile(b.data("cleaner-offset-checkpoint")) // not there before the first run
	out := map[int32]int64{}
	for _, m := range regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(topic)+` (\d+) (\d+)$`).FindAllSubmatch(text, -1) {
		p, _ := strconv.Atoi(string(m[1]))
		out[int32(p)], _ = strconv.ParseInt(string(m[2]), 10, 64)
	}
	return out
}

// awaitExact waits until a topic that nobody writes to is clean up to the active
// segment of each partition, and gives its records: below there each key has one.
func awaitExact(t *testing.T, b *broker, topic string, partitions int32) (records []*kgo.Record) {
	t.Helper()
	eventually(t, patience, "all but the active segments is clean", func() error {
		to := cleanedTo(t, b, topic)
		for p := range partitions {
			files := b.glob(fmt.Sprintf("%s-%d/*.log", topic, p))
			active := slices.Max(files)
			base, err := strconv.ParseInt(strings.TrimSuffix(filepath.Base(active), ".log"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if to[p] != base {
				return fmt.Errorf("partition %d is clean up to %d, its active segment begins with %d", p, to[p], base)
			}
		}
		type keyAt struct {
			partition int32
			key       string
		}
		seen := map[keyAt]int64{}
		records = readAll(t, b, topic, partitions)
		for _, r := range records {
			if k := (keyAt{r.Partition, string(r.Key)}); r.Offset < to[r.Partition] {
				if before, twice := seen[k]; twice {
					return fmt.Errorf("partition %d, cleaned up to %d, has key %s at %d and %d", r.Partition, to[r.Partition], r.Key, before, r.Offset)
				}
				seen[k] = r.Offset
			}
		}
		return nil
	})
	return records
}

// checkLast wants of each key the last acknowledged value, or one sent since whose
// outcome nobody knows; no value where that is a tombstone.
func checkLast(t *testing.T, writers []*keyWriter, records []*kgo.Record) {
	t.Helper()
	last := map[string]int{}
	for _, r := range records {
		if string(r.Key) == "end" {
			continue
		}
		n, err := strconv.Atoi(string(r.Headers[0].Value))
		if value, _, _ := strings.Cut(string(r.Value), " "); err != nil || r.Value != nil && value != fmt.Sprint(n) {
			t.Fatalf("key %s has a record that nobody wrote: %v %q", r.Key, err, r.Value)
		}
		if n <= last[string(r.Key)] {
			t.Errorf("key %s: %d comes after %d", r.Key, n, last[string(r.Key)])
		}
		last[string(r.Key)] = n
	}
	for _, w := range writers {
		for k := range w.keys {
			of := &w.keys[k]
			key := fmt.Sprint(w.name, "-", k)
			n, there := last[key]
			switch {
			case there && n >= of.acked && n <= of.sent:
			case !there && of.acked == 0:
			case !there && anyTombstone(of): // its retention is over
			default:
				t.Errorf("key %s ends with %d (there: %v), acknowledged was %d of %d sent, a tombstone: %v", key, n, there, of.acked, of.sent, of.tombstone[of.acked])
			}
		}
	}
}

// anyTombstone tells whether what must be the last of a key may be a tombstone.
func anyTombstone(of *keyed) bool {
	for n := of.acked; n <= of.sent; n++ {
		if of.tombstone[n] {
			return true
		}
	}
	return false
}

// TestKafkaReadsCompactedGroupRecords: __consumer_offsets is compacted, Kafka's
// formatter and dump-log read what is left, and it is what was committed, also
// after kill -9.
func TestKafkaReadsCompactedGroupRecords(t *testing.T) {
	b := newBroker(t, "offsets.topic.num.partitions=1", "offsets.topic.segment.bytes=20000", "log.cleaner.backoff.ms=50", "log.cleaner.min.cleanable.ratio=0.01",
		"log.segment.delete.delay.ms=100")
	admin := kadm.NewClient(b.client())
	const groups, commits = 20, 150
	commit := func(n int) {
		t.Helper()
		for g := range groups {
			o := kadm.Offsets{}
			o.Add(kadm.Offset{Topic: "orders", Partition: 3, At: int64(n), LeaderEpoch: -1})
			if err := admin.CommitAllOffsets(t.Context(), fmt.Sprint("team-", g), o); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := admin.CreateTopics(t.Context(), 4, 1, nil, "orders"); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "there is a coordinator", func() error {
		return admin.CommitAllOffsets(t.Context(), "first", kadm.Offsets{"orders": {0: {Topic: "orders", At: 1, LeaderEpoch: -1}}})
	})
	for n := range commits {
		commit(n + 1)
	}
	eventually(t, patience, "compaction", func() error {
		var sum int64
		for _, f := range b.glob("__consumer_offsets-0/*.log") {
			if info, err := os.Stat(f); err == nil { // or compaction has removed it
				sum += info.Size()
			}
		}
		if sum > 50_000 {
			return fmt.Errorf("%d bytes are left", sum)
		}
		return nil
	})
	right := func(when string) {
		t.Helper()
		eventually(t, patience, when, func() error {
			for g := range groups {
				o, err := admin.FetchOffsets(t.Context(), fmt.Sprint("team-", g))
				if err != nil {
					return err
				}
				if at, found := o.Lookup("orders", 3); !found || at.At != commits {
					t.Fatalf("%s: group %d has %+v", when, g, at)
				}
			}
			return nil
		})
	}
	right("after compaction")
	b.proc.Kill()
	b.start()
	b.awaitReady(patience)
	right("after the kill")

	r := runJava(t, "", "org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", b.addr, "--topic", "__consumer_offsets",
		"--partition", "0", "--offset", "earliest", "--formatter", "org.apache.kafka.tools.consumer.OffsetsMessageFormatter", "--timeout-ms", "15000")
	last, lines := map[string]string{}, 0
	for _, m := range regexp.MustCompile(`"group":"(team-\d+)","topic":"orders","partition":3}},"value":{"version":3,"data":{"offset":(\d+),`).FindAllStringSubmatch(r.stdout, -1) {
		last[m[1]] = m[2]
		lines++
	}
	for g := range groups {
		if got := last[fmt.Sprint("team-", g)]; got != fmt.Sprint(commits) {
			t.Errorf("Kafka's formatter: group %d ends with offset %q", g, got)
		}
	}
	if lines == 0 || lines > groups*commits/4 {
		t.Errorf("Kafka's formatter printed %d commits, %d were made\n%s", lines, groups*commits, r.stderr)
	}
	b.stop()
	for _, file := range b.glob("__consumer_offsets-0/*.log") {
		theirs := strings.TrimSpace(java(t, "", "kafka.tools.DumpLogSegments", "--files", file, "--offsets-decoder"))
		ours := strings.TrimSpace(barnabas(t, "", "dump-log", "--files", file, "--offsets-decoder"))
		if d := cmp.Diff(strings.Split(theirs, "\n"), strings.Split(ours, "\n")); d != "" {
			t.Errorf("dump-log of %s: -kafka +ours\n%s", file, d)
		}
	}
	if r.err != nil && !strings.Contains(r.stderr, "TimeoutException") {
		t.Error(r.err, r.stderr)
	}
}

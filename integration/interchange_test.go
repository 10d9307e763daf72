//go:build integration

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"barnabas/internal/testproc"
	"barnabas/internal/zktest"
)

// kafkaJars is where scripts/test-setup puts Apache Kafka.
func kafkaJars(t testing.TB) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(cache, "barnabas-test", "kafka-3.9.2", "*")
}

// startKafka runs Apache Kafka on the broker's own files and znodes.
func (b *broker) startKafka() {
	b.t.Helper()
	log4j, err := filepath.Abs("testdata/log4j.properties")
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command("java", "-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j.configuration=file:"+log4j,
		"-cp", kafkaJars(b.t), "kafka.Kafka", b.props)
	cmd.Dir = b.dir
	if b.proc, err = testproc.Start(cmd, filepath.Join(b.dir, "output")); err != nil {
		b.t.Fatal(err)
	}
	b.awaitReady(patience)
}

// stopKafka stops it cleanly; a Java process then ends with the signal as its code.
func (b *broker) stopKafka() {
	b.t.Helper()
	if err := b.proc.Stop(syscall.SIGTERM, patience); err != nil && !strings.Contains(err.Error(), "143") {
		b.t.Fatalf("stopping Apache Kafka: %v", err)
	}
	if _, err := os.Stat(b.data(".kafka_cleanshutdown")); err != nil {
		b.t.Fatalf("Apache Kafka did not stop cleanly: %v", err)
	}
}

// writeCodecs appends records with every codec, keys and headers to all partitions,
// and notes where they were acknowledged.
func writeCodecs(t *testing.T, b *broker, topic, who string, acked map[string]kgo.Record) {
	t.Helper()
	var mu sync.Mutex // guards acked
	for _, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		c := b.client(kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(codec), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.ProducerLinger(5*time.Millisecond))
		for i := range 300 {
			v := fmt.Sprintf("%s-%v-%d-%s", who, codec, i, strings.Repeat("x", 100))
			r := &kgo.Record{Key: fmt.Append(nil, i), Value: []byte(v), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte(who)}}}
			c.Produce(t.Context(), r, func(r *kgo.Record, err error) {
				if err != nil {
					t.Errorf("%s: %v", v, err)
				}
				mu.Lock()
				acked[v] = *r
				mu.Unlock()
			})
		}
		if err := c.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
}

// commitAt lets a group commit an offset for each partition.
func commitAt(t *testing.T, b *broker, topic string, partitions int32, offset int64) {
	t.Helper()
	var o kadm.Offsets
	for p := range partitions {
		o.AddOffset(topic, p, offset, -1)
	}
	eventually(t, patience, "a commit", func() error {
		return kadm.NewClient(b.client()).CommitAllOffsets(t.Context(), "team", o)
	})
}

func wantCommitted(t *testing.T, b *broker, topic string, partitions int32, offset int64) {
	t.Helper()
	eventually(t, patience, "the group's offsets", func() error {
		got, err := kadm.NewClient(b.client()).FetchOffsets(t.Context(), "team")
		if err != nil {
			return err
		}
		for p := range partitions {
			if o, ok := got.Lookup(topic, p); !ok || o.Err != nil || o.At != offset {
				return fmt.Errorf("partition %d: %+v, want %d", p, o, offset)
			}
		}
		return nil
	})
}

// committed reads what transactions have committed to a topic, n values.
func committed(t *testing.T, b *broker, topic string, n int) []string {
	t.Helper()
	c := b.client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	defer c.Close()
	var out []string
	for len(out) < n {
		f := c.PollFetches(t.Context())
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		f.EachRecord(func(r *kgo.Record) { out = append(out, string(r.Value)) })
	}
	slices.Sort(out)
	return out
}

// TestInterchange: Apache Kafka 3.9 writes, stops; Barnabas reads every record on
// the same directories and znodes, goes on, stops; Apache Kafka reads all and goes
// on; and Barnabas once more. Offsets of groups are carried over each way, each
// compacts a topic that the other has compacted and reads on, and
// Kafka's DumpLogSegments has no complaint about what Barnabas wrote.
func TestInterchange(t *testing.T) {
	b := prepareBroker(t, zktest.Chroot(t, zktest.Real(t)), "log.segment.bytes=30000", "log.index.interval.bytes=300", "transaction.state.log.num.partitions=3", "log.cleaner.backoff.ms=200")
	const partitions = 3
	acked := map[string]kgo.Record{}
	b.startKafka()
	createTopic(t, b, "x", partitions)
	createTopic(t, b, "txn", 1)
	keyed := newCompacted(t, b, "keyed")
	keyed.write(t, b, "kafka")
	keyed.check(t, b, "Apache Kafka")
	writeCodecs(t, b, "x", "kafka", acked)
	commitAt(t, b, "x", partitions, 100)
	for _, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		c := b.client(kgo.TransactionalID("t"), kgo.DefaultProduceTopic("txn"))
		if err := c.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			if err := c.ProduceSync(t.Context(), kgo.StringRecord(fmt.Sprintf("%v-%d", end, i))).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	want := committed(t, b, "txn", 5)
	b.stopKafka()

	for round := range 2 {
		who := fmt.Sprintf("barnabas-%d", round)
		b.start()
		b.awaitReady(patience)
		checkLog(t, readAll(t, b, "x", partitions), acked)
		wantCommitted(t, b, "x", partitions, int64(100+round))
		if got := committed(t, b, "txn", 5); !slices.Equal(got, want) {
			t.Errorf("transactions: %q, want %q", got, want)
		}
		keyed.check(t, b, "Barnabas, after Apache Kafka")
		keyed.write(t, b, who)
		keyed.check(t, b, "Barnabas")
		writeCodecs(t, b, "x", who, acked)
		commitAt(t, b, "x", partitions, int64(101+round))
		b.stop()
		if round == 0 {
			dumpSegments(t, b)
		}

		b.startKafka()
		wantIndexesTaken(t, b)
		checkLog(t, readAll(t, b, "x", partitions), acked)
		wantCommitted(t, b, "x", partitions, int64(101+round))
		if got := committed(t, b, "txn", 5); !slices.Equal(got, want) {
			t.Errorf("transactions, in Apache Kafka again: %q, want %q", got, want)
		}
		keyed.check(t, b, "Apache Kafka, after Barnabas")
		keyed.write(t, b, fmt.Sprintf("kafka-%d", round))
		keyed.check(t, b, "Apache Kafka again")
		writeCodecs(t, b, "x", fmt.Sprintf("kafka-%d", round), acked)
		b.stopKafka()
	}
}

// wantIndexesTaken wants that Apache Kafka, which has just started, took the
// indexes of all segments that have a record, or are older than the last, as they
// were.
func wantIndexesTaken(t *testing.T, b *broker) {
	t.Helper()
	out := b.proc.Output()
	for line := range strings.Lines(out) {
		m := rebuilt.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		segments := b.glob(filepath.Join(m[1], "*.log"))
		info, err := os.Stat(b.data(m[1], m[2]+".log"))
		if err != nil || info.Size() > 0 || len(segments) > 1 {
			t.Errorf("Apache Kafka, of a log of %d segments: %s", len(segments), line)
		}
	}
}

var rebuilt = regexp.MustCompile(`(?:Found a corrupted index|Could not find offset index).*/([^/]+)/(\d{20})\.log`)

// dumpSegments lets Apache Kafka's DumpLogSegments check every file of the logs:
// records of all codecs opened, indexes against records, snapshots of producers.
func dumpSegments(t *testing.T, b *broker) {
	t.Helper()
	var files []string
	for _, pattern := range []string{"x-*/*.log", "x-*/*.index", "x-*/*.timeindex", "x-*/*.snapshot", "txn-0/*", "keyed-0/*", "__consumer_offsets-*/*.log"} {
		for _, f := range b.glob(pattern) {
			switch filepath.Ext(f) {
			case ".log", ".index", ".timeindex", ".snapshot", ".txnindex":
				files = append(files, f)
			}
		}
	}
	out := java(t, "", "kafka.tools.DumpLogSegments", "--deep-iteration", "--print-data-log", "--files", strings.Join(files, ","))
	var indexes []string
	for _, f := range files {
		if e := filepath.Ext(f); e == ".index" || e == ".timeindex" {
			indexes = append(indexes, f)
		}
	}
	sane := java(t, "", "kafka.tools.DumpLogSegments", "--index-sanity-check", "--files", strings.Join(indexes, ","))
	passed, empty := strings.Count(sane, "passed sanity check."), strings.Count(sane, "is empty.")
	if passed+empty != len(indexes) || passed < 10 {
		t.Errorf("of %d indexes %d passed Apache Kafka's check and %d are empty: %s", len(indexes), passed, empty, sane)
	}
	lower := strings.ToLower(out)
	for _, complaint := range []string{"mismatch", "corrupt", "invalid: true", "isvalid: false", "not found", "non-consecutive", "exception", "found timestamp", "out of order"} {
		if i := strings.Index(lower, complaint); i >= 0 {
			t.Errorf("DumpLogSegments complains: %q", out[max(0, i-300):min(len(out), i+300)])
		}
	}
	records := strings.Count(out, "| offset: ") + strings.Count(out, "| {offset")
	if dumped := strings.Count(out, "Dumping "); dumped != len(files) || records < 3000 {
		t.Errorf("%d of %d files dumped, %d records: %.2000q", dumped, len(files), records, out)
	}
}

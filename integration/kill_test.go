//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	kills = 20
	// longestGap bounds the time without an acknowledgement around a kill. What
	// is expected is below 1 s, waiting for the old session would take 60; the
	// rest is for busy machines.
	longestGap  = 30 * time.Second
	longSession = "zookeeper.session.timeout.ms=60000"
)

// load produces without end and notes what is acknowledged.
type load struct {
	client *kgo.Client
	stop   chan struct{}
	done   sync.WaitGroup
	gaveUp atomic.Bool // the client has, on a record that may be stored

	mu      sync.Mutex // guards the following
	acked   map[string]kgo.Record
	last    time.Time           // of the last acknowledgement
	longest time.Duration       // between two
	lastOf  map[int32]time.Time // of each partition
	failed  error
}

// startLoad runs writers that each send one record after the other.
func startLoad(b *broker, topic string, writers int, opts ...kgo.Opt) *load {
	l := &load{
		client: b.client(append([]kgo.Opt{kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0), kgo.DialTimeout(time.Second),
			kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
			kgo.MetadataMinAge(20 * time.Millisecond), kgo.UnknownTopicRetries(-1),
			kgo.RequestRetries(math.MaxInt32), kgo.RecordRetries(math.MaxInt32),
			// The default stays with a partition while all others wait.
			kgo.RecordPartitioner(kgo.RoundRobinPartitioner())}, opts...)...),
		stop: make(chan struct{}), acked: map[string]kgo.Record{},
	}
	for w := range writers {
		l.done.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-l.stop:
					return
				default:
				}
				value := fmt.Sprintf("%d-%08d", w, n)
				ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
				rec, err := l.client.ProduceSync(ctx, kgo.StringRecord(value)).First()
				cancel()
				// franz-go gives up on a record when a new connection ends before its
				// first answer, as happens when it is made just as a broker stops. Such
				// a record may be stored or not.
				var early *kgo.ErrFirstReadEOF
				if errors.As(err, &early) {
					l.gaveUp.Store(true)
					continue
				}
				l.note(value, rec, err)
			}
		})
	}
	return l
}

func (l *load) note(value string, rec *kgo.Record, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed = fmt.Errorf("%s: %w", value, err)
		return
	}
	now := time.Now()
	if !l.last.IsZero() {
		l.longest = max(l.longest, now.Sub(l.last))
	}
	l.last = now
	if l.lastOf == nil {
		l.lastOf = map[int32]time.Time{}
	}
	l.lastOf[rec.Partition] = now
	l.acked[value] = *rec
}

// silent counts the partitions of which nothing was acknowledged for so long.
func (l *load) silent(long time.Duration) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, last := range l.lastOf {
		if time.Since(last) > long {
			n++
		}
	}
	return n
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// lap gives the longest gap since the last call.
func (l *load) lap() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.longest
	l.longest = 0
	return d
}

// TestKillUnderLoad kills the broker with SIGKILL and starts it at once, again
// and again, while idempotent producers write: nothing acknowledged is lost,
// doubled or moved, and nobody waits for the session of the dead process.
func TestKillUnderLoad(t *testing.T) {
	b := newBroker(t, longSession, "log.segment.bytes=65536", "log.index.interval.bytes=1024")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	const topic, partitions = "load", 3
	admin := kadm.NewClient(b.client())
	created, err := admin.CreateTopics(ctx, partitions, 1, nil, topic)
	if err != nil || created[topic].Err != nil {
		t.Fatal(err, created[topic].Err)
	}
	l := startLoad(b, topic, 8)
	progress := func(n int) {
		t.Helper()
		from := l.count()
		eventually(t, patience, "records are acknowledged", func() error {
			if now := l.count(); now < from+n {
				return fmt.Errorf("%d in this time", now-from)
			}
			return nil
		})
	}
	progress(500)
	l.lap()
	var gaps []time.Duration
	for range kills {
		b.proc.Kill()
		b.start()
		progress(1000)
		gaps = append(gaps, l.lap())
	}
	close(l.stop)
	l.done.Wait()
	slices.Sort(gaps)
	t.Logf("%d kills, %d records acknowledged, gaps around a kill: median %v, longest %v", kills, len(l.acked),
		gaps[len(gaps)/2].Round(time.Millisecond), gaps[len(gaps)-1].Round(time.Millisecond))
	if l.failed != nil {
		t.Errorf("a record was refused: %v", l.failed)
	}
	if longest := gaps[len(gaps)-1]; longest > longestGap {
		t.Errorf("the longest gap was %v, want at most %v", longest, longestGap)
	}
	l.check(t, readAll(t, b, topic, partitions))
}

// readAll gives every record of a topic, in order within partitions.
func readAll(t *testing.T, b *broker, topic string, partitions int32) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var ends kadm.ListedOffsets
	eventually(t, patience, "the ends of "+topic, func() (err error) {
		c := b.client()
		defer c.Close()
		if ends, err = kadm.NewClient(c).ListEndOffsets(ctx, topic); err == nil {
			err = ends.Error()
		}
		return err
	})
	starts := map[int32]kgo.Offset{}
	left := 0
	for p := range partitions {
		end, ok := ends.Lookup(topic, p)
		if !ok || end.Err != nil {
			t.Fatalf("end of partition %d: %+v", p, end)
		}
		if end.Offset > 0 {
			starts[p] = kgo.NewOffset().At(0)
			left++
		}
	}
	c := b.client(kgo.FetchMaxWait(500*time.Millisecond), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: starts}))
	defer c.Close()
	var records []*kgo.Record
	for left > 0 {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			records = append(records, r)
			if end, _ := ends.Lookup(topic, r.Partition); r.Offset == end.Offset-1 {
				left--
			}
		})
	}
	return records
}

// check compares what is stored with what was acknowledged.
func (l *load) check(t *testing.T, records []*kgo.Record) {
	t.Helper()
	if l.gaveUp.Load() {
		// franz-go goes on in a new epoch then, and sends in it what it had in doubt
		// beside the record that it gave up: no broker can know that it has it.
		first := map[string]*kgo.Record{}
		records = slices.Clone(records)
		for i, r := range records {
			before := first[string(r.Value)]
			if first[string(r.Value)] = r; before == nil || before.ProducerEpoch == r.ProducerEpoch && before.ProducerID == r.ProducerID {
				continue
			}
			t.Logf("%s was sent again in epoch %d of producer %d, after epoch %d of %d", r.Value, r.ProducerEpoch, r.ProducerID, before.ProducerEpoch, before.ProducerID)
			again := *r
			again.Value = fmt.Appendf(nil, "%s, again at %d", r.Value, i)
			records[i] = &again
			if l.acked[string(r.Value)].Offset == r.Offset {
				l.acked[string(again.Value)] = l.acked[string(r.Value)]
				delete(l.acked, string(r.Value))
			}
		}
	}
	checkLog(t, records, l.acked)
}

// checkLog compares what is stored with what was acknowledged.
func checkLog(t *testing.T, records []*kgo.Record, acked map[string]kgo.Record) {
	t.Helper()
	stored := map[string]*kgo.Record{}
	next := map[int32]int64{}
	for _, r := range records {
		if r.Offset != next[r.Partition] {
			t.Errorf("partition %d: offset %d follows %d", r.Partition, r.Offset, next[r.Partition]-1)
		}
		next[r.Partition] = r.Offset + 1
		if before := stored[string(r.Value)]; before != nil {
			t.Errorf("%s is stored twice: %d/%d and %d/%d", r.Value, before.Partition, before.Offset, r.Partition, r.Offset)
		}
		stored[string(r.Value)] = r
	}
	lost := 0
	for value, a := range acked {
		switch s := stored[value]; {
		case s == nil:
			if lost++; lost <= 10 {
				t.Errorf("%s was acknowledged at %d/%d and is lost", value, a.Partition, a.Offset)
			}
		case s.Partition != a.Partition || s.Offset != a.Offset:
			t.Errorf("%s was acknowledged at %d/%d and is at %d/%d", value, a.Partition, a.Offset, s.Partition, s.Offset)
		}
	}
	if lost > 10 {
		t.Errorf("and %d more", lost-10)
	}
}

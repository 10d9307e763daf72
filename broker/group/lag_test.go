package group

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"barnabas/internal/kafka"
	"barnabas/internal/metrics"
)

func TestTrail(t *testing.T) {
	var x trail
	for _, s := range []struct{ end, at int64 }{{10, 1000}, {10, 2000}, {20, 3000}, {20, 4000}, {40, 5000}} {
		x.saw(s.end, s.at)
	}
	for _, test := range []struct {
		offset, age int64
		known       bool
	}{
		{40, 0, true}, {50, 0, true}, // all is read
		{39, 1000, true}, // came just before 5 s
		{20, 1950, true}, // just after 4 s
		{29, 1500, true}, // in between
		{10, 3900, true}, // after 2 s
		{9, 0, false},    // before the trail
	} {
		if age, known := x.age(test.offset, 6000); age != test.age || known != test.known {
			t.Errorf("offset %d: %d ms, %v; want %d, %v", test.offset, age, known, test.age, test.known)
		}
	}
	x.known, x.knownAt = 9, 500
	if age, known := x.age(9, 6000); age != 5500 || !known {
		t.Error(age, known)
	}
	// However long it is watched, it stays short, and its ages right to some extent.
	for at := int64(6000); at < 1_000_000; at += 1000 {
		x.saw(at, at)
	}
	if len(x.stretches) > trailLength {
		t.Errorf("%d stretches", len(x.stretches))
	}
	if age, known := x.age(500_000, 1_000_000); !known || age < 400_000 || age > 600_000 {
		t.Errorf("half of the past is %d ms old, %v", age, known)
	}
	x.saw(7, 1_000_000) // the topic was made anew
	if age, known := x.age(7, 1_000_001); age != 0 || !known || x.end() != 7 {
		t.Error(age, known, x.end())
	}
}

// fakeLags has one end for all partitions.
type fakeLags struct {
	mu    sync.Mutex // guards what follows
	end   int64
	asked map[kafka.TopicPartition]int64
}

func (f *fakeLags) Ends(_ context.Context, of []kafka.TopicPartition) map[kafka.TopicPartition]int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[kafka.TopicPartition]int64{}
	for _, tp := range of {
		out[tp] = f.end
	}
	return out
}

func (f *fakeLags) Times(_ context.Context, of map[kafka.TopicPartition]int64) map[kafka.TopicPartition]time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = of
	out := map[kafka.TopicPartition]time.Time{}
	for tp := range of {
		out[tp] = time.Now().Add(-time.Hour)
	}
	return out
}

func (f *fakeLags) set(end int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end = end
}

// page is what the coordinator writes about lag.
func page(t *testing.T, c *Coordinator, partitions bool) string {
	t.Helper()
	r := metrics.New()
	r.Collect(c.Collect)
	var b bytes.Buffer
	if err := r.WritePage(&b, partitions); err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(b.String()) {
		if strings.Contains(line, "_lag_") && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

func sortedText(s string) string {
	lines := slices.Sorted(strings.Lines(s))
	return strings.Join(lines, "")
}

// TestLag: a group stopped an hour ago; another keeps up, and then stops.
func TestLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := newMemStore(), &fakeLags{end: 100}
		c := led(t, s, Config{})
		c.opt.Lags = f
		go c.Run(t.Context())
		c.Commit(t.Context(), committing("old", -1, "", 40))
		c.Commit(t.Context(), committing("new", -1, "", 100))
		if got := page(t, c, true); got != "" {
			t.Errorf("nothing is known yet: %s", got)
		}
		time.Sleep(lagInterval + time.Second)
		want := `barnabas_group_lag_records{group="new"} 0
barnabas_group_lag_records{group="old"} 60
barnabas_group_lag_seconds{group="new"} 0
barnabas_group_lag_seconds{group="old"} 3601
barnabas_group_partition_lag_records{group="new",topic="t",partition="0"} 0
barnabas_group_partition_lag_records{group="old",topic="t",partition="0"} 60
barnabas_group_partition_lag_seconds{group="new",topic="t",partition="0"} 0
barnabas_group_partition_lag_seconds{group="old",topic="t",partition="0"} 3601
`
		if got := sortedText(page(t, c, true)); got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
		f.set(130)
		time.Sleep(3 * lagInterval)
		story, err := c.Explain("new")
		if err != ok || len(story.Lag) != 1 || story.Lag[0].Records != 30 || story.Lag[0].Millis < 9000 || story.Lag[0].Millis > 10000 {
			t.Errorf("%v %+v", err, story.Lag)
		}
		// Who has caught up, and who is gone, is not behind.
		c.Commit(t.Context(), committing("new", -1, "", 130))
		c.Delete(t.Context(), []string{"old"})
		time.Sleep(lagInterval)
		want = "barnabas_group_lag_records{group=\"new\"} 0\nbarnabas_group_lag_seconds{group=\"new\"} 0\n"
		if got := page(t, c, false); got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
		if f.asked[kafka.TopicPartition{Topic: "t"}] != 40 {
			t.Errorf("asked for the time of %v", f.asked)
		}
		c.DropTopics([]string{"t"})
		time.Sleep(lagInterval)
		c.lags.mu.Lock()
		defer c.lags.mu.Unlock()
		if len(c.lags.trails) != 0 {
			t.Errorf("%d partitions are still watched", len(c.lags.trails))
		}
		c.stop()
	})
}

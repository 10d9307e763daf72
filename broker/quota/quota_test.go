package quota

import (
	"math"
	"testing"
	"testing/synctest"
	"time"
)

func TestRate(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	r := NewRate(3, time.Second)
	if got := r.PerSecond(at(0)); got != 0 {
		t.Errorf("at first %v", got)
	}
	for _, s := range []struct {
		ms   int
		n    int64
		want float64
	}{
		{0, 600, 600},     // at least one sample long
		{500, 0, 600},     //
		{1000, 600, 1200}, // the second sample begins; the window is a second long
		{2000, 0, 600},    // and two by now
		{2500, 300, 600},
		{2999, 0, 1500 / 2.999},
		{3000, 0, 900 / 2.0}, // the first has left
		{4600, 0, 300 / 2.1}, // the second, too
		{5500, 0, 0},
		{9000, 100, 100},
	} {
		if s.n > 0 {
			r.Record(at(s.ms), s.n)
		}
		if got := r.PerSecond(at(s.ms)); math.Abs(got-s.want) > 1e-6 {
			t.Errorf("after %d ms: %v, want %v", s.ms, got, s.want)
		}
	}
}

// Under tells the truth: after it, and not much before, the rate is within the
// limit.
func TestUnder(t *testing.T) {
	start := time.Unix(1000, 0)
	for _, c := range []struct{ n, limit int64 }{{1000, 1000}, {1000, 999}, {5000, 1000}, {50000, 1000}, {1 << 60, 1}, {1, 0}} {
		r := NewRate(11, time.Second)
		r.Record(start, c.n)
		wait := r.Under(start, c.limit)
		if wait < 0 || wait > 11*time.Second {
			t.Errorf("%+v: waits %v", c, wait)
		}
		if again := r.Under(start.Add(wait), c.limit); again > 2*time.Millisecond {
			t.Errorf("%+v: after %v it waits %v more", c, wait, again)
		}
		if wait > 10*time.Millisecond && r.Under(start.Add(wait-10*time.Millisecond), c.limit) == 0 {
			t.Errorf("%+v: waits %v, for longer than it must", c, wait)
		}
	}
}

func TestParseReplicas(t *testing.T) {
	for _, c := range []struct {
		list string
		has  []int32
		not  []int32
	}{
		{"", nil, []int32{0}},
		{"*", []int32{0, 77}, nil},
		{" * ", []int32{5}, nil},
		{"0:7,1:8,2:7", []int32{0, 2}, []int32{1, 3}},
		{"0:7, 3:7", []int32{0, 3}, nil},
		{"x:7,:7,1:,99999999999:7,1:7:7,5", nil, []int32{0, 1, 5}},
	} {
		r := ParseReplicas(c.list, 7)
		for _, p := range c.has {
			if !r.has(p) {
				t.Errorf("%q has not %d", c.list, p)
			}
		}
		for _, p := range c.not {
			if r.has(p) {
				t.Errorf("%q has %d", c.list, p)
			}
		}
		if r.none() != (len(c.has) == 0) {
			t.Errorf("%q: none is %v", c.list, r.none())
		}
	}
}

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var unset *Throttle
		if unset.Active() || unset.Covers("t", 0) {
			t.Error("one that is not set holds back")
		}
		q := NewThrottle(11, time.Second)
		q.SetTopic("t", ParseReplicas("0:1", 1))
		q.SetTopic("u", Replicas{})
		if q.Active() {
			t.Error("active without a limit")
		}
		q.SetLimit(1000)
		if !q.Active() || !q.Covers("t", 0) || q.Covers("t", 1) || q.Covers("u", 0) {
			t.Error("it covers others than it should")
		}
		if room := q.Room(); room != 1000 {
			t.Errorf("room for %d", room)
		}
		q.Record(700)
		if room := q.Room(); room != 300 || q.Wait() != 0 {
			t.Errorf("room for %d, waits %v", room, q.Wait())
		}
		q.Record(4300) // one whole batch
		if room := q.Room(); room != 0 || q.Wait() != 5*time.Second {
			t.Errorf("room for %d, waits %v", room, q.Wait())
		}
		time.Sleep(5 * time.Second)
		if room := q.Room(); room < 1 || q.Wait() != 0 {
			t.Errorf("later room for %d, waits %v", room, q.Wait())
		}
		// A higher limit counts at once; none ends it.
		q.Record(10000)
		q.SetLimit(100000)
		if q.Wait() != 0 {
			t.Error("waits under the new limit")
		}
		q.SetLimit(Unlimited)
		if q.Active() {
			t.Error("active without a limit")
		}
		q.SetLimit(0)
		q.SetTopic("t", Replicas{})
		if q.Active() {
			t.Error("active without replicas")
		}
		if n := testing.AllocsPerRun(100, func() { q.Active(); q.Covers("t", 0) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

// TestMeanRate: who waits as told stays within the limit, and uses it.
func TestMeanRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit, batch = 10_000, 1500
		q := NewThrottle(11, time.Second)
		q.SetTopic("t", Replicas{all: true})
		q.SetLimit(limit)
		sent, begun := int64(0), time.Now()
		for time.Since(begun) < 5*time.Minute {
			if wait := q.Wait(); wait > 0 {
				time.Sleep(wait)
				continue
			}
			q.Record(batch)
			sent += batch
		}
		mean := float64(sent) / time.Since(begun).Seconds()
		if mean < 0.8*limit || mean > 1.2*limit {
			t.Errorf("%.0f bytes a second with a limit of %d", mean, limit)
		}
	})
}

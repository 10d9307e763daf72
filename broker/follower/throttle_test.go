package follower

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"barnabas/broker/quota"
	"barnabas/broker/replica"
)

// size is how much of a partition was copied.
func (b *bench) size(f replica.Following) int {
	b.replicas.mu.Lock()
	defer b.replicas.mu.Unlock()
	return len(b.replicas.logs[f.TP].data)
}

// A throttle holds back what it covers, as long as that is behind, and nothing
// else.
func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		q := quota.NewThrottle(11, time.Second)
		q.SetTopic("a", quota.ParseReplicas("0:1", 1))
		q.SetLimit(1000)
		b.f.o.Throttle, b.f.o.PartitionMaxBytes = q, 500
		a0, a1, b0 := b.add("a-0", strings.Repeat("x", 20000), ""), b.add("a-1", strings.Repeat("x", 20000), ""), b.add("b-0", strings.Repeat("y", 20000), "")
		b.after(time.Second)
		if n, m := b.size(a1), b.size(b0); n != 20000 || m != 20000 {
			t.Errorf("what is not throttled: %d and %d bytes", n, m)
		}
		b.asked()
		b.after(9 * time.Second)
		if n := b.size(a0); n < 9000 || n > 12000 {
			t.Errorf("%d bytes after 10 s with 1000 a second", n)
		}
		if n := len(b.asked()); n > 150 {
			t.Errorf("%d requests in 9 s", n)
		}
		b.after(15 * time.Second)
		if n := b.size(a0); n != 20000 {
			t.Fatalf("%d bytes after 25 s", n)
		}
		// In sync it is not held back any more, although the rate is too high.
		for range 20 {
			b.at(a0, func(l *fakeLog) { l.data += strings.Repeat("x", 500) })
			b.after(25 * time.Millisecond)
		}
		if n := b.size(a0); n != 30000 || q.Wait() == 0 {
			t.Errorf("%d of 30000 bytes, the rate is too high for %v more", n, q.Wait())
		}
		// Behind again, it waits, until the throttle is taken off.
		b.at(a0, func(l *fakeLog) { l.data += strings.Repeat("x", 5000) })
		b.after(time.Second)
		if n := b.size(a0); n > 32000 {
			t.Errorf("%d of 35000 bytes", n)
		}
		q.SetTopic("a", quota.Replicas{})
		b.after(2 * time.Second)
		b.has(a0, strings.Repeat("x", 35000))
	})
}

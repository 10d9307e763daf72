package cleaner

import (
	"context"
	"math"
	"sync"
	"time"
)

// Throttle bounds bytes per second over all who share it. It may be used by many
// goroutines.
type Throttle struct {
	mu    sync.Mutex // guards following; not held while waiting
	rate  float64
	since time.Time
	bytes float64
}

// window is how long an average is kept.
const window = time.Second

// SetRate sets the bound in bytes per second; 0 or infinity is none.
func (t *Throttle) SetRate(r float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r != t.rate {
		t.rate, t.since, t.bytes = r, time.Time{}, 0
	}
}

// Spend notes n bytes and waits until the rate allows them, or ctx ends.
func (t *Throttle) Spend(ctx context.Context, n int) error {
	if wait := t.take(n, time.Now()); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// take notes n bytes and returns how long to wait.
func (t *Throttle) take(n int, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rate <= 0 || t.rate >= math.MaxFloat64/2 {
		return 0
	}
	due := time.Duration(t.bytes / t.rate * float64(time.Second))
	if t.since.IsZero() || now.Sub(t.since) > due+window {
		t.since, t.bytes, due = now, 0, 0
	}
	t.bytes += float64(n)
	due = time.Duration(t.bytes / t.rate * float64(time.Second))
	return due - now.Sub(t.since)
}

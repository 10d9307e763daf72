// Package quota measures rates over a sliding window and says who is above
// theirs: the throttles of replication (KIP-73). It reads the clock, and does
// nothing else to the outside.
package quota

import "time"

// Rate is the mean of an amount per second over a window that slides in samples,
// as Kafka's SimpleRate: the window grows from one sample to all of them, and the
// oldest sample leaves it as a whole. It is not safe for concurrent use.
type Rate struct {
	size    time.Duration // of one sample
	samples []sample
	at      int // the sample that is filled now
}

type sample struct {
	begun time.Time // zero: empty
	sum   int64
}

// maxSamples bounds the memory of a rate.
const maxSamples = 3600

// NewRate measures over a number of samples of a size. Both are at least 1 (ns);
// of samples there are at most 3,600.
func NewRate(samples int, size time.Duration) Rate {
	return Rate{size: max(size, 1), samples: make([]sample, min(max(samples, 1), maxSamples))}
}

// Record adds an amount.
func (r *Rate) Record(now time.Time, n int64) {
	s := &r.samples[r.at]
	if !s.begun.IsZero() && now.Sub(s.begun) >= r.size {
		r.at = (r.at + 1) % len(r.samples)
		s = &r.samples[r.at]
		*s = sample{}
	}
	if s.begun.IsZero() {
		s.begun = now
	}
	s.sum += n
}

// Sum is the amount within the window, and how long that is by now: at least one
// sample.
func (r *Rate) Sum(now time.Time) (sum int64, over time.Duration) {
	sum, age := r.measure(now)
	return sum, max(age, r.size)
}

// measure is the amount within the window and the age of its oldest sample.
func (r *Rate) measure(now time.Time) (sum int64, age time.Duration) {
	for i := range r.samples {
		s := &r.samples[i]
		old := now.Sub(s.begun)
		if s.begun.IsZero() || old >= r.window() {
			continue
		}
		sum += s.sum
		age = max(age, old)
	}
	return sum, age
}

// window is the longest that Sum looks back.
func (r *Rate) window() time.Duration { return r.size * time.Duration(len(r.samples)) }

// PerSecond is the mean of the window.
func (r *Rate) PerSecond(now time.Time) float64 {
	sum, over := r.Sum(now)
	return float64(sum) / over.Seconds()
}

// Under is how long from now on, if nothing more comes, until the mean is at
// most limit per second; 0 if it is. It is a whole window at the longest, after
// which nothing is left of what was.
func (r *Rate) Under(now time.Time, limit int64) time.Duration {
	sum, age := r.measure(now)
	if float64(sum) <= float64(limit)*max(age, r.size).Seconds() {
		return 0
	}
	if limit <= 0 {
		return r.window()
	}
	need := time.Duration(float64(sum) / float64(limit) * float64(time.Second)) // a window of this length would do
	if need < 0 || need > r.window() {
		need = r.window()
	}
	return max(need-age, time.Millisecond)
}

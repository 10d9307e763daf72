package metrics

import (
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	gometrics "github.com/rcrowley/go-metrics"
)

// Buckets are log-linear: each power of two is cut into subBuckets, so that a
// bucket's middle is at most 1/32 off any value in it.
const (
	subBits    = 4
	subBuckets = 1 << subBits
	// maxBits bounds the values: in microseconds, 19 hours. Larger ones count as
	// the largest.
	maxBits = 36
	buckets = (maxBits - subBits + 1) * subBuckets
)

// window is how old the values may get that quantiles are made of: between one
// and two windows, if the page is asked for as often.
const window = time.Minute

// counts is the content of a Histogram at one time. It is a gometrics.Sample,
// which nothing more is added to.
type counts [buckets]int64

// Histogram counts values by their size. Update is one atomic addition and never
// blocks. The zero value is ready; it must not be copied. It is a
// gometrics.Sample.
type Histogram struct {
	bucket [buckets]atomic.Int64

	mu sync.Mutex // guards the fields below
	// base is what was counted before the window began, next what the next
	// window will begin with; nil: nothing.
	base, next *counts
	nextAt     time.Time
}

var (
	_ gometrics.Sample = (*Histogram)(nil)
	_ gometrics.Sample = (*counts)(nil)
)

func bucketOf(v int64) int {
	if v < subBuckets {
		return int(max(v, 0))
	}
	e := bits.Len64(uint64(v)) - 1 - subBits
	if e+subBits >= maxBits {
		return buckets - 1
	}
	return (e+1)*subBuckets + int(v>>e) - subBuckets
}

// middle is the value that a bucket stands for.
func middle(bucket int) int64 {
	if bucket < subBuckets {
		return int64(bucket)
	}
	e := bucket/subBuckets - 1
	return (int64(bucket%subBuckets)+subBuckets)<<e + (int64(1)<<e)/2
}

// Update counts v; a negative one as 0.
func (h *Histogram) Update(v int64) { h.bucket[bucketOf(v)].Add(1) }

// Since counts the microseconds since start.
func (h *Histogram) Since(start time.Time) { h.Update(time.Since(start).Microseconds()) }

func (h *Histogram) counts() *counts {
	c := new(counts)
	for i := range h.bucket {
		c[i] = h.bucket[i].Load()
	}
	return c
}

// Recent returns all that was counted, and what was counted lately: in the last
// one to two minutes, or since the call before if that is longer ago.
func (h *Histogram) Recent(now time.Time) (all, recent gometrics.Sample) {
	c := h.counts()
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Sub(h.nextAt) >= window {
		h.base, h.next, h.nextAt = h.next, c, now
	}
	r := *c
	if h.base != nil {
		for i := range r {
			r[i] -= h.base[i]
		}
	}
	return c, &r
}

// Merge adds what o counted.
func (h *Histogram) Merge(o *Histogram) {
	for i := range o.bucket {
		if n := o.bucket[i].Load(); n != 0 {
			h.bucket[i].Add(n)
		}
	}
}

// Snapshot is the content as it is now.
func (h *Histogram) Snapshot() gometrics.Sample { return h.counts() }

// Clear forgets everything.
func (h *Histogram) Clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.bucket {
		h.bucket[i].Store(0)
	}
	h.base, h.next, h.nextAt = nil, nil, time.Time{}
}

// Count is how many values there were.
func (h *Histogram) Count() int64 { return h.counts().Count() }

// Max is the largest value, to the precision of the buckets, as everything below.
func (h *Histogram) Max() int64 { return h.counts().Max() }

// Mean is the average.
func (h *Histogram) Mean() float64 { return h.counts().Mean() }

// Min is the smallest value.
func (h *Histogram) Min() int64 { return h.counts().Min() }

// Percentile is the value below which the share p (0 to 1) lies.
func (h *Histogram) Percentile(p float64) float64 { return h.counts().Percentile(p) }

// Percentiles are several at once.
func (h *Histogram) Percentiles(ps []float64) []float64 { return h.counts().Percentiles(ps) }

// Size is Count.
func (h *Histogram) Size() int { return int(h.Count()) }

// StdDev is the standard deviation.
func (h *Histogram) StdDev() float64 { return h.counts().StdDev() }

// Sum is the sum of all values.
func (h *Histogram) Sum() int64 { return h.counts().Sum() }

// Values has one value for each bucket in use.
func (h *Histogram) Values() []int64 { return h.counts().Values() }

// Variance is the square of StdDev.
func (h *Histogram) Variance() float64 { return h.counts().Variance() }

// Clear empties this copy.
func (c *counts) Clear() { *c = counts{} }

// Count is how many values there are.
func (c *counts) Count() int64 {
	var n int64
	for _, b := range c {
		n += b
	}
	return n
}

// Max is the largest value.
func (c *counts) Max() int64 {
	for i := buckets - 1; i >= 0; i-- {
		if c[i] > 0 {
			return middle(i)
		}
	}
	return 0
}

// Min is the smallest value.
func (c *counts) Min() int64 {
	for i, n := range c {
		if n > 0 {
			return middle(i)
		}
	}
	return 0
}

// Sum is the sum of the values.
func (c *counts) Sum() int64 {
	var s int64
	for i, n := range c {
		s += n * middle(i)
	}
	return s
}

// Mean is the average, 0 of nothing.
func (c *counts) Mean() float64 {
	if n := c.Count(); n > 0 {
		return float64(c.Sum()) / float64(n)
	}
	return 0
}

// Percentile is the value below which the share p (0 to 1) lies, 0 of nothing.
func (c *counts) Percentile(p float64) float64 {
	n := c.Count()
	rank := max(int64(math.Ceil(p*float64(n))), 1)
	for i, b := range c {
		if rank -= b; rank <= 0 && b > 0 {
			return float64(middle(i))
		}
	}
	return float64(c.Max())
}

// Percentiles are several at once.
func (c *counts) Percentiles(ps []float64) []float64 {
	out := make([]float64, len(ps))
	for i, p := range ps {
		out[i] = c.Percentile(p)
	}
	return out
}

// Size is Count.
func (c *counts) Size() int { return int(c.Count()) }

// Snapshot is a copy.
func (c *counts) Snapshot() gometrics.Sample { s := *c; return &s }

// StdDev is the standard deviation.
func (c *counts) StdDev() float64 { return math.Sqrt(c.Variance()) }

// Update counts one more.
func (c *counts) Update(v int64) { c[bucketOf(v)]++ }

// Values has one value for each bucket in use.
func (c *counts) Values() []int64 {
	var out []int64
	for i, n := range c {
		if n > 0 {
			out = append(out, middle(i))
		}
	}
	return out
}

// Variance is the square of StdDev.
func (c *counts) Variance() float64 {
	n := c.Count()
	if n == 0 {
		return 0
	}
	mean, sum := c.Mean(), 0.0
	for i, b := range c {
		d := float64(middle(i)) - mean
		sum += float64(b) * d * d
	}
	return sum / float64(n)
}

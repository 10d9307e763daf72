package metrics

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gometrics "github.com/rcrowley/go-metrics"
)

var rewrite = flag.Bool("rewrite", false, "write the golden page anew")

// sample is a registry with one of everything.
func sample() *Registry {
	r := New()
	c := r.Counter("b_requests_total", "Requests.", "request", "Produce")
	c.Inc(3)
	r.Counter("b_requests_total", "Requests.", "request", "Fetch").Inc(1)
	r.GaugeFunc("a_size", "A size.", func() int64 { return -7 })
	r.FloatFunc("c_share", "A share.", func() float64 { return 0.25 }, "name", "a\\b\"c\nd")
	r.FloatFunc("c_share", "A share.", func() float64 { return math.Inf(1) }, "name", "all")
	r.CounterFunc("d_total", "Somebody else's count.", func() int64 { return math.MaxInt64 })
	h := new(Histogram)
	for i := range int64(1000) {
		h.Update(i * 1000)
	}
	r.Histogram("e_ms", "Milliseconds.", h, 1000, "request", "Produce")
	r.Histogram("e_ms", "Milliseconds.", new(Histogram), 1000, "request", "Fetch")
	r.Collect(func(p *Page) {
		p.Meter("f_messagesin", "Records.", func() {
			p.Int(5)
			p.Int(2, "topic", "t")
		})
		if p.Partitions {
			p.Family("g_log_size", GaugeKind, "Bytes of a log.")
			p.Int(1<<40, "topic", "t", "partition", "0")
		}
	})
	return r
}

func TestPageGolden(t *testing.T) {
	var b bytes.Buffer
	if err := sample().WritePage(&b, true); err != nil {
		t.Fatal(err)
	}
	const file = "testdata/page.txt"
	if *rewrite {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("the page differs from %s; run go test -rewrite and look at the difference\n%s", file, b.Bytes())
	}
	CheckGrammar(t, b.String())
}

// CheckGrammar checks a page as a scraper reads it: families that stand
// together, with help and type, and no series twice.
func CheckGrammar(t *testing.T, page string) {
	t.Helper()
	line := regexp.MustCompile(`^([a-z_][a-z0-9_]*)(\{([a-zA-Z_]+="(?:[^"\\]|\\.)*",?)+\})? (NaN|[+-]Inf|[0-9.e+-]+)$`)
	families, series := map[string]bool{}, map[string]bool{}
	family, kind := "", ""
	for s := bufio.NewScanner(strings.NewReader(page)); s.Scan(); {
		l := s.Text()
		if rest, ok := strings.CutPrefix(l, "# HELP "); ok {
			family, _, _ = strings.Cut(rest, " ")
			if families[family] {
				t.Errorf("family %s stands twice", family)
			}
			families[family] = true
			continue
		}
		if rest, ok := strings.CutPrefix(l, "# TYPE "); ok {
			name, k, _ := strings.Cut(rest, " ")
			if kind = k; name != family {
				t.Errorf("type of %s below help of %s", name, family)
			}
			continue
		}
		m := line.FindStringSubmatch(l)
		if m == nil {
			t.Errorf("not a line of the text format: %q", l)
			continue
		}
		if name := m[1]; name != family && (kind != "summary" || name != family+"_sum" && name != family+"_count") {
			t.Errorf("%q stands in the family %s", l, family)
		}
		if id := m[1] + m[2]; series[id] {
			t.Errorf("series %s stands twice", id)
		} else {
			series[id] = true
		}
	}
}

func TestPartitionsOnlyWhenAskedFor(t *testing.T) {
	var b bytes.Buffer
	if err := sample().WritePage(&b, false); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "g_log_size") {
		t.Error("the page has partitions")
	}
}

func TestGoMetricsKnowsThem(t *testing.T) {
	r := sample()
	var names []string
	r.GoMetrics().Each(func(name string, _ any) { names = append(names, name) })
	slices.Sort(names)
	if want := `a_size b_requests_total{request="Fetch"} b_requests_total{request="Produce"}`; !strings.HasPrefix(strings.Join(names, " "), want) {
		t.Errorf("got %q", names)
	}
	h, _ := r.GoMetrics().Get(`e_ms{request="Produce"}`).(gometrics.Histogram)
	if h == nil || h.Count() != 1000 {
		t.Error("no histogram")
	}
}

type failing struct{}

var errFull = errors.New("full")

func (failing) Write([]byte) (int, error) { return 0, errFull }

func TestPageTellsOfAFailedWrite(t *testing.T) {
	if err := sample().WritePage(failing{}, false); !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
}

// TestHistogramAgainstSorted compares with the exact percentiles.
func TestHistogramAgainstSorted(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var h Histogram
	var all []int64
	var sum float64
	for range 20000 {
		v := int64(math.Exp(rng.Float64() * 20))
		h.Update(v)
		all = append(all, v)
		sum += float64(v)
	}
	slices.Sort(all)
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > want/32+1 {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	for _, q := range []float64{0.001, 0.1, 0.5, 0.75, 0.95, 0.99, 0.999, 1} {
		near("percentile "+strconv.FormatFloat(q, 'g', -1, 64), h.Percentile(q), float64(all[int(math.Ceil(q*20000))-1]))
	}
	near("max", float64(h.Max()), float64(all[len(all)-1]))
	near("min", float64(h.Min()), float64(all[0]))
	near("sum", float64(h.Sum()), sum)
	near("mean", h.Mean(), sum/20000)
	if h.Count() != 20000 || h.Size() != 20000 || h.Snapshot().Count() != 20000 {
		t.Error("count")
	}
}

func TestHistogramBounds(t *testing.T) {
	last := -1
	for _, v := range []int64{0, 1, 15, 16, 17, 31, 32, 34, 1 << 20, 1<<36 - 1} {
		i := bucketOf(v)
		if i <= last || i >= buckets {
			t.Errorf("%d is in bucket %d, after %d of %d", v, i, last, buckets)
		}
		last = i
		if bucketOf(middle(i)) != i {
			t.Errorf("the middle %d of bucket %d is not in it", middle(i), i)
		}
	}
	for v, want := range map[int64]int{-5: 0, math.MinInt64: 0, 1 << 36: buckets - 1, math.MaxInt64: buckets - 1} {
		if got := bucketOf(v); got != want {
			t.Errorf("%d: got %d, want %d", v, got, want)
		}
	}
	var h Histogram
	if h.Percentile(0.5) != 0 || h.Mean() != 0 || h.Variance() != 0 || h.Max() != 0 || h.Min() != 0 {
		t.Error("nothing is not 0")
	}
}

func TestHistogramForgetsWhatIsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Histogram
		h.Update(1000)
		recent := func() int64 { _, r := h.Recent(time.Now()); return r.Count() }
		if n := recent(); n != 1 {
			t.Errorf("at once: %d", n)
		}
		for range 5 {
			time.Sleep(30 * time.Second)
			recent()
		}
		h.Update(2000)
		all, r := h.Recent(time.Now())
		if r.Count() != 1 || r.Max() < 1900 || all.Count() != 2 {
			t.Errorf("after two minutes %d of %d, max %d", r.Count(), all.Count(), r.Max())
		}
	})
}

func TestUpdateAllocatesNothing(t *testing.T) {
	var h Histogram
	if n := testing.AllocsPerRun(100, func() { h.Update(12345) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestConcurrently(t *testing.T) {
	r := sample()
	var h Histogram
	r.Histogram("z_ms", "Milliseconds.", &h, 1000)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 200 {
				h.Update(int64(j))
				if j%50 == 0 {
					r.Counter("y_total", "Counts.", "worker", strconv.Itoa(i), "n", strconv.Itoa(j))
				}
			}
		})
		wg.Go(func() {
			for range 20 {
				if err := r.WritePage(io.Discard, true); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if h.Count() != 800 {
		t.Errorf("%d", h.Count())
	}
}

// BenchmarkLine is one line of a page.
func BenchmarkLine(b *testing.B) {
	p := newPage(io.Discard, true)
	p.Family("kafka_log_log_size", GaugeKind, "Bytes of a log.")
	b.ReportAllocs()
	for b.Loop() {
		p.Int(123456789, "topic", "a-topic-of-usual-length", "partition", "17")
	}
}

func BenchmarkUpdate(b *testing.B) {
	var h Histogram
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			h.Update(4321)
		}
	})
}

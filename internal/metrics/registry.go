package metrics

import (
	"io"
	"slices"
	"strings"
	"sync"

	gometrics "github.com/rcrowley/go-metrics"

	"barnabas/internal/invariant"
)

// Registry holds the metrics of a broker. It is safe for concurrent use. Labels
// are names and values in turn; a series is registered once.
type Registry struct {
	registry gometrics.Registry

	mu         sync.Mutex // guards the fields below
	families   []*family  // sorted by name
	collectors []func(*Page)
}

// family is the series of one name.
type family struct {
	name, help string
	kind       Kind
	series     []series // sorted by labels
}

type series struct {
	id        string // name{labels}: its name in the go-metrics registry
	labels    []string
	metric    any
	histogram *Histogram // and unit: of a summary
	unit      float64
}

// New makes an empty registry.
func New() *Registry { return &Registry{registry: gometrics.NewRegistry()} }

// GoMetrics is the registry as go-metrics knows it, for other reporters. The
// families of Collect are not in it.
func (r *Registry) GoMetrics() gometrics.Registry { return r.registry }

// Counter makes and registers a counter.
func (r *Registry) Counter(name, help string, labels ...string) gometrics.Counter {
	c := gometrics.NewCounter()
	r.add(name, help, CounterKind, series{labels: labels, metric: c})
	return c
}

// CounterFunc registers a count that somebody else keeps.
func (r *Registry) CounterFunc(name, help string, f func() int64, labels ...string) {
	r.add(name, help, CounterKind, series{labels: labels, metric: gometrics.NewFunctionalGauge(f)})
}

// GaugeFunc registers a value that somebody else knows.
func (r *Registry) GaugeFunc(name, help string, f func() int64, labels ...string) {
	r.add(name, help, GaugeKind, series{labels: labels, metric: gometrics.NewFunctionalGauge(f)})
}

// FloatFunc is GaugeFunc for values that are no integers.
func (r *Registry) FloatFunc(name, help string, f func() float64, labels ...string) {
	r.add(name, help, GaugeKind, series{labels: labels, metric: gometrics.NewFunctionalGaugeFloat64(f)})
}

// Histogram registers a histogram as a summary; one unit of the page is unit of
// its values.
func (r *Registry) Histogram(name, help string, h *Histogram, unit float64, labels ...string) {
	r.add(name, help, SummaryKind, series{labels: labels, metric: gometrics.NewHistogram(h), histogram: h, unit: unit})
}

// Collect registers a function that writes families of its own at each page,
// after the registered ones, in the order of the calls.
func (r *Registry) Collect(f func(*Page)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.collectors = append(r.collectors, f)
}

func (r *Registry) add(name, help string, kind Kind, s series) {
	s.labels = slices.Clone(s.labels)
	s.id = string(appendLabels([]byte(name), s.labels))
	r.mu.Lock()
	defer r.mu.Unlock()
	i, ok := slices.BinarySearchFunc(r.families, name, func(f *family, name string) int { return strings.Compare(f.name, name) })
	if !ok {
		r.families = slices.Insert(r.families, i, &family{name: name, help: help, kind: kind})
	}
	f := r.families[i]
	if err := r.registry.Register(s.id, s.metric); err != nil || f.kind != kind {
		_ = invariant.Check(false, "metrics: %s is registered as a %s: %v", s.id, f.kind, err)
		return
	}
	i, _ = slices.BinarySearchFunc(f.series, s.id, func(s series, id string) int { return strings.Compare(s.id, id) })
	// A page that is being written has the old list.
	f.series = slices.Insert(slices.Clone(f.series), i, s)
}

// WritePage writes everything. partitions asks for the series of each partition
// too. The error is the writer's.
func (r *Registry) WritePage(w io.Writer, partitions bool) error {
	r.mu.Lock()
	families := make([]family, len(r.families))
	for i, f := range r.families {
		families[i] = *f
	}
	collectors := slices.Clone(r.collectors)
	r.mu.Unlock()
	p := newPage(w, partitions)
	for i := range families {
		f := &families[i]
		p.Family(f.name, f.kind, f.help)
		for j := range f.series {
			p.metric(&f.series[j])
		}
	}
	for _, collect := range collectors {
		collect(p)
	}
	return p.w.Flush()
}

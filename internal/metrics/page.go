package metrics

import (
	"bufio"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	gometrics "github.com/rcrowley/go-metrics"
)

// ContentType is that of a page: the Prometheus text format.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Kind is what a family holds, in Prometheus' words.
type Kind string

// Kinds of families. A Summary has quantiles of the last minutes, and count and
// sum since the start.
const (
	CounterKind Kind = "counter"
	GaugeKind   Kind = "gauge"
	SummaryKind Kind = "summary"
)

// quantiles are those that Kafka's JMX beans have.
var quantiles = []float64{0.5, 0.75, 0.95, 0.98, 0.99, 0.999}

var quantileTexts = []string{"0.5", "0.75", "0.95", "0.98", "0.99", "0.999"}

// Page is a page being written. Errors of the writer are kept, and end it.
// Families are written one after the other: Family, then its values.
type Page struct {
	// Partitions asks for the series of each partition, too.
	Partitions bool
	// Now is when the page was asked for.
	Now time.Time

	w      *bufio.Writer
	family string
	line   []byte
}

// pageBuffer is the size of the pieces in which a page is written.
const pageBuffer = 32 << 10

func newPage(w io.Writer, partitions bool) *Page {
	return &Page{Partitions: partitions, Now: time.Now(), w: bufio.NewWriterSize(w, pageBuffer), line: make([]byte, 0, 512)}
}

// Family begins a family. help is one line.
func (p *Page) Family(name string, kind Kind, help string) {
	p.family = name
	b := append(p.line[:0], "# HELP "...)
	b = append(b, name...)
	b = append(b, ' ')
	b = append(b, help...)
	b = append(b, "\n# TYPE "...)
	b = append(b, name...)
	b = append(b, ' ')
	b = append(b, kind...)
	b = append(b, '\n')
	p.put(b)
}

// Int writes a value of the family. labels are names and values in turn.
func (p *Page) Int(v int64, labels ...string) {
	b := appendLabels(append(p.line[:0], p.family...), labels)
	b = append(b, ' ')
	b = strconv.AppendInt(b, v, 10)
	p.put(append(b, '\n'))
}

// Float writes a value of the family.
func (p *Page) Float(v float64, labels ...string) {
	b := appendLabels(append(p.line[:0], p.family...), labels)
	p.putFloat(append(b, ' '), v)
}

// Gauge writes a family of one value.
func (p *Page) Gauge(name, help string, v int64) {
	p.Family(name, GaugeKind, help)
	p.Int(v)
}

// Counter writes a family of one counter.
func (p *Page) Counter(name, help string, v int64) {
	p.Family(name, CounterKind, help)
	p.Int(v)
}

// Meter writes one of Kafka's meters, twice: as name_total, as the rules do that
// come with the JMX exporter, and as namepersec, as those do that keep the bean's
// name. Both are counters. each writes the values and runs for both.
func (p *Page) Meter(name, help string, each func()) {
	for _, suffix := range []string{"_total", "persec"} {
		p.Family(name+suffix, CounterKind, help)
		each()
	}
}

// Summary writes the quantiles, sum and count of a histogram; unit is what one
// unit of the page is in values, such as 1000 for milliseconds of microseconds.
func (p *Page) Summary(h *Histogram, unit float64, labels ...string) {
	all, recent := h.Recent(p.Now)
	n := recent.Count()
	with := append(append(make([]string, 0, len(labels)+2), labels...), "quantile", "")
	for i, v := range recent.Percentiles(quantiles) {
		if n == 0 {
			v = math.NaN()
		}
		with[len(with)-1] = quantileTexts[i]
		p.Float(v/unit, with...)
	}
	p.suffixed("_sum", float64(all.Sum())/unit, labels)
	p.suffixed("_count", float64(all.Count()), labels)
}

func (p *Page) suffixed(suffix string, v float64, labels []string) {
	b := append(append(p.line[:0], p.family...), suffix...)
	p.putFloat(append(appendLabels(b, labels), ' '), v)
}

func (p *Page) putFloat(b []byte, v float64) {
	switch {
	case math.IsNaN(v):
		b = append(b, "NaN"...)
	case math.IsInf(v, 1):
		b = append(b, "+Inf"...)
	case math.IsInf(v, -1):
		b = append(b, "-Inf"...)
	default:
		b = strconv.AppendFloat(b, v, 'g', -1, 64)
	}
	p.put(append(b, '\n'))
}

// put writes a line; its array is used again. An error stays in the writer until
// the end.
func (p *Page) put(b []byte) {
	_, _ = p.w.Write(b)
	p.line = b[:0]
}

// metric writes what the registry holds.
func (p *Page) metric(s *series) {
	switch m := s.metric.(type) {
	case gometrics.Counter:
		p.Int(m.Count(), s.labels...)
	case gometrics.Gauge:
		p.Int(m.Value(), s.labels...)
	case gometrics.GaugeFloat64:
		p.Float(m.Value(), s.labels...)
	case gometrics.Histogram:
		p.Summary(s.histogram, s.unit, s.labels...)
	}
}

// appendLabels writes {name="value",…}.
func appendLabels(b []byte, labels []string) []byte {
	if len(labels) < 2 {
		return b
	}
	for i := 0; i+1 < len(labels); i += 2 {
		if i == 0 {
			b = append(b, '{')
		} else {
			b = append(b, ',')
		}
		b = append(b, labels[i]...)
		b = append(b, '=', '"')
		b = appendValue(b, labels[i+1])
		b = append(b, '"')
	}
	return append(b, '}')
}

func appendValue(b []byte, v string) []byte {
	if !strings.ContainsAny(v, "\\\"\n") {
		return append(b, v...)
	}
	for i := range len(v) {
		switch c := v[i]; c {
		case '\\', '"':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		default:
			b = append(b, c)
		}
	}
	return b
}

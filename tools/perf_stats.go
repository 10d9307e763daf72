package tools

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// perfStats counts sent records and prints what Kafka's ProducerPerformance
// prints: a line per five seconds, and a total.
type perfStats struct {
	mu           sync.Mutex // guards following
	out          io.Writer
	start        time.Time
	latencies    []int32 // milliseconds, of every sampling-th record
	sampling     int64
	total, span  perfWindow
	spanStart    time.Time
	iteration    int64
	failed       int64
	firstFailure error
}

type perfWindow struct {
	count, bytes, latency int64
	maxLatency            int64
}

func (w *perfWindow) add(latency, bytes int64) {
	w.count++
	w.bytes += bytes
	w.latency += latency
	w.maxLatency = max(w.maxLatency, latency)
}

const (
	perfInterval = 5 * time.Second
	perfSamples  = 500_000
	mebibyte     = 1024.0 * 1024.0
)

func newPerfStats(out io.Writer, records int64, now time.Time) *perfStats {
	sampling := max(1, records/min(records, perfSamples))
	return &perfStats{out: out, start: now, spanStart: now, sampling: sampling, latencies: make([]int32, 0, records/sampling+1)}
}

// record counts one acknowledged record; latency and now as the client saw them.
func (s *perfStats) record(latency time.Duration, bytes int, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ms := latency.Milliseconds()
	s.total.add(ms, int64(bytes))
	s.span.add(ms, int64(bytes))
	if s.iteration%s.sampling == 0 && len(s.latencies) < cap(s.latencies) {
		s.latencies = append(s.latencies, int32(ms))
	}
	s.iteration++
	if elapsed := now.Sub(s.spanStart); elapsed >= perfInterval {
		fmt.Fprintln(s.out, windowLine(s.span, elapsed))
		s.span, s.spanStart = perfWindow{}, now
	}
}

func (s *perfStats) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed++
	if s.firstFailure == nil {
		s.firstFailure = err
	}
}

func windowLine(w perfWindow, elapsed time.Duration) string {
	seconds := elapsed.Seconds()
	return fmt.Sprintf("%d records sent, %.1f records/sec (%.2f MB/sec), %.1f ms avg latency, %.1f ms max latency.",
		w.count, float64(w.count)/seconds, float64(w.bytes)/seconds/mebibyte, float64(w.latency)/float64(w.count), float64(w.maxLatency))
}

// finish prints the total and returns how many records failed.
func (s *perfStats) finish(now time.Time) (failed int64, first error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total.count > 0 {
		fmt.Fprintln(s.out, totalLine(s.total, now.Sub(s.start), s.latencies))
	}
	return s.failed, s.firstFailure
}

func totalLine(w perfWindow, elapsed time.Duration, latencies []int32) string {
	slices.Sort(latencies)
	at := func(share float64) int32 {
		if len(latencies) == 0 {
			return 0
		}
		return latencies[min(int(share*float64(len(latencies))), len(latencies)-1)]
	}
	seconds := max(elapsed, time.Millisecond).Seconds()
	return fmt.Sprintf("%d records sent, %f records/sec (%.2f MB/sec), %.2f ms avg latency, %.2f ms max latency, %d ms 50th, %d ms 95th, %d ms 99th, %d ms 99.9th.",
		w.count, float64(w.count)/seconds, float64(w.bytes)/seconds/mebibyte, float64(w.latency)/float64(w.count), float64(w.maxLatency),
		at(0.5), at(0.95), at(0.99), at(0.999))
}

// consumerPerf is what ConsumerPerformance prints of a run or of an interval.
type consumerPerf struct {
	start, end           time.Time
	bytes, lastBytes     int64
	records, lastRecords int64
	joining              time.Duration
}

const (
	perfHeader         = "start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec"
	perfDetailedHeader = "time, threadId, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec"
)

// total is the line of a whole run; format is --date-format.
func (p consumerPerf) total(format string) string {
	elapsed := p.end.Sub(p.start).Seconds()
	fetching := p.end.Sub(p.start).Milliseconds() - p.joining.Milliseconds()
	mb := float64(p.bytes) / mebibyte
	return fmt.Sprintf("%s, %s, %.4f, %.4f, %d, %.4f, %d, %d, %.4f, %.4f",
		javaTime(p.start, format), javaTime(p.end, format), mb, mb/elapsed, p.records, float64(p.records)/elapsed,
		p.joining.Milliseconds(), fetching, mb/(float64(fetching)/1000), float64(p.records)/(float64(fetching)/1000))
}

// interval is the line of --show-detailed-stats since start.
func (p consumerPerf) interval(format string) string {
	elapsed := float64(p.end.Sub(p.start).Milliseconds())
	fetching := p.end.Sub(p.start).Milliseconds() - p.joining.Milliseconds()
	mb, records := float64(p.bytes-p.lastBytes)/mebibyte, float64(p.records-p.lastRecords)
	var fetchMB, fetchRecords float64
	if fetching > 0 {
		fetchMB, fetchRecords = 1000*mb/float64(fetching), 1000*records/float64(fetching)
	}
	return fmt.Sprintf("%s, %d, %.4f, %.4f, %d, %.4f, %d, %d, %.4f, %.4f", javaTime(p.end, format), 0,
		float64(p.bytes)/mebibyte, 1000*mb/elapsed, p.records, records/elapsed*1000,
		p.joining.Milliseconds(), fetching, fetchMB, fetchRecords)
}

// javaTime prints a time by the letters of Java's SimpleDateFormat that dates
// are made of.
func javaTime(t time.Time, format string) string {
	return strings.NewReplacer("yyyy", t.Format("2006"), "MM", t.Format("01"), "dd", t.Format("02"), "HH", t.Format("15"),
		"mm", t.Format("04"), "ss", t.Format("05"), "SSS", fmt.Sprintf("%03d", t.Nanosecond()/1e6)).Replace(format)
}

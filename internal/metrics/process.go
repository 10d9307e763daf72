package metrics

import (
	"bytes"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"syscall"
	"time"
)

// AddProcess registers what the operating system and the Go runtime say about
// this process, under the names of Prometheus' own collectors.
func (r *Registry) AddProcess(version string) {
	start := float64(time.Now().UnixMilli()) / 1000
	r.GaugeFunc("barnabas_build_info", "Version of this broker; always 1.", func() int64 { return 1 },
		"version", version, "goversion", runtime.Version())
	r.FloatFunc("process_start_time_seconds", "When the broker started, in seconds since 1970.", func() float64 { return start })
	r.Collect(process)
}

func process(p *Page) {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err == nil {
		p.Family("process_cpu_seconds_total", CounterKind, "Processor time used, user and system.")
		p.Float(float64(use.Utime.Nano()+use.Stime.Nano()) / 1e9)
	}
	if pages, ok := residentPages(); ok {
		p.Gauge("process_resident_memory_bytes", "Resident memory.", pages*int64(os.Getpagesize()))
	}
	if n, ok := openFiles(); ok {
		p.Gauge("process_open_fds", "Open file descriptors.", n)
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil {
		p.Gauge("process_max_fds", "Limit of open file descriptors.", int64(min(uint64(limit.Cur), 1<<62)))
	}
	samples := []metrics.Sample{
		{Name: "/sched/goroutines:goroutines"}, {Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/gc/heap/goal:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/gc/cycles/total:gc-cycles"},
	}
	metrics.Read(samples)
	value := func(i int) int64 {
		if samples[i].Value.Kind() != metrics.KindUint64 {
			return 0
		}
		return int64(samples[i].Value.Uint64())
	}
	p.Gauge("go_goroutines", "Goroutines.", value(0))
	p.Gauge("go_memstats_heap_alloc_bytes", "Bytes of heap objects, live or not yet collected.", value(1))
	p.Gauge("go_memstats_next_gc_bytes", "Heap size at which the next collection ends.", value(2))
	p.Gauge("go_memstats_sys_bytes", "Memory that the Go runtime has from the system.", value(3))
	p.Counter("go_gc_cycles_total", "Garbage collections.", value(4))
}

// residentPages reads the second field of /proc/self/statm.
func residentPages() (int64, bool) {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, false
	}
	f := bytes.Fields(b)
	if len(f) < 2 {
		return 0, false
	}
	n, err := strconv.ParseInt(string(f[1]), 10, 64)
	return n, err == nil
}

// openFiles counts /proc/self/fd, where there is one.
func openFiles() (int64, bool) {
	d, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0, false
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	return int64(len(names)) - 1, err == nil // without d itself
}

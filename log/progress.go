package log

import (
	"context"
	"path"
	"sync"
	"time"

	"barnabas/internal/kafka"
)

// Progress of loading.
type Progress struct {
	Dir            string
	TopicPartition kafka.TopicPartition
	// LogsDone and LogsTotal count the logs of the directory.
	LogsDone, LogsTotal int
	// BytesDone and BytesTotal are what this log's recovery reads; 0 if nothing.
	BytesDone, BytesTotal int64
	// Share is how much of the directory is done, 0 to 1: by logs, and by bytes once
	// it takes long. It falls at most then.
	Share float64
	// Left is how long the directory will still take if it goes on like this; 0
	// while nobody knows.
	Left time.Duration
}

const (
	// reportInterval is how often a recovery that takes long tells of itself.
	reportInterval = 5 * time.Second
	// logWeight is what loading a log costs beside the bytes that it reads.
	logWeight = 64 << 10
	// progressStep is how many scanned bytes make a report.
	progressStep = 64 << 20
)

// recovery follows the loading of one directory.
type recovery struct {
	m *Manager
	d *logDir
	// points are the recovery points; began is when it began.
	points map[kafka.TopicPartition]int64
	began  time.Time

	mu    sync.Mutex // guards following
	done  map[kafka.TopicPartition]bool
	bytes map[kafka.TopicPartition]int64 // read so far, of those not done
	// weights are of all logs, in bytes; nil until they were estimated.
	weights map[kafka.TopicPartition]int64
	// all is the sum of the weights, read that of the logs that are done.
	all, read int64
	best      float64
}

func newRecovery(m *Manager, d *logDir, points map[kafka.TopicPartition]int64) *recovery {
	return &recovery{
		m: m, d: d, points: points, began: time.Now(),
		done: map[kafka.TopicPartition]bool{}, bytes: map[kafka.TopicPartition]int64{},
	}
}

// begin tells that there is something to do.
func (r *recovery) begin() {
	if r.m.o.OnProgress != nil && len(r.d.found) > 0 {
		r.m.o.OnProgress(Progress{Dir: r.d.path, LogsTotal: len(r.d.found)})
	}
}

// loaded notes a log that is done.
func (r *recovery) loaded(tp kafka.TopicPartition) { r.tell(tp, 0, 0, true) }

// scanning returns what a log calls while it reads.
func (r *recovery) scanning(tp kafka.TopicPartition) func(done, total int64) {
	var told int64
	return func(done, total int64) {
		if done-told >= progressStep {
			told = done
			r.tell(tp, done, total, false)
		}
	}
}

func (r *recovery) tell(tp kafka.TopicPartition, bytes, total int64, done bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if done {
		r.done[tp] = true
		r.read += r.weights[tp]
		delete(r.bytes, tp)
	} else {
		r.bytes[tp] = bytes
	}
	if r.m.o.OnProgress == nil {
		return
	}
	p := r.progressLocked()
	p.TopicPartition, p.BytesDone, p.BytesTotal = tp, bytes, total
	r.m.o.OnProgress(p)
}

func (r *recovery) progressLocked() Progress {
	p := Progress{Dir: r.d.path, LogsDone: len(r.done), LogsTotal: len(r.d.found)}
	if r.weights == nil {
		if p.LogsTotal > 0 {
			r.best = max(r.best, float64(p.LogsDone)/float64(p.LogsTotal))
		}
	} else {
		sum := r.read
		for tp, bytes := range r.bytes { // a few: those that are read now
			sum += min(bytes, r.weights[tp])
		}
		r.best = max(r.best, float64(sum)/float64(max(r.all, 1)))
	}
	p.Share = r.best
	if took := time.Since(r.began); r.best > 0.01 && r.best < 1 && took >= time.Second {
		p.Left = time.Duration(float64(took) * (1 - r.best) / r.best).Round(time.Second)
	}
	return p
}

// report logs how far it is every few seconds, until ctx ends. A recovery that
// takes long is worth a look at the sizes of all segments.
func (r *recovery) report(ctx context.Context) {
	t := time.NewTicker(reportInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if r.weights == nil {
			r.estimate(ctx)
		}
		r.mu.Lock()
		p := r.progressLocked()
		if r.m.o.OnProgress != nil {
			r.m.o.OnProgress(p)
		}
		r.mu.Unlock()
		r.m.o.Logger.Info("logs are being recovered", "dir", p.Dir, "logs", p.LogsDone, "of", p.LogsTotal,
			"percent", int(p.Share*100), "left", p.Left.String())
	}
}

// estimate finds out how many bytes each log has to read. What it can't see, the
// loading will tell of.
func (r *recovery) estimate(ctx context.Context) {
	weights := make(map[kafka.TopicPartition]int64, len(r.d.found))
	for _, tp := range r.d.found {
		if ctx.Err() != nil {
			return
		}
		weights[tp] = logWeight
		if !r.d.clean {
			weights[tp] += r.unsynced(tp)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.weights = weights
	r.best = 0 // counted in logs until now
	for tp, w := range weights {
		r.all += w
		if r.done[tp] {
			r.read += w
		}
	}
}

// unsynced sums the sizes of the segments of a log from its recovery point on.
func (r *recovery) unsynced(tp kafka.TopicPartition) (sum int64) {
	dir := path.Join(r.d.path, tp.String())
	names, err := r.m.o.FS.List(dir)
	if err != nil {
		return 0
	}
	point := r.points[tp]
	last := int64(0) // size of the segment that may hold the recovery point
	for _, name := range names {
		base, suffix, ok := parseFileName(name)
		if !ok || suffix != logSuffix {
			continue
		}
		st, err := r.m.o.FS.Stat(path.Join(dir, name))
		if err != nil {
			continue
		}
		if base <= point {
			last = st.Size()
		} else {
			sum += st.Size()
		}
	}
	return sum + last
}

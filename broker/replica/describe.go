package replica

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"

	"barnabas/internal/kafka"
	"barnabas/log"
)

// Producers lists the idempotent and transactional producers that a partition
// knows. Any replica with a log answers, not only the leader (KIP-664).
func (m *Manager) Producers(tp kafka.TopicPartition) ([]log.ProducerState, error) {
	p := m.Partition(tp)
	if p == nil {
		return nil, m.absent(tp)
	}
	p.mu.Lock()
	l, failure := p.log, p.failure
	p.unlock()
	if l == nil {
		if failure != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrOffline, tp, failure)
		}
		return nil, m.absent(tp)
	}
	if err := l.Failure(); err != nil {
		return nil, answer(err, l.StartOffset())
	}
	return l.ActiveProducers(), nil
}

// LogDir describes a log directory and the replicas in it.
type LogDir struct {
	Path string // absolute
	// Err is why it is offline; the rest is unknown then.
	Err error
	// Total and Usable are the bytes of its file system.
	Total, Usable int64
	// Replicas are sorted.
	Replicas []LogDirReplica
}

// LogDirReplica is the size of one replica on disk.
type LogDirReplica struct {
	TP   kafka.TopicPartition
	Size int64
	// Lag is how far the log's end is behind the high watermark; -1 if this
	// broker does not have the partition. That of a copy is how far it is behind
	// the log.
	Lag int64
	// Future: it is a copy that is to take the place of the log.
	Future bool
}

// LogDirs describes the log directories with those replicas that want names;
// nil: all (KIP-113).
func (m *Manager) LogDirs(want func(kafka.TopicPartition) bool) []LogDir {
	var out []LogDir
	for _, st := range m.logs.Dirs() {
		path := st.Path
		if whole, err := filepath.Abs(path); err == nil {
			path = whole
		}
		d := LogDir{Path: path, Err: st.Err, Total: -1, Usable: -1}
		if d.Err == nil {
			d.Total, d.Usable = st.Usage.Total, st.Usage.Free
			d.Replicas = m.replicasIn(st.Path, want)
		}
		out = append(out, d)
	}
	return out
}

func (m *Manager) replicasIn(dir string, want func(kafka.TopicPartition) bool) []LogDirReplica {
	var out []LogDirReplica
	for _, l := range m.logs.In(dir) {
		tp := l.TopicPartition()
		if want != nil && !want(tp) {
			continue
		}
		r := LogDirReplica{TP: tp, Size: l.Size(), Lag: -1}
		future, _ := m.logs.Future(tp)
		cur, ok := m.logs.Get(tp)
		switch r.Future = l == future; {
		case r.Future && ok:
			r.Lag = max(cur.EndOffset()-l.EndOffset(), 0)
		case r.Future:
		case m.Partition(tp) != nil:
			r.Lag = max(l.HighWatermark()-l.EndOffset(), 0)
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b LogDirReplica) int {
		return cmp.Or(cmp.Compare(a.TP.Topic, b.TP.Topic), cmp.Compare(a.TP.Partition, b.TP.Partition))
	})
	return out
}

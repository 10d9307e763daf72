package log

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"barnabas/internal/kafka"
)

// What a broker knows of logs that should be there and are not. The recovery points
// name all logs of a directory; one that they name and that has no directory was
// there once, and is missing. A topic may have been deleted since and made again
// under its name, and the disk too full to say so in the checkpoint, or to make the
// new log: so the checkpoint tells, too, of which topics the named logs are, by an
// entry "topic:id 0 0" beside those of the partitions. No topic has such a name:
// Apache Kafka passes the entry over, and drops it when it writes the file, after
// which nobody knows and any log may be meant (docs/decisions/missing-logs.md).

// idMark is between the name of a topic and its id in such an entry.
const idMark = ":"

func idEntry(topic string, id kafka.TopicID) kafka.TopicPartition {
	return kafka.TopicPartition{Topic: topic + idMark + id.String()}
}

// splitIDs parts the entries of a recovery point checkpoint.
func splitIDs(entries map[kafka.TopicPartition]int64) (points map[kafka.TopicPartition]int64, ids map[string][]kafka.TopicID) {
	points, ids = make(map[kafka.TopicPartition]int64, len(entries)), map[string][]kafka.TopicID{}
	for tp, offset := range entries {
		topic, text, isID := strings.Cut(tp.Topic, idMark)
		if !isID {
			points[tp] = offset
		} else if id, err := kafka.ParseTopicID(text); err == nil {
			ids[topic] = append(ids[topic], id)
		}
	}
	return points, ids
}

// nameIDsLocked adds to recovery points of which topics the logs are: nothing for a
// name of which one log's topic is not known.
func (d *logDir) nameIDsLocked(m *Manager, points map[kafka.TopicPartition]int64) {
	known := map[string][]kafka.TopicID{}
	unknown := map[string]bool{}
	for tp := range points {
		ids := d.missing[tp]
		if e, ok := m.logs[tp]; ok && e.dir == d {
			ids = []kafka.TopicID{e.log.TopicID()}
		} else if e, ok := m.futures[tp]; ok && e.dir == d {
			ids = []kafka.TopicID{e.log.TopicID()}
		} else if u := m.unopened[tp]; u != nil && u.dir == d {
			ids = d.ids[tp.Topic]
		}
		if len(ids) == 0 || slices.ContainsFunc(ids, kafka.TopicID.IsZero) {
			unknown[tp.Topic] = true
		}
		known[tp.Topic] = append(known[tp.Topic], ids...)
	}
	for topic, ids := range known {
		if unknown[topic] {
			continue
		}
		for _, id := range ids {
			points[idEntry(topic, id)] = 0
		}
	}
}

// findMissing notes the partitions that a checkpoint names and that are in no
// directory: their logs were there once.
func (m *Manager) findMissing() {
	for _, d := range m.live() {
		d.missing = map[kafka.TopicPartition][]kafka.TopicID{}
		for tp := range d.points {
			if m.unopened[tp] == nil {
				d.missing[tp] = d.ids[tp.Topic]
			}
		}
	}
	m.fresh = m.dirsChanged()
}

// Missing reports whether there is evidence that a partition of a topic had a log
// here which is gone: a checkpoint names it, or a log directory was empty at the
// start, or is no longer one. It says nothing of a partition that has a log.
func (m *Manager) Missing(tp kafka.TopicPartition, id kafka.TopicID) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.fresh {
		return true
	}
	for _, d := range m.dirs {
		if ids, ok := d.missing[tp]; ok && (len(ids) == 0 || id.IsZero() || slices.Contains(ids, id)) {
			return true
		}
	}
	return false
}

// whyAbsent is why there is no log of a partition that should have one.
func (m *Manager) whyAbsent(tp kafka.TopicPartition, id kafka.TopicID) error {
	for _, d := range m.dirs {
		if err := d.failure.get(); err != nil {
			return fmt.Errorf("%w: %s may be in %s", err, tp, d.path)
		}
	}
	if !m.Missing(tp, id) {
		return fmt.Errorf("%w: %s", ErrNotFound, tp)
	}
	return fmt.Errorf("%w: %s: bring its directory back; or, to begin without its records, make an empty directory %s and start again",
		ErrMissing, tp, path.Join(m.dirs[0].path, tp.String()))
}

// NoteMissing remembers over restarts that a partition of a topic is missing, by
// whatever evidence: that of the directories' change goes with Settle.
func (m *Manager) NoteMissing(tp kafka.TopicPartition, id kafka.TopicID) {
	live := m.live()
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.logs[tp]; ok || m.unopened[tp] != nil || len(live) == 0 {
		return
	}
	live[0].noteMissingLocked(tp, id)
}

// noteMissingLocked adds to what is missing; of no known topic stays so.
func (d *logDir) noteMissingLocked(tp kafka.TopicPartition, id kafka.TopicID) {
	ids, ok := d.missing[tp]
	switch {
	case !ok && id.IsZero():
		d.missing[tp] = nil
	case !ok:
		d.missing[tp] = []kafka.TopicID{id}
	case len(ids) > 0 && id.IsZero():
		d.missing[tp] = nil
	case len(ids) > 0 && !slices.Contains(ids, id):
		d.missing[tp] = append(slices.Clone(ids), id)
	}
}

func (m *Manager) noLongerMissingLocked(tp kafka.TopicPartition) {
	for _, d := range m.dirs {
		delete(d.missing, tp)
	}
}

// Absent is what GetOrCreate would answer for a partition that existed before, or
// nil if it has a log that works.
func (m *Manager) Absent(tp kafka.TopicPartition, id kafka.TopicID) error {
	if l, ok := m.Get(tp); ok {
		return l.Failure()
	}
	if err := m.Opening(tp); err != nil {
		return err
	}
	err := m.whyAbsent(tp, id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

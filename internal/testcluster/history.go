package testcluster

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"barnabas/internal/kafka"
)

// History is what clients were told and brokers said, in order. Contradictions
// are found as they are noted.
type History struct {
	start time.Time

	mu         sync.Mutex // guards following
	lines      []string
	violations []string
	first      int // the line of the first of them
	// known has, by partition and offset, the record that somebody was promised:
	// by an acknowledgement of all in-sync replicas, or by having read it.
	known map[kafka.TopicPartition]map[int64]promise
	// leaders has who led in an epoch: broker and process.
	leaders map[leadership]string
	groups  groupHistory
	mended  int // the line from which on nothing is broken, 0 before
}

// promise is a record that must stay.
type promise struct {
	value string
	how   string
}

// leadership is an epoch of a partition of one topic, by the topic's id.
type leadership struct{ topicID, partition, epoch string }

// newHistory begins now.
func newHistory() *History {
	return &History{start: time.Now(), known: map[kafka.TopicPartition]map[int64]promise{}, leaders: map[leadership]string{}}
}

// note adds a line.
func (h *History) note(who, format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.noteLocked(who, format, args...)
}

func (h *History) noteLocked(who, format string, args ...any) {
	h.lines = append(h.lines, fmt.Sprintf("%11.6f %-4s %s", time.Since(h.start).Seconds(), who, fmt.Sprintf(format, args...)))
}

// violate notes a broken law.
func (h *History) violate(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.violateLocked(format, args...)
}

func (h *History) violateLocked(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if len(h.violations) == 0 {
		h.first = len(h.lines)
	}
	h.violations = append(h.violations, text)
	h.noteLocked("!!", "%s", text)
}

// promised notes that somebody was told of a record.
func (h *History) promised(tp kafka.TopicPartition, offset int64, value, how string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.known[tp]
	if m == nil {
		m = map[int64]promise{}
		h.known[tp] = m
	}
	if old, ok := m[offset]; !ok {
		m[offset] = promise{value, how}
	} else if old.value != value {
		h.violateLocked("%v offset %d: %s was %s, and %s was %s", tp, offset, old.value, old.how, value, how)
	}
}

// promises is the number of records that somebody was promised.
func (h *History) promises() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, m := range h.known {
		n += len(m)
	}
	return n
}

// led notes a leadership: no two processes share an epoch.
func (h *History) led(who string, l leadership) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old := h.leaders[l]; old == "" {
		h.leaders[l] = who
	} else if old != who {
		h.violateLocked("%s (topic %s): both %s and %s led in epoch %s", l.partition, l.topicID, old, who, l.epoch)
	}
}

// all is the whole history.
func (h *History) all() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.lines, "\n")
}

// around is what came before the first violation, and a little after it.
func (h *History) around(before, after int) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.lines[max(0, h.first-before):min(len(h.lines), h.first+after)], "\n")
}

// isMended notes that the faults are over.
func (h *History) isMended() {
	h.note("--", "everything is mended")
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mended = len(h.lines)
}

// aroundMending is what came before and after that, where it is not around the first
// violation anyway.
func (h *History) aroundMending(before, after int) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mended == 0 || h.first-h.mended < after {
		return ""
	}
	return strings.Join(h.lines[max(0, h.mended-before):h.mended+after], "\n") + "\n[…]\n"
}

// broken are the violations so far.
func (h *History) broken() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.violations)
}

package testcluster

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"barnabas/internal/kafka"
)

// TestChecker: each kind of broken promise is found, and a kept one is not.
func TestChecker(t *testing.T) {
	tp := kafka.TopicPartition{Topic: "t"}
	for name, test := range map[string]struct {
		told func(h *History)
		got  []fetched
		want string // "" for nothing
	}{
		"nothing": {func(*History) {}, nil, ""},
		"kept": {func(h *History) {
			h.promised(tp, 0, "p1/0/0", "acknowledged")
			h.promised(tp, 0, "p1/0/0", "read by c1")
		}, []fetched{{0, "p1/0/0"}, {1, "p2/0/5"}, {2, "p1/0/1"}, {3, "p1/0/0"}}, ""},
		"lost": {func(h *History) { h.promised(tp, 1, "p1/0/1", "acknowledged") }, []fetched{{0, "p1/0/0"}}, "p1/0/1 was acknowledged, and is lost"},
		"replaced": {func(h *History) { h.promised(tp, 0, "p1/0/1", "read by c1") }, []fetched{{0, "p2/0/0"}},
			"p1/0/1 was read by c1, and in the end p2/0/0 is there"},
		"two of one offset": {func(h *History) {
			h.promised(tp, 0, "p1/0/0", "acknowledged")
			h.promised(tp, 0, "p2/0/0", "read by c1")
		}, []fetched{{0, "p1/0/0"}}, "p1/0/0 was acknowledged, and p2/0/0 was read by c1"},
		"twice":        {func(*History) {}, []fetched{{0, "i1/0/0"}, {1, "i1/0/0"}}, "i1/0/0 is at 0 and at 1"},
		"out of order": {func(*History) {}, []fetched{{0, "p1/0/1"}, {1, "p1/0/0"}}, "p1/0/0 comes after number 1"},
		"invented":     {func(*History) {}, []fetched{{0, "x"}}, "was never sent"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory()
			test.told(h)
			h.checkPromises(tp, test.got)
			h.checkOrder(tp, test.got)
			broken := strings.Join(h.broken(), "\n")
			if test.want == "" && broken != "" || !strings.Contains(broken, test.want) {
				t.Errorf("found %q, want %q", broken, test.want)
			}
		})
	}
}

// TestTwoLeaders: two processes that say that they lead in one epoch are found by
// what they log; one that says it again is not.
func TestTwoLeaders(t *testing.T) {
	h := newHistory()
	process := func(run int) *slog.Logger {
		return slog.New(&logHandler{h: h, who: "b1", run: run, dead: new(atomic.Bool)})
	}
	says := func(l *slog.Logger, epoch int, leading bool) {
		l.Debug(leads, "partition", "t-0", "topic_id", "x", "leader_epoch", epoch, "leads", leading)
	}
	a, b := process(1), process(2)
	says(a, 3, true)
	says(a, 3, true)
	says(b, 3, false)
	says(b, 4, true)
	if broken := h.broken(); len(broken) > 0 {
		t.Fatalf("found %q", broken)
	}
	says(b, 3, true)
	if broken := h.broken(); len(broken) != 1 {
		t.Fatalf("found %q", broken)
	}
}

package replica

import (
	"context"
	"errors"
	"slices"
	"time"

	"barnabas/log"
)

const (
	// firstSweep is how long after the start strays are looked for, sweepEvery how
	// often after that.
	firstSweep, sweepEvery = time.Minute, time.Hour
)

// sweepStrays sets aside the logs of topics that are gone, until ctx ends: deleted
// while this broker was down, or missing by mistake. Which of the two it was nobody
// here knows, so the files live on for a while.
func (m *Manager) sweepStrays(ctx context.Context) {
	for wait := firstSweep; sleep(ctx, wait); wait = sweepEvery {
		m.sweep()
	}
}

// sweep lists the logs before it takes the image: what was made for a topic is
// younger than the image that has the topic.
func (m *Manager) sweep() {
	logs := slices.Collect(m.logs.All())
	im := m.queue.newest()
	if im == nil {
		return
	}
	for _, l := range logs {
		t, id := im.Topic(l.TopicPartition().Topic), l.TopicID()
		if t != nil && (id.IsZero() || t.ID.IsZero() || t.ID == id) || l.Failure() != nil {
			continue
		}
		err := m.logs.SetAsideLog(l, "its topic is gone, and nobody here saw that its deletion was asked for")
		if err != nil && !errors.Is(err, log.ErrNotFound) {
			m.logger.Error("a log of a topic that is gone could not be set aside", "partition", l.TopicPartition().String(), "error", err)
		}
	}
	for _, tp := range m.logs.Futures() {
		if _, ok := m.logs.Get(tp); ok || im.Topic(tp.Topic) != nil {
			continue
		}
		if err := m.logs.DropFuture(tp, "its topic is gone"); err != nil {
			m.logger.Error("a copy of a log of a topic that is gone could not be removed", "partition", tp.String(), "error", err)
		}
	}
}

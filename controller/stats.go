package controller

import (
	"sync/atomic"
	"time"

	"barnabas/cluster"
	"barnabas/internal/metrics"
	"barnabas/internal/pulse"
)

// stats are what the loop counts; times are microseconds.
type stats struct {
	queueTime metrics.Histogram // of commands, until they begin
	elections metrics.Histogram // looks at the registrations, with the elections that follow
	topics    metrics.Histogram // looks at topics
	deletions metrics.Histogram // looks at topics to delete
	isrs      metrics.Histogram // batches of ISR changes
	unclean   atomic.Int64      // elections by log end
	// topicsToDelete are marked for deletion, with replicasToDelete of them.
	topicsToDelete, replicasToDelete atomic.Int64
}

// timeOf is where the time of a look is counted; nil: nowhere.
func (s *stats) timeOf(e event) *metrics.Histogram {
	switch e {
	case evBrokers:
		return &s.elections
	case evTopics, evTopic:
		return &s.topics
	case evDeletions:
		return &s.deletions
	}
	return nil
}

// Pulse beats while Run turns, at least at each Interval.
func (c *Controller) Pulse() *pulse.Pulse { return &c.pulse }

// Waiting is the number of events and calls that the loop has not begun with,
// and how long the oldest call has waited.
func (c *Controller) Waiting() (n int, oldest time.Duration) {
	q := &c.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.commands) > 0 {
		oldest = time.Since(q.commands[0].at)
	}
	return len(q.order) + len(q.commands), oldest
}

// Collect writes Kafka's KafkaController, ControllerEventManager and
// ControllerStats. As in Kafka the counts of the cluster are 0 on a broker that
// is not the controller.
func (c *Controller) Collect(p *metrics.Page) {
	active, topics, partitions, offline, imbalanced := int64(0), 0, 0, 0, 0
	if c.Active() {
		im := c.meta.Current()
		active, topics, partitions = 1, im.TopicCount(), im.PartitionCount()
		offline, imbalanced = unhealthy(im)
	}
	p.Gauge("kafka_controller_kafkacontroller_activecontrollercount", "1 on the controller.", active)
	p.Gauge("kafka_controller_kafkacontroller_globaltopiccount", "Topics of the cluster.", int64(topics))
	p.Gauge("kafka_controller_kafkacontroller_globalpartitioncount", "Partitions of the cluster.", int64(partitions))
	p.Gauge("kafka_controller_kafkacontroller_offlinepartitionscount", "Partitions of the cluster without a leader.", int64(offline))
	p.Gauge("kafka_controller_kafkacontroller_preferredreplicaimbalancecount", "Partitions of the cluster that another than their preferred replica leads.", int64(imbalanced))
	for _, m := range []struct {
		name, help string
		n          int64
	}{
		{"topicstodeletecount", "Topics that are being deleted.", active * c.stats.topicsToDelete.Load()},
		{"replicastodeletecount", "Replicas of the topics that are being deleted.", active * c.stats.replicasToDelete.Load()},
		{"topicsineligibletodeletecount", "Always 0: a deletion waits for no replica.", 0},
		{"replicasineligibletodeletecount", "Always 0: a deletion waits for no replica.", 0},
	} {
		p.Gauge("kafka_controller_kafkacontroller_"+m.name, m.help, m.n)
	}
	c.collectLoop(p)
}

// deleting counts the topics that are to be deleted, and returns what to call when one is.
func (s *stats) deleting(im *cluster.Image, names []string) (deleted func(name string)) {
	of := func(name string) (replicas int64) {
		t := im.Topic(name)
		if t == nil {
			return 0
		}
		for _, p := range t.Partitions {
			if p != nil {
				replicas += int64(len(p.Replicas))
			}
		}
		return replicas
	}
	all := int64(0)
	for _, name := range names {
		all += of(name)
	}
	s.topicsToDelete.Store(int64(len(names)))
	s.replicasToDelete.Store(all)
	return func(name string) {
		s.topicsToDelete.Add(-1)
		s.replicasToDelete.Add(-of(name))
	}
}

// unhealthy counts the partitions without a leader that is alive, and those that
// another leads than the first of their replicas.
func unhealthy(im *cluster.Image) (offline, imbalanced int) {
	for t := range im.Topics() {
		for _, p := range t.Partitions {
			switch {
			case p == nil:
			case !p.HasState || !im.Alive(p.Leader):
				offline++
			}
			if p != nil && len(p.Replicas) > 0 && (!p.HasState || p.Leader != p.Replicas[0]) {
				imbalanced++
			}
		}
	}
	return offline, imbalanced
}

func (c *Controller) collectLoop(p *metrics.Page) {
	n, oldest := c.Waiting()
	p.Gauge("kafka_controller_controllereventmanager_eventqueuesize", "Events and calls that wait for the controller's loop.", int64(n))
	p.Gauge("barnabas_controller_oldest_waiting_ms", "How long the oldest call waits for the controller's loop.", oldest.Milliseconds())
	p.Meter("kafka_controller_controllerstats_uncleanleaderelections", "Leaders elected that may miss records.", func() { p.Int(c.stats.unclean.Load()) })
	for _, m := range []struct {
		name, help string
		h          *metrics.Histogram
	}{
		{"kafka_controller_controllereventmanager_eventqueuetimems", "Milliseconds that calls wait for the controller's loop.", &c.stats.queueTime},
		{"kafka_controller_controllerstats_leaderelectionrateandtimems", "Milliseconds of looks at registrations and the elections that follow.", &c.stats.elections},
		{"kafka_controller_controllerstats_isrchangerateandtimems", "Milliseconds of batches of ISR changes.", &c.stats.isrs},
		{"kafka_controller_controllerstats_topicchangerateandtimems", "Milliseconds of looks at topics.", &c.stats.topics},
		{"kafka_controller_controllerstats_topicdeletionrateandtimems", "Milliseconds of looks at topics to delete.", &c.stats.deletions},
	} {
		p.Family(m.name, metrics.SummaryKind, m.help)
		p.Summary(m.h, 1000)
	}
}

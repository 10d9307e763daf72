package admin

import (
	"context"
	"strconv"
	"sync"
	"time"

	"barnabas/cluster"
	"barnabas/conf"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// autoCreateWait is how long a Metadata request waits for a topic that it made
// to be served, so that the client need not ask again.
const autoCreateWait = 2 * time.Second

// flight holds the topics that are being made, so that many who ask at a time
// make each once.
type flight struct {
	mu    sync.Mutex // guards names
	names map[string]chan struct{}
}

// enter reports whether the caller is to make the topic; else done closes when
// the one who does has finished.
func (f *flight) enter(name string) (leave func(), done <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.names[name]; c != nil {
		return nil, c
	}
	c := make(chan struct{})
	f.names[name] = c
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.names, name)
		close(c)
	}, nil
}

// busy reports whether somebody makes the topic now.
func (f *flight) busy(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.names[name] != nil
}

// AutoCreate makes a topic that a client asked for, with the broker's defaults,
// if auto.create.topics.enable, or a coordinator's topic with the settings that
// belong to it. It returns nil once the topic is served; Apache Kafka lets the
// client come back for that. Errors: UNKNOWN_TOPIC_OR_PARTITION where topics are
// not made by asking, INVALID_TOPIC_EXCEPTION, INVALID_REPLICATION_FACTOR, or
// LEADER_NOT_AVAILABLE when it takes longer.
func (a *Admin) AutoCreate(ctx context.Context, topic string) error {
	if !kafka.IsInternalTopic(topic) && !a.o.Config().Broker.AutoCreateTopics {
		return protocol.UnknownTopicOrPartition
	}
	ctx, cancel := context.WithTimeout(ctx, autoCreateWait)
	defer cancel()
	leave, done := a.flight.enter(topic)
	if leave == nil {
		select {
		case <-done:
		case <-ctx.Done():
		}
		if a.awaitTopics(ctx, []string{topic}) != nil {
			return protocol.LeaderNotAvailable
		}
		return nil
	}
	defer leave()
	// At start, somebody may ask before the election is over.
	err := a.o.AwaitImage(ctx, func(im *cluster.Image) bool { return im.LiveController() != kafka.NoBroker })
	if err != nil || !a.o.Controller.Active() && a.o.Elsewhere == nil {
		return protocol.LeaderNotAvailable
	}
	if a.o.Image().Topic(topic) == nil {
		spec := a.autoSpec(topic)
		got := a.createAnywhere(ctx, &spec)
		switch protocol.CodeOf(got.Err) {
		case protocol.None:
			a.o.Logger.Info("topic created because it was asked for", "topic", topic, "partitions", got.Partitions, "replication", got.ReplicationFactor)
			return nil
		case protocol.TopicAlreadyExists:
		case protocol.InvalidTopic, protocol.InvalidReplicationFactor, protocol.InvalidPartitions:
			return got.Err
		default:
			return protocol.LeaderNotAvailable
		}
	}
	if a.awaitTopics(ctx, []string{topic}) != nil {
		return protocol.LeaderNotAvailable
	}
	return nil
}

// createAnywhere makes a topic here or, by a request to the controller, there,
// and waits until it is served. Its defaults are this broker's, as in Apache
// Kafka.
func (a *Admin) createAnywhere(ctx context.Context, spec *TopicSpec) cluster.CreatedTopic {
	if a.o.Controller.Active() {
		return a.CreateTopics(ctx, []TopicSpec{*spec}, autoCreateWait, false)[0]
	}
	t, err := a.permit(spec, false)
	if err != nil {
		return cluster.CreatedTopic{Err: err}
	}
	made := a.o.Elsewhere.CreateTopics(ctx, []cluster.NewTopic{t})[0]
	if made.Err == nil {
		made.Err = timedOut(a.awaitTopics(ctx, []string{t.Name}))
	}
	return made
}

// AutoCreateSoon is AutoCreate for a caller who does not wait. It does nothing
// while the topic is being made already.
func (a *Admin) AutoCreateSoon(topic string) {
	if a.flight.busy(topic) || a.ctx.Err() != nil {
		return
	}
	a.wg.Go(func() {
		if err := a.AutoCreate(a.ctx, topic); err != nil && a.ctx.Err() == nil {
			a.o.Logger.Warn("topic could not be created", "topic", topic, "error", err)
		}
	})
}

// autoSpec is a topic with the broker's defaults, or the coordinator's own.
func (a *Admin) autoSpec(topic string) TopicSpec {
	cfg := a.o.Config()
	switch topic {
	case kafka.ConsumerOffsetsTopic:
		return internalSpec(topic, &cfg.Group.Topic,
			"cleanup.policy", "compact", "compression.type", "producer")
	case kafka.TransactionStateTopic:
		return internalSpec(topic, &cfg.Txn.Topic,
			"cleanup.policy", "compact", "compression.type", "uncompressed",
			"min.insync.replicas", strconv.Itoa(cfg.Txn.MinISR), "unclean.leader.election.enable", "false")
	}
	return TopicSpec{Name: topic, Partitions: -1, ReplicationFactor: -1}
}

// internalSpec is a coordinator's topic with pairs of config names and values.
func internalSpec(topic string, t *conf.InternalTopic, configs ...string) TopicSpec {
	configs = append(configs, "segment.bytes", strconv.FormatInt(t.SegmentBytes, 10))
	s := TopicSpec{Name: topic, Partitions: int32(t.Partitions), ReplicationFactor: int16(t.ReplicationFactor)}
	for i := 0; i < len(configs); i += 2 {
		s.Configs = append(s.Configs, ConfigValue{Name: configs[i], Value: &configs[i+1]})
	}
	return s
}

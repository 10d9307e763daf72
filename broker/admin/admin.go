// Package admin decides what administration asks for: whether a topic may be
// made, extended or deleted, and with what defaults. What it permits, the
// controller does; admin then waits until it has happened.
//
// It writes nothing itself and knows neither ZooKeeper nor the wire. Errors
// carry their protocol.Error and Kafka's text as a *protocol.Failure.
package admin

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"barnabas/cluster"
	"barnabas/conf"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// Controller does what was permitted, if it is elected on this broker; else it
// answers NOT_CONTROLLER. It checks what must hold at the very moment: that a
// topic does not exist, that brokers are enough.
type Controller interface {
	// Epoch is the epoch of the present reign; ok is false on a standby.
	Epoch() (e kafka.ControllerEpoch, ok bool)
	// CreateTopic makes a topic and returns when ZooKeeper has it.
	CreateTopic(ctx context.Context, n cluster.NewTopic, validateOnly, strictRacks bool) (cluster.Made, error)
	// DeleteTopic deletes a topic and returns when it is gone from ZooKeeper.
	DeleteTopic(ctx context.Context, name string) error
	// AddPartitions extends a topic.
	AddPartitions(ctx context.Context, n cluster.NewPartitions, validateOnly bool) error
}

// Options are the rooms that admin asks; all are required.
type Options struct {
	Controller Controller
	Image      func() *cluster.Image
	// AwaitImage waits until the image fulfils a condition or ctx ends.
	AwaitImage func(ctx context.Context, until func(*cluster.Image) bool) error
	// AwaitLeading waits until this broker serves all those of the partitions that
	// it leads, or ctx ends.
	AwaitLeading func(ctx context.Context, tps []kafka.TopicPartition) error
	Config       func() *conf.Config
	Logger       *slog.Logger
}

// Admin serves administration requests. It is safe for concurrent use.
type Admin struct {
	o      Options
	ctx    context.Context // ends with the broker; bounds what nobody waits for
	wg     sync.WaitGroup
	flight flight
}

// New makes an Admin whose own work ends with ctx.
func New(ctx context.Context, o Options) *Admin {
	return &Admin{o: o, ctx: ctx, flight: flight{names: map[string]chan struct{}{}}}
}

// Close waits for what AutoCreateSoon began; New's context must have ended.
func (a *Admin) Close() { a.wg.Wait() }

// DeleteTopics deletes topics and waits, at most for timeout, until this broker
// knows that they are gone. The errors are in the order of names.
func (a *Admin) DeleteTopics(ctx context.Context, names []string, timeout time.Duration) []error {
	errs := make([]error, len(names))
	if !a.active() {
		return fill(errs, protocol.NotController)
	}
	if !a.o.Config().Broker.DeleteTopics {
		return fill(errs, protocol.TopicDeletionDisabled)
	}
	im := a.o.Image()
	gone := map[string]kafka.TopicID{}
	results := map[string]error{} // a name given twice is deleted once and answered twice
	for i, name := range names {
		if _, done := results[name]; !done {
			t := im.Topic(name)
			if results[name] = a.o.Controller.DeleteTopic(ctx, name); results[name] == nil && t != nil {
				gone[name] = t.ID
			}
		}
		errs[i] = results[name]
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	waited := a.o.AwaitImage(ctx, func(im *cluster.Image) bool {
		for name, id := range gone {
			if t := im.Topic(name); t != nil && t.ID == id {
				return false
			}
		}
		return true
	})
	for i := range errs {
		if errs[i] == nil && waited != nil {
			errs[i] = protocol.RequestTimedOut
		}
	}
	return errs
}

// active reports whether this broker is the controller now.
func (a *Admin) active() bool {
	_, ok := a.o.Controller.Epoch()
	return ok
}

// awaitTopics waits until the partitions of topics have live leaders and this
// broker serves those that it leads.
func (a *Admin) awaitTopics(ctx context.Context, names []string) error {
	err := a.o.AwaitImage(ctx, func(im *cluster.Image) bool {
		for _, name := range names {
			if !led(im, name) {
				return false
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	im := a.o.Image()
	var tps []kafka.TopicPartition
	for _, name := range names {
		if t := im.Topic(name); t != nil {
			for i := range t.Partitions {
				tps = append(tps, kafka.TopicPartition{Topic: name, Partition: int32(i)})
			}
		}
	}
	return a.o.AwaitLeading(ctx, tps)
}

// led reports whether all partitions of a topic have live leaders.
func led(im *cluster.Image, name string) bool {
	t := im.Topic(name)
	if t == nil {
		return false
	}
	for _, p := range t.Partitions {
		if p == nil || !p.HasState || !im.Alive(p.Leader) {
			return false
		}
	}
	return true
}

func fill(errs []error, err error) []error {
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// timedOut turns the end of a wait into the client's error.
func timedOut(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return protocol.RequestTimedOut
	}
	return err
}

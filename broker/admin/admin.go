// Package admin decides what administration asks for: whether a topic may be
// made, extended or deleted, with what defaults, and which configs may be changed.
// What it permits, the controller and the store of configs do; admin then waits
// until it has happened.
//
// It writes nothing itself and knows neither ZooKeeper nor the wire. Errors
// carry their protocol.Error and Kafka's text as a *protocol.Failure.
package admin

import (
	"context"
	"errors"
	"log/slog"
	"slices"
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
	// Active reports whether this broker is the controller now.
	Active() bool
	// CreateTopics makes topics and returns when ZooKeeper has them.
	CreateTopics(ctx context.Context, topics []cluster.NewTopic, validateOnly bool) []cluster.CreatedTopic
	// DeleteTopics deletes topics and returns when they are gone from ZooKeeper.
	DeleteTopics(ctx context.Context, names []string) []error
	// AddPartitions extends a topic to total partitions. assignment is that of the
	// new ones; nil lets the controller place them.
	AddPartitions(ctx context.Context, topic string, total int32, assignment [][]kafka.BrokerID, validateOnly bool) error
}

// Elsewhere asks the controller wherever it is; *forward.Forwarder is it.
type Elsewhere interface {
	CreateTopics(ctx context.Context, topics []cluster.NewTopic) []cluster.CreatedTopic
}

// Options are the rooms that admin asks; all but Elsewhere are required.
type Options struct {
	Self       kafka.BrokerID
	Controller Controller
	// Elsewhere makes topics that somebody asked for before they existed while
	// another broker is the controller. Nil: that is left to the other one.
	Elsewhere Elsewhere
	Image     func() *cluster.Image
	// AwaitImage waits until the image fulfils a condition or ctx ends.
	AwaitImage func(ctx context.Context, until func(*cluster.Image) bool) error
	// AwaitLeading waits until this broker serves all those of the partitions that
	// it leads, or ctx ends.
	AwaitLeading func(ctx context.Context, tps []kafka.TopicPartition) error
	// Ends asks another broker where its logs end, by which it tells that it has read of
	// partitions and opened them.
	Ends   func(ctx context.Context, of kafka.BrokerID, questions []cluster.EndQuestion) ([]cluster.LogEnd, error)
	Config func() *conf.Config
	// Configs keeps configs; it reports a topic that is not there by NoTopic.
	Configs ConfigStore
	NoTopic error
	// AwaitConfig waits until Config has what is stored, or ctx ends.
	AwaitConfig func(ctx context.Context) error
	Logger      *slog.Logger
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
	if !a.o.Controller.Active() {
		return fill(errs, protocol.NotController)
	}
	if !a.o.Config().Broker.DeleteTopics {
		return fill(errs, protocol.TopicDeletionDisabled)
	}
	im := a.o.Image()
	once := slices.Compact(slices.Sorted(slices.Values(names))) // a name given twice is answered twice
	results, gone := map[string]error{}, map[string]kafka.TopicID{}
	for i, err := range a.o.Controller.DeleteTopics(ctx, once) {
		results[once[i]] = err
		if t := im.Topic(once[i]); err == nil && t != nil {
			gone[t.Name] = t.ID
		}
	}
	for i, name := range names {
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

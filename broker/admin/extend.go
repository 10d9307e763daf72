package admin

import (
	"context"
	"time"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// Extension asks for more partitions of a topic.
type Extension struct {
	Topic string
	Total int32
	// Assignment places the new partitions; nil lets the controller do it.
	Assignment [][]kafka.BrokerID
}

// CreatePartitions extends topics and waits, at most for timeout, until the new
// leaders serve. The errors are in the order of the extensions.
func (a *Admin) CreatePartitions(ctx context.Context, of []Extension, timeout time.Duration, validateOnly bool) []error {
	errs := make([]error, len(of))
	if !a.o.Controller.Active() {
		return fill(errs, protocol.NotController)
	}
	count := map[string]int{}
	for _, e := range of {
		count[e.Topic]++
	}
	var done []string
	for i := range of {
		e := &of[i]
		if count[e.Topic] > 1 {
			errs[i] = protocol.Fail(protocol.InvalidRequest, "Duplicate topic in request.")
			continue
		}
		if errs[i] = a.o.Controller.AddPartitions(ctx, e.Topic, e.Total, e.Assignment, validateOnly); errs[i] == nil {
			done = append(done, e.Topic)
		}
	}
	if validateOnly || len(done) == 0 {
		return errs
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	waited := a.o.AwaitImage(ctx, func(im *cluster.Image) bool {
		for i := range of {
			if t := im.Topic(of[i].Topic); errs[i] == nil && t != nil && int32(t.Count()) < of[i].Total {
				return false
			}
		}
		return true
	})
	if waited == nil {
		waited = a.awaitTopics(ctx, done)
	}
	for i := range errs {
		if errs[i] == nil && waited != nil {
			errs[i] = timedOut(waited)
		}
	}
	return errs
}

package admin

import (
	"context"
	"time"

	"barnabas/cluster"
	"barnabas/protocol"
)

// CreatePartitions extends topics and waits, at most for timeout, until the new
// leaders serve. The errors are in the order of the extensions.
func (a *Admin) CreatePartitions(ctx context.Context, of []cluster.NewPartitions, timeout time.Duration, validateOnly bool) []error {
	errs := make([]error, len(of))
	if !a.active() {
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
		if errs[i] = a.o.Controller.AddPartitions(ctx, *e, validateOnly); errs[i] == nil {
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
			if t := im.Topic(of[i].Topic); errs[i] == nil && t != nil && int32(t.Count()) < of[i].Count {
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

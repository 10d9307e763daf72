package controller

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"barnabas/cluster"
	"barnabas/controller/plan"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// isrInterval is the least time between two batches of ISR changes, and so the
// longest that one waits to be merged with others.
const isrInterval = 5 * time.Millisecond

// isrCall is a leader that waits for its answer.
type isrCall struct {
	ctx  context.Context // of the caller, who may have gone
	at   time.Time
	ask  plan.ISRAsk
	done chan plan.ISRAnswer // has room for the answer
}

// isrCalls gathers the ISR changes that leaders ask for. The first after a quiet
// time is begun with at once; what comes meanwhile makes up the next batch.
type isrCalls struct {
	mu      sync.Mutex // guards following
	waiting []*isrCall
	due     bool // a batch will be taken
	taken   time.Time
}

// AlterPartition writes the ISRs that a leader asks for, as far as its proposals
// hold against the newest image: one result for each. An error is about all of
// them; nothing is known then, and the leader may ask the same again.
func (c *Controller) AlterPartition(ctx context.Context, leader kafka.BrokerID, epoch kafka.BrokerEpoch, changes []cluster.ISRChange) ([]cluster.ISRResult, error) {
	if !c.Active() {
		return nil, ErrNotController
	}
	call := &isrCall{ctx: ctx, at: time.Now(), done: make(chan plan.ISRAnswer, 1),
		ask: plan.ISRAsk{Leader: leader, Epoch: epoch, Changes: changes}}
	if !c.gather(call) {
		return nil, protocol.Fail(protocol.ThrottlingQuotaExceeded, "The controller has too many requests waiting.")
	}
	select {
	case a := <-call.done:
		return a.Results, a.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// gather lets a call wait for the next batch.
func (c *Controller) gather(call *isrCall) bool {
	q := &c.isr
	q.mu.Lock()
	if len(q.waiting) >= maxCommands {
		q.mu.Unlock()
		return false
	}
	q.waiting = append(q.waiting, call)
	if q.due {
		q.mu.Unlock()
		return true
	}
	q.due = true
	wait := isrInterval - time.Since(q.taken)
	q.mu.Unlock()
	if wait > 0 {
		time.AfterFunc(wait, c.enqueueISRs) // only enqueues; the loop's end answers what waits without it
	} else {
		c.enqueueISRs()
	}
	return true
}

func (c *Controller) enqueueISRs() {
	cmd := command{name: "alter-partition", at: time.Now(), run: c.alterPartitions,
		preempt: func() { c.answerISRs(plan.ISRAnswer{Err: ErrNotController}) }}
	if !c.queue.call(cmd) {
		c.answerISRs(plan.ISRAnswer{Err: protocol.Fail(protocol.ThrottlingQuotaExceeded, "The controller has too many requests waiting.")})
	}
}

// takeISRs takes the batch, without those whose callers have gone.
func (c *Controller) takeISRs() []*isrCall {
	q := &c.isr
	q.mu.Lock()
	defer q.mu.Unlock()
	calls := q.waiting
	q.waiting, q.due, q.taken = nil, false, time.Now()
	return slices.DeleteFunc(calls, func(call *isrCall) bool { return call.ctx.Err() != nil })
}

// answerISRs gives all that wait the same answer.
func (c *Controller) answerISRs(a plan.ISRAnswer) {
	for _, call := range c.takeISRs() {
		call.done <- a
	}
}

// alterPartitions carries a batch out, on the loop.
func (c *Controller) alterPartitions(ctx context.Context) {
	calls := c.takeISRs()
	if len(calls) == 0 {
		return
	}
	began := time.Now()
	asks := make([]plan.ISRAsk, len(calls))
	for i, call := range calls {
		asks[i] = call.ask
	}
	answers, err := c.writeISRs(ctx, asks)
	if err != nil && ctx.Err() != nil {
		err = ErrNotController
	}
	c.stats.isrs.Since(began)
	for i, call := range calls {
		if err != nil {
			call.done <- plan.ISRAnswer{Err: err}
		} else {
			call.done <- answers[i]
		}
	}
	c.finishAfter(ctx, asks)
}

// writeISRs plans and writes until no hand interferes any more. A topic that was
// edited by hand is read again and its changes are planned anew; one that still
// resists is left out, so that all others get theirs. What was written before a
// conflict is planned again as nothing, with success.
func (c *Controller) writeISRs(ctx context.Context, asks []plan.ISRAsk) ([]plan.ISRAnswer, error) {
	const rounds = 5
	conflicts := map[string]int{}
	for {
		if c.reign == nil {
			return nil, ErrNotController
		}
		im := c.meta.Current()
		steps, answers := c.planner().AlterPartitions(im, asks, func(t string) bool { return conflicts[t] >= rounds })
		err := c.write(ctx, isrReason(im, steps), steps)
		var x *conflict
		if !errors.As(err, &x) || x.topic == "" {
			return answers, err
		}
		conflicts[x.topic]++
		if err := c.repair(ctx, x.topic); err != nil {
			if !c.setAside(x.topic, err) {
				return nil, err
			}
			conflicts[x.topic] = rounds
		}
	}
}

// isrReason says which brokers enter and leave ISRs.
func isrReason(im *cluster.Image, steps []plan.Step) cluster.Reason {
	in, out := map[kafka.BrokerID]bool{}, map[kafka.BrokerID]bool{}
	for i := range steps {
		for _, s := range steps[i].States {
			p := im.Partition(kafkaTP(s.Topic, s.Partition))
			for _, id := range s.ISR {
				if !slices.Contains(p.ISR, id) {
					in[id] = true
				}
			}
			for _, id := range p.ISR {
				if !slices.Contains(s.ISR, id) {
					out[id] = true
				}
			}
		}
	}
	args := map[string]string{}
	if len(in) > 0 {
		args["in"] = listed(slices.Sorted(maps.Keys(in)))
	}
	if len(out) > 0 {
		args["out"] = listed(slices.Sorted(maps.Keys(out)))
	}
	return cluster.Reason{Code: "isr", Args: args}
}

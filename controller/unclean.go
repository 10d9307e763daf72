package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"barnabas/cluster"
	"barnabas/controller/plan"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

const (
	// askWithin bounds a survey; who has not answered by then is left out.
	askWithin = 2 * time.Second
	// askAgain is the pause before somebody is asked again who can't tell yet.
	askAgain = 50 * time.Millisecond
	// maxSurvey bounds the partitions of one survey.
	maxSurvey = 1000
	// maxLosses bounds the partitions of one entry whose reason tells what each lost.
	maxLosses = 100
	// crashedWait is how long members of an ISR are waited for that may have kept
	// what those that crashed have lost.
	crashedWait = 2 * time.Minute
)

// Ends asks a broker where its replicas end: one answer for each question.
type Ends func(ctx context.Context, broker kafka.BrokerID, questions []cluster.EndQuestion) ([]cluster.LogEnd, error)

// canvass begins to ask replicas where they end, for the partitions that can't
// have a leader otherwise. It does not wait: the answers come back as a command.
func (c *Controller) canvass(ctx context.Context, deleted func(topic string) bool) {
	r := c.reign
	if r == nil || r.asking || c.opts.Ends == nil {
		return
	}
	im := c.meta.Current()
	all := c.planner().Surveys(im, deleted)
	r.leaderless = len(all) > 0
	surveys := c.due(all)
	if len(surveys) == 0 {
		return
	}
	surveys = surveys[:min(len(surveys), maxSurvey)]
	r.asking = true
	c.log.Info("asking replicas of partitions without a leader where their logs end", "partitions", len(surveys), "first", surveys[0].TP.String())
	c.asks.Go(func() {
		ends := c.ask(ctx, im, surveys)
		answered := command{name: "log-ends", at: time.Now(), preempt: func() {}, run: func(ctx context.Context) {
			if c.reign != r {
				return
			}
			r.asking = false
			if _, err := c.electByEnds(ctx, surveys, ends); err != nil && ctx.Err() == nil {
				c.log.Warn("an election by log ends failed, will try again", "err", err)
			}
		}}
		for !c.queue.call(answered) && pause(ctx, askAgain) {
		}
	})
}

// pause waits for a time; false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// due are the surveys that need not wait any more for somebody who is absent.
func (c *Controller) due(all []plan.Survey) []plan.Survey {
	r, now := c.reign, time.Now()
	waits := map[kafka.TopicPartition]time.Time{}
	var out []plan.Survey
	for i := range all {
		s := &all[i]
		since, waiting := r.waits[s.TP]
		if !waiting {
			since = now
		}
		waits[s.TP] = since
		if s.Unclean || len(s.Absent)+len(s.Others) == 0 || now.Sub(since) >= c.opts.CrashedWait {
			out = append(out, *s)
		} else if !waiting {
			c.log.Warn("members of an ISR crashed and may have lost records; waiting for the others before one of them leads",
				"partition", s.TP.String(), "for", fmt.Sprint(slices.Concat(s.Absent, s.Others)), "at_most", c.opts.CrashedWait)
		}
	}
	r.waits = waits
	return out
}

// ask asks all replicas of surveys, and again those that can't tell yet, until
// all have answered or time is over.
func (c *Controller) ask(ctx context.Context, im *cluster.Image, surveys []plan.Survey) plan.Ends {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	ends, by := plan.Ends{}, map[kafka.BrokerID][]*plan.Survey{}
	for i := range surveys {
		s := &surveys[i]
		ends[s.State] = map[kafka.BrokerID]plan.End{}
		for _, id := range s.Ask {
			by[id] = append(by[id], s)
		}
	}
	var mu sync.Mutex // guards what ends holds
	var wg sync.WaitGroup
	for id, left := range by {
		wg.Go(func() {
			for {
				answers, err := c.opts.Ends(ctx, id, questions(left))
				if err == nil && len(answers) != len(left) {
					err = fmt.Errorf("controller: %d answers to %d questions", len(answers), len(left))
				}
				if err != nil {
					c.log.Debug("a broker did not tell where its logs end", "broker", id, "err", err)
				} else {
					mu.Lock()
					left = note(ends, id, im.Broker(id).Epoch, left, answers)
					mu.Unlock()
				}
				if len(left) == 0 || !pause(ctx, askAgain) {
					return
				}
			}
		})
	}
	wg.Wait()
	return ends
}

func questions(of []*plan.Survey) []cluster.EndQuestion {
	out := make([]cluster.EndQuestion, len(of))
	for i, s := range of {
		out[i] = s.Question()
	}
	return out
}

// note keeps a broker's answers and returns what it is to be asked again.
func note(ends plan.Ends, id kafka.BrokerID, registration kafka.BrokerEpoch, asked []*plan.Survey, answers []cluster.LogEnd) (again []*plan.Survey) {
	for i, s := range asked {
		if err := answers[i].Err; err == nil || protocol.CodeOf(err) == protocol.KafkaStorageError { // it has no log
			ends[s.State][id] = plan.End{LogEnd: answers[i], Registration: registration}
		} else {
			again = append(again, s)
		}
	}
	return again
}

// electByEnds elects where the answers allow it, on the loop, and tells the
// losses in the log and in the entries.
func (c *Controller) electByEnds(ctx context.Context, surveys []plan.Survey, ends plan.Ends) ([]plan.Loss, error) {
	usable, im := plan.Ends{}, c.meta.Current()
	for i := range surveys {
		s := &surveys[i]
		since, waiting := c.reign.waits[s.TP]
		if s.Enough(im, ends[s.State]) || waiting && time.Since(since) >= c.opts.CrashedWait {
			usable[s.State] = ends[s.State]
		}
	}
	var all []plan.Loss
	for part := range slices.Chunk(surveys, maxLosses) {
		if c.reign == nil {
			return all, ErrNotController
		}
		p := c.planner()
		p.Ends = usable
		steps, losses := p.Settled(c.meta.Current(), part)
		reason := cluster.Reason{Code: "election-by-log-end", Args: map[string]string{}}
		for i := range losses {
			reason.Args[losses[i].TP.String()] = losses[i].String()
		}
		if err := c.write(ctx, reason, steps); err != nil {
			var x *conflict
			if errors.As(err, &x) && x.topic != "" {
				err = errors.Join(err, c.repair(ctx, x.topic))
			}
			return all, err
		}
		for i := range losses {
			c.tellLoss(&losses[i])
		}
		all = append(all, losses...)
	}
	return all, nil
}

// tellLoss logs what an election may have lost. Silent brokers may have had more
// than anybody knows of.
func (c *Controller) tellLoss(l *plan.Loss) {
	c.stats.unclean.Add(1)
	level := c.log.Warn
	if l.Missing > 0 {
		level = c.log.Error
	}
	level("a leader was elected that may miss records: the one with the longest log of those that answered", "partition", l.TP.String(),
		"leader", l.Leader, "last_epoch", l.Epoch, "end", l.LogEnd.End, "known_high_watermark", l.Known, "missing_at_least", l.Missing,
		"not_heard", fmt.Sprint(l.Silent))
}

// electUnclean is an unclean election that somebody asked for. The asking is done
// by the caller's goroutine, so that the loop goes on.
func (c *Controller) electUnclean(ctx context.Context, tps []kafka.TopicPartition) ([]cluster.ElectionResult, error) {
	type begun struct {
		im      *cluster.Image
		surveys []plan.Survey
		results []cluster.ElectionResult
	}
	b, err := call(ctx, c, "elect-unclean", func(ctx context.Context) (b begun, err error) {
		deleted, err := c.markedForDeletion(ctx)
		if err != nil {
			return b, err
		}
		b.im = c.meta.Current()
		b.surveys, b.results = c.planner().Forced(b.im, tps, func(t string) bool { return deleted[t] })
		return b, nil
	})
	if err != nil || len(b.surveys) == 0 {
		return b.results, err
	}
	ends := plan.Ends{}
	if c.opts.Ends != nil {
		ends = c.ask(ctx, b.im, b.surveys)
	}
	return call(ctx, c, "elect-unclean", func(ctx context.Context) ([]cluster.ElectionResult, error) {
		losses, err := c.electByEnds(ctx, b.surveys, ends)
		led := map[kafka.TopicPartition]kafka.BrokerID{}
		for _, l := range losses {
			led[l.TP] = l.Leader
		}
		for _, s := range b.surveys {
			r := cluster.ElectionResult{TP: s.TP, Leader: kafka.NoBroker}
			var elected bool
			if r.Leader, elected = led[s.TP]; !elected {
				if r.Err = err; err == nil {
					r.Err = plan.NotElectable(s.TP)
				}
			}
			b.results = append(b.results, r)
		}
		return b.results, nil
	})
}

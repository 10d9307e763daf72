package controller

import (
	"context"
	"errors"
	"slices"
	"time"

	"barnabas/internal/kafka"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

const (
	// scrubPerSecond bounds the reads of the scrub.
	scrubPerSecond = 200
	// scrubRest is the pause after all states were read.
	scrubRest = 15 * time.Second
)

// scrub is how far a reign has compared state znodes with the image. They have no
// watches, so that an edit by hand would show only when it is written over.
type scrub struct {
	topics    []string // of this round, in order
	partition int32    // of topics[0], the next to read
	last      time.Time
	rest      time.Time // nothing is read before
}

// take is what to read next, at most n partitions.
func (s *scrub) take(n int, partitions func(topic string) int32) []kafka.TopicPartition {
	var out []kafka.TopicPartition
	for len(s.topics) > 0 && len(out) < n {
		if s.partition >= partitions(s.topics[0]) {
			s.topics, s.partition = s.topics[1:], 0
			continue
		}
		out = append(out, kafka.TopicPartition{Topic: s.topics[0], Partition: s.partition})
		s.partition++
	}
	return out
}

// scrub reads some states, slowly, and takes over what was edited by hand.
func (c *Controller) scrub(ctx context.Context) error {
	s, im, now := &c.reign.scrub, c.meta.Current(), time.Now()
	if now.Before(s.rest) {
		return nil
	}
	if len(s.topics) == 0 {
		s.partition, s.last = 0, now.Add(-c.opts.Interval)
		for t := range im.Topics() {
			s.topics = append(s.topics, t.Name)
		}
		slices.Sort(s.topics)
	}
	n := int(min(now.Sub(s.last), time.Second) * scrubPerSecond / time.Second)
	s.last = now
	tps := s.take(n, func(topic string) int32 {
		if t := im.Topic(topic); t != nil {
			return int32(len(t.Partitions))
		}
		return 0
	})
	if len(s.topics) == 0 {
		s.rest = now.Add(c.opts.ScrubRest)
	}
	edited, err := c.edited(ctx, tps)
	if err != nil || len(edited) == 0 {
		return err
	}
	deleted, err := c.markedForDeletion(ctx)
	if err != nil {
		return err
	}
	for _, topic := range edited {
		if deleted[topic] {
			continue
		}
		if err := c.repair(ctx, topic); err != nil && !c.setAside(topic, err) {
			return err
		}
	}
	return nil
}

// edited reads states and returns the topics of which one is not as we wrote it.
func (c *Controller) edited(ctx context.Context, tps []kafka.TopicPartition) (topics []string, err error) {
	im := c.meta.Current()
	paths := make([]string, len(tps))
	for i, tp := range tps {
		paths[i] = zkpaths.StatePath(tp)
	}
	c.zk.GetAll(ctx, paths, func(i int, _ []byte, st session.Stat, rerr error) {
		p := im.Partition(tps[i])
		same := p == nil
		switch {
		case errors.Is(rerr, session.ErrNoNode):
			same = same || !p.HasState
		case rerr != nil:
			err, same = rerr, true
		case p != nil:
			same = p.HasState && st.Version == int32(p.PartitionEpoch) && st.Mzxid <= p.Zxid
		}
		if !same && !slices.Contains(topics, tps[i].Topic) {
			topics = append(topics, tps[i].Topic)
		}
	})
	return topics, err
}

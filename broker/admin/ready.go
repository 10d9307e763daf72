package admin

import (
	"context"
	"sync"
	"time"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

const (
	// othersWait bounds how long the answer to who made a topic is held back for leaders
	// on other brokers. They need some milliseconds; one that hangs, or is cut off, is
	// not the topic's fault.
	othersWait = time.Second
	// firstAsk and longestAsk are the pauses between questions to one of them.
	firstAsk, longestAsk = 2 * time.Millisecond, 50 * time.Millisecond
)

// awaitTopics waits until the partitions of topics have live leaders, and those
// serve: on this broker until ctx ends, on others at most for a second.
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
	others := map[kafka.BrokerID][]cluster.EndQuestion{}
	for _, name := range names {
		t := im.Topic(name)
		if t == nil {
			continue
		}
		for i, p := range t.Partitions {
			tp := kafka.TopicPartition{Topic: name, Partition: int32(i)}
			if tps = append(tps, tp); p != nil && p.HasState && p.Leader != a.o.Self && im.Alive(p.Leader) {
				others[p.Leader] = append(others[p.Leader], cluster.EndQuestion{TP: tp, TopicID: t.ID, LeaderEpoch: p.LeaderEpoch})
			}
		}
	}
	if err := a.o.AwaitLeading(ctx, tps); err != nil {
		return err
	}
	a.awaitOthers(ctx, others)
	return ctx.Err()
}

// awaitOthers waits until other brokers have opened what they lead.
func (a *Admin) awaitOthers(ctx context.Context, of map[kafka.BrokerID][]cluster.EndQuestion) {
	ctx, cancel := context.WithTimeout(ctx, othersWait)
	defer cancel()
	var wg sync.WaitGroup
	for id, questions := range of {
		wg.Go(func() { a.awaitOther(ctx, id, questions) })
	}
	wg.Wait()
}

func (a *Admin) awaitOther(ctx context.Context, id kafka.BrokerID, questions []cluster.EndQuestion) {
	for pause := firstAsk; ; pause = min(2*pause, longestAsk) {
		ends, err := a.o.Ends(ctx, id, questions)
		if err != nil { // it can't be asked
			return
		}
		var left []cluster.EndQuestion
		for i, e := range ends {
			if notYet(e.Err) {
				left = append(left, questions[i])
			}
		}
		if questions = left; len(left) == 0 {
			return
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// notYet reports whether a broker has not read of a partition, or not opened it. One
// that it can't open is not waited for.
func notYet(err error) bool {
	switch protocol.CodeOf(err) {
	case protocol.UnknownTopicOrPartition, protocol.UnknownTopicID, protocol.UnknownLeaderEpoch:
		return true
	}
	return false
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

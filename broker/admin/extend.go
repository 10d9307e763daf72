package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"
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
	im := a.o.Image()
	var done []string
	for i := range of {
		e := &of[i]
		if count[e.Topic] > 1 {
			errs[i] = protocol.Fail(protocol.InvalidRequest, "Duplicate topic in request.")
			continue
		}
		if errs[i] = extendable(im, e); errs[i] != nil {
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

// extendable checks one extension against the image.
func extendable(im *cluster.Image, e *Extension) error {
	t := im.Topic(e.Topic)
	if t == nil {
		return protocol.Fail(protocol.UnknownTopicOrPartition, fmt.Sprintf("The topic '%s' does not exist.", e.Topic))
	}
	have := int32(t.Count())
	for _, p := range t.Partitions {
		if p != nil && len(p.Adding)+len(p.Removing) > 0 {
			return protocol.Fail(protocol.ReassignmentInProgress, fmt.Sprintf("A partition reassignment is in progress for the topic '%s'.", e.Topic))
		}
	}
	switch {
	case e.Total < have:
		return protocol.Fail(protocol.InvalidPartitions, fmt.Sprintf("Topic currently has %d partitions, which is higher than the requested %d.", have, e.Total))
	case e.Total == have:
		return protocol.Fail(protocol.InvalidPartitions, fmt.Sprintf("Topic already has %d partitions.", have))
	case e.Total > maxPartitionsPerTopic:
		return protocol.Fail(protocol.InvalidPartitions, fmt.Sprintf("Number of partitions must be at most %d.", maxPartitionsPerTopic))
	case e.Assignment == nil:
		return nil
	case len(e.Assignment) != int(e.Total-have):
		return protocol.Fail(protocol.InvalidReplicaAssignment, fmt.Sprintf("Increasing the number of partitions by %d but %d assignments provided.", e.Total-have, len(e.Assignment)))
	}
	return placeable(im, t, have, e.Assignment)
}

// placeable checks a manual placement of new partitions.
func placeable(im *cluster.Image, t *cluster.Topic, first int32, assignment [][]kafka.BrokerID) error {
	var unknown []string
	for i, brokers := range assignment {
		if len(slices.Compact(slices.Sorted(slices.Values(brokers)))) != len(brokers) {
			return protocol.Fail(protocol.InvalidReplicaAssignment, fmt.Sprintf("Duplicate brokers not allowed in replica assignment: %s for partition id %d.", join(brokers), first+int32(i)))
		}
		for _, id := range brokers {
			if text := fmt.Sprint(id); !im.Alive(id) && !slices.Contains(unknown, text) {
				unknown = append(unknown, text)
			}
		}
	}
	if len(unknown) > 0 {
		return protocol.Fail(protocol.InvalidReplicaAssignment, fmt.Sprintf("Unknown broker(s) in replica assignment: %s.", strings.Join(unknown, ", ")))
	}
	want := 0
	if p := t.Partition(0); p != nil {
		want = len(p.Replicas)
	}
	for i, brokers := range assignment {
		if len(brokers) == 0 || want > 0 && len(brokers) != want {
			return protocol.Fail(protocol.InvalidReplicaAssignment, fmt.Sprintf("Inconsistent replication factor between partitions, partition 0 has %d while partitions [%d] have replication factors [%d], respectively.", want, first+int32(i), len(brokers)))
		}
	}
	return nil
}

func join(of []kafka.BrokerID) string {
	text := make([]string, len(of))
	for i, id := range of {
		text[i] = fmt.Sprint(id)
	}
	return strings.Join(text, ", ")
}

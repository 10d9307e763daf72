package tools

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
)

// topicView is what is known of a topic and what of it was asked for
// (TopicCommand.TopicDescription and PartitionDescription).
type topicView struct {
	*topicsFlags
	detail  kadm.TopicDetail
	configs []kadm.Config
	live    []int32
	moves   map[int32]kadm.ListPartitionReassignmentsResponse
}

// print writes the topic's line, if whole topics were asked for, and those of
// the partitions that were asked for.
func (v *topicView) print(w io.Writer) {
	partitions := v.detail.Partitions.Sorted()
	whole := !v.unavailable && !v.underReplicated && !v.underMinISR && !v.atMinISR
	if own := v.ownConfigs(); whole && (!v.changed || len(own) > 0) {
		fmt.Fprintf(w, "Topic: %s", v.detail.Topic)
		if id := kafka.TopicID(v.detail.ID); !id.IsZero() {
			fmt.Fprintf(w, "\tTopicId: %s", id)
		}
		factor := 0
		if len(partitions) > 0 {
			factor = v.replicationFactor(partitions[0])
		}
		fmt.Fprintf(w, "\tPartitionCount: %d\tReplicationFactor: %d\tConfigs: %s\n", len(partitions), factor, strings.Join(own, ","))
	}
	if v.changed {
		return
	}
	for _, p := range partitions {
		if whole || v.wanted(p) {
			v.printPartition(w, p)
		}
	}
}

// ownConfigs lists the configs that are not defaults, in the broker's order.
func (v *topicView) ownConfigs() []string {
	var own []string
	for _, c := range v.configs {
		if c.Source != kmsg.ConfigSourceDefaultConfig {
			own = append(own, c.Key+"="+c.MaybeValue())
		}
	}
	return own
}

func (v *topicView) replicationFactor(p kadm.PartitionDetail) int {
	m, moving := v.moves[p.Partition]
	if !moving {
		return len(p.Replicas)
	}
	for _, id := range p.Replicas {
		if slices.Contains(m.AddingReplicas, id) || slices.Contains(m.RemovingReplicas, id) {
			return len(m.Replicas) - len(m.AddingReplicas)
		}
	}
	return len(p.Replicas)
}

func (v *topicView) wanted(p kadm.PartitionDetail) bool {
	minISR := 1
	for _, c := range v.configs {
		if n, err := strconv.Atoi(c.MaybeValue()); c.Key == "min.insync.replicas" && err == nil {
			minISR = n
		}
	}
	led := p.Leader >= 0
	return v.underReplicated && v.replicationFactor(p) > len(p.ISR) ||
		v.unavailable && (!led || !slices.Contains(v.live, p.Leader)) ||
		v.underMinISR && (!led || len(p.ISR) < minISR) ||
		v.atMinISR && len(p.ISR) == minISR
}

func (v *topicView) printPartition(w io.Writer, p kadm.PartitionDetail) {
	leader := "none"
	if p.Leader >= 0 {
		leader = strconv.Itoa(int(p.Leader))
	}
	fmt.Fprintf(w, "\tTopic: %s\tPartition: %d\tLeader: %s\tReplicas: %s\tIsr: %s", v.detail.Topic, p.Partition, leader, ids(p.Replicas), ids(p.ISR))
	if m, moving := v.moves[p.Partition]; moving {
		fmt.Fprintf(w, "\tAdding Replicas: %s\tRemoving Replicas: %s", ids(m.AddingReplicas), ids(m.RemovingReplicas))
	}
	fmt.Fprint(w, "\tElr: N/A\tLastKnownElr: N/A\n")
}

func ids(list []int32) string {
	parts := make([]string, len(list))
	for i, id := range list {
		parts[i] = strconv.Itoa(int(id))
	}
	return strings.Join(parts, ",")
}

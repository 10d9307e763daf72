package tools

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
)

// movingPartition is a reassignment under way.
type movingPartition struct {
	kmsg.ListPartitionReassignmentsResponseTopicPartition
}

// target are the replicas that are to be left.
func (m *movingPartition) target() []int32 {
	return slices.DeleteFunc(slices.Clone(m.Replicas), func(id int32) bool { return slices.Contains(m.RemovingReplicas, id) })
}

// sources are the replicas of before.
func (m *movingPartition) sources() []int32 {
	return slices.DeleteFunc(slices.Clone(m.Replicas), func(id int32) bool { return slices.Contains(m.AddingReplicas, id) })
}

// moving lists all reassignments under way.
func (r *reassigner) moving(ctx context.Context) (map[kafka.TopicPartition]movingPartition, error) {
	return listMoving(ctx, r.cl)
}

// listMoving asks for all topics: kadm asks for none where none are named.
func listMoving(ctx context.Context, cl *kgo.Client) (map[kafka.TopicPartition]movingPartition, error) {
	req := kmsg.NewPtrListPartitionReassignmentsRequest()
	req.TimeoutMillis, req.Topics = 30000, nil
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return nil, explain(err)
	}
	if err := kafkaError(resp.ErrorCode, resp.ErrorMessage); err != nil {
		return nil, err
	}
	out := map[kafka.TopicPartition]movingPartition{}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			out[kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}] = movingPartition{p}
		}
	}
	return out, nil
}

// brokers are those that run, as somebody says now: kadm would answer what it
// heard some time ago.
func (r *reassigner) brokers(ctx context.Context) (kadm.BrokerDetails, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{} // none
	resp, err := req.RequestWith(ctx, r.cl)
	if err != nil {
		return nil, err
	}
	var out kadm.BrokerDetails
	for _, b := range resp.Brokers {
		out = append(out, kadm.BrokerDetail{NodeID: b.NodeID, Host: b.Host, Port: b.Port, Rack: b.Rack})
	}
	slices.SortFunc(out, func(a, b kadm.BrokerDetail) int { return cmp.Compare(a.NodeID, b.NodeID) })
	return out, nil
}

func sortedPartitions[T any](of map[kafka.TopicPartition]T) []kafka.TopicPartition {
	return slices.SortedFunc(maps.Keys(of), func(a, b kafka.TopicPartition) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
}

// ask begins or cancels reassignments.
func (r *reassigner) ask(ctx context.Context, wanted []wantedPartition, cancel bool) error {
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	req.TimeoutMillis = 30000
	for _, w := range sortedWanted(wanted) {
		if n := len(req.Topics); n == 0 || req.Topics[n-1].Topic != w.Topic {
			t := kmsg.NewAlterPartitionAssignmentsRequestTopic()
			t.Topic = w.Topic
			req.Topics = append(req.Topics, t)
		}
		p := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		p.Partition = w.Partition
		if !cancel {
			p.Replicas = w.Replicas
		}
		t := &req.Topics[len(req.Topics)-1]
		t.Partitions = append(t.Partitions, p)
	}
	resp, err := req.RequestWith(ctx, r.cl)
	if err != nil {
		return explain(err)
	}
	if err := kafkaError(resp.ErrorCode, resp.ErrorMessage); err != nil {
		return err
	}
	var failed []string
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kafkaError(p.ErrorCode, p.ErrorMessage); err != nil {
				failed = append(failed, fmt.Sprintf("%s-%d: %v", t.Topic, p.Partition, err))
			}
		}
	}
	switch {
	case len(failed) == 0:
		return nil
	case cancel:
		return fmt.Errorf("Error cancelling partition reassignment%s for:\n%s", plural(len(failed)), strings.Join(failed, "\n")) //nolint:staticcheck // Kafka's words
	}
	return fmt.Errorf("Error reassigning partition(s):\n%s", strings.Join(failed, "\n")) //nolint:staticcheck // Kafka's words
}

// The throttles: which replicas they are for stands in the configs of topics,
// and how much they may in those of brokers.
const (
	leaderReplicas   = "leader.replication.throttled.replicas"
	followerReplicas = "follower.replication.throttled.replicas"
	leaderRate       = "leader.replication.throttled.rate"
	followerRate     = "follower.replication.throttled.rate"
	dirsRate         = "replica.alter.log.dirs.io.max.bytes.per.second"
)

// partitionMove is where a partition's records come from and go to.
type partitionMove struct{ sources, destinations []int32 }

// moveMap is what moves once the wanted ones are under way, too.
func moveMap(wanted, current []wantedPartition, under map[kafka.TopicPartition]movingPartition) map[kafka.TopicPartition]partitionMove {
	out := map[kafka.TopicPartition]partitionMove{}
	for tp, m := range under {
		out[tp] = partitionMove{m.sources(), m.AddingReplicas}
	}
	now := map[kafka.TopicPartition][]int32{}
	for i := range current {
		now[current[i].tp()] = current[i].Replicas
	}
	for i := range wanted {
		tp := wanted[i].tp()
		sources := now[tp]
		if m, running := out[tp]; running {
			sources = m.sources
		}
		out[tp] = partitionMove{sources, slices.DeleteFunc(slices.Clone(wanted[i].Replicas), func(id int32) bool { return slices.Contains(sources, id) })}
	}
	return out
}

// throttledReplicas are the values of the topics' configs, for leaders or, else,
// followers.
func throttledReplicas(moves map[kafka.TopicPartition]partitionMove, leaders bool) map[string]string {
	pairs := map[string][]string{}
	for tp, m := range moves {
		of := m.destinations
		if leaders {
			of = m.sources
		}
		pairs[tp.Topic] = append(pairs[tp.Topic], "")
		for _, id := range of {
			pairs[tp.Topic] = append(pairs[tp.Topic], fmt.Sprintf("%d:%d", tp.Partition, id))
		}
	}
	out := map[string]string{}
	for topic, list := range pairs {
		slices.Sort(list)
		list = slices.Compact(list)
		out[topic] = strings.Join(list[1:], ",") // the first is ""
	}
	return out
}

// limit sets the throttles that the command line asks for.
func (r *reassigner) limit(ctx context.Context, wanted, current []wantedPartition, under map[kafka.TopicPartition]movingPartition) error {
	if r.f.throttle < 0 && r.f.dirsThrottle < 0 {
		return nil
	}
	r.printf("Warning: You must run --verify periodically, until the reassignment completes, to ensure the throttle is removed.\n")
	if r.f.throttle >= 0 {
		moves := moveMap(wanted, current, under)
		leaders, followers := throttledReplicas(moves, true), throttledReplicas(moves, false)
		for _, topic := range slices.Sorted(maps.Keys(leaders)) {
			l, f := leaders[topic], followers[topic]
			if err := r.alterTopics(ctx, set(leaderReplicas, l, followerReplicas, f), topic); err != nil {
				return err
			}
		}
		brokers := map[int32]bool{}
		for _, m := range moves {
			for _, id := range slices.Concat(m.sources, m.destinations) {
				brokers[id] = true
			}
		}
		rate := strconv.FormatInt(r.f.throttle, 10)
		if err := r.alterBrokers(ctx, set(leaderRate, rate, followerRate, rate), slices.Sorted(maps.Keys(brokers))); err != nil {
			return err
		}
		r.printf("The inter-broker throttle limit was set to %d B/s\n", r.f.throttle)
	}
	if r.f.dirsThrottle >= 0 {
		brokers := map[int32]bool{}
		for m := range dirMoves(wanted) {
			brokers[m.broker] = true
		}
		if err := r.alterBrokers(ctx, set(dirsRate, strconv.FormatInt(r.f.dirsThrottle, 10)), slices.Sorted(maps.Keys(brokers))); err != nil {
			return err
		}
		r.printf("The replica-alter-dir throttle limit was set to %d B/s\n", r.f.dirsThrottle)
	}
	return nil
}

// unlimit takes all throttles off.
func (r *reassigner) unlimit(ctx context.Context, wanted []wantedPartition) error {
	live, err := r.brokers(ctx)
	if err != nil {
		return explain(err)
	}
	brokers := live.NodeIDs()
	for i := range wanted {
		brokers = append(brokers, wanted[i].Replicas...)
	}
	slices.Sort(brokers)
	brokers = slices.Compact(brokers)
	r.printf("Clearing broker-level throttles on broker%s %s\n", plural(len(brokers)), joinIDs(brokers))
	if err := r.alterBrokers(ctx, unset(leaderRate, followerRate, dirsRate), brokers); err != nil {
		return err
	}
	topics := topicsOf(wanted)
	r.printf("Clearing topic-level throttles on topic%s %s\n", plural(len(topics)), strings.Join(topics, ","))
	return r.alterTopics(ctx, unset(leaderReplicas, followerReplicas), topics...)
}

func set(pairs ...string) []kadm.AlterConfig {
	var out []kadm.AlterConfig
	for p := range slices.Chunk(pairs, 2) {
		out = append(out, kadm.AlterConfig{Op: kadm.SetConfig, Name: p[0], Value: &p[1]})
	}
	return out
}

func unset(names ...string) []kadm.AlterConfig {
	var out []kadm.AlterConfig
	for _, n := range names {
		out = append(out, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: n})
	}
	return out
}

func (r *reassigner) alterTopics(ctx context.Context, configs []kadm.AlterConfig, topics ...string) error {
	if len(topics) == 0 {
		return nil
	}
	resp, err := r.admin.AlterTopicConfigs(ctx, configs, topics...)
	if err != nil {
		return explain(err)
	}
	for _, a := range resp {
		if a.Err != nil && !errors.Is(a.Err, kerr.UnknownTopicOrPartition) { // deleted meanwhile
			return fmt.Errorf("throttle of topic %s: %w", a.Name, said(a.Err, a.ErrMessage))
		}
	}
	return nil
}

// alterBrokers leaves brokers out that don't run: only they themselves can take
// their configs.
func (r *reassigner) alterBrokers(ctx context.Context, configs []kadm.AlterConfig, brokers []int32) error {
	live, err := r.brokers(ctx)
	if err != nil {
		return explain(err)
	}
	var run []int32
	for _, id := range brokers {
		if !slices.Contains(live.NodeIDs(), id) {
			fmt.Fprintf(r.t.err, "barnabas: broker %d does not run; its throttle stays as it is\n", id)
			continue
		}
		run = append(run, id)
	}
	if len(run) == 0 {
		return nil
	}
	resp, err := r.admin.AlterBrokerConfigs(ctx, configs, run...)
	if err != nil {
		return explain(err)
	}
	for _, a := range resp {
		if a.Err != nil {
			return fmt.Errorf("throttle of broker %s: %w", a.Name, said(a.Err, a.ErrMessage))
		}
	}
	return nil
}

// said prefers a broker's words to those of its code.
func said(err error, message string) error {
	if message != "" {
		return &brokerError{message, err}
	}
	return explain(err)
}

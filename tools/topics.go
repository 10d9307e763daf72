package tools

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
)

// topicsFlags are those of kafka-topics.sh.
type topicsFlags struct {
	clientFlags
	create, list, describe, alter, delete                        bool
	topic, topicID, assignment                                   string
	partitions, replicationFactor                                int
	configs, deleteConfigs                                       []string
	ifExists, ifNotExists, excludeInternal                       bool
	underReplicated, unavailable, underMinISR, atMinISR, changed bool
}

func (t *tool) topicsCommand() *cobra.Command {
	f := &topicsFlags{}
	cmd := &cobra.Command{
		Use:   "topics",
		Short: "Create, list, describe, alter and delete topics",
		Long:  "Create, list, describe, alter and delete topics.\nFlags and output are those of kafka-topics.sh.",
		Example: `  barnabas topics --create --topic orders --partitions 6 --replication-factor 3 --config retention.ms=86400000
  barnabas topics --describe --topic orders
  barnabas topics --list --bootstrap-server broker1:9092
  barnabas topics --alter --topic orders --partitions 12
  barnabas topics --delete --topic orders`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return t.topics(cmd, f) },
	}
	f.register(cmd, "command-config")
	p := cmd.Flags()
	p.BoolVar(&f.create, "create", false, "create a topic")
	p.BoolVar(&f.list, "list", false, "list the topics")
	p.BoolVar(&f.describe, "describe", false, "print partitions and configs of topics")
	p.BoolVar(&f.alter, "alter", false, "change the number of partitions")
	p.BoolVar(&f.delete, "delete", false, "delete topics")
	p.StringVar(&f.topic, "topic", "", "the topic; a regular expression except with --create")
	p.StringVar(&f.topicID, "topic-id", "", "the id of the topic to describe")
	p.IntVar(&f.partitions, "partitions", 0, "number of partitions (by default the broker's num.partitions)")
	p.IntVar(&f.replicationFactor, "replication-factor", 0, "replicas of each partition (by default the broker's default.replication.factor)")
	p.StringVar(&f.assignment, "replica-assignment", "", "brokers of each partition: 1:2,2:3 is partition 0 on 1 and 2, partition 1 on 2 and 3")
	p.StringArrayVar(&f.configs, "config", nil, "a config of the new topic, name=value; may be repeated")
	p.StringArrayVar(&f.deleteConfigs, "delete-config", nil, "not supported with --bootstrap-server, as in Kafka; use kafka-configs.sh")
	p.BoolVar(&f.ifExists, "if-exists", false, "no error when a topic does not exist")
	p.BoolVar(&f.ifNotExists, "if-not-exists", false, "no error when the topic exists")
	p.BoolVar(&f.excludeInternal, "exclude-internal", false, "leave internal topics out")
	p.BoolVar(&f.underReplicated, "under-replicated-partitions", false, "describe only partitions with replicas that are not in sync")
	p.BoolVar(&f.unavailable, "unavailable-partitions", false, "describe only partitions without a live leader")
	p.BoolVar(&f.underMinISR, "under-min-isr-partitions", false, "describe only partitions with fewer replicas in sync than min.insync.replicas")
	p.BoolVar(&f.atMinISR, "at-min-isr-partitions", false, "describe only partitions with exactly min.insync.replicas in sync")
	p.BoolVar(&f.changed, "topics-with-overrides", false, "describe only topics with configs of their own")
	p.Int("partition-size-limit-per-response", 0, "accepted and not needed")
	return cmd
}

func (t *tool) topics(cmd *cobra.Command, f *topicsFlags) error {
	actions := 0
	for _, on := range []bool{f.create, f.list, f.describe, f.alter, f.delete} {
		if on {
			actions++
		}
	}
	switch {
	case actions != 1:
		return usagef("Command must include exactly one action: --list, --describe, --create, --alter or --delete")
	case (f.create || f.alter || f.delete) && f.topic == "":
		return usagef(`Missing required argument "[topic]"`)
	case f.alter && f.partitions == 0:
		return usagef(`Missing required argument "[partitions]"; the configs of a topic are altered by kafka-configs.sh`)
	case f.assignment != "" && f.create && (f.partitions != 0 || f.replicationFactor != 0):
		return usagef("--replica-assignment says how many partitions and replicas there are; leave --partitions and --replication-factor out")
	case len(f.deleteConfigs) > 0:
		return usagef("--delete-config is not supported here, as it is not in Kafka; use kafka-configs.sh --alter --delete-config")
	case f.create && (f.replicationFactor < 0 || f.replicationFactor > math.MaxInt16 || cmd.Flags().Changed("replication-factor") && f.replicationFactor == 0):
		return usagef("The replication factor must be between 1 and %d inclusive", math.MaxInt16)
	case (f.create || f.alter) && (f.partitions < 0 || f.partitions > math.MaxInt32 || cmd.Flags().Changed("partitions") && f.partitions == 0):
		return usagef("The partitions must be greater than 0")
	}
	ctx, cl, done, err := t.dial(cmd.Context(), &f.clientFlags)
	if err != nil {
		return err
	}
	defer done()
	if f.create {
		err = t.createTopic(ctx, cl, f)
	} else {
		err = t.onTopics(ctx, cl, f)
	}
	if err != nil {
		if _, ok := errors.AsType[usageError](err); ok {
			return err
		}
		return fmt.Errorf("Error while executing topic command : %w", err) //nolint:staticcheck // Kafka's words
	}
	return nil
}

func (t *tool) createTopic(ctx context.Context, cl *kgo.Client, f *topicsFlags) error {
	if strings.ContainsAny(f.topic, "._") {
		fmt.Fprintln(t.out, "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could collide. To avoid issues it is best to use either, but not both.")
	}
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = f.topic, -1, -1
	if f.partitions > 0 {
		topic.NumPartitions = int32(f.partitions)
	}
	if f.replicationFactor > 0 {
		topic.ReplicationFactor = int16(f.replicationFactor)
	}
	if f.assignment != "" {
		all, err := parseAssignment(f.assignment)
		if err != nil {
			return usageError{err}
		}
		for i, replicas := range all {
			a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
			a.Partition, a.Replicas = int32(i), replicas
			topic.ReplicaAssignment = append(topic.ReplicaAssignment, a)
		}
	}
	for _, c := range f.configs {
		k, v, ok := strings.Cut(c, "=")
		if k = strings.TrimSpace(k); !ok || k == "" {
			return usagef(`Invalid topic config: all configs to be added must be in the format "key=val".`)
		}
		v = strings.TrimSpace(v)
		topic.Configs = append(topic.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: k, Value: &v})
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 30000
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	for i := range resp.Topics {
		r := &resp.Topics[i]
		err := kafkaError(r.ErrorCode, r.ErrorMessage)
		if errors.Is(err, kerr.TopicAlreadyExists) && f.ifNotExists {
			return nil
		}
		if err != nil {
			return err
		}
	}
	fmt.Fprintf(t.out, "Created topic %s.\n", f.topic)
	return nil
}

// parseAssignment reads 1:2,2:3: the brokers of each partition in turn.
func parseAssignment(s string) ([][]int32, error) {
	var out [][]int32
	for i, p := range strings.Split(s, ",") {
		var replicas []int32
		for b := range strings.SplitSeq(p, ":") {
			n, err := strconv.ParseInt(strings.TrimSpace(b), 10, 32)
			if err != nil || n < 0 {
				return nil, fmt.Errorf("%q of --replica-assignment is not the id of a broker", b)
			}
			if slices.Contains(replicas, int32(n)) {
				return nil, fmt.Errorf("Partition replica lists may not contain duplicate entries: %d", n)
			}
			replicas = append(replicas, int32(n))
		}
		if i > 0 && len(replicas) != len(out[0]) {
			return nil, fmt.Errorf("Partition %d has different replication factor: %v", i, replicas)
		}
		out = append(out, replicas)
	}
	return out, nil
}

// onTopics does what starts from the topics that there are.
func (t *tool) onTopics(ctx context.Context, cl *kgo.Client, f *topicsFlags) error {
	admin := kadm.NewClient(cl)
	all, err := admin.ListTopicsWithInternal(ctx)
	if err != nil {
		return explain(err)
	}
	chosen, err := chooseTopics(all.Sorted(), f)
	if err != nil {
		return err
	}
	var names []string
	for _, d := range chosen {
		names = append(names, d.Topic)
	}
	switch {
	case f.list:
		fmt.Fprintln(t.out, strings.Join(names, "\n"))
		return nil
	case len(chosen) == 0 && f.topicID != "" && !f.ifExists:
		return fmt.Errorf("TopicId '%s' does not exist as expected", f.topicID)
	case len(chosen) == 0 && f.topic != "" && !f.ifExists:
		return fmt.Errorf("Topic '%s' does not exist as expected", f.topic)
	case len(chosen) == 0:
		return nil
	case f.describe:
		return t.describeTopics(ctx, admin, chosen, f)
	case f.alter:
		return alterTopics(ctx, cl, chosen, f)
	}
	responses, err := admin.DeleteTopics(ctx, names...)
	if err != nil {
		return explain(err)
	}
	for _, r := range responses.Sorted() {
		if r.Err != nil {
			return fmt.Errorf("topic %s: %w", r.Topic, explain(r.Err))
		}
	}
	return nil
}

// chooseTopics applies --topic (a regular expression over the whole name, with
// commas for alternatives), --topic-id and --exclude-internal.
func chooseTopics(all []kadm.TopicDetail, f *topicsFlags) ([]kadm.TopicDetail, error) {
	pattern, err := topicPattern(f.topic)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(d kadm.TopicDetail) bool {
		return f.excludeInternal && kafka.IsInternalTopic(d.Topic) || f.topicID != "" && kafka.TopicID(d.ID).String() != f.topicID ||
			f.topicID == "" && f.topic != "" && !pattern.MatchString(d.Topic)
	}), nil
}

// topicPattern reads a topic or a regular expression as Kafka's IncludeList does.
func topicPattern(s string) (*regexp.Regexp, error) {
	s = strings.ReplaceAll(strings.Trim(strings.TrimSpace(s), `"'`), ",", "|")
	re, err := regexp.Compile(`\A(?:` + s + `)\z`)
	if err != nil {
		return nil, usagef("%q is no regular expression for topics: %v", s, err)
	}
	return re, nil
}

func alterTopics(ctx context.Context, cl *kgo.Client, chosen []kadm.TopicDetail, f *topicsFlags) error {
	var assignment [][]int32
	if f.assignment != "" {
		var err error
		if assignment, err = parseAssignment(f.assignment); err != nil {
			return usageError{err}
		}
	}
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.TimeoutMillis = 30000
	for _, d := range chosen {
		topic := kmsg.NewCreatePartitionsRequestTopic()
		topic.Topic, topic.Count = d.Topic, int32(f.partitions)
		for i := len(d.Partitions); i < len(assignment); i++ {
			a := kmsg.NewCreatePartitionsRequestTopicAssignment()
			a.Replicas = assignment[i]
			topic.Assignment = append(topic.Assignment, a)
		}
		req.Topics = append(req.Topics, topic)
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	for i := range resp.Topics {
		if err := kafkaError(resp.Topics[i].ErrorCode, resp.Topics[i].ErrorMessage); err != nil {
			return err
		}
	}
	return nil
}

func (t *tool) describeTopics(ctx context.Context, admin *kadm.Client, chosen []kadm.TopicDetail, f *topicsFlags) error {
	var names []string
	partitions := kadm.TopicsSet{}
	for _, d := range chosen {
		names = append(names, d.Topic)
		partitions.Add(d.Topic, d.Partitions.Numbers()...)
	}
	configs, err := admin.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return explain(err)
	}
	brokers, err := admin.ListBrokers(ctx)
	if err != nil {
		return explain(err)
	}
	// Brokers that know no reassignments have none.
	moves, _ := admin.ListPartitionReassignments(ctx, partitions)
	for _, d := range chosen {
		view := topicView{topicsFlags: f, detail: d, live: brokers.NodeIDs(), moves: moves[d.Topic]}
		rc, err := configs.On(d.Topic, nil)
		if err == nil {
			err = rc.Err
		}
		if err != nil {
			return fmt.Errorf("configs of topic %s: %w", d.Topic, explain(err))
		}
		view.configs = rc.Configs
		view.print(t.out)
	}
	return nil
}

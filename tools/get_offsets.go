package tools

import (
	"cmp"
	"context"
	"fmt"
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

// offsetsFlags are those of kafka-get-offsets.sh.
type offsetsFlags struct {
	clientFlags
	brokerList, topic, partitions, topicPartitions, time string
	excludeInternal                                      bool
}

func (t *tool) getOffsetsCommand() *cobra.Command {
	f := &offsetsFlags{}
	cmd := &cobra.Command{
		Use:   "get-offsets",
		Short: "Print offsets of partitions: the first, the next, or by time",
		Long: `Print offsets of partitions, as lines of topic:partition:offset.
Flags and output are those of kafka-get-offsets.sh (GetOffsetShell).`,
		Example: `  barnabas get-offsets --topic orders
  barnabas get-offsets --topic-partitions 'orders:0,audit.*:2-5' --time earliest
  barnabas get-offsets --topic orders --time 1700000000000`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return t.getOffsets(cmd.Context(), f) },
	}
	f.register(cmd, "command-config")
	p := cmd.Flags()
	p.StringVar(&f.brokerList, "broker-list", "", "the older name of --bootstrap-server")
	p.StringVar(&f.topic, "topic", "", "the topic, or a regular expression; by default all")
	p.StringVar(&f.partitions, "partitions", "", "partition numbers, with commas; by default all")
	p.StringVar(&f.topicPartitions, "topic-partitions", "", "rules topic, topic:n, topic:from-to (to is left out), topic:from- or topic:-to, with commas; the topic is a regular expression, empty for all")
	p.StringVar(&f.time, "time", "latest", "-1 or latest, -2 or earliest, -3 or max-timestamp, -4 or earliest-local, -5 or latest-tiered, or the first offset at or after milliseconds since 1970")
	p.BoolVar(&f.excludeInternal, "exclude-internal-topics", false, "leave out __consumer_offsets and __transaction_state")
	return cmd
}

func (t *tool) getOffsets(ctx context.Context, f *offsetsFlags) error {
	if f.topicPartitions != "" && (f.topic != "" || f.partitions != "") {
		return usagef("--topic-partitions cannot be used with --topic or --partitions")
	}
	timestamp, err := parseOffsetTime(f.time)
	if err != nil {
		return err
	}
	wants, err := f.filter()
	if err != nil {
		return err
	}
	if f.bootstrap == "" {
		f.bootstrap = f.brokerList
	}
	ctx, cl, done, err := t.dial(ctx, &f.clientFlags)
	if err != nil {
		return err
	}
	defer done()
	topics, err := kadm.NewClient(cl).ListTopicsWithInternal(ctx)
	if err != nil {
		return explain(err)
	}
	req := offsetsRequest(topics.Sorted(), timestamp, func(tp kafka.TopicPartition) bool {
		return wants(tp) && !(f.excludeInternal && kafka.IsInternalTopic(tp.Topic))
	})
	if len(req.Topics) == 0 {
		return fmt.Errorf("Could not match any topic-partitions with the specified filters")
	}
	return t.printOffsets(ctx, cl, req)
}

// offsetsRequest asks for the partitions that are wanted.
func offsetsRequest(topics []kadm.TopicDetail, timestamp int64, wants func(kafka.TopicPartition) bool) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	for _, d := range topics {
		rt := kmsg.NewListOffsetsRequestTopic()
		rt.Topic = d.Topic
		for _, n := range d.Partitions.Numbers() {
			if !wants(kafka.TopicPartition{Topic: d.Topic, Partition: n}) {
				continue
			}
			rp := kmsg.NewListOffsetsRequestTopicPartition()
			rp.Partition, rp.Timestamp, rp.CurrentLeaderEpoch = n, timestamp, -1
			rt.Partitions = append(rt.Partitions, rp)
		}
		if len(rt.Partitions) > 0 {
			req.Topics = append(req.Topics, rt)
		}
	}
	return req
}

// printOffsets asks and prints. A partition that has no such offset is left out;
// one that could not be asked is told of.
func (t *tool) printOffsets(ctx context.Context, cl *kgo.Client, req *kmsg.ListOffsetsRequest) error {
	var found []kafka.TopicPartition
	offsets := map[kafka.TopicPartition]int64{}
	skip := func(topic string, partition int32, err error) {
		fmt.Fprintf(t.err, "Skip getting offsets for topic-partition %s-%d due to error: %v\n", topic, partition, explain(err))
	}
	for _, shard := range cl.RequestSharded(ctx, req) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if shard.Err != nil { // of all that was asked in this part
			for _, rt := range shard.Req.(*kmsg.ListOffsetsRequest).Topics {
				for _, p := range rt.Partitions {
					skip(rt.Topic, p.Partition, shard.Err)
				}
			}
			continue
		}
		for _, rt := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range rt.Partitions {
				tp := kafka.TopicPartition{Topic: rt.Topic, Partition: p.Partition}
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					skip(rt.Topic, p.Partition, err)
				} else if p.Offset != -1 {
					found = append(found, tp)
					offsets[tp] = p.Offset
				}
			}
		}
	}
	// As GetOffsetShell: by text, so that t-10 stands before t-2.
	slices.SortFunc(found, func(a, b kafka.TopicPartition) int { return cmp.Compare(a.String(), b.String()) })
	for _, tp := range found {
		fmt.Fprintf(t.out, "%s:%d:%d\n", tp.Topic, tp.Partition, offsets[tp])
	}
	return nil
}

var offsetTimes = map[string]int64{"latest": -1, "earliest": -2, "max-timestamp": -3, "earliest-local": -4, "latest-tiered": -5}

func parseOffsetTime(s string) (int64, error) {
	if n, ok := offsetTimes[s]; ok {
		return n, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < -5 {
		return 0, usagef("Malformed time argument %s. Please use -1 or latest / -2 or earliest / -3 or max-timestamp / -4 or earliest-local / -5 or latest-tiered, or a specified long format timestamp", s)
	}
	return n, nil
}

// filter is what --topic, --partitions and --topic-partitions ask for.
func (f *offsetsFlags) filter() (func(kafka.TopicPartition) bool, error) {
	if f.topicPartitions != "" {
		return parseRules(f.topicPartitions)
	}
	pattern := regexp.MustCompile("")
	if f.topic != "" {
		var err error
		if pattern, err = topicPattern(f.topic); err != nil {
			return nil, err
		}
	}
	numbers := map[int32]bool{}
	if f.partitions != "" {
		for s := range strings.SplitSeq(f.partitions, ",") {
			n, err := strconv.ParseInt(s, 10, 32)
			if err != nil {
				return nil, usagef("--partitions expects a comma separated list of numeric partition ids, but received: %s", f.partitions)
			}
			numbers[int32(n)] = true
		}
	}
	return func(tp kafka.TopicPartition) bool {
		return pattern.MatchString(tp.Topic) && (len(numbers) == 0 || numbers[tp.Partition])
	}, nil
}

// rulePattern is GetOffsetShell's of one rule of --topic-partitions.
var rulePattern = regexp.MustCompile(`^([^:,]*)(?::(?:([0-9]*)|([0-9]*)-([0-9]*)))?$`)

// parseRules reads --topic-partitions; any rule that matches is enough.
func parseRules(s string) (func(kafka.TopicPartition) bool, error) {
	var rules []func(kafka.TopicPartition) bool
	for spec := range strings.SplitSeq(s, ",") {
		m := rulePattern.FindStringSubmatch(spec)
		if m == nil {
			return nil, usagef("Invalid rule specification: %s", spec)
		}
		topic := regexp.MustCompile("")
		if m[1] != "" {
			var err error
			if topic, err = topicPattern(m[1]); err != nil {
				return nil, err
			}
		}
		from, to, err := ruleBounds(m[2], m[3], m[4])
		if err != nil {
			return nil, usagef("Invalid rule specification: %s", spec)
		}
		rules = append(rules, func(tp kafka.TopicPartition) bool {
			return topic.MatchString(tp.Topic) && int64(tp.Partition) >= from && int64(tp.Partition) < to
		})
	}
	return func(tp kafka.TopicPartition) bool {
		return slices.ContainsFunc(rules, func(rule func(kafka.TopicPartition) bool) bool { return rule(tp) })
	}, nil
}

// ruleBounds are the partitions of a rule, from included, to not.
func ruleBounds(one, lower, upper string) (from, to int64, err error) {
	from, to = 0, 1<<31
	read := func(s string, n *int64) {
		if s != "" && err == nil {
			*n, err = strconv.ParseInt(s, 10, 32)
		}
	}
	read(lower, &from)
	read(upper, &to)
	if one != "" {
		read(one, &from)
		to = from + 1
	}
	return from, to, err
}

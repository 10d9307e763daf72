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

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

// verifiableConsumerFlags are those of kafka-verifiable-consumer.sh.
type verifiableConsumerFlags struct {
	clientFlags
	brokerList, topic, group, instance        string
	protocol, remoteAssignor, reset, strategy string
	maxMessages, sessionTimeout               int
	verbose, autoCommit                       bool
}

func (t *tool) verifiableConsumerCommand() *cobra.Command {
	f := &verifiableConsumerFlags{}
	cmd := &cobra.Command{
		Use:   "verifiable-consumer",
		Short: "Consume as a member of a group and print every event, as JSON",
		Long: `Consume a topic as a member of a group and print every event, as JSON:
partitions that come and go, records, committed offsets.
Flags and output are those of kafka-verifiable-consumer.sh.`,
		Example: `  barnabas verifiable-consumer --topic orders --group-id check --max-messages 1000
  barnabas verifiable-consumer --topic orders --group-id check --verbose`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return t.verifiableConsumer(cmd.Context(), f) },
	}
	f.register(cmd, "consumer.config")
	p := cmd.Flags()
	p.StringVar(&f.brokerList, "broker-list", "", "the older name of --bootstrap-server")
	p.StringVar(&f.topic, "topic", "", "the topic (required)")
	p.StringVar(&f.group, "group-id", "", "the group to be a member of (required)")
	p.StringVar(&f.instance, "group-instance-id", "", "makes the member static, by this name")
	p.StringVar(&f.protocol, "group-protocol", "classic", "classic; Kafka 3.9 has no other beside ZooKeeper")
	p.StringVar(&f.remoteAssignor, "group-remote-assignor", "", "accepted and not needed by the classic protocol")
	p.IntVar(&f.maxMessages, "max-messages", -1, "end after so many records; -1: when the tool is stopped")
	p.IntVar(&f.sessionTimeout, "session-timeout", 30000, "the member's session timeout in milliseconds")
	p.BoolVar(&f.verbose, "verbose", false, "print each record")
	p.BoolVar(&f.autoCommit, "enable-autocommit", false, "let the client commit offsets from time to time")
	p.StringVar(&f.reset, "reset-policy", "earliest", "where to begin without a committed offset: earliest, latest or none")
	p.StringVar(&f.strategy, "assignment-strategy", "org.apache.kafka.clients.consumer.RangeAssignor", "the Java class of an assignor: RangeAssignor, RoundRobinAssignor, StickyAssignor, CooperativeStickyAssignor")
	return cmd
}

type assignmentEvent struct {
	event
	Partitions []partitionName `json:"partitions"`
}

type partitionName struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
}

type recordEvent struct {
	event
	Key       *string `json:"key"`
	Value     *string `json:"value"`
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	Offset    int64   `json:"offset"`
}

type consumedEvent struct {
	event
	Count      int        `json:"count"`
	Partitions []consumed `json:"partitions"`
}

type consumed struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Count     int    `json:"count"`
	MinOffset int64  `json:"minOffset"`
	MaxOffset int64  `json:"maxOffset"`
}

type committedEvent struct {
	event
	Offsets []committed `json:"offsets"`
	Error   string      `json:"error,omitempty"`
	Success bool        `json:"success"`
}

type committed struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

func (t *tool) verifiableConsumer(ctx context.Context, f *verifiableConsumerFlags) error {
	switch {
	case f.topic == "":
		return usagef("argument --topic is required")
	case f.group == "":
		return usagef("argument --group-id is required")
	case !slices.Contains([]string{"earliest", "latest", "none"}, f.reset):
		return usagef("--reset-policy %s: allowed are earliest, latest and none", f.reset)
	case !strings.EqualFold(f.protocol, "classic"):
		return usagef("--group-protocol %s: the brokers beside ZooKeeper have only classic", f.protocol)
	}
	if f.bootstrap == "" {
		f.bootstrap = f.brokerList
	}
	props, err := f.load()
	if err != nil {
		return err
	}
	props["group.id"], props["auto.offset.reset"] = f.group, f.reset
	props["session.timeout.ms"] = strconv.Itoa(f.sessionTimeout)
	props["partition.assignment.strategy"] = f.strategy
	ctx, stop := interruptible(ctx)
	defer stop()
	out := &events{out: t.out}
	cl, err := t.connect(ctx, &f.clientFlags, props, f.options(out)...)
	if err != nil {
		return err
	}
	out.print(named("startup_complete"))
	err = f.consume(ctx, cl, out)
	if f.autoCommit {
		if commitErr := cl.CommitMarkedOffsets(context.WithoutCancel(ctx)); commitErr != nil && err == nil {
			err = fmt.Errorf("offsets of group %s could not be committed: %w", f.group, explain(commitErr))
		}
	}
	cl.CloseAllowingRebalance()
	out.print(named("shutdown_complete"))
	return errors.Join(err, out.failure())
}

func (f *verifiableConsumerFlags) options(out *events) []kgo.Opt {
	moved := func(name string) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			list := []partitionName{}
			for _, topic := range slices.Sorted(maps.Keys(partitions)) {
				for _, p := range slices.Sorted(slices.Values(partitions[topic])) {
					list = append(list, partitionName{topic, p})
				}
			}
			out.print(assignmentEvent{named(name), list})
		}
	}
	opts := []kgo.Opt{
		kgo.ConsumeTopics(f.topic), kgo.ConsumerGroup(f.group), kgo.AllowAutoTopicCreation(), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(moved("partitions_assigned")), kgo.OnPartitionsRevoked(moved("partitions_revoked")),
		kgo.OnPartitionsLost(moved("partitions_revoked")), // Java's listener does the same by default
	}
	if f.instance != "" {
		opts = append(opts, kgo.InstanceID(f.instance))
	}
	if f.autoCommit {
		return append(opts, kgo.AutoCommitMarks())
	}
	return append(opts, kgo.DisableAutoCommit())
}

// consume polls until the number of records, an interrupt, or a failure.
func (f *verifiableConsumerFlags) consume(ctx context.Context, cl *kgo.Client, out *events) error {
	for left := f.maxMessages; f.maxMessages < 0 || left > 0; {
		limit := 500 // max.poll.records
		if f.maxMessages >= 0 {
			limit = min(limit, left)
		}
		fetches := cl.PollRecords(ctx, limit)
		if ctx.Err() != nil {
			return nil
		}
		for _, e := range fetches.Errors() {
			return fmt.Errorf("topic %s, partition %d: %w", e.Topic, e.Partition, explain(e.Err))
		}
		if n := fetches.NumRecords(); n > 0 {
			left -= n
			f.report(ctx, cl, fetches, out)
		}
		cl.AllowRebalance()
		if err := out.failure(); err != nil {
			return err
		}
	}
	return nil
}

// report tells of records, and commits them.
func (f *verifiableConsumerFlags) report(ctx context.Context, cl *kgo.Client, fetches kgo.Fetches, out *events) {
	summary := consumedEvent{Count: fetches.NumRecords()}
	var lasts []*kgo.Record
	done := committedEvent{Success: true}
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if len(p.Records) == 0 {
			return
		}
		last := p.Records[len(p.Records)-1]
		summary.Partitions = append(summary.Partitions, consumed{p.Topic, p.Partition, len(p.Records), p.Records[0].Offset, last.Offset})
		lasts = append(lasts, last)
		done.Offsets = append(done.Offsets, committed{p.Topic, p.Partition, last.Offset + 1})
		for _, r := range p.Records {
			if f.verbose {
				out.print(recordEvent{named("record_data"), text(r.Key), text(r.Value), r.Topic, r.Partition, r.Offset})
			}
			cl.MarkCommitRecords(r)
		}
	})
	summary.event = named("records_consumed")
	out.print(summary)
	if f.autoCommit {
		return
	}
	// Also after an interrupt: what was told is committed.
	if err := cl.CommitRecords(context.WithoutCancel(ctx), lasts...); err != nil {
		done.Success, done.Error = false, explain(err).Error()
	}
	done.event = named("offsets_committed")
	slices.SortFunc(done.Offsets, func(a, b committed) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	out.print(done)
}

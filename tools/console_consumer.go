package tools

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"barnabas/conf"
)

// consumerFlags are those of kafka-console-consumer.sh.
type consumerFlags struct {
	clientFlags
	topic, include, whitelist     string
	partition                     int32
	offset, group                 string
	fromBeginning, skipErrors     bool
	maxMessages                   int
	timeoutMs                     int64
	formatter, formatterConfig    string
	formatterProperties           []string
	isolation, keyDes, valueDes   string
	hasPartition, hasOffset, ends bool // set on the command line
}

func (t *tool) consoleConsumerCommand() *cobra.Command {
	f := &consumerFlags{}
	cmd := &cobra.Command{
		Use:   "console-consumer",
		Short: "Print records of a topic",
		Long:  "Print records of topics as they come.\nFlags and output are those of kafka-console-consumer.sh.",
		Example: `  barnabas console-consumer --topic greetings --from-beginning
  barnabas console-consumer --topic orders --group audit --property print.key=true --property print.offset=true
  barnabas console-consumer --topic orders --partition 0 --offset 100 --max-messages 5`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.hasPartition, f.hasOffset = cmd.Flags().Changed("partition"), cmd.Flags().Changed("offset")
			f.ends = cmd.Flags().Changed("max-messages")
			return t.consoleConsumer(cmd.Context(), f)
		},
	}
	f.register(cmd, "consumer.config")
	p := cmd.Flags()
	p.StringVar(&f.topic, "topic", "", "the topic")
	p.StringVar(&f.include, "include", "", "a regular expression for topics, in place of --topic")
	p.StringVar(&f.whitelist, "whitelist", "", "old name of --include")
	p.Int32Var(&f.partition, "partition", 0, "this partition alone, from its end unless --offset says otherwise")
	p.StringVar(&f.offset, "offset", "latest", "where to begin in --partition: a number, earliest or latest")
	p.StringVar(&f.group, "group", "", "the consumer group; its offsets are committed")
	p.BoolVar(&f.fromBeginning, "from-beginning", false, "without a committed offset, begin with the oldest record")
	p.IntVar(&f.maxMessages, "max-messages", -1, "stop after so many records")
	p.Int64Var(&f.timeoutMs, "timeout-ms", -1, "stop when no record came for so many milliseconds")
	p.StringVar(&f.formatter, "formatter", "", "DefaultMessageFormatter, LoggingMessageFormatter or NoOpMessageFormatter, with or without Java package")
	p.StringVar(&f.formatterConfig, "formatter-config", "", "a .properties file for the formatter")
	p.StringArrayVar(&f.formatterProperties, "property", nil, "what is printed, key=value: print.timestamp, print.key, print.offset, print.partition, print.headers, print.value, key.separator, line.separator, headers.separator, null.literal, key.deserializer, value.deserializer, headers.deserializer")
	p.StringArrayVar(&f.properties, "consumer-property", nil, "a consumer config, key=value; may be repeated")
	p.StringVar(&f.isolation, "isolation-level", "read_uncommitted", "read_committed leaves out records of open and aborted transactions")
	p.StringVar(&f.keyDes, "key-deserializer", "", "class that reads keys: String, Integer, Long, Short, Double, Float, Boolean or UUID deserializer")
	p.StringVar(&f.valueDes, "value-deserializer", "", "class that reads values")
	p.BoolVar(&f.skipErrors, "skip-message-on-error", false, "leave out records that cannot be printed")
	p.Bool("enable-systest-events", false, "accepted and not needed")
	return cmd
}

func (t *tool) consoleConsumer(ctx context.Context, f *consumerFlags) error {
	if f.include == "" {
		f.include = f.whitelist
	}
	props, err := f.load()
	if err != nil {
		return err
	}
	if f.group == "" {
		f.group = props["group.id"]
	}
	if err := f.check(props); err != nil {
		return err
	}
	format, err := f.newFormatter(t)
	if err != nil {
		return err
	}
	opts, err := f.options(props)
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	cl, err := t.connect(ctx, &f.clientFlags, props, opts...)
	if err != nil {
		return err
	}
	count, err := t.printRecords(ctx, cl, f, format)
	if f.group != "" {
		if commitErr := cl.CommitMarkedOffsets(context.WithoutCancel(ctx)); commitErr != nil && err == nil {
			err = fmt.Errorf("offsets of group %s could not be committed: %w", f.group, explain(commitErr))
		}
	}
	cl.CloseAllowingRebalance()
	fmt.Fprintf(t.err, "Processed a total of %d messages\n", count)
	return err
}

// check refuses what Kafka's tool refuses, in its words.
func (f *consumerFlags) check(props map[string]string) error {
	switch {
	case (f.topic == "") == (f.include == ""):
		return usagef("Exactly one of --include/--topic is required.")
	case f.hasPartition && f.topic == "":
		return usagef("The topic is required when partition is specified.")
	case f.hasOffset && !f.hasPartition:
		return usagef("The partition is required when offset is specified.")
	case f.fromBeginning && f.hasOffset:
		return usagef("Options from-beginning and offset cannot be specified together.")
	case f.group != "" && f.hasPartition:
		return usagef("Options group and partition cannot be specified together.")
	case props["group.id"] != "" && props["group.id"] != f.group:
		return usagef("The group ids provided in different places (directly using '--group', via '--consumer-property', or via '--consumer.config') do not match. Detected group ids: '%s', '%s'", f.group, props["group.id"])
	case f.isolation != "read_committed" && f.isolation != "read_uncommitted":
		return usagef("--isolation-level %s: allowed are read_committed and read_uncommitted", f.isolation)
	case f.fromBeginning && props["auto.offset.reset"] != "" && props["auto.offset.reset"] != "earliest":
		return usagef("Can't simultaneously specify --from-beginning and 'auto.offset.reset=%s', please remove one option", props["auto.offset.reset"])
	}
	return nil
}

func (f *consumerFlags) options(props map[string]string) ([]kgo.Opt, error) {
	start := kgo.NewOffset().AtEnd()
	if f.fromBeginning || props["auto.offset.reset"] == "earliest" {
		start = kgo.NewOffset().AtStart()
	}
	opts := []kgo.Opt{kgo.ConsumeResetOffset(start)}
	if !strings.EqualFold(props["allow.auto.create.topics"], "false") && f.include == "" { // as Java's consumer
		opts = append(opts, kgo.AllowAutoTopicCreation())
	}
	if f.isolation == "read_committed" {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	switch {
	case f.hasPartition:
		at, err := f.startOffset(start)
		if err != nil {
			return nil, err
		}
		return append(opts, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{f.topic: {f.partition: at}})), nil
	case f.include != "":
		pattern, err := topicPattern(f.include)
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.ConsumeRegex(), kgo.ConsumeTopics(pattern.String()))
	default:
		opts = append(opts, kgo.ConsumeTopics(f.topic))
	}
	if f.group != "" {
		// What was polled is printed and marked before a partition may go to another
		// member, which then begins behind it: nothing is printed twice but what a
		// member has not committed when it dies.
		opts = append(opts, kgo.ConsumerGroup(f.group), kgo.AutoCommitMarks(), kgo.BlockRebalanceOnPoll())
		if props["partition.assignment.strategy"] == "" { // Java's default pair
			opts = append(opts, kgo.Balancers(kgo.RangeBalancer(), kgo.CooperativeStickyBalancer()))
		}
	}
	return opts, nil
}

func (f *consumerFlags) startOffset(start kgo.Offset) (kgo.Offset, error) {
	switch strings.ToLower(f.offset) {
	case "latest":
		return start, nil // or the beginning, by --from-beginning
	case "earliest":
		return kgo.NewOffset().AtStart(), nil
	}
	n, err := strconv.ParseInt(f.offset, 10, 64)
	if err != nil || n < 0 {
		return kgo.Offset{}, usagef("The provided offset value '%s' is incorrect. Valid values are 'earliest', 'latest', or a non-negative long.", f.offset)
	}
	return kgo.NewOffset().At(n), nil
}

// printRecords prints until one of the limits or an interrupt.
func (t *tool) printRecords(ctx context.Context, cl *kgo.Client, f *consumerFlags, format recordFormatter) (count int, err error) {
	out := bufio.NewWriterSize(t.out, 64<<10)
	defer func() {
		if flushErr := out.Flush(); flushErr != nil && err == nil {
			err = fmt.Errorf("cannot write: %w", flushErr)
		}
	}()
	for !f.ends || count < f.maxMessages || f.maxMessages < 0 {
		limit := 1000
		if f.ends && f.maxMessages >= 0 {
			limit = min(limit, f.maxMessages-count)
		}
		poll, cancel := ctx, context.CancelFunc(func() {})
		if f.timeoutMs >= 0 {
			poll, cancel = context.WithTimeout(ctx, time.Duration(f.timeoutMs)*time.Millisecond)
		}
		fetches := cl.PollRecords(poll, limit)
		late := poll.Err()
		cancel()
		for _, e := range fetches.Errors() {
			if errors.Is(e.Err, context.Canceled) || errors.Is(e.Err, context.DeadlineExceeded) || errors.Is(e.Err, kgo.ErrClientClosed) {
				continue
			}
			return count, fmt.Errorf("topic %s, partition %d: %w", e.Topic, e.Partition, explain(e.Err))
		}
		for rec := range fetches.RecordsAll() {
			count++
			if err := format.format(out, rec); err != nil && !f.skipErrors {
				return count, fmt.Errorf("topic %s, partition %d, offset %d: %w", rec.Topic, rec.Partition, rec.Offset, err)
			}
			cl.MarkCommitRecords(rec)
		}
		cl.AllowRebalance()
		if err := out.Flush(); err != nil {
			return count, fmt.Errorf("cannot write: %w", err)
		}
		if ctx.Err() != nil {
			return count, nil
		}
		if late != nil && fetches.NumRecords() == 0 {
			fmt.Fprintf(t.err, "No record came for %d ms (--timeout-ms).\n", f.timeoutMs)
			return count, nil
		}
	}
	return count, nil
}

// newFormatter chooses by the class's last name, so that Java's names work.
func (f *consumerFlags) newFormatter(t *tool) (recordFormatter, error) {
	props := map[string]string{}
	if f.formatterConfig != "" {
		var err error
		if props, err = conf.ReadProperties(f.formatterConfig); err != nil {
			return recordFormatter{}, err
		}
	}
	given := clientFlags{properties: f.formatterProperties}
	more, err := given.load()
	if err != nil {
		return recordFormatter{}, err
	}
	maps.Copy(props, more)
	if f.keyDes != "" {
		props["key.deserializer"] = f.keyDes
	}
	if f.valueDes != "" {
		props["value.deserializer"] = f.valueDes
	}
	format, err := newRecordFormatter(props)
	if err != nil {
		return format, err
	}
	switch name := f.formatter[strings.LastIndexAny(f.formatter, ".$")+1:]; name {
	case "", "DefaultMessageFormatter":
	case "NoOpMessageFormatter":
		format.silent = true
	case "LoggingMessageFormatter":
		format.log = t.err
	default:
		return format, usagef("the formatter %s is not built yet; there are DefaultMessageFormatter, LoggingMessageFormatter and NoOpMessageFormatter. The records of __consumer_offsets are read by: barnabas dump-log --offsets-decoder", f.formatter)
	}
	return format, nil
}

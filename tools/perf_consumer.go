package tools

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

// perfConsumerFlags are those of kafka-consumer-perf-test.sh.
type perfConsumerFlags struct {
	clientFlags
	topic, group, dateFormat string
	messages                 int64
	fromLatest, hideHeader   bool
	detailed                 bool
	timeoutMs, intervalMs    int64
	fetchSize                int32
}

func (t *tool) consumerPerfCommand() *cobra.Command {
	f := &perfConsumerFlags{}
	var brokerList string
	cmd := &cobra.Command{
		Use:   "consumer-perf-test",
		Short: "Measure how fast records can be read",
		Long:  "Read records as fast as possible and print rates.\nFlags and output are those of kafka-consumer-perf-test.sh.",
		Example: `  barnabas consumer-perf-test --topic t --messages 1000000
  barnabas consumer-perf-test --topic t --messages 1000000 --show-detailed-stats --reporting-interval 1000`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.bootstrap == "" {
				f.bootstrap = brokerList
			}
			return t.consumerPerf(cmd.Context(), f)
		},
	}
	f.register(cmd, "consumer.config")
	p := cmd.Flags()
	p.StringVar(&brokerList, "broker-list", "", "old name of --bootstrap-server")
	p.StringVar(&f.topic, "topic", "", "the topic to read")
	p.Int64Var(&f.messages, "messages", 0, "how many records to read")
	p.StringVar(&f.group, "group", fmt.Sprintf("perf-consumer-%d", rand.IntN(100000)), "the consumer group")
	p.Lookup("group").DefValue = "perf-consumer-<number>"
	p.BoolVar(&f.fromLatest, "from-latest", false, "begin with new records, not with the oldest")
	p.BoolVar(&f.hideHeader, "hide-header", false, "print no header")
	p.BoolVar(&f.detailed, "show-detailed-stats", false, "print a line per --reporting-interval")
	p.Int64Var(&f.timeoutMs, "timeout", 10000, "give up when no record came for so many milliseconds")
	p.Int64Var(&f.intervalMs, "reporting-interval", 5000, "milliseconds between two lines of --show-detailed-stats")
	p.StringVar(&f.dateFormat, "date-format", "yyyy-MM-dd HH:mm:ss:SSS", "how times are printed, in Java's letters")
	p.Int32Var(&f.fetchSize, "fetch-size", 1<<20, "bytes to fetch of a partition at once")
	p.Bool("print-metrics", false, "accepted and not needed")
	acceptInts(p, "socket-buffer-size", "threads", "num-fetch-threads")
	return cmd
}

func (t *tool) consumerPerf(ctx context.Context, f *perfConsumerFlags) error {
	switch {
	case f.topic == "":
		return usagef(`Missing required argument "[topic]"`)
	case f.messages <= 0:
		return usagef(`Missing required argument "[messages]"; it has to be above zero`)
	case f.intervalMs <= 0:
		return usagef("Reporting interval must be greater than 0.")
	}
	props, err := f.load()
	if err != nil {
		return err
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	start := kgo.NewOffset().AtStart()
	if f.fromLatest {
		start = kgo.NewOffset().AtEnd()
	}
	began := time.Now()
	join := &joinClock{since: began}
	cl, err := t.connect(ctx, &f.clientFlags, props, kgo.ConsumeTopics(f.topic), kgo.ConsumerGroup(f.group), kgo.ConsumeResetOffset(start),
		kgo.FetchMaxPartitionBytes(f.fetchSize), kgo.Balancers(kgo.RangeBalancer()), kgo.AutoCommitMarks(),
		kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { join.stop(time.Now()) }),
		kgo.OnPartitionsRevoked(func(context.Context, *kgo.Client, map[string][]int32) { join.start(time.Now()) }))
	if err != nil {
		return err
	}
	defer cl.Close()
	if !f.hideHeader {
		header := perfHeader
		if f.detailed {
			header = perfDetailedHeader
		}
		fmt.Fprintln(t.out, header)
	}
	run := consumerPerf{start: began}
	if err := t.perfPoll(ctx, cl, f, &run, join); err != nil {
		return err
	}
	run.end = time.Now()
	run.joining = join.total()
	if run.records < f.messages && ctx.Err() == nil {
		fmt.Fprintf(t.out, "WARNING: Exiting before consuming the expected number of messages: timeout (%d ms) exceeded. You can use the --timeout option to increase the timeout.\n", f.timeoutMs)
	}
	if !f.detailed {
		fmt.Fprintln(t.out, run.total(f.dateFormat))
	}
	return nil
}

func (t *tool) perfPoll(ctx context.Context, cl *kgo.Client, f *perfConsumerFlags, run *consumerPerf, join *joinClock) error {
	reported, last := run.start, run.start
	var joined time.Duration
	for run.records < f.messages && ctx.Err() == nil && time.Since(last) <= time.Duration(f.timeoutMs)*time.Millisecond {
		poll, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		fetches := cl.PollFetches(poll)
		cancel()
		for _, e := range fetches.Errors() {
			if !errors.Is(e.Err, context.Canceled) && !errors.Is(e.Err, context.DeadlineExceeded) {
				return fmt.Errorf("topic %s, partition %d: %w", e.Topic, e.Partition, explain(e.Err))
			}
		}
		now := time.Now()
		for r := range fetches.RecordsAll() {
			run.records++
			run.bytes += int64(len(r.Key) + len(r.Value))
			last = now
		}
		if now.Sub(reported) < time.Duration(f.intervalMs)*time.Millisecond {
			continue
		}
		if f.detailed {
			line := *run
			line.start, line.end, line.joining = reported, now, join.total()-joined
			fmt.Fprintln(t.out, line.interval(f.dateFormat))
		}
		reported, joined = now, join.total()
		run.lastRecords, run.lastBytes = run.records, run.bytes
	}
	return nil
}

// joinClock adds up the time spent without partitions.
type joinClock struct {
	mu    sync.Mutex // guards following
	since time.Time  // zero while there are partitions
	spent time.Duration
}

func (c *joinClock) start(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since = now
}

func (c *joinClock) stop(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.since.IsZero() {
		c.spent += now.Sub(c.since)
		c.since = time.Time{}
	}
}

func (c *joinClock) total() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spent
}

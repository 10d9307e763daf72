package tools

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

// perfProducerFlags are those of kafka-producer-perf-test.sh.
type perfProducerFlags struct {
	clientFlags
	topic       string
	records     int64
	size        int
	payloadFile string
	delimiter   string
	monotonic   bool
	throughput  float64
}

func (t *tool) producerPerfCommand() *cobra.Command {
	f := &perfProducerFlags{}
	cmd := &cobra.Command{
		Use:   "producer-perf-test",
		Short: "Measure how fast records can be sent",
		Long:  "Send records as fast as possible, or as fast as told, and print rates and latencies.\nFlags and output are those of kafka-producer-perf-test.sh.",
		Example: `  barnabas producer-perf-test --topic t --num-records 1000000 --record-size 1024 --throughput -1 --producer-props bootstrap.servers=localhost:9092 acks=all
  barnabas producer-perf-test --topic t --num-records 60000 --record-size 100 --throughput 2000`,
		Args: func(_ *cobra.Command, args []string) error {
			// Java's parser lets --producer-props take all key=value that follow.
			if len(f.properties) == 0 && len(args) > 0 {
				return noArgs(nil, args)
			}
			f.properties = append(f.properties, args...)
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return t.producerPerf(cmd.Context(), f) },
	}
	p := cmd.Flags()
	f.register(cmd, "producer.config")
	p.StringVar(&f.topic, "topic", "", "the topic to send to")
	p.Int64Var(&f.records, "num-records", 0, "how many records to send")
	p.IntVar(&f.size, "record-size", 0, "bytes of each record, random capital letters")
	p.StringVar(&f.payloadFile, "payload-file", "", "send random pieces of this file instead")
	p.StringVar(&f.delimiter, "payload-delimiter", `\n`, "what separates the pieces of --payload-file")
	p.BoolVar(&f.monotonic, "payload-monotonic", false, "send the numbers 0, 1, 2 … instead")
	p.Float64Var(&f.throughput, "throughput", -1, "records per second at most; -1 is as fast as possible")
	p.StringArrayVar(&f.properties, "producer-props", nil, "producer configs: key=value key=value …")
	p.Bool("print-metrics", false, "accepted and not needed")
	return cmd
}

func (t *tool) producerPerf(ctx context.Context, f *perfProducerFlags) error {
	kinds := 0
	for _, on := range []bool{f.size != 0, f.payloadFile != "", f.monotonic} {
		if on {
			kinds++
		}
	}
	switch {
	case f.topic == "":
		return usagef("argument --topic is required")
	case f.records <= 0:
		return usagef("--num-records should be greater than zero")
	case kinds != 1 || f.size < 0:
		return usagef("exactly one of --record-size (above zero), --payload-file and --payload-monotonic is needed")
	}
	next, err := f.payloads()
	if err != nil {
		return err
	}
	props, err := f.load()
	if err != nil {
		return err
	}
	if _, set := props["linger.ms"]; !set { // as Java's producer
		props["linger.ms"] = "0"
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	cl, err := t.connect(ctx, &f.clientFlags, props, kgo.DefaultProduceTopic(f.topic), kgo.AllowAutoTopicCreation(),
		kgo.MaxBufferedRecords(1<<20), kgo.MaxBufferedBytes(32<<20))
	if err != nil {
		return err
	}
	defer cl.Close()
	stats := newPerfStats(t.out, f.records, time.Now())
	send(ctx, cl, f, next, stats)
	if err := cl.Flush(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	if failed, first := stats.finish(time.Now()); failed > 0 {
		return fmt.Errorf("%d records could not be sent; the first: %w", failed, explain(first))
	}
	return nil
}

// send hands the records to the client, at the rate that was asked for. A full
// buffer holds it up.
func send(ctx context.Context, cl *kgo.Client, f *perfProducerFlags, next func(i int64) []byte, stats *perfStats) {
	begin := time.Now()
	for i := range f.records {
		if ctx.Err() != nil {
			return
		}
		value := next(i)
		sent := time.Now()
		cl.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				if ctx.Err() == nil {
					stats.fail(err)
				}
				return
			}
			now := time.Now()
			stats.record(now.Sub(sent), len(value), now)
		})
		if f.throughput > 0 {
			due := begin.Add(time.Duration(float64(i+1) / f.throughput * float64(time.Second)))
			if ahead := time.Until(due); ahead > time.Millisecond {
				pause(ctx, ahead)
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// payloads returns what gives the value of each record. Values may be shared:
// nothing changes them.
func (f *perfProducerFlags) payloads() (func(i int64) []byte, error) {
	random := rand.New(rand.NewPCG(0, 0))
	switch {
	case f.monotonic:
		return func(i int64) []byte { return strconv.AppendInt(nil, i, 10) }, nil
	case f.payloadFile == "":
		// A few thousand different values are as good as new ones and cost the
		// producer, which is not what is measured, less.
		values := make([][]byte, min(f.records, max(1, 4<<20/int64(f.size))))
		for i := range values {
			values[i] = make([]byte, f.size)
			for j := range values[i] {
				values[i][j] = byte('A' + random.IntN(26))
			}
		}
		return func(i int64) []byte { return values[i%int64(len(values))] }, nil
	}
	data, err := os.ReadFile(f.payloadFile)
	if err != nil {
		return nil, err
	}
	delimiter := strings.NewReplacer(`\n`, "\n", `\t`, "\t").Replace(f.delimiter)
	values := bytes.Split(bytes.TrimSuffix(data, []byte(delimiter)), []byte(delimiter))
	if len(data) == 0 {
		return nil, fmt.Errorf("%s is empty", f.payloadFile)
	}
	return func(int64) []byte { return values[random.IntN(len(values))] }, nil
}

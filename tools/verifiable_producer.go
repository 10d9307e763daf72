package tools

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/protocol"
)

// verifiableProducerFlags are those of kafka-verifiable-producer.sh.
type verifiableProducerFlags struct {
	clientFlags
	brokerList, topic                   string
	maxMessages, throughput, createTime int64
	acks, repeatingKeys, valuePrefix    int
	hasPrefix, hasKeys                  bool
}

func (t *tool) verifiableProducerCommand() *cobra.Command {
	f := &verifiableProducerFlags{}
	cmd := &cobra.Command{
		Use:   "verifiable-producer",
		Short: "Produce increasing numbers and print what became of each, as JSON",
		Long: `Produce increasing numbers and print what became of each, as JSON, so that a
test can tell which records were acknowledged. Nothing is sent again.
Flags and output are those of kafka-verifiable-producer.sh.`,
		Example: `  barnabas verifiable-producer --topic orders --max-messages 1000
  barnabas verifiable-producer --topic orders --throughput 100 --repeating-keys 10`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.hasPrefix, f.hasKeys = cmd.Flags().Changed("value-prefix"), cmd.Flags().Changed("repeating-keys")
			return t.verifiableProducer(cmd.Context(), f)
		},
	}
	f.register(cmd, "producer.config")
	p := cmd.Flags()
	p.StringVar(&f.brokerList, "broker-list", "", "the older name of --bootstrap-server")
	p.StringVar(&f.topic, "topic", "", "the topic (required)")
	p.Int64Var(&f.maxMessages, "max-messages", -1, "produce so many records; -1: until the tool is stopped")
	p.Int64Var(&f.throughput, "throughput", -1, "records per second, about; -1: as many as go")
	p.IntVar(&f.acks, "acks", -1, "acks that each record needs: -1, 0 or 1")
	p.Int64Var(&f.createTime, "message-create-time", -1, "timestamp of the first record, in milliseconds since 1970; -1: now")
	p.IntVar(&f.valuePrefix, "value-prefix", 0, "a number that each value begins with, before a dot")
	p.IntVar(&f.repeatingKeys, "repeating-keys", 0, "give records keys from 0 to below this, over and over")
	return cmd
}

// sentEvent is one acknowledged record.
type sentEvent struct {
	event
	Key       *string `json:"key"`
	Value     *string `json:"value"`
	Offset    int64   `json:"offset"`
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
}

// unsentEvent is one that was not acknowledged.
type unsentEvent struct {
	event
	Key       *string `json:"key"`
	Value     *string `json:"value"`
	Topic     string  `json:"topic"`
	Exception string  `json:"exception"`
	Message   string  `json:"message"`
}

type producerTotals struct {
	event
	Sent       int64   `json:"sent"`
	Acked      int64   `json:"acked"`
	Target     int64   `json:"target_throughput"`
	Throughput float64 `json:"avg_throughput"`
}

func (t *tool) verifiableProducer(ctx context.Context, f *verifiableProducerFlags) error {
	switch {
	case f.topic == "":
		return usagef("argument --topic is required")
	case !slices.Contains([]int{-1, 0, 1}, f.acks):
		return usagef("argument --acks: invalid choice: '%d' (choose from {0,1,-1})", f.acks)
	case f.hasKeys && f.repeatingKeys <= 0:
		return usagef("--repeating-keys has to be greater than zero")
	}
	if f.bootstrap == "" {
		f.bootstrap = f.brokerList
	}
	props, err := f.load()
	if err != nil {
		return err
	}
	props["acks"], props["enable.idempotence"], props["retries"] = strconv.Itoa(f.acks), "false", "0"
	ctx, stop := interruptible(ctx)
	defer stop()
	opts := []kgo.Opt{kgo.DefaultProduceTopic(f.topic), kgo.AllowAutoTopicCreation()}
	if props["linger.ms"] == "" { // as Java's producer
		opts = append(opts, kgo.ProducerLinger(0))
	}
	if props["max.in.flight.requests.per.connection"] == "" {
		opts = append(opts, kgo.MaxProduceRequestsInflightPerBroker(5))
	}
	cl, err := t.connect(ctx, &f.clientFlags, props, opts...)
	if err != nil {
		return err
	}
	defer cl.Close()
	out := &events{out: t.out}
	if err := awaitTopic(ctx, cl, f.topic); err != nil {
		return err
	}
	begin := time.Now()
	out.print(named("startup_complete"))
	sent, acked := f.produce(ctx, cl, out)
	out.print(named("shutdown_complete"))
	out.print(producerTotals{named("tool_data"), sent, acked, f.throughput, 1000 * float64(acked) / max(float64(time.Since(begin).Milliseconds()), 1)})
	return out.failure()
}

// produce sends until the number, an interrupt, or a failed write, and waits for
// what is under way.
func (f *verifiableProducerFlags) produce(ctx context.Context, cl *kgo.Client, out *events) (sent, acked int64) {
	var done atomic.Int64
	begin := time.Now()
	stamp := f.createTime
	// What was handed over is sent, also after an interrupt.
	flight := context.WithoutCancel(ctx)
	for i := int64(0); (f.maxMessages < 0 || i < f.maxMessages) && ctx.Err() == nil && out.failure() == nil; i++ {
		r := f.record(i)
		if stamp > -1 {
			r.Timestamp = time.UnixMilli(stamp)
			stamp += time.Since(begin).Milliseconds() // as VerifiableProducer.send
		}
		sent++
		cl.Produce(flight, r, func(r *kgo.Record, err error) {
			if err != nil {
				out.print(unsentEvent{named("producer_send_error"), text(r.Key), text(r.Value), f.topic, "class " + javaException(err), explain(err).Error()})
				return
			}
			done.Add(1)
			out.print(sentEvent{named("producer_send_success"), text(r.Key), text(r.Value), r.Offset, r.Topic, r.Partition})
		})
		if f.throughput > 0 {
			if ahead := time.Until(begin.Add(time.Duration(float64(sent) / float64(f.throughput) * float64(time.Second)))); ahead > time.Millisecond {
				pause(ctx, ahead)
			}
		}
	}
	cl.Flush(flight) // ends with the last answer: flight is never cancelled
	return sent, done.Load()
}

// awaitTopic waits until a topic has leaders, as Java's producer does before its
// first record (max.block.ms): nothing that is sent here is sent again.
func awaitTopic(ctx context.Context, cl *kgo.Client, topic string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = true
	rt := kmsg.NewMetadataRequestTopic()
	rt.Topic = &topic
	req.Topics = append(req.Topics, rt)
	for {
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return explain(err)
		}
		d := &resp.Topics[0]
		last := kerr.ErrorForCode(d.ErrorCode)
		for i := range d.Partitions {
			last = cmp.Or(last, kerr.ErrorForCode(d.Partitions[i].ErrorCode))
		}
		if last == nil {
			return nil
		}
		if !kerr.IsRetriable(last) {
			return fmt.Errorf("topic %s: %w", topic, explain(last))
		}
		pause(ctx, 100*time.Millisecond)
		if ctx.Err() != nil {
			return fmt.Errorf("topic %s: %w", topic, explain(last))
		}
	}
}

// record is the ith.
func (f *verifiableProducerFlags) record(i int64) *kgo.Record {
	value := strconv.FormatInt(i, 10)
	if f.hasPrefix {
		value = fmt.Sprintf("%d.%s", f.valuePrefix, value)
	}
	r := &kgo.Record{Value: []byte(value)}
	if f.hasKeys {
		r.Key = strconv.AppendInt(nil, i%int64(f.repeatingKeys), 10)
	}
	return r
}

// javaException is the class that Java's client would throw.
func javaException(err error) string {
	if e, ok := errors.AsType[*kerr.Error](err); ok {
		return javaClass(protocol.Error(e.Code))
	}
	if errors.Is(err, kgo.ErrRecordTimeout) || errors.Is(err, kgo.ErrRecordRetries) || errors.Is(err, context.DeadlineExceeded) {
		return javaClass(protocol.RequestTimedOut)
	}
	return javaClass(protocol.NetworkException)
}

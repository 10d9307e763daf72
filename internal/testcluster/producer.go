package testcluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
	"barnabas/log/batch"
	"barnabas/protocol"
)

// Producer sends numbered records to the partitions of a topic, batch after
// batch, and repeats each until it is acknowledged.
type Producer struct {
	Name       string
	Topic      Topic
	Acks       int16
	Idempotent bool
	Seed       uint64
	// Pause is the mean time between batches.
	Pause time.Duration
}

// producing is a producer at work.
type producing struct {
	Producer
	k         *client
	h         *History
	id        int64
	epoch     int16
	sequences map[int32]int32 // by partition
	numbers   map[int32]int   // by partition
}

// run works until ctx ends.
func (p Producer) run(ctx context.Context, c *Cluster) {
	w := &producing{Producer: p, k: c.newClient(p.Name, p.Seed), h: c.history, id: -1, epoch: -1, sequences: map[int32]int32{}, numbers: map[int32]int{}}
	defer w.k.close()
	if p.Idempotent && !w.identify(ctx) {
		return
	}
	for ctx.Err() == nil {
		if !w.send(ctx, w.k.rng.Int32N(p.Topic.Partitions)) {
			return
		}
		pause(ctx, time.Duration(w.k.rng.Int64N(int64(2*p.Pause))))
	}
}

// identify gets a producer id.
func (w *producing) identify(ctx context.Context) bool {
	for {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.Version = 3
		req.ProducerID, req.ProducerEpoch = -1, -1
		if resp, err := w.k.request(ctx, w.k.anyone(), req); err == nil {
			if r := resp.(*kmsg.InitProducerIDResponse); r.ErrorCode == 0 {
				w.id, w.epoch = r.ProducerID, r.ProducerEpoch
				return true
			}
		}
		if !pause(ctx, 300*time.Millisecond) {
			return false
		}
	}
}

// value is the text of a record: who, where, the how manieth.
func (w *producing) value(partition int32, number int) string {
	return fmt.Sprintf("%s/%d/%d", w.Name, partition, number)
}

// send sends one batch until it is acknowledged or ctx ends. It reports false if the
// producer can't go on.
func (w *producing) send(ctx context.Context, partition int32) bool {
	o := batch.BuilderOptions{}
	if w.Idempotent {
		o.Producer = &batch.Producer{ID: w.id, Epoch: w.epoch, Sequence: w.sequences[partition]}
	}
	b := batch.NewBuilder(o)
	first, count := w.numbers[partition], 1+w.k.rng.IntN(4)
	for i := range count {
		b.Append(time.Now().UnixMilli(), nil, []byte(w.value(partition, first+i)))
	}
	recs, err := b.Bytes()
	if err != nil {
		w.h.violate("%s: building a batch: %v", w.Name, err)
		return false
	}
	w.numbers[partition] += count
	w.sequences[partition] += int32(count)
	tp := kafka.TopicPartition{Topic: w.Topic.Name, Partition: partition}
	for last := ""; ctx.Err() == nil; {
		base, err := w.try(ctx, tp, recs)
		if err == nil {
			w.acknowledged(tp, base, first, count)
			return true
		}
		if err.Error() != last {
			last = err.Error()
			w.h.note(w.Name, "%v %d+%d: %v", tp, first, count, err)
		}
		if errors.Is(err, protocol.OutOfOrderSequenceNumber) || errors.Is(err, protocol.UnknownProducerID) {
			w.h.violate("%s: %v of the batch from %d to %v, which follows what was acknowledged", w.Name, err, first, tp)
			return false
		}
		pause(ctx, 100*time.Millisecond)
	}
	return true
}

func (w *producing) acknowledged(tp kafka.TopicPartition, base int64, first, count int) {
	if w.Acks != -1 {
		return
	}
	if base < 0 {
		w.h.note(w.Name, "%v %d+%d: acknowledged as an old duplicate", tp, first, count)
		return
	}
	for i := range count {
		w.h.promised(tp, base+int64(i), w.value(tp.Partition, first+i), "acknowledged")
	}
	w.h.note(w.Name, "%v %d+%d acknowledged at %d", tp, first, count, base)
}

// refused is an answer that says no.
type refused struct {
	code protocol.Error
	text *string
}

func (r *refused) Error() string {
	if r.text == nil {
		return r.code.Error()
	}
	return r.code.Error() + ": " + *r.text
}

func (r *refused) Unwrap() error { return r.code }

// try sends a batch once.
func (w *producing) try(ctx context.Context, tp kafka.TopicPartition, recs []byte) (base int64, err error) {
	addr, err := w.k.leader(ctx, tp)
	if err != nil {
		return 0, err
	}
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = 9, w.Acks, 10_000
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic = tp.Topic
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Partition, rp.Records = tp.Partition, append([]byte(nil), recs...)
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	resp, err := w.k.request(ctx, addr, req)
	if err != nil {
		delete(w.k.leaders, tp)
		return 0, err
	}
	r := resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	if r.ErrorCode != 0 {
		delete(w.k.leaders, tp)
		return 0, &refused{protocol.Error(r.ErrorCode), r.ErrorMessage}
	}
	return r.BaseOffset, nil
}

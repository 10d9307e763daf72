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
	// InFlight is how many batches to a partition it sends at most before it reads
	// the first answer; 0 is one. More than one keep their order only if it is
	// idempotent.
	InFlight int
	Seed     uint64
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
		if !w.send(ctx, w.k.rng.Int32N(c.size(p.Topic))) {
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

// sending is a batch that is not acknowledged yet.
type sending struct {
	first, count int
	recs         []byte
}

// next makes the next batch to a partition.
func (w *producing) next(partition int32) sending {
	o := batch.BuilderOptions{}
	if w.Idempotent {
		o.Producer = &batch.Producer{ID: w.id, Epoch: w.epoch, Sequence: w.sequences[partition]}
	}
	b := batch.NewBuilder(o)
	s := sending{first: w.numbers[partition], count: 1 + w.k.rng.IntN(4)}
	for i := range s.count {
		b.Append(time.Now().UnixMilli(), nil, []byte(w.value(partition, s.first+i)))
	}
	var err error
	if s.recs, err = b.Bytes(); err != nil {
		panic(err) // it has records, and is small
	}
	w.numbers[partition] += s.count
	w.sequences[partition] += int32(s.count)
	return s
}

// send sends some batches at once, until all are acknowledged or ctx ends. It
// reports false if the producer can't go on.
func (w *producing) send(ctx context.Context, partition int32) bool {
	var left []sending
	for range 1 + w.k.rng.IntN(max(w.InFlight, 1)) {
		left = append(left, w.next(partition))
	}
	tp := kafka.TopicPartition{Topic: w.Topic.Name, Partition: partition}
	for last := ""; ctx.Err() == nil; {
		outcomes := w.try(ctx, tp, left)
		var again []sending
		for i, s := range left {
			base, err := outcomes[i].base, outcomes[i].err
			if err == nil {
				w.acknowledged(tp, base, s.first, s.count)
				continue
			}
			if text := fmt.Sprintf("%v %d+%d: %v", tp, s.first, s.count, err); text != last {
				last = text
				w.h.note(w.Name, "%s", text)
			}
			// One that follows a batch that was refused is refused too.
			gap := errors.Is(err, protocol.OutOfOrderSequenceNumber) || errors.Is(err, protocol.UnknownProducerID)
			if gap && len(again) == 0 {
				w.h.violate("%s: %v of the batch from %d to %v, which follows what was acknowledged (%d more in doubt)", w.Name, err, s.first, tp, len(left)-i-1)
				return false
			}
			again = append(again, s)
		}
		if left = again; len(left) == 0 {
			return true
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

// outcome is what became of a batch that was sent once.
type outcome struct {
	base int64
	err  error
}

// try sends batches once, all before the first answer.
func (w *producing) try(ctx context.Context, tp kafka.TopicPartition, list []sending) []outcome {
	outcomes := make([]outcome, len(list))
	fail := func(from int, err error) []outcome {
		delete(w.k.leaders, tp)
		for i := from; i < len(list); i++ {
			outcomes[i].err = err
		}
		return outcomes
	}
	addr, err := w.k.leader(ctx, tp)
	if err != nil {
		return fail(0, err)
	}
	var reqs []kmsg.Request
	for _, s := range list {
		req := kmsg.NewPtrProduceRequest()
		req.Version, req.Acks, req.TimeoutMillis = 9, w.Acks, 10_000
		rt := kmsg.NewProduceRequestTopic()
		rt.Topic = tp.Topic
		rp := kmsg.NewProduceRequestTopicPartition()
		rp.Partition, rp.Records = tp.Partition, s.recs
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		reqs = append(reqs, req)
	}
	answers, err := w.k.requests(ctx, addr, reqs)
	for i, a := range answers {
		r := a.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		outcomes[i].base = r.BaseOffset
		if r.ErrorCode != 0 {
			outcomes[i].err = &refused{protocol.Error(r.ErrorCode), r.ErrorMessage}
			delete(w.k.leaders, tp)
		}
	}
	if err != nil {
		return fail(len(answers), err)
	}
	return outcomes
}

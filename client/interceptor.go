package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Offsets are offsets of partitions, by topic and partition.
type Offsets = map[string]map[int32]kgo.EpochOffset

// An Interceptor sees what passes through a client, as Java's
// ProducerInterceptor and ConsumerInterceptor do. Functions left nil are not
// called and cost nothing. They are called by the goroutines that send, poll and
// commit, several at a time, so they must be quick and safe for that; unlike
// Java's their panics are not caught.
type Interceptor struct {
	// OnSend gets each record that is produced, before it is given a partition,
	// and may change its key, value and headers. The record is the caller's.
	OnSend func(*kgo.Record)
	// OnAcknowledgement gets each record that was acknowledged, with partition
	// and offset, or could not be sent. It is called before the record's promise.
	OnAcknowledgement func(*kgo.Record, error)
	// OnConsume gets each record that a poll is about to return, and may change it.
	OnConsume func(*kgo.Record)
	// OnCommit gets the offsets that a group committed; err is of those that it
	// could not. See Interceptors.AutoCommit and Commit.
	OnCommit func(committed Offsets, err error)
}

// Interceptors are called in their order, whatever passes.
type Interceptors []Interceptor

// Opts put the interceptors into a kgo.Client. A consumer that commits by itself
// takes AutoCommit besides.
func (s Interceptors) Opts() []kgo.Opt {
	var hooks []kgo.Hook
	for _, i := range s {
		if i.OnSend != nil {
			hooks = append(hooks, onSend(i.OnSend))
		}
		if i.OnAcknowledgement != nil {
			hooks = append(hooks, onAcknowledgement(i.OnAcknowledgement))
		}
		if i.OnConsume != nil {
			hooks = append(hooks, onConsume(i.OnConsume))
		}
	}
	return []kgo.Opt{kgo.WithHooks(hooks...)}
}

type (
	onSend            func(*kgo.Record)
	onAcknowledgement func(*kgo.Record, error)
	onConsume         func(*kgo.Record)
)

func (f onSend) OnProduceRecordBuffered(r *kgo.Record)                         { f(r) }
func (f onAcknowledgement) OnProduceRecordUnbuffered(r *kgo.Record, err error) { f(r, err) }

// OnFetchRecordUnbuffered is told, too, of records that are dropped when their
// partition goes to another member.
func (f onConsume) OnFetchRecordUnbuffered(r *kgo.Record, polled bool) {
	if polled {
		f(r)
	}
}

// AutoCommit makes OnCommit hear of the commits that a client makes by itself. It
// is for clients with kgo.ConsumerGroup only; kgo refuses it otherwise.
func (s Interceptors) AutoCommit() kgo.Opt { return kgo.AutoCommitCallback(s.Committed) }

// Commit commits offsets and waits, as cl.CommitOffsetsSync does, and lets OnCommit
// hear of it. nil commits what was polled: cl.UncommittedOffsets.
func (s Interceptors) Commit(ctx context.Context, cl *kgo.Client, offsets Offsets) error {
	if offsets == nil {
		offsets = cl.UncommittedOffsets()
	}
	if len(offsets) == 0 {
		return nil
	}
	var failed error
	cl.CommitOffsetsSync(ctx, offsets, func(cl *kgo.Client, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		s.Committed(cl, req, resp, err)
		_, failed = outcome(req, resp, err)
	})
	return failed
}

// Committed tells OnCommit of a commit. It is what kgo's own functions of
// committing take as onDone.
func (s Interceptors) Committed(_ *kgo.Client, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
	done, err := outcome(req, resp, err)
	if len(done) == 0 && err == nil { // kgo tells, too, that there was nothing to commit
		return
	}
	for _, i := range s {
		if i.OnCommit != nil {
			i.OnCommit(done, err)
		}
	}
}

// outcome sorts a commit by what the broker said of each partition.
func outcome(req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) (Offsets, error) {
	done := Offsets{}
	if err != nil || req == nil || resp == nil {
		return done, err
	}
	asked := Offsets{}
	names := map[[16]byte]string{} // from version 10 on the reply has ids only
	for _, t := range req.Topics {
		names[t.TopicID] = t.Topic
		asked[t.Topic] = map[int32]kgo.EpochOffset{}
		for _, p := range t.Partitions {
			asked[t.Topic][p.Partition] = kgo.EpochOffset{Epoch: p.LeaderEpoch, Offset: p.Offset}
		}
	}
	var failed []error
	for _, t := range resp.Topics {
		if t.Topic == "" {
			t.Topic = names[t.TopicID]
		}
		for _, p := range t.Partitions {
			o, was := asked[t.Topic][p.Partition]
			switch err := kerr.ErrorForCode(p.ErrorCode); {
			case err != nil:
				failed = append(failed, fmt.Errorf("client: committing %s-%d: %w", t.Topic, p.Partition, err))
			case was:
				if done[t.Topic] == nil {
					done[t.Topic] = map[int32]kgo.EpochOffset{}
				}
				done[t.Topic][p.Partition] = o
			}
		}
	}
	return done, errors.Join(failed...)
}

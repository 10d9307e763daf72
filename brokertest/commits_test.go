package brokertest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestWaysToCommit: a member commits what it has polled at once, without waiting,
// for one partition alone, and by itself; a member of its group that comes after
// it goes on there.
func TestWaysToCommit(t *testing.T) {
	c := Start(t)
	admin := kadm.NewClient(c.Client())
	producer := c.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for name, test := range map[string]struct {
		opts   []kgo.Opt
		commit func(ctx context.Context, cl *kgo.Client) error
		want   [2]int64 // -1: nothing is committed
	}{
		"sync": {[]kgo.Opt{kgo.DisableAutoCommit()}, func(ctx context.Context, cl *kgo.Client) error { return cl.CommitUncommittedOffsets(ctx) }, [2]int64{10, 10}},
		"async": {[]kgo.Opt{kgo.DisableAutoCommit()}, func(ctx context.Context, cl *kgo.Client) error {
			done := make(chan error, 1)
			cl.CommitOffsets(ctx, cl.UncommittedOffsets(), func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, r *kmsg.OffsetCommitResponse, err error) {
				for i := 0; err == nil && i < len(r.Topics); i++ {
					for _, p := range r.Topics[i].Partitions {
						err = kerr.ErrorForCode(p.ErrorCode)
					}
				}
				done <- err
			})
			return <-done
		}, [2]int64{10, 10}},
		"one partition": {[]kgo.Opt{kgo.DisableAutoCommit()}, func(ctx context.Context, cl *kgo.Client) (err error) {
			at := map[string]map[int32]kgo.EpochOffset{"one-partition": {1: {Epoch: -1, Offset: 4}}}
			cl.CommitOffsetsSync(ctx, at, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, _ *kmsg.OffsetCommitResponse, failed error) {
				err = failed
			})
			return err
		}, [2]int64{-1, 4}},
		"automatic": {[]kgo.Opt{kgo.AutoCommitInterval(100 * time.Millisecond)}, func(ctx context.Context, cl *kgo.Client) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			cl.PollFetches(ctx) // what the polls before have given is handled
			return nil
		}, [2]int64{10, 10}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			topic, group := strings.ReplaceAll(name, " ", "-"), "team of "+name
			c.CreateTopics(Topic{Name: topic, Partitions: 2})
			for i := range 20 {
				if err := producer.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: int32(i % 2), Value: fmt.Append(nil, i)}).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			cl := c.Client(append(test.opts, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
			defer cl.CloseAllowingRebalance()
			for n := 0; n < 20; {
				f := cl.PollFetches(ctx)
				if err := f.Err(); err != nil {
					t.Fatal(err)
				}
				n += f.NumRecords()
			}
			if err := test.commit(ctx, cl); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the commit", func() error {
				o, err := admin.FetchOffsets(ctx, group)
				if err != nil {
					return err
				}
				for p, want := range test.want {
					got := int64(-1)
					if at, found := o.Lookup(topic, int32(p)); found {
						got = at.At
					}
					if got != want {
						return fmt.Errorf("partition %d: offset %d, want %d", p, got, want)
					}
				}
				return nil
			})
			cl.Close()

			// Who comes next reads what is not committed, and nothing else.
			next := c.Client(kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
			defer next.Close()
			if err := producer.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: 0, Value: []byte(name)}, &kgo.Record{Topic: topic, Partition: 1, Value: []byte(name)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
			ends, err := admin.ListEndOffsets(ctx, topic)
			if err != nil {
				t.Fatal(err)
			}
			first := map[int32]int64{}
			for reached := 0; reached < 2; {
				f := next.PollFetches(ctx)
				if err := f.Err(); err != nil {
					t.Fatal(err)
				}
				f.EachRecord(func(r *kgo.Record) {
					if _, seen := first[r.Partition]; !seen {
						first[r.Partition] = r.Offset
					}
					if end, _ := ends.Lookup(topic, r.Partition); r.Offset == end.Offset-1 {
						reached++
					}
				})
			}
			for p, want := range test.want {
				if got := first[int32(p)]; got != max(want, 0) {
					t.Errorf("the next member begins partition %d at %d, want %d", p, got, max(want, 0))
				}
			}
		})
	}
}

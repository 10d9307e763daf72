package api

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
	"barnabas/log"
	"barnabas/protocol"
)

// TestWaitingSessionsMissNothing: fetches that wait for a session's partitions are
// woken by whatever comes, at whatever moment. They wait for an hour: one that is not
// woken is not answered before the connection's deadline.
func TestWaitingSessionsMissNothing(t *testing.T) {
	const partitions, producers, each = 20, 3, 400
	b, m := manyPartitions(t, partitions)
	follower, consumer := newReader(b, true, partitions), newReader(b, false, partitions)
	follower.wait, consumer.wait = 3_600_000, 3_600_000
	recs := records(t, 20, plain())
	appendTo := func(p int) {
		if _, err := m.Append(kafka.TopicPartition{Topic: "a", Partition: int32(p)}, bytes.Clone(recs), 1, log.Client); err != nil {
			t.Error(err)
		}
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for named := []int(nil); !stop.Load(); {
			named = follower.fetch(named)
		}
	})
	for i := range producers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			for range each {
				appendTo(rng.IntN(partitions))
			}
		})
	}
	for named, got := []int(nil), int64(0); got < producers*each; {
		named = consumer.fetch(named)
		got = 0
		for _, at := range consumer.at {
			got += at
		}
	}
	stop.Store(true)
	appendTo(0) // the follower waits
	wg.Wait()
}

// TestSessionWaits: how a wait for a session ends.
func TestSessionWaits(t *testing.T) {
	b, m := manyPartitions(t, 3)
	follower := newReader(b, true, 3)
	send := func(r *reader, minBytes int32) {
		t.Helper()
		r.req.SessionID, r.req.SessionEpoch, r.req.MaxWaitMillis, r.req.MinBytes, r.req.Topics = r.session, r.epoch, 3_600_000, minBytes, nil
		r.epoch++
		waiting := b.api.opt.Fetches.Len()
		r.c.inTime()
		r.c.send(r.req)
		await(t, func() bool { return b.api.opt.Fetches.Len() == waiting+1 })
	}
	got := func(r *reader) *kmsg.FetchResponse { t.Helper(); return receive[*kmsg.FetchResponse](r.c, r.req) }
	appendTo := func(p int32) {
		t.Helper()
		if _, err := m.Append(kafka.TopicPartition{Topic: "a", Partition: p}, records(t, 100, plain()), 1, log.Client); err != nil {
			t.Fatal(err)
		}
	}
	one := int32(len(records(t, 100, plain())))

	r := newReader(b, false, 3)
	r.fetch(nil)
	send(r, 1)
	appendTo(1)
	if n := b.api.opt.Fetches.Len(); n != 1 {
		t.Fatalf("answered before the record was copied: %d wait", n)
	}
	follower.fetch(follower.fetch(nil))
	resp := got(r)
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 || len(resp.Topics[0].Partitions[0].RecordBatches) != int(one) {
		t.Fatalf("after a record: %+v", resp.Topics)
	}
	r.at[1] = 1
	r.fetch([]int{1})

	send(r, one+1) // less than that is kept in mind
	appendTo(0)
	appendTo(2)
	follower.fetch([]int{1})
	follower.fetch([]int{0, 2})
	if resp = got(r); len(resp.Topics[0].Partitions) != 2 {
		t.Fatalf("after records of two partitions: %+v", resp.Topics)
	}

	send(r, 1<<20)
	// The same client on, by another connection: what waits is of no use any more.
	other := newReader(b, false, 3)
	other.session, other.epoch = r.session, r.epoch
	other.fetch(nil)
	if resp = got(r); protocol.Error(resp.ErrorCode) != protocol.InvalidFetchSessionEpoch {
		t.Errorf("the earlier request was answered with %v", protocol.Error(resp.ErrorCode))
	}

	r.session, r.epoch = other.session, other.epoch
	send(r, 1<<20)
	other.session, other.epoch = r.session, 0 // a new one instead
	other.fetch([]int{0})
	if resp = got(r); resp.ErrorCode != 0 {
		t.Errorf("the last answer of a session that was closed: %v", protocol.Error(resp.ErrorCode))
	}

	other.fetch(nil)
	send(other, 1<<20)
	other.c.nc.Close()
	await(t, func() bool { return b.api.opt.Fetches.Len() == 0 })

	r.epoch = 0
	r.fetch([]int{0, 1, 2})
	send(r, 1<<20)
	m.SetRegistration(0, 0)
	if resp = got(r); len(resp.Topics) != 1 || protocol.Error(resp.Topics[0].Partitions[0].ErrorCode) != protocol.NotLeaderOrFollower {
		t.Errorf("after the registration was lost: %+v", resp.Topics)
	}
}

package group

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"barnabas/internal/kafka"
	"barnabas/log/batch"
	"barnabas/protocol/grouplog"
)

// nullStore acknowledges at once and keeps nothing.
type nullStore struct{ *memStore }

func (s *nullStore) Append(_ int32, _ kafka.LeaderEpoch, _ []byte, _ time.Duration, done func(error)) (int64, error) {
	done(nil)
	return 0, nil
}

// BenchmarkCommit is the coordinator's share of a commit of one partition.
func BenchmarkCommit(b *testing.B) {
	s := &nullStore{newMemStore()}
	c := start(b, s.memStore, Config{})
	c.opt.Store = s
	c.BecomeLeader(0, 1)
	for c.Describe("g").Err != ok {
		runtime.Gosched()
	}
	b.ReportAllocs()
	for b.Loop() {
		if r := c.Commit(b.Context(), committing("g", -1, "", 1)); r.Topics[0].Partitions[0].Err != ok {
			b.Fatal(r.Topics[0].Partitions[0].Err)
		}
	}
}

// BenchmarkLoad replays 100,000 offsets of 5,000 groups, a batch for each.
func BenchmarkLoad(b *testing.B) {
	var all [][]byte
	for i := range 100_000 {
		w := batch.NewBuilder(batch.BuilderOptions{BaseOffset: int64(i)})
		w.Append(1, grouplog.AppendOffsetKey(nil, fmt.Sprintf("group-%d", i%5000), "topic", int32(i/5000)), grouplog.AppendOffsetValue(nil, &grouplog.OffsetValue{Offset: int64(i), ExpireTimestamp: grouplog.NoExpiration}))
		data, err := w.Bytes()
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, data)
	}
	b.ReportAllocs()
	for b.Loop() {
		l := newLoader(nil)
		for _, data := range all {
			if err := l.batch(data); err != nil {
				b.Fatal(err)
			}
		}
		if m := l.machines(Limits{}, time.Time{}); len(m) != 5000 || l.offsets() != 100_000 {
			b.Fatal(len(m), l.offsets())
		}
	}
}

package api

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/replica"
	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log"
	"barnabas/log/batch"
)

// manyImage has broker 1 (here) and 2, and topic a with n partitions of both, led by 1.
func manyImage(n int) *cluster.Image {
	e := cluster.NewEdit(cluster.Empty())
	for id := kafka.BrokerID(1); id <= 2; id++ {
		e.ReadBroker(&cluster.Broker{ID: id, Epoch: 5, Zxid: 5, Endpoints: []cluster.Endpoint{
			{Listener: "PLAINTEXT", Host: "host", Port: 9090 + int32(id), Protocol: "PLAINTEXT"},
		}})
	}
	assign := map[int32]cluster.Assignment{}
	for p := range int32(n) {
		assign[p] = cluster.Assignment{Replicas: []kafka.BrokerID{1, 2}}
	}
	e.ReadTopic(cluster.TopicRead{Name: "a", ID: idA, Assignment: assign, Zxid: 6})
	for p := range int32(n) {
		e.ReadState(kafka.TopicPartition{Topic: "a", Partition: p}, cluster.EntryState{
			Partition: p, Leader: 1, LeaderEpoch: 0, ISR: []kafka.BrokerID{1, 2},
		}, 7, 7)
	}
	im, _ := e.Publish()
	return im
}

// manyPartitions leads n partitions of topic a in real logs, which broker 2 copies.
func manyPartitions(tb testing.TB, n int, with ...func(*Options)) (*broker, *replica.Manager) {
	tb.Helper()
	logs, err := log.OpenManager(tb.Context(), log.ManagerOptions{FS: vfs.OS, Dirs: []string{tb.TempDir()}, BootID: "boot"})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := logs.Close(); err != nil {
			tb.Error(err)
		}
	})
	m := replica.NewManager(replica.Options{
		Self: 1, Logs: logs, Topic: func(map[string]string) (int, log.Options) { return 1, log.DefaultOptions() },
		Logger: slog.New(slog.DiscardHandler),
	})
	m.SetRegistration(5, 5)
	im := manyImage(n)
	m.Follow(im, nil)
	for p := range int32(n) {
		err := m.Become(kafka.TopicPartition{Topic: "a", Partition: p}, replica.State{
			TopicID: idA, Replicas: []kafka.BrokerID{1, 2}, ISR: []kafka.BrokerID{1, 2}, Leader: 1, Zxid: 7, Created: 7, MinISR: 1,
		}, log.DefaultOptions())
		if err != nil {
			tb.Fatal(err)
		}
	}
	return serveImage(tb, m, m.Fetches(), im, with...), m
}

// reader is a client with a session, as a consumer or a follower.
type reader struct {
	c              *client
	req            *kmsg.FetchRequest
	at             []int64
	session, epoch int32
	wait           int32
}

func newReader(b *broker, follower bool, n int) *reader {
	r := &reader{c: b.dial(), at: make([]int64, n), req: kmsg.NewPtrFetchRequest()}
	r.req.SetVersion(17)
	r.req.ReplicaState.ID, r.req.ReplicaState.Epoch = -1, -1
	if follower {
		r.req.ReplicaState.ID, r.req.ReplicaState.Epoch = 2, 5
	}
	r.req.MinBytes, r.req.MaxBytes = 1, 10<<20
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	r.fetch(all)
	return r
}

// inTime gives the next answer a minute.
func (c *client) inTime() {
	if err := c.nc.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		c.t.Fatal(err)
	}
}

// fetch names those partitions, and moves on by what is answered. It returns who
// must be named next.
func (r *reader) fetch(named []int) (moved []int) {
	r.req.SessionID, r.req.SessionEpoch, r.req.MaxWaitMillis = r.session, r.epoch, r.wait
	r.req.Topics = r.req.Topics[:0]
	if len(named) > 0 {
		t := kmsg.NewFetchRequestTopic()
		t.TopicID = idA
		for _, i := range named {
			p := kmsg.NewFetchRequestTopicPartition()
			p.Partition, p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch, p.LastFetchedEpoch = int32(i), r.at[i], 1<<20, 0, -1
			t.Partitions = append(t.Partitions, p)
		}
		r.req.Topics = append(r.req.Topics, t)
	}
	r.c.inTime()
	resp := call[*kmsg.FetchResponse](r.c, r.req)
	if resp.ErrorCode != 0 {
		r.c.t.Fatalf("fetch: %d", resp.ErrorCode)
	}
	r.session, r.epoch = resp.SessionID, r.epoch+1
	for _, t := range resp.Topics {
		for i := range t.Partitions {
			p := &t.Partitions[i]
			if p.ErrorCode != 0 {
				r.c.t.Fatalf("fetch of %d: %d", p.Partition, p.ErrorCode)
			}
			if to := after(p.RecordBatches, r.at[p.Partition]); to > r.at[p.Partition] {
				r.at[p.Partition] = to
				moved = append(moved, int(p.Partition))
			}
		}
	}
	return moved
}

// after is where to go on after whole batches; at if there are none.
func after(b []byte, at int64) int64 {
	for len(b) >= 27 {
		size := 12 + int(binary.BigEndian.Uint32(b[8:]))
		if len(b) < size {
			break
		}
		at = int64(binary.BigEndian.Uint64(b)) + int64(binary.BigEndian.Uint32(b[23:])) + 1
		b = b[size:]
	}
	return at
}

// BenchmarkFetchSession: fetches of a session with 3,300 partitions, of which few or
// none move. cpu-us/op counts client and broker, and the appends.
func BenchmarkFetchSession(b *testing.B) {
	const n = 3300
	for _, follower := range []bool{false, true} {
		who := map[bool]string{false: "consumer", true: "follower"}[follower]
		for _, moving := range []int{0, 1, 30, n} {
			b.Run(fmt.Sprintf("%s/moving=%d", who, moving), func(b *testing.B) {
				br, m := manyPartitions(b, n)
				f := newReader(br, true, n)
				if !follower { // who else would move the high watermark
					f.fetch(nil)
				}
				r := f
				if !follower {
					r = newReader(br, false, n)
				}
				r.fetch(nil)
				recs := records(b, 100, batch.BuilderOptions{})
				var named []int
				before := cpu(b)
				b.ReportAllocs()
				for b.Loop() {
					for i := range moving {
						if _, err := m.Append(kafka.TopicPartition{Topic: "a", Partition: int32(i)}, bytes.Clone(recs), 1, log.Client); err != nil {
							b.Fatal(err)
						}
					}
					if !follower && moving > 0 {
						f.fetch(f.fetch(nil))
					}
					named = r.fetch(named)
					if len(named) != moving {
						b.Fatalf("%d moved, want %d", len(named), moving)
					}
				}
				b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-us/op")
			})
		}
		b.Run(who+"/waiting", func(b *testing.B) {
			br, _ := manyPartitions(b, n)
			r := newReader(br, follower, n)
			r.fetch(nil)
			r.wait = 1
			before := cpu(b)
			for b.Loop() {
				r.fetch(nil)
			}
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-us/op")
		})
	}
}

package client

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"barnabas/brokertest"
	"barnabas/internal/zktest"
)

// start starts two brokers below a chroot, with a topic that both have.
func start(t *testing.T, connect string) *brokertest.Cluster {
	t.Helper()
	return brokertest.Start(t, brokertest.Brokers(2), brokertest.ZooKeeper(connect+"/kafka"),
		brokertest.Topics(brokertest.Topic{Name: "orders", Partitions: 2, ReplicationFactor: 2}))
}

// TestLearnsLeaders: after a broker is gone, a client that does not send anything
// knows the new leaders, long before its metadata are too old; and it can send.
func TestLearnsLeaders(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		cluster := start(t, connect)
		cl, err := New(t.Context(), Options{ZooKeeper: cluster.ZooKeeper()}, kgo.DefaultProduceTopic("orders"),
			kgo.RecordPartitioner(RoundRobin()), kgo.MetadataMaxAge(time.Hour),
			kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite()) // nothing is replicated
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		send := func() {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			for range 4 {
				if err := cl.ProduceSync(ctx, kgo.StringRecord("x")).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
		}
		send()
		c := open(t, Options{ZooKeeper: cluster.ZooKeeper()})
		before, err := c.Leaders(t.Context(), "orders")
		if err != nil || len(before) != 2 || before[0].Broker == before[1].Broker {
			t.Fatalf("leaders %+v, %v", before, err)
		}
		cluster.Broker(0).Stop()
		began := time.Now()
		timeout := time.After(time.Minute)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for p := int32(0); p < 2; {
			if leader, _, err := cl.PartitionLeader("orders", p); leader == 1 && err == nil {
				p++
				continue
			}
			select {
			case <-tick.C:
			case <-timeout:
				t.Fatalf("partition %d: broker 1 leads, but the client doesn't know", p)
			}
		}
		t.Logf("known after %v", time.Since(began).Round(time.Millisecond))
		send()
		after, err := c.Leaders(t.Context(), "orders")
		if err != nil || after[0].Broker != 1 || after[1].Broker != 1 {
			t.Errorf("leaders %+v, %v", after, err)
		}
		for !slices.Equal(c.Addrs(), cluster.Addrs()[1:]) { // it has a watch of its own
			select {
			case <-tick.C:
			case <-timeout:
				t.Fatalf("brokers %q", c.Addrs())
			}
		}
		if _, err := c.Leaders(t.Context(), "nosuch"); err == nil {
			t.Error("a topic that is not there has leaders")
		}
	})
}

// TestManyClients: one Cluster serves many, who come and go.
func TestManyClients(t *testing.T) {
	cluster := brokertest.Start(t, brokertest.Topics(brokertest.Topic{Name: "t"}))
	c := open(t, Options{ZooKeeper: cluster.ZooKeeper()})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 3 {
				cl, err := kgo.NewClient(append(c.Opts(), kgo.DefaultProduceTopic("t"))...)
				if err != nil {
					t.Error(err)
					return
				}
				if err := cl.ProduceSync(t.Context(), kgo.StringRecord("x")).FirstErr(); err != nil {
					t.Error(err)
				}
				cl.Close()
			}
		})
	}
	wg.Wait()
	if n := len(c.followers()); n != 0 {
		t.Errorf("%d clients are served that were closed", n)
	}
}

// TestEndsBeforeTheFirstAnswer: connections that a stopping broker ends at once cost no
// record.
func TestEndsBeforeTheFirstAnswer(t *testing.T) {
	cluster := brokertest.Start(t, brokertest.Topics(brokertest.Topic{Name: "orders", Partitions: 1}))
	var made atomic.Int32
	cl, err := New(t.Context(), Options{ZooKeeper: cluster.ZooKeeper()}, kgo.DefaultProduceTopic("orders"),
		kgo.Dialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			if n := made.Add(1); err == nil && n > 1 && n < 5 { // the first is that for metadata
				return ended{conn}, nil
			}
			return conn, err
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(t.Context(), kgo.StringRecord("x")).FirstErr(); err != nil {
		t.Error(err)
	}
	if made.Load() < 5 {
		t.Errorf("%d connections were made", made.Load())
	}
}

// ended is a connection that the other side has ended.
type ended struct{ net.Conn }

func (ended) Read([]byte) (int, error) { return 0, io.EOF }

// TestNewRefuses: what kgo refuses leaves nothing behind.
func TestNewRefuses(t *testing.T) {
	cluster := brokertest.Start(t)
	if _, err := New(t.Context(), Options{ZooKeeper: cluster.ZooKeeper()}, kgo.MetadataMinAge(time.Hour)); err == nil {
		t.Error("an age that is above its maximum is taken")
	}
}

// TestInterceptors: all four see what passes, in their order.
func TestInterceptors(t *testing.T) {
	cluster := brokertest.Start(t, brokertest.Topics(brokertest.Topic{Name: "t"}))
	var mu sync.Mutex
	var log []string
	note := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		log = append(log, fmt.Sprintf(format, args...))
	}
	one := Interceptor{
		OnSend:            func(r *kgo.Record) { r.Headers = append(r.Headers, kgo.RecordHeader{Key: "by", Value: []byte("one")}) },
		OnAcknowledgement: func(r *kgo.Record, err error) { note("acknowledged %s at %d: %v", r.Value, r.Offset, err) },
		OnConsume:         func(r *kgo.Record) { r.Value = append(r.Value, '!') },
		OnCommit:          func(o Offsets, err error) { note("committed %d: %v", o["t"][0].Offset, err) },
	}
	two := Interceptor{
		OnSend:    func(r *kgo.Record) { note("send %s by %s", r.Value, r.Headers[0].Value) },
		OnConsume: func(r *kgo.Record) { note("consume %s", r.Value) },
	}
	list := Interceptors{one, two, {}}
	cl := cluster.Client(append(list.Opts(), list.AutoCommit(), kgo.AutoCommitInterval(time.Hour), kgo.DefaultProduceTopic("t"),
		kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := cl.ProduceSync(ctx, kgo.StringRecord("a")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if got := cl.PollRecords(ctx, 1).Records(); len(got) != 1 || string(got[0].Value) != "a!" || string(got[0].Headers[0].Value) != "one" {
		t.Fatalf("polled %v", got)
	}
	if err := list.Commit(ctx, cl, nil); err != nil {
		t.Fatal(err)
	}
	if err := list.Commit(ctx, cl, Offsets{}); err != nil { // nothing to do
		t.Fatal(err)
	}
	if err := list.Commit(ctx, cl, Offsets{"nosuch": {0: {Offset: 7}}}); err == nil {
		t.Error("an offset of a topic that is not there is committed")
	}
	if err := cl.ProduceSync(ctx, &kgo.Record{Value: []byte("b"), Topic: "bad name"}).FirstErr(); err == nil {
		t.Error("a bad topic is taken")
	}
	want := []string{"send a by one", "acknowledged a at 0: <nil>", "consume a!", "committed 1: <nil>"}
	mu.Lock()
	defer mu.Unlock()
	if len(log) < 6 || !slices.Equal(log[:4], want) || !strings.HasPrefix(log[4], "committed 0: client: committing nosuch-0") {
		t.Errorf("seen:\n%s", strings.Join(log, "\n"))
	}
}

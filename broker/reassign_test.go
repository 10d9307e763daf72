package broker_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/brokertest"
)

// movers is a cluster whose partitions are moved about.
type movers struct {
	t   *testing.T
	c   *brokertest.Cluster
	cl  *kgo.Client
	adm *kadm.Client

	partitions int
}

// startMovers starts four brokers and a topic "m" on the first two.
func startMovers(t *testing.T, partitions int) *movers {
	t.Helper()
	c := brokertest.Start(t, brokertest.Brokers(4), brokertest.Config("replica.lag.time.max.ms", "3000"))
	cl := c.Client()
	m := &movers{t: t, c: c, cl: cl, adm: kadm.NewClient(cl), partitions: partitions}
	req := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "m", -1, -1
	for p := range int32(partitions) {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition, a.Replicas = p, []int32{p % 2, 1 - p%2}
		topic.ReplicaAssignment = append(topic.ReplicaAssignment, a)
	}
	req.Topics, req.TimeoutMillis = append(req.Topics, topic), 30000
	resp, err := req.RequestWith(t.Context(), cl)
	if err != nil || resp.Topics[0].ErrorCode != 0 {
		t.Fatalf("creating: %+v, %v", resp, err)
	}
	return m
}

// move wants other replicas for all partitions; none: it cancels.
func (m *movers) move(to ...int32) {
	m.t.Helper()
	req := kadm.AlterPartitionAssignmentsReq{}
	for p := range m.topic() {
		req.Assign("m", p, to)
	}
	resp, err := m.adm.AlterPartitionAssignments(m.t.Context(), req)
	if err == nil {
		err = resp.Error()
	}
	if err != nil {
		m.t.Fatalf("moving to %v: %v", to, err)
	}
}

// topic is what the brokers say of it, once the one that is asked has heard of it.
func (m *movers) topic() (of kadm.PartitionDetails) {
	m.t.Helper()
	until(m.t, "the topic is known", func() (bool, string) {
		md, err := m.metadata()
		if err != nil || len(md.Topics) == 0 {
			return false, fmt.Sprint(err)
		}
		of = kadm.PartitionDetails{}
		for _, p := range md.Topics[0].Partitions {
			of[p.Partition] = kadm.PartitionDetail{Partition: p.Partition, Leader: p.Leader, Replicas: p.Replicas, ISR: p.ISR}
		}
		return len(of) == m.partitions, strconv.Itoa(len(of))
	})
	return of
}

// metadata asks a broker; kadm would tell what it was told before.
func (m *movers) metadata() (*kmsg.MetadataResponse, error) {
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = kmsg.StringPtr("m")
	req.Topics = append(req.Topics, t)
	return req.RequestWith(m.t.Context(), m.cl)
}

// moving are the partitions that are being reassigned.
func (m *movers) moving() int {
	set := kadm.TopicsSet{}
	for p := range int32(100) {
		set.Add("m", p)
	}
	list, err := m.adm.ListPartitionReassignments(m.t.Context(), set)
	if err != nil {
		return -1
	}
	return len(list["m"])
}

// on waits until all partitions are on just these brokers and in sync, and the
// logs of all others are gone.
func (m *movers) on(brokers ...int32) {
	m.t.Helper()
	slices.Sort(brokers)
	until(m.t, fmt.Sprintf("all on %v", brokers), func() (bool, string) {
		state := fmt.Sprintf("%d moving; ", m.moving())
		ok := m.moving() == 0
		for _, p := range m.topic().Sorted() {
			state += fmt.Sprintf("%d: leader %d of %v isr %v; ", p.Partition, p.Leader, p.Replicas, p.ISR)
			ok = ok && slices.Equal(slices.Sorted(slices.Values(p.Replicas)), brokers) && len(p.ISR) == len(brokers) && slices.Contains(brokers, p.Leader)
		}
		sizes := m.sizes()
		for id := range sizes {
			ok = ok && slices.Contains(brokers, id)
		}
		return ok, state + fmt.Sprintf("logs: %v", sizes)
	})
}

// sizes are the bytes of the topic's logs by broker.
func (m *movers) sizes() map[int32]int64 {
	set := kadm.TopicsSet{}
	for p := range int32(100) {
		set.Add("m", p)
	}
	out := map[int32]int64{}
	all, _ := m.adm.DescribeAllLogDirs(m.t.Context(), set)
	all.Each(func(d kadm.DescribedLogDir) {
		d.Topics.Each(func(p kadm.DescribedLogDirPartition) { out[p.Broker] += p.Size })
	})
	return out
}

// fill produces so many incompressible kilobytes to each partition.
func (m *movers) fill(kilobytes int) {
	m.t.Helper()
	cl := m.c.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(20000))
	for p := range m.topic() {
		for range kilobytes {
			value := make([]byte, 1000)
			rand.Read(value)
			cl.Produce(m.t.Context(), &kgo.Record{Topic: "m", Partition: p, Value: value}, func(_ *kgo.Record, err error) {
				if err != nil {
					m.t.Error(err)
				}
			})
		}
	}
	if err := cl.Flush(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
}

// throttle bounds the copying of all replicas of the topic; 0 takes that off.
func (m *movers) throttle(rate int) {
	m.t.Helper()
	all, text := "*", strconv.Itoa(rate)
	topic := []kadm.AlterConfig{{Name: "leader.replication.throttled.replicas", Value: &all}, {Name: "follower.replication.throttled.replicas", Value: &all}}
	broker := []kadm.AlterConfig{{Name: "leader.replication.throttled.rate", Value: &text}, {Name: "follower.replication.throttled.rate", Value: &text}}
	if rate == 0 {
		for i := range 2 {
			topic[i] = kadm.AlterConfig{Op: kadm.DeleteConfig, Name: topic[i].Name}
			broker[i] = kadm.AlterConfig{Op: kadm.DeleteConfig, Name: broker[i].Name}
		}
	}
	var run []int32
	for id := range int32(4) {
		if m.c.Broker(int(id)).Running() {
			run = append(run, id)
		}
	}
	_, err := m.adm.AlterTopicConfigs(m.t.Context(), topic, "m")
	if err == nil {
		_, err = m.adm.AlterBrokerConfigs(m.t.Context(), broker, run...)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	want := "* * " + text + " " + text
	if rate == 0 {
		want = "<nil> <nil> <nil> <nil>"
	}
	for _, id := range run { // a broker hears of the topic's from the change log, in its own time
		until(m.t, fmt.Sprintf("broker %d knows the throttle %s", id, want), func() (bool, string) {
			got := m.throttled(id)
			return got == want, got
		})
	}
}

// throttled is how a broker throttles the topic: its replicas as leader and as
// follower, and the rates.
func (m *movers) throttled(id int32) string {
	m.t.Helper()
	req := kmsg.NewPtrDescribeConfigsRequest()
	for _, of := range []struct {
		kind kmsg.ConfigResourceType
		name string
		keys []string
	}{
		{kmsg.ConfigResourceTypeTopic, "m", []string{"leader.replication.throttled.replicas", "follower.replication.throttled.replicas"}},
		{kmsg.ConfigResourceTypeBroker, strconv.Itoa(int(id)), []string{"leader.replication.throttled.rate", "follower.replication.throttled.rate"}},
	} {
		r := kmsg.NewDescribeConfigsRequestResource()
		r.ResourceType, r.ResourceName, r.ConfigNames = of.kind, of.name, of.keys
		req.Resources = append(req.Resources, r)
	}
	resp, err := m.cl.Broker(int(id)).RetriableRequest(m.t.Context(), req)
	if err != nil {
		return err.Error()
	}
	values := map[string]string{}
	for _, r := range resp.(*kmsg.DescribeConfigsResponse).Resources {
		for _, c := range r.Configs {
			values[c.Name] = str(c.Value)
		}
	}
	var text []string
	for _, r := range req.Resources {
		for _, key := range r.ConfigNames {
			value, ok := values[key]
			if !ok || value == "" {
				value = "<nil>"
			}
			text = append(text, value)
		}
	}
	return strings.Join(text, " ")
}

// load produces numbers, acks=all, until it is stopped, which returns how many
// were acknowledged.
func (m *movers) load() (sent *atomic.Int64, stop func() int) {
	ctx, cancel := context.WithCancel(m.t.Context())
	cl := m.c.Client(kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	sent = new(atomic.Int64)
	var wg sync.WaitGroup
	wg.Go(func() {
		for ; ctx.Err() == nil; sent.Add(1) {
			if err := cl.ProduceSync(m.t.Context(), &kgo.Record{Topic: "m", Value: []byte(strconv.Itoa(int(sent.Load())))}).FirstErr(); err != nil {
				m.t.Errorf("record %d: %v", sent.Load(), err)
				return
			}
		}
	})
	return sent, func() int { cancel(); wg.Wait(); return int(sent.Load()) }
}

// numbers reads the topic from the beginning and fails unless each number is in
// it once.
func (m *movers) numbers(want int) {
	m.t.Helper()
	cl := m.c.Client(kgo.ConsumeTopics("m"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	seen := make([]int, want)
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	defer cancel()
	for got := 0; got < want; {
		f := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			m.t.Fatalf("%d of %d records", got, want)
		}
		f.EachRecord(func(r *kgo.Record) {
			n, err := strconv.Atoi(string(r.Value))
			if err != nil || n >= want {
				m.t.Errorf("read %q", r.Value)
				return
			}
			seen[n]++
			got++
		})
	}
	for n, times := range seen {
		if times != 1 {
			m.t.Errorf("record %d was read %d times", n, times)
		}
	}
}

// TestMoveOfAllReplicasUnderLoad: all replicas go elsewhere, and back, and
// elsewhere, while records are written. None is lost, none is there twice, and
// nobody who writes sees more than a retry.
func TestMoveOfAllReplicasUnderLoad(t *testing.T) {
	m := startMovers(t, 4)
	sent, stop := m.load()
	for _, to := range [][]int32{{2, 3}, {1, 0}, {3, 1}, {2}, {0, 1, 2}} {
		before := sent.Load()
		m.move(to...)
		m.on(to...)
		until(t, "records", func() (bool, string) { n := sent.Load(); return n > before+20 || t.Failed(), strconv.Itoa(int(n)) })
	}
	all := stop()
	t.Logf("%d records", all)
	m.numbers(all)
}

// TestCancelledMove: what came is dropped, and what was there goes on.
func TestCancelledMove(t *testing.T) {
	m := startMovers(t, 2)
	m.fill(500)
	m.throttle(50_000)
	m.move(2, 3)
	until(t, "copies", func() (bool, string) { s := m.sizes(); return s[2] > 0 && s[3] > 0, fmt.Sprint(s) })
	if n := m.moving(); n != 2 {
		t.Errorf("%d are moving", n)
	}
	m.move()
	m.on(0, 1)
	if got := m.sizes()[0]; got < 1_000_000 {
		t.Errorf("%d bytes are left", got)
	}
	m.move(1, 2) // a part of it, after all
	m.throttle(0)
	m.on(1, 2)
}

// TestMoveOutlivesItsController: the broker that leads the move is killed in the
// middle of it.
func TestMoveOutlivesItsController(t *testing.T) {
	m := startMovers(t, 2)
	m.fill(500)
	md, err := m.metadata()
	if err != nil {
		t.Fatal(err)
	}
	controller := md.ControllerID
	stays := slices.DeleteFunc([]int32{0, 1, 2, 3}, func(id int32) bool { return id == controller })
	m.move(stays[0], stays[1])
	m.on(stays[0], stays[1])
	m.throttle(50_000)
	m.move(stays[1], stays[2])
	until(t, "copies", func() (bool, string) { s := m.sizes(); return s[stays[2]] > 0, fmt.Sprint(s) })
	m.c.Broker(int(controller)).Kill()
	until(t, "another controller", func() (bool, string) {
		md, err := m.metadata()
		return err == nil && md.ControllerID != controller && md.ControllerID >= 0, fmt.Sprint(md, err)
	})
	if n := m.moving(); n != 2 {
		t.Errorf("%d are moving under the new controller", n)
	}
	m.throttle(0)
	m.on(stays[1], stays[2])
}

// TestMoveToABrokerThatDies: it waits for it, and goes on when it is back; a
// broker that was moved away from while it was down drops what it had.
func TestMoveToABrokerThatDies(t *testing.T) {
	m := startMovers(t, 2)
	m.fill(500)
	m.throttle(50_000)
	m.move(1, 2)
	until(t, "copies", func() (bool, string) { s := m.sizes(); return s[2] > 0, fmt.Sprint(s) })
	m.c.Broker(2).Kill()
	until(t, "still moving", func() (bool, string) { n := m.moving(); return n == 2, strconv.Itoa(n) })
	m.c.Broker(0).Kill()
	m.c.Broker(2).Restart()
	m.throttle(0)
	until(t, "moved", func() (bool, string) { n := m.moving(); return n == 0, strconv.Itoa(n) })
	m.c.Broker(0).Restart()
	m.on(1, 2)
}

// TestThrottleHoldsTheRate: a move takes as long as its throttle says, and
// producers whose replicas are in sync wait for nobody.
func TestThrottleHoldsTheRate(t *testing.T) {
	const kilobytes, rate = 200, 100_000 // of each partition; a second for both
	m := startMovers(t, 2)
	m.fill(kilobytes)
	m.throttle(rate)
	began := time.Now()
	m.move(0, 1, 2)
	cl := m.c.Client(kgo.RequiredAcks(kgo.AllISRAcks()))
	slowest := time.Duration(0)
	// Now and then only: what goes to replicas in sync counts as well, and could
	// take all that the throttle gives.
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for m.moving() > 0 {
		<-tick.C
		if time.Since(began) > time.Minute {
			t.Fatalf("still moving after a minute; logs: %v", m.sizes())
		}
		one := time.Now()
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "m", Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		slowest = max(slowest, time.Since(one))
	}
	took := time.Since(began)
	least := time.Duration(2*kilobytes*1000/rate) * time.Second
	t.Logf("%v for %d kB at %d bytes a second; slowest produce %v", took, 2*kilobytes, rate, slowest)
	// Each leader's throttle gives a second's worth at once, and the follower's, which
	// holds them back together until then, may let both through again after half of it.
	if took < least*4/10 {
		t.Errorf("a move of %d kB with %d bytes a second took %v", 2*kilobytes, rate, took)
	}
	m.throttle(0)
	m.on(0, 1, 2)
}

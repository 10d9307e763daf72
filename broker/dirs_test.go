package broker

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/conf"
	"barnabas/internal/vfs"
	"barnabas/zkpaths/devzk"
)

// member is a broker of a test's cluster; its files stay the same over restarts.
type member struct {
	*Broker
	t  *testing.T
	id int
	zk *devzk.Server
	fs vfs.FS
	// dirs are its log.dirs; none: /a,/b.
	dirs string
}

func (m *member) start() {
	m.t.Helper()
	c, _, err := conf.FromMap(map[string]string{
		"broker.id": fmt.Sprint(m.id), "zookeeper.connect": m.zk.Addr(), "listeners": "PLAINTEXT://127.0.0.1:0", "log.dirs": cmp.Or(m.dirs, "/a,/b"),
		"barnabas.http.listen": "127.0.0.1:0", "zookeeper.connection.timeout.ms": "60000", "offsets.topic.num.partitions": "4",
		"offsets.topic.replication.factor": "2", "group.initial.rebalance.delay.ms": "0",
	})
	if err != nil {
		m.t.Fatal(err)
	}
	if m.Broker, err = Start(m.t.Context(), Options{Config: c, Logger: slog.New(slog.DiscardHandler), FS: m.fs, Version: "test", MachineID: "m", BootID: "b"}); err != nil {
		m.t.Fatal(err)
	}
}

func (m *member) restart() {
	m.t.Helper()
	m.Close() // a directory may be offline
	m.start()
}

// disk fails at will: its operations under a directory, while bad names it.
type disk struct {
	vfs.FS
	bad atomic.Pointer[string]
}

func newDisk() *disk {
	d := &disk{}
	d.FS = vfs.NewFailing(vfs.NewMem(), func(op vfs.Op) error {
		if b := d.bad.Load(); b != nil && strings.HasPrefix(op.Name, *b) && op.Kind != vfs.OpRead {
			return errors.New("input/output error")
		}
		return nil
	})
	return d
}

func pair(t *testing.T, first vfs.FS) (one, two *member, cl *kgo.Client, adm *kadm.Client) {
	t.Helper()
	zk, err := devzk.Start(devzk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { zk.Close() })
	one, two = &member{t: t, id: 1, zk: zk, fs: first}, &member{t: t, id: 2, zk: zk, fs: vfs.NewMem()}
	two.start()
	one.start()
	t.Cleanup(func() { one.Close(); two.Close() })
	cl, err = kgo.NewClient(kgo.SeedBrokers(two.Addr("PLAINTEXT").String()), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.MetadataMinAge(20*time.Millisecond), kgo.MetadataMaxAge(time.Second), kgo.ProducerLinger(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return one, two, cl, kadm.NewClient(cl)
}

// awaitState waits until the partitions of a topic are as wanted, as broker 2 tells.
func awaitState(t *testing.T, adm *kadm.Client, what, topic string, want func(kadm.PartitionDetail) bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(time.Minute)
	for {
		m, err := adm.Metadata(t.Context(), topic) // who is asked may have been stopped just now
		all := err == nil && len(m.Topics[topic].Partitions) > 0
		for _, p := range m.Topics[topic].Partitions {
			all = all && want(p)
		}
		if all {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s: not yet: %+v, %v", what, m.Topics[topic].Partitions, err)
		}
	}
}

// in tells which partitions of a topic a broker has in a directory.
func (m *member) in(dir, topic string) map[int32]bool {
	out := map[int32]bool{}
	for _, l := range m.logs.In(dir) {
		if tp := l.TopicPartition(); tp.Topic == topic {
			out[tp.Partition] = true
		}
	}
	return out
}

// TestLogDirectoryFails: a failed directory costs its partitions their leader for a
// moment, the rest nothing; all see which replicas are offline. After a restart
// with the directory still gone its replicas are reported, not made anew; with it
// mended they come back into the ISRs with all records.
func TestLogDirectoryFails(t *testing.T) {
	d := newDisk()
	one, two, cl, adm := pair(t, d)
	one.wantIn(adm, "/a", "r", 0, 1, 2)
	one.wantIn(adm, "/b", "r", 3, 4, 5)
	assign(t, cl, "r", []int32{1, 2}, []int32{2, 1}, []int32{1, 2}, []int32{2, 1}, []int32{1, 2}, []int32{2, 1})
	sent := map[int32]int{}
	send := func() {
		t.Helper()
		for p := range int32(6) {
			for range 5 {
				r := &kgo.Record{Topic: "r", Partition: p, Value: fmt.Append(nil, sent[p])}
				if err := cl.ProduceSync(t.Context(), r).FirstErr(); err != nil {
					t.Fatal(err)
				}
				sent[p]++
			}
		}
	}
	whole := func(p kadm.PartitionDetail) bool { return len(p.ISR) == 2 && len(p.OfflineReplicas) == 0 }
	awaitState(t, adm, "all in sync", "r", whole)
	send()
	lost := one.in("/a", "r")
	if !maps.Equal(lost, map[int32]bool{0: true, 1: true, 2: true}) {
		t.Fatalf("in /a: %v", lost)
	}
	bad := "/a"
	d.bad.Store(&bad)
	send() // what broker 1 leads in /a is refused, retried, and taken by broker 2
	degraded := func(p kadm.PartitionDetail) bool {
		if !lost[p.Partition] {
			return whole(p)
		}
		return p.Leader == 2 && slices.Equal(p.ISR, []int32{2}) && slices.Equal(p.OfflineReplicas, []int32{1})
	}
	awaitState(t, adm, "offline replicas, and only they", "r", degraded)
	send()

	one.restart() // /a can't even be locked
	awaitState(t, adm, "the same after a restart", "r", degraded)
	for p := range lost {
		if one.in("/b", "r")[p] {
			t.Errorf("partition %d was made anew", p)
		}
	}
	send()
	two.restart() // another controller
	cl.UpdateSeedBrokers(one.Addr("PLAINTEXT").String())
	awaitState(t, adm, "the same under another controller", "r", degraded)

	d.bad.Store(nil)
	one.restart()
	cl.UpdateSeedBrokers(two.Addr("PLAINTEXT").String())
	awaitState(t, adm, "all in sync again", "r", whole)
	if now := one.in("/a", "r"); !maps.Equal(now, lost) {
		t.Errorf("in /a %v, before %v", now, lost)
	}
	send()
	for p, n := range sent {
		awaitEnd(t, one, "r", p, n)
		awaitEnd(t, two, "r", p, n)
	}
}

// awaitEnd waits until a broker's log of a partition has n records.
func awaitEnd(t *testing.T, m *member, topic string, p int32, n int) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(time.Minute)
	for {
		end := int64(-1)
		for l := range m.logs.All() {
			if tp := l.TopicPartition(); tp.Topic == topic && tp.Partition == p {
				end = l.EndOffset()
			}
		}
		if end == int64(n) {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s-%d on broker %d ends at %d, want %d", topic, p, m.id, end, n)
		}
	}
}

// wantIn has partitions that the broker is to get made in a directory.
func (m *member) wantIn(adm *kadm.Client, dir, topic string, partitions ...int32) {
	m.t.Helper()
	var req kadm.AlterReplicaLogDirsReq
	var set kadm.TopicsSet
	set.Add(topic, partitions...)
	req.Add(dir, set)
	awaitBroker(m.t, adm, int32(m.id))
	resp, err := adm.AlterBrokerReplicaLogDirs(m.t.Context(), int32(m.id), req)
	if err != nil {
		m.t.Fatal(err)
	}
	resp.Each(func(r kadm.AlterReplicaLogDirsResponse) {
		if !errors.Is(r.Err, kerr.UnknownTopicOrPartition) {
			m.t.Errorf("%s-%d: %v", r.Topic, r.Partition, r.Err)
		}
	})
}

// awaitBroker waits until the client knows a broker.
func awaitBroker(t *testing.T, adm *kadm.Client, id int32) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(time.Minute)
	for {
		m, err := adm.BrokerMetadata(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(m.Brokers.NodeIDs(), id) {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("broker %d is not known yet: %v", id, m.Brokers.NodeIDs())
		}
	}
}

// assign makes a topic of partitions with these replicas.
func assign(t *testing.T, cl *kgo.Client, topic string, replicas ...[]int32) {
	t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 20000
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = topic, -1, -1
	for p, r := range replicas {
		rt.ReplicaAssignment = append(rt.ReplicaAssignment, kmsg.CreateTopicsRequestTopicReplicaAssignment{Partition: int32(p), Replicas: r})
	}
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(t.Context(), cl)
	if err != nil || resp.Topics[0].ErrorCode != 0 {
		t.Fatal(err, resp)
	}
}

// TestMissingLogIsReported: a broker whose log was lost while it was down does not
// lead with an empty one. Where it was the last in sync the partition waits until
// somebody brings the log back, or gives it up by making its directory.
func TestMissingLogIsReported(t *testing.T) {
	mem := vfs.NewMem()
	one, two, cl, adm := pair(t, mem)
	assign(t, cl, "alone", []int32{1})
	assign(t, cl, "r", []int32{1, 2})
	awaitState(t, adm, "all in sync", "r", func(p kadm.PartitionDetail) bool { return len(p.ISR) == 2 })
	for _, topic := range []string{"alone", "r"} {
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("v")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	one.Close() // broker 2 is alone in sync of r
	if err := errors.Join(mem.RemoveAll("/a/alone-0"), mem.RemoveAll("/b/alone-0"), mem.RemoveAll("/a/r-0"), mem.RemoveAll("/b/r-0")); err != nil {
		t.Fatal(err)
	}
	one.start()
	awaitState(t, adm, "copied from the other", "r", func(p kadm.PartitionDetail) bool { return len(p.ISR) == 2 && len(p.OfflineReplicas) == 0 })
	awaitEnd(t, one, "r", 0, 1)
	waits := func(p kadm.PartitionDetail) bool {
		return p.Leader == -1 && slices.Equal(p.ISR, []int32{1}) && slices.Equal(p.OfflineReplicas, []int32{1})
	}
	awaitState(t, adm, "no leader without its records", "alone", waits)
	one.restart()
	two.restart()
	cl.UpdateSeedBrokers(two.Addr("PLAINTEXT").String())
	awaitState(t, adm, "the same later", "alone", waits)
	one.Close()
	if err := mem.MkdirAll("/b/alone-0"); err != nil {
		t.Fatal(err)
	}
	one.start()
	awaitState(t, adm, "given up by hand", "alone", func(p kadm.PartitionDetail) bool { return p.Leader == 1 && len(p.OfflineReplicas) == 0 })
	awaitEnd(t, one, "alone", 0, 0)
}

// TestDirectoryTakenOut: of a directory that is no longer in log.dirs the logs are
// missing: where another replica is in sync they are copied, where this broker was the
// last nobody leads, now or after another restart, until the directory is back. What
// was copied meanwhile stays, and what the directory has of its name is set aside.
func TestDirectoryTakenOut(t *testing.T) {
	one, _, cl, adm := pair(t, vfs.NewMem())
	assign(t, cl, "alone", []int32{1}, []int32{1}, []int32{1}, []int32{1})
	assign(t, cl, "r", []int32{1, 2}, []int32{1, 2})
	awaitState(t, adm, "all in sync", "r", func(p kadm.PartitionDetail) bool { return len(p.ISR) == 2 })
	for topic, partitions := range map[string]int32{"alone": 4, "r": 2} {
		for p := range partitions {
			if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Partition: p, Value: []byte("v")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	away := one.in("/a", "alone")
	if len(away) == 0 || len(away) == 4 {
		t.Fatalf("of 4 partitions %v are in one directory", away)
	}
	one.Close()
	one.dirs = "/b"
	for _, when := range []string{"without the directory", "the same later"} {
		one.start()
		awaitState(t, adm, when, "alone", func(p kadm.PartitionDetail) bool {
			if away[p.Partition] {
				return p.Leader == -1 && slices.Equal(p.OfflineReplicas, []int32{1})
			}
			return p.Leader == 1 && len(p.OfflineReplicas) == 0
		})
		awaitState(t, adm, "copied from the other", "r", func(p kadm.PartitionDetail) bool { return len(p.ISR) == 2 && len(p.OfflineReplicas) == 0 })
		one.Close()
	}
	one.dirs = "/a,/b"
	one.start()
	awaitState(t, adm, "the directory is back", "alone", func(p kadm.PartitionDetail) bool { return p.Leader == 1 && len(p.OfflineReplicas) == 0 })
	for p := range int32(4) {
		awaitEnd(t, one, "alone", p, 1)
	}
	if now := one.in("/a", "r"); len(now) != 0 {
		t.Errorf("%v of r are in the directory that was away", now)
	}
}

// TestServesWhileRecovering: after a crash a broker registers and serves what is
// checked while one large log is not; that is reported, not led, and led once it is
// open.
func TestServesWhileRecovering(t *testing.T) {
	mem := vfs.NewMem()
	var slow atomic.Pointer[chan struct{}]
	fs := vfs.NewFailing(mem, func(op vfs.Op) error {
		if gate := slow.Load(); gate != nil && op.Kind == vfs.OpList && strings.HasSuffix(op.Name, "/big-0") {
			<-*gate
		}
		return nil
	})
	one, _, cl, adm := pair(t, fs)
	for _, topic := range []string{"big", "small"} {
		assign(t, cl, topic, []int32{1})
		if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("v")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	gate := make(chan struct{})
	slow.Store(&gate)
	one.start()
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "small", Value: []byte("v")}).FirstErr(); err != nil {
		t.Errorf("to what is open: %v", err)
	}
	awaitState(t, adm, "the other is offline", "big", func(p kadm.PartitionDetail) bool {
		return p.Leader == -1 && slices.Equal(p.OfflineReplicas, []int32{1})
	})
	if code, body := ask(t, one.Broker, "/readyz"); code != 503 || !strings.Contains(body, "are still being checked: ") || !strings.Contains(body, "%") {
		t.Errorf("%d %s", code, body)
	}
	if code, body := ask(t, one.Broker, "/startupz"); code != 200 || !strings.Contains(body, "recovering logs, ") {
		t.Errorf("%d %s", code, body)
	}
	close(gate)
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "big", Value: []byte("v")}).FirstErr(); err != nil {
		t.Errorf("to what is open now: %v", err)
	}
	awaitEnd(t, one, "big", 0, 2)
	awaitState(t, adm, "nothing is offline", "big", func(p kadm.PartitionDetail) bool { return p.Leader == 1 && len(p.OfflineReplicas) == 0 })
}

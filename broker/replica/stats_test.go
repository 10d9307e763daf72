package replica

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"barnabas/internal/kafka"
	"barnabas/internal/metrics"
	"barnabas/internal/vfs"
	"barnabas/log"
)

// TestTrafficOfPartitions: what is counted, by topic, and that nothing of it is
// lost with the partition.
func TestTrafficOfPartitions(t *testing.T) {
	m := start(t, vfs.NewMem())
	become(t, m, leading(0, self, 2))
	if _, err := m.Append(tp, records(t, 3), 1, log.Client); err != nil {
		t.Fatal(err)
	}
	become(t, m, leading(1, self)) // the follower is gone; the records are readable
	size := int64(len(records(t, 3)))

	d, err := m.Read(&ReadArgs{TP: tp, Epoch: kafka.NoLeaderEpoch, LastFetched: kafka.NoLeaderEpoch, MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	d.CountSent()
	d.Records.Release()
	if d, err = m.Read(&ReadArgs{TP: tp, Epoch: kafka.NoLeaderEpoch, LastFetched: kafka.NoLeaderEpoch, Offset: 3, MaxBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	d.CountSent() // nothing

	bad := records(t, 1)
	bad[len(bad)-1]++
	if _, err := m.Append(tp, bad, 1, log.Client); err == nil {
		t.Error("a damaged batch was taken")
	}
	p := m.Partition(tp)
	o := log.DefaultOptions()
	o.MaxMessageBytes = 10
	p.log.SetOptions(o)
	large := records(t, 5)
	if _, err := m.Append(tp, large, 1, log.Client); err == nil {
		t.Error("a batch that is too large was taken")
	}

	want := Traffic{Produces: 3, BytesIn: size, MessagesIn: 3, BytesOut: size, BytesRejected: int64(len(large)), BadCRC: 1}
	c := m.Census(nil)
	if c.Traffic != want || len(c.Topics) != 1 || c.Topics[0] != (TopicTraffic{"t", want}) {
		t.Errorf("got %+v\nwant %+v", c, want)
	}
	m.remove(p, "test", true)
	if c := m.Census(nil); c.Traffic != want || len(c.Topics) != 0 || c.Partitions != 0 {
		t.Errorf("after the removal: got %+v\nwant %+v", c, want)
	}
}

// TestCensus counts partitions of every kind.
func TestCensus(t *testing.T) {
	m := start(t, vfs.NewMem())
	put := func(partition int32, s State) {
		t.Helper()
		if err := m.Become(kafka.TopicPartition{Topic: "t", Partition: partition}, s, log.DefaultOptions()); err != nil {
			t.Fatal(err)
		}
	}
	state := func(leader kafka.BrokerID, replicas, isr, minISR int, zxid int64) State {
		ids := []kafka.BrokerID{self, 2, 3}
		return State{TopicID: kafka.TopicID{1}, Replicas: ids[:replicas], ISR: ids[:isr], Leader: leader, Zxid: zxid, Created: zxid, MinISR: minISR}
	}
	put(0, state(self, 3, 3, 2, 200))
	put(1, state(self, 3, 2, 2, 200)) // under-replicated, at the minimum
	put(2, state(self, 3, 1, 2, 200)) // below the minimum
	put(3, state(2, 3, 1, 2, 200))    // another's to count
	put(4, state(self, 1, 1, 2, 50))  // an old state; the minimum is 1 of 1
	m.Partition(kafka.TopicPartition{Topic: "t", Partition: 3}).fail(state(2, 3, 3, 2, 200), io.ErrUnexpectedEOF)

	c := m.Census(nil)
	c.Topics, c.Traffic = nil, Traffic{}
	want := Census{Partitions: 5, Leaders: 4, UnderReplicated: 2, UnderMinISR: 1, AtMinISR: 2, Offline: 1, Unusable: 1, Example: io.ErrUnexpectedEOF}
	if fmt.Sprint(c) != fmt.Sprint(want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}

	r := metrics.New()
	r.Collect(m.Collect)
	var plain, all bytes.Buffer
	if err := r.WritePage(&plain, false); err != nil {
		t.Fatal(err)
	}
	if err := r.WritePage(&all, true); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(plain.String(), "partition=") {
		t.Error("partitions that nobody asked for")
	}
	for _, line := range []string{
		"kafka_server_replicamanager_underreplicatedpartitions 2", "kafka_server_replicamanager_underminisrpartitioncount 1",
		`kafka_log_log_numlogsegments{topic="t",partition="0"} 1`, `kafka_cluster_partition_insyncreplicascount{topic="t",partition="1"} 2`,
		`kafka_cluster_partition_underminisr{topic="t",partition="2"} 1`, `kafka_server_delayedoperationpurgatory_purgatorysize{delayedOperation="Fetch"} 0`,
	} {
		if !strings.Contains(all.String(), line+"\n") {
			t.Errorf("no %s in\n%s", line, all.String())
		}
	}
	if strings.Contains(all.String(), `kafka_log_log_size{topic="t",partition="3"}`) {
		t.Error("the size of a log that is not there")
	}
}

// pageOf is the page with the series of each partition.
func pageOf(t *testing.T, m *Manager) string {
	t.Helper()
	r := metrics.New()
	r.Collect(m.Collect)
	var b bytes.Buffer
	if err := r.WritePage(&b, true); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestISRChangesAreCounted by the leader, for as long as it is that.
func TestISRChangesAreCounted(t *testing.T) {
	m := start(t, vfs.NewMem())
	state := func(epoch kafka.LeaderEpoch, version kafka.PartitionEpoch, leader kafka.BrokerID, isr ...kafka.BrokerID) {
		t.Helper()
		s := leading(epoch, isr...)
		s.Replicas, s.PartitionEpoch, s.Leader = []kafka.BrokerID{self, 2, 3}, version, leader
		become(t, m, s)
	}
	state(0, 0, self, self, 2, 3) // the first state: nothing changed
	state(0, 1, self, self, 2)
	state(0, 1, self, self, 2) // once more the same
	state(1, 2, self, self)    // by the controller, with a new epoch
	state(1, 3, self, self, 2)
	state(2, 4, self, self, 3) // one goes and one comes
	state(3, 5, 2, self, 2, 3) // another leads
	state(4, 6, self, self)    // it had led meanwhile
	page := pageOf(t, m)
	for _, line := range []string{
		"kafka_server_replicamanager_isrshrinks_total 3", "kafka_server_replicamanager_isrshrinkspersec 3", "kafka_server_replicamanager_isrexpands_total 2",
	} {
		if !strings.Contains(page, line+"\n") {
			t.Errorf("no %s in\n%s", line, page)
		}
	}
}

// TestLagShows: how far a follower is behind what its leader said last.
func TestLagShows(t *testing.T) {
	m := start(t, vfs.NewMem())
	s := leading(0, 2, self)
	s.Leader = 2
	become(t, m, s)
	f := &Following{TP: tp, TopicID: kafka.TopicID{1}, Leader: 2, Epoch: 0}
	lag := func(want int64) {
		t.Helper()
		page := pageOf(t, m)
		for _, line := range []string{
			`kafka_server_replicafetchermanager_maxlag{clientId="Replica"} `,
			`kafka_server_fetcherlagmetrics_consumerlag{clientId="ReplicaFetcherThread-0-2",topic="t",partition="0"} `,
		} {
			if line += fmt.Sprint(want); !strings.Contains(page, line+"\n") {
				t.Errorf("no %s in\n%s", line, page)
			}
		}
	}
	lag(0)
	for _, highWatermark := range []int64{100, 50, 1} { // of another leader it may be lower
		s.LeaderEpoch++
		s.PartitionEpoch++
		s.Zxid++
		f.Epoch++
		become(t, m, s)
		lag(0)
		var recs []byte
		if m.Log(tp).EndOffset() == 0 {
			recs = records(t, 3)
		}
		if err := m.AppendFetched(f, recs, highWatermark, 0); err != nil {
			t.Fatal(err)
		}
		lag(max(highWatermark-3, 0))
	}
}

// BenchmarkPage40000 is the page of a broker with 40,000 partitions in 400
// topics, each with traffic. Its budget is 100 ms.
func BenchmarkPage40000(b *testing.B) {
	logs, err := log.OpenManager(b.Context(), log.ManagerOptions{
		FS: vfs.NewMem(), Dirs: []string{"/data"}, Defaults: log.DefaultOptions(), BootID: "boot", Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	m := NewManager(Options{Self: self, Logs: logs, Logger: slog.New(slog.DiscardHandler)})
	m.SetRegistration(100, 100)
	// One log serves all: opening 40,000 takes longer than everything else here.
	l, err := logs.GetOrCreate(tp, kafka.TopicID{1}, true)
	if err != nil {
		b.Fatal(err)
	}
	for topic := range 400 {
		for i := range int32(100) {
			tp := kafka.TopicPartition{Topic: fmt.Sprintf("orders-of-region-%d", topic), Partition: i}
			m.partitions[tp] = &Partition{tp: tp, m: m, log: l, state: leading(3, self, 2, 3), leading: true, traffic: Traffic{Produces: 1e6, BytesIn: 1e9, MessagesIn: 1e7}}
		}
	}
	r := metrics.New()
	r.Collect(m.Collect)
	for _, partitions := range []bool{false, true} {
		b.Run(fmt.Sprintf("partitions=%v", partitions), func(b *testing.B) {
			b.ReportAllocs()
			var n countWriter
			for b.Loop() {
				n = 0
				if err := r.WritePage(&n, partitions); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n), "page-bytes")
		})
	}
}

type countWriter int

func (n *countWriter) Write(p []byte) (int, error) { *n += countWriter(len(p)); return len(p), nil }

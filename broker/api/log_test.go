package api

import (
	"log/slog"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/replica"
	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log"
)

// realBroker serves topic a from logs.
func realBroker(t testing.TB) *broker {
	t.Helper()
	logs, err := log.OpenManager(t.Context(), log.ManagerOptions{FS: vfs.OS, Dirs: []string{t.TempDir()}, BootID: "boot"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := logs.Close(); err != nil {
			t.Error(err)
		}
	})
	m := replica.NewManager(replica.Options{
		Self: 1, Logs: logs, Topic: func(map[string]string) (int, log.Options) { return 1, log.DefaultOptions() },
		Logger: slog.New(slog.DiscardHandler),
	})
	m.SetRegistration(5, 5)
	err = m.Become(kafka.TopicPartition{Topic: "a"}, replica.State{
		TopicID: idA, Replicas: []kafka.BrokerID{1}, ISR: []kafka.BrokerID{1}, Leader: 1, Zxid: 7, Created: 7, MinISR: 1,
	}, log.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, m, m.Fetches())
}

// TestProduceAndFetchWithLogs: what is produced comes back, also to a fetch
// that waited for it.
func TestProduceAndFetchWithLogs(t *testing.T) {
	b := realBroker(t)
	producer, consumer := b.dial(), b.dial()
	recs := records(t, 100, plain())
	for i := range int64(6) {
		fetch := fetchRequest(17, 20_000, toFetch{"a", idA, 0, i})
		consumer.send(fetch)
		await(t, func() bool { return b.api.opt.Fetches.Len() == 1 })
		p := call[*kmsg.ProduceResponse](producer, produceRequest(9, -1, toProduce{"a", 0, recs})).Topics[0].Partitions[0]
		if p.ErrorCode != 0 || p.BaseOffset != i {
			t.Fatalf("produce %d: %+v", i, p)
		}
		f := receive[*kmsg.FetchResponse](consumer, fetch).Topics[0].Partitions[0]
		if f.HighWatermark != i+1 || len(f.RecordBatches) != len(recs) {
			t.Fatalf("fetch %d: %d bytes, %+v", i, len(f.RecordBatches), f)
		}
	}
	f := call[*kmsg.FetchResponse](consumer, fetchRequest(4, 0, toFetch{"a", idA, 0, 2})).Topics[0].Partitions[0]
	if len(f.RecordBatches) != 4*len(recs) {
		t.Errorf("from offset 2: %d bytes, want %d", len(f.RecordBatches), 4*len(recs))
	}
}

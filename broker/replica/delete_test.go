package replica

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log"
	"barnabas/log/batch"
	"barnabas/log/checkpoint"
	"barnabas/protocol"
)

func deleteOne(t *testing.T, m *Manager, tp kafka.TopicPartition, offset int64, wait time.Duration) Deleted {
	t.Helper()
	return m.DeleteRecords(t.Context(), []Deletion{{TP: tp, Offset: offset}}, wait)[0]
}

// TestDeleteRecords has the cases of a running 3.9.1.
func TestDeleteRecords(t *testing.T) {
	fs := vfs.NewMem()
	m := start(t, fs)
	become(t, m, leading(0, self))
	for range 2 {
		if _, err := m.Append(tp, records(t, 4), 1, log.Client); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		offset int64
		low    int64
		code   protocol.Error
	}{
		{"beyond", 9, -1, protocol.OffsetOutOfRange},
		{"inside a batch", 3, 3, protocol.None},
		{"below the start", 1, 3, protocol.None},
		{"negative", -5, -1, protocol.OffsetOutOfRange},
		{"to the high watermark", ToHighWatermark, 8, protocol.None},
	} {
		d := deleteOne(t, m, tp, c.offset, time.Minute)
		if got := protocol.CodeOf(d.Err); got != c.code || d.LowWatermark != c.low {
			t.Errorf("%s: got %v, low watermark %d; want %v, %d", c.name, got, d.LowWatermark, c.code, c.low)
		}
		// What was answered is on disk.
		saved, err := checkpoint.ReadOffsets(fs, "/data/"+checkpoint.LogStartFile)
		if err != nil || c.low >= 0 && saved[tp] != c.low {
			t.Errorf("%s: the checkpoint has %v, %v", c.name, saved, err)
		}
	}
	_, err := m.Read(&ReadArgs{TP: tp, Epoch: 0, LastFetched: kafka.NoLeaderEpoch, Offset: 7, MaxBytes: 1 << 20})
	wantCode(t, err, protocol.OffsetOutOfRange)

	d := deleteOne(t, m, kafka.TopicPartition{Topic: "none"}, 1, time.Minute)
	wantCode(t, d.Err, protocol.UnknownTopicOrPartition)
	d = deleteOne(t, m, kafka.TopicPartition{Topic: kafka.ConsumerOffsetsTopic}, 1, time.Minute)
	wantCode(t, d.Err, protocol.InvalidTopic)
	m.SetRegistration(0, 0)
	d = deleteOne(t, m, tp, 8, time.Minute)
	wantCode(t, d.Err, protocol.NotLeaderOrFollower)
}

func TestCompactedRecordsAreNotDeleted(t *testing.T) {
	m := start(t, vfs.NewMem())
	o := log.DefaultOptions()
	o.Delete, o.Compact = false, true
	if err := m.Become(tp, leading(0, self), o); err != nil {
		t.Fatal(err)
	}
	d := deleteOne(t, m, tp, ToHighWatermark, time.Minute)
	wantCode(t, d.Err, protocol.PolicyViolation)
	o.Delete = true // compact,delete
	if err := m.Become(tp, leading(0, self), o); err != nil {
		t.Fatal(err)
	}
	d = deleteOne(t, m, tp, ToHighWatermark, time.Minute)
	wantCode(t, d.Err, protocol.None)
}

// TestDeletionWaitsForLiveReplicas: the low watermark is that of all live
// replicas; one that is dead is not waited for.
func TestDeletionWaitsForLiveReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t, vfs.NewMem())
		s := leading(0, self)
		s.Replicas = []kafka.BrokerID{self, 2}
		become(t, m, s)
		if _, err := m.Append(tp, records(t, 4), 1, log.Client); err != nil {
			t.Fatal(err)
		}
		dead := cluster.Empty()
		m.Follow(dead, nil)
		if d := deleteOne(t, m, tp, 1, time.Minute); d.Err != nil || d.LowWatermark != 1 {
			t.Errorf("replica dead: %+v", d)
		}
		e := cluster.NewEdit(dead)
		e.ReadBroker(&cluster.Broker{ID: 2, Epoch: 5, Zxid: 5})
		alive, _ := e.Publish()
		m.Follow(alive, nil)
		begun := time.Now()
		d := deleteOne(t, m, tp, 2, 3*time.Second)
		wantCode(t, d.Err, protocol.RequestTimedOut)
		if took := time.Since(begun); took != 3*time.Second {
			t.Errorf("waited %v", took)
		}
		got := make(chan Deleted)
		go func() { got <- deleteOne(t, m, tp, 3, time.Minute) }()
		synctest.Wait()
		s.LeaderEpoch++
		become(t, m, s) // the leadership changed under it
		d = <-got
		wantCode(t, d.Err, protocol.NotLeaderOrFollower)
		if p, _ := m.Parked(); p != 0 {
			t.Errorf("%d still parked", p)
		}
	})
}

func TestProducersOfAPartition(t *testing.T) {
	m := start(t, vfs.NewMem())
	become(t, m, leading(0, self))
	b := batch.NewBuilder(batch.BuilderOptions{Producer: &batch.Producer{ID: 7, Epoch: 2}})
	now := time.Now().UnixMilli()
	b.Append(now, nil, []byte("v"))
	b.Append(now+1, nil, []byte("v"))
	recs, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Append(tp, recs, 1, log.Client); err != nil {
		t.Fatal(err)
	}
	s := leading(1, 2, self)
	s.Leader = 2
	become(t, m, s) // a follower answers as well
	got, err := m.Producers(tp)
	want := log.ProducerState{ID: 7, Epoch: 2, LastSequence: 1, LastTimestamp: now + 1, CoordinatorEpoch: -1, TxnStartOffset: -1}
	if err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	_, err = m.Producers(kafka.TopicPartition{Topic: "none"})
	wantCode(t, err, protocol.UnknownTopicOrPartition)
}

func TestLogDirs(t *testing.T) {
	m := start(t, vfs.NewMem())
	become(t, m, leading(0, self))
	if _, err := m.Append(tp, records(t, 4), 1, log.Client); err != nil {
		t.Fatal(err)
	}
	size := m.Log(tp).Size()
	dirs := m.LogDirs(nil)
	if len(dirs) != 1 || dirs[0].Path != "/data" || dirs[0].Err != nil || len(dirs[0].Replicas) != 1 ||
		dirs[0].Replicas[0] != (LogDirReplica{TP: tp, Size: size}) {
		t.Errorf("got %+v", dirs)
	}
	dirs = m.LogDirs(func(kafka.TopicPartition) bool { return false })
	if len(dirs) != 1 || len(dirs[0].Replicas) != 0 {
		t.Errorf("got %+v", dirs)
	}
}

// TestDeletionThatCannotBeKept: where the checkpoint cannot be written the
// deletion is not answered as done, and the directory is offline.
func TestDeletionThatCannotBeKept(t *testing.T) {
	var broken atomic.Bool
	m := start(t, vfs.NewFailing(vfs.NewMem(), func(op vfs.Op) error {
		if broken.Load() && op.Kind == vfs.OpRename && strings.HasSuffix(op.New, checkpoint.LogStartFile) {
			return errors.New("no more disk")
		}
		return nil
	}))
	become(t, m, leading(0, self))
	if _, err := m.Append(tp, records(t, 4), 1, log.Client); err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	d := deleteOne(t, m, tp, 2, time.Minute)
	wantCode(t, d.Err, protocol.KafkaStorageError)
	if d.LowWatermark != -1 {
		t.Errorf("low watermark %d", d.LowWatermark)
	}
	if dirs := m.LogDirs(nil); dirs[0].Err == nil || len(dirs[0].Replicas) != 0 {
		t.Errorf("got %+v", dirs)
	}
	_, err := m.Producers(tp)
	wantCode(t, err, protocol.KafkaStorageError)
}

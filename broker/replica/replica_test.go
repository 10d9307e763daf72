package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"
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

const self kafka.BrokerID = 1

var tp = kafka.TopicPartition{Topic: "t", Partition: 0}

// start makes a manager on files in memory that is registered with czxid 100.
func start(t *testing.T, fs vfs.FS) *Manager {
	t.Helper()
	usedDirectory(t, fs, "/data")
	logs, err := log.OpenManager(t.Context(), log.ManagerOptions{
		FS: fs, Dirs: []string{"/data"}, Defaults: log.DefaultOptions(), BootID: "boot", Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := logs.Close(); err != nil {
			t.Error(err)
		}
	})
	m := NewManager(Options{
		Self: self, Logs: logs, Logger: slog.New(slog.DiscardHandler),
		Topic: func(map[string]string) (int, log.Options) { return 1, log.DefaultOptions() },
	})
	m.SetRegistration(100, 100)
	return m
}

// usedDirectory makes a log directory one that was there before.
func usedDirectory(t *testing.T, fs vfs.FS, dir string) {
	t.Helper()
	err := errors.Join(fs.MkdirAll(dir), fs.SyncDir("/"))
	if err == nil {
		err = checkpoint.WriteMeta(fs, path.Join(dir, checkpoint.MetaPropertiesFile), checkpoint.Meta{BrokerID: self}, time.Unix(0, 0))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func leading(epoch kafka.LeaderEpoch, isr ...kafka.BrokerID) State {
	s := State{
		TopicID: kafka.TopicID{1}, Replicas: isr, ISR: isr, Leader: self, LeaderEpoch: epoch, Zxid: 200, MinISR: 1,
	}
	if epoch == 0 {
		s.Created = s.Zxid
	}
	return s
}

func become(t *testing.T, m *Manager, s State) {
	t.Helper()
	if err := m.Become(tp, s, log.DefaultOptions()); err != nil {
		t.Fatal(err)
	}
}

func records(t *testing.T, n int) []byte {
	t.Helper()
	b := batch.NewBuilder(batch.BuilderOptions{})
	for range n {
		b.Append(time.Now().UnixMilli(), nil, []byte("value"))
	}
	out, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func wantCode(t *testing.T, err error, want protocol.Error) {
	t.Helper()
	if got := protocol.CodeOf(err); got != want {
		t.Errorf("got %v (%v), want %v", got, err, want)
	}
}

func TestAppendMovesTheHighWatermarkOfALoneLeader(t *testing.T) {
	m := start(t, vfs.NewMem())
	become(t, m, leading(0, self))
	a, err := m.Append(tp, records(t, 3), -1, log.Client)
	if err != nil || a.FirstOffset != 0 || a.LastOffset != 2 || !a.Replicated {
		t.Fatalf("got %+v, %v", a, err)
	}
	d, err := m.Read(&ReadArgs{TP: tp, Epoch: 0, LastFetched: kafka.NoLeaderEpoch, MaxBytes: 1 << 20})
	if err != nil || d.HighWatermark != 3 || d.Records.Length == 0 {
		t.Fatalf("read %+v, %v", d, err)
	}
	d.Records.Release()
}

func TestNothingAboveTheHighWatermarkIsRead(t *testing.T) {
	m := start(t, vfs.NewMem())
	become(t, m, leading(0, self, 2))
	a, err := m.Append(tp, records(t, 3), 1, log.Client)
	if err != nil || a.Replicated {
		t.Fatalf("got %+v, %v", a, err)
	}
	for _, isolation := range []Isolation{ReadUncommitted, ReadCommitted} {
		d, err := m.Read(&ReadArgs{TP: tp, Epoch: 0, LastFetched: kafka.NoLeaderEpoch, MaxBytes: 1 << 20, MinOne: true, Isolation: isolation})
		if err != nil || d.Records.Length != 0 || d.HighWatermark != 0 {
			t.Errorf("isolation %d: read %+v, %v", isolation, d, err)
		}
	}
	o, err := m.Offset(&OffsetQuery{TP: tp, Epoch: kafka.NoLeaderEpoch, Timestamp: LatestTimestamp})
	if err != nil || o.Offset != 0 {
		t.Errorf("latest offset %+v, %v", o, err)
	}
	o, err = m.Offset(&OffsetQuery{TP: tp, Epoch: kafka.NoLeaderEpoch, Timestamp: 0})
	if err != nil || o.Offset != -1 {
		t.Errorf("offset by time %+v, %v", o, err)
	}
}

func TestOnlyAStateYoungerThanTheRegistrationLeads(t *testing.T) {
	m := start(t, vfs.NewMem())
	s := leading(0, self)
	s.Zxid = 100 // not above the registration
	become(t, m, s)
	_, err := m.Append(tp, records(t, 1), 1, log.Client)
	wantCode(t, err, protocol.NotLeaderOrFollower)
	s.Zxid, s.LeaderEpoch = 101, 1
	become(t, m, s)
	if _, err := m.Append(tp, records(t, 1), 1, log.Client); err != nil {
		t.Fatal(err)
	}
	m.SetRegistration(0, 0) // lost
	_, err = m.Append(tp, records(t, 1), 1, log.Client)
	wantCode(t, err, protocol.NotLeaderOrFollower)
	_, err = m.Read(&ReadArgs{TP: tp, Epoch: kafka.NoLeaderEpoch, LastFetched: kafka.NoLeaderEpoch, MaxBytes: 1})
	wantCode(t, err, protocol.NotLeaderOrFollower)
}

// TestOnlyAStatePlannedForThisRegistrationLeads: one that was written after the
// registration, but before the log told of it, was planned for the broker that was
// there before.
func TestOnlyAStatePlannedForThisRegistrationLeads(t *testing.T) {
	m := start(t, vfs.NewMem())
	s := leading(0, self)
	s.Zxid = 305
	become(t, m, s)
	refused := func(when string) {
		t.Helper()
		if _, err := m.Append(tp, records(t, 1), 1, log.Client); protocol.CodeOf(err) != protocol.NotLeaderOrFollower {
			t.Errorf("%s: %v", when, err)
		}
	}
	m.SetRegistration(300, 0)
	refused("before the log tells")
	m.SetRegistration(300, 310)
	refused("under a state from before the log told")
	s.Zxid, s.LeaderEpoch = 310, 1 // by the same transaction
	become(t, m, s)
	if _, err := m.Append(tp, records(t, 1), 1, log.Client); err != nil {
		t.Error(err)
	}
}

func TestMinInsyncReplicas(t *testing.T) {
	m := start(t, vfs.NewMem())
	s := leading(0, self)
	s.Replicas, s.MinISR = []kafka.BrokerID{self, 2, 3}, 2
	become(t, m, s)
	_, err := m.Append(tp, records(t, 1), -1, log.Client)
	wantCode(t, err, protocol.NotEnoughReplicas)
	a, err := m.Append(tp, records(t, 1), 1, log.Client)
	if err != nil || a.FirstOffset != 0 {
		t.Fatalf("acks=1: %+v, %v", a, err)
	}
	if hw := m.Log(tp).HighWatermark(); hw != 0 {
		t.Errorf("high watermark %d although the ISR is too small", hw)
	}
	s.Replicas = []kafka.BrokerID{self} // min.insync.replicas above the replication factor
	s.LeaderEpoch++
	become(t, m, s)
	if a, err := m.Append(tp, records(t, 1), -1, log.Client); err != nil || !a.Replicated {
		t.Errorf("one replica: %+v, %v", a, err)
	}
}

func TestAwaitReplicated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t, vfs.NewMem())
		become(t, m, leading(0, self, 2))
		a, err := m.Append(tp, records(t, 2), -1, log.Client)
		if err != nil || a.Replicated {
			t.Fatalf("got %+v, %v", a, err)
		}
		got := make(chan error, 4)
		m.AwaitReplicated(tp, a.LastOffset, a.Epoch, time.Second, func(err error) { got <- err })
		wantCode(t, <-got, protocol.RequestTimedOut)

		m.AwaitReplicated(tp, a.LastOffset, a.Epoch, time.Minute, func(err error) { got <- err })
		become(t, m, leading(1, self)) // the leadership changed under it
		wantCode(t, <-got, protocol.NotLeaderOrFollower)

		become(t, m, leading(2, self, 2))
		a, err = m.Append(tp, records(t, 1), -1, log.Client)
		if err != nil {
			t.Fatal(err)
		}
		m.AwaitReplicated(tp, a.LastOffset, a.Epoch, time.Minute, func(err error) { got <- err })
		alone := leading(2, self)
		alone.PartitionEpoch++
		become(t, m, alone) // the other left the ISR
		if err := <-got; err != nil {
			t.Errorf("got %v, want nil", err)
		}
		if p, f := m.Parked(); p != 0 || f != 0 {
			t.Errorf("%d produces and %d fetches still parked", p, f)
		}
	})
}

func TestEpochsFence(t *testing.T) {
	m := start(t, vfs.NewMem())
	become(t, m, leading(5, self))
	read := func(epoch kafka.LeaderEpoch) error {
		_, err := m.Read(&ReadArgs{TP: tp, Epoch: epoch, LastFetched: kafka.NoLeaderEpoch, MaxBytes: 1})
		return err
	}
	wantCode(t, read(4), protocol.FencedLeaderEpoch)
	wantCode(t, read(6), protocol.UnknownLeaderEpoch)
	wantCode(t, read(5), protocol.None)
	become(t, m, leading(4, self)) // late news
	wantCode(t, read(5), protocol.None)
	_, err := m.Read(&ReadArgs{TP: tp, TopicID: kafka.TopicID{9}, Epoch: 5, LastFetched: kafka.NoLeaderEpoch, MaxBytes: 1})
	wantCode(t, err, protocol.InconsistentTopicID)
	_, err = m.AppendIn(tp, 4, records(t, 1), -1)
	wantCode(t, err, protocol.NotLeaderOrFollower)
}

func TestReadFindsDivergence(t *testing.T) {
	m := start(t, vfs.NewMem())
	become(t, m, leading(1, self))
	if _, err := m.Append(tp, records(t, 2), 1, log.Client); err != nil {
		t.Fatal(err)
	}
	become(t, m, leading(3, self))
	if _, err := m.Append(tp, records(t, 2), 1, log.Client); err != nil {
		t.Fatal(err)
	}
	d, err := m.Read(&ReadArgs{TP: tp, Epoch: 3, LastFetched: 1, Offset: 3, MaxBytes: 1 << 20})
	if err != nil || d.Diverging == nil || *d.Diverging != (EpochEnd{1, 2}) {
		t.Errorf("epoch 1 at 3: %+v, %v", d, err)
	}
	d, err = m.Read(&ReadArgs{TP: tp, Epoch: 3, LastFetched: 2, Offset: 2, MaxBytes: 1 << 20})
	if err != nil || d.Diverging == nil || *d.Diverging != (EpochEnd{1, 2}) {
		t.Errorf("epoch 2 at 2: %+v, %v", d, err)
	}
	_, err = m.Read(&ReadArgs{TP: tp, Epoch: 3, LastFetched: 4, Offset: 4, MaxBytes: 1 << 20})
	wantCode(t, err, protocol.OffsetOutOfRange)
	d, err = m.Read(&ReadArgs{TP: tp, Epoch: 3, LastFetched: 1, Offset: 2, MaxBytes: 1 << 20})
	if err != nil || d.Diverging != nil || d.Records.Length == 0 {
		t.Errorf("epoch 1 at 2: %+v, %v", d, err)
	}
	d.Records.Release()
	end, err := m.EndOfEpoch(tp, 3, 2)
	if err != nil || end != (EpochEnd{1, 2}) {
		t.Errorf("end of epoch 2: %+v, %v", end, err)
	}
}

func TestScanSeesEveryBatch(t *testing.T) {
	m := start(t, vfs.NewMem())
	become(t, m, leading(0, self, 2)) // nothing is replicated; a load reads it all the same
	for range 40 {
		if _, err := m.Append(tp, records(t, 2000), 1, log.Client); err != nil {
			t.Fatal(err)
		}
	}
	next := int64(0)
	err := m.Scan(t.Context(), tp, func(b []byte) error {
		h, err := batch.ParseHeader(b)
		if err != nil || h.BaseOffset != next || h.Size() != len(b) {
			t.Fatalf("batch %+v of %d bytes, %v; want offset %d", h, len(b), err, next)
		}
		next = h.NextOffset()
		return nil
	})
	if err != nil || next != 80000 {
		t.Errorf("scanned to %d, %v", next, err)
	}
	stop := errors.New("enough")
	if err := m.Scan(t.Context(), tp, func([]byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Scan(ctx, tp, func([]byte) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestATopicMadeAgainStartsEmpty(t *testing.T) {
	m := start(t, vfs.NewMem())
	become(t, m, leading(0, self))
	if _, err := m.Append(tp, records(t, 5), 1, log.Client); err != nil {
		t.Fatal(err)
	}
	again := leading(0, self)
	again.TopicID, again.Zxid = kafka.TopicID{2}, 300
	m.remove(m.Partition(tp), "deleted", true)
	become(t, m, again)
	if end := m.Log(tp).EndOffset(); end != 0 {
		t.Errorf("the new topic begins at %d", end)
	}
	unknown := kafka.TopicPartition{Topic: "none"}
	_, err := m.Append(unknown, records(t, 1), 1, log.Client)
	wantCode(t, err, protocol.UnknownTopicOrPartition)
}

// What vanishes though nobody asked for its deletion keeps its files: the znodes
// may have been restored from an old backup.
func TestRecordsGoOnlyIfThatWasAskedFor(t *testing.T) {
	image := func(im *cluster.Image, zxid int64, e cluster.Entry) (*cluster.Image, []cluster.Change) {
		e.Epoch = 1
		return im.Apply(im.Next, &e, zxid)
	}
	id := cluster.TopicIDText(kafka.TopicID{1})
	made := cluster.Entry{
		Topics: []cluster.EntryTopic{{Name: tp.Topic, ID: id, Change: cluster.Created, Assigned: true, Partitions: map[int32][]kafka.BrokerID{tp.Partition: {self}}}},
		States: []cluster.EntryStates{{Topic: tp.Topic, ID: id, Partitions: []cluster.EntryState{{Partition: tp.Partition, Leader: self, ISR: []kafka.BrokerID{self}}}}},
	}
	gone := func(how cluster.TopicChange) cluster.Entry {
		return cluster.Entry{Topics: []cluster.EntryTopic{{Name: tp.Topic, ID: id, Change: how}}}
	}
	for _, c := range []struct {
		name   string
		gone   func(im *cluster.Image) (*cluster.Image, []cluster.Change)
		suffix string
	}{
		{"asked", func(im *cluster.Image) (*cluster.Image, []cluster.Change) {
			return image(im, 300, gone(cluster.Deleted))
		}, "-delete"},
		{"vanished", func(im *cluster.Image) (*cluster.Image, []cluster.Change) {
			return image(im, 300, gone(cluster.Vanished))
		}, "-stray"},
		{"missing in a full load", func(im *cluster.Image) (*cluster.Image, []cluster.Change) {
			return cluster.Empty(), cluster.Diff(im, cluster.Empty())
		}, "-stray"},
	} {
		fs := vfs.NewMem()
		m := start(t, fs)
		settle := func(im *cluster.Image, changes []cluster.Change) {
			for m.Follow(im, changes); !m.Idle(); {
				tp, im, _ := m.queue.take()
				m.move(tp, im)
				m.queue.done(tp)
			}
		}
		im, changes := image(cluster.Empty(), 200, made)
		settle(im, changes)
		if m.Log(tp) == nil {
			t.Fatalf("%s: no log", c.name)
		}
		dir := path.Dir(m.Log(tp).Dir())
		settle(c.gone(im))
		names, err := fs.List(dir)
		if err != nil || m.Partition(tp) != nil || !slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, c.suffix) }) {
			t.Errorf("%s: the directory has %v, %v; want one that ends in %s", c.name, names, err, c.suffix)
		}
	}
}

func TestBadBatchesGetTheirCodes(t *testing.T) {
	m := start(t, vfs.NewMem())
	become(t, m, leading(0, self))
	for name, c := range map[string]struct {
		harm func(b []byte) []byte
		want protocol.Error
	}{
		"crc":    {func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, protocol.CorruptMessage},
		"offset": {func(b []byte) []byte { b[7] = 3; return b }, protocol.InvalidRecord},
		"cut":    {func(b []byte) []byte { return b[:len(b)-1] }, protocol.InvalidRecord},
	} {
		_, err := m.Append(tp, c.harm(records(t, 2)), 1, log.Client)
		if got := protocol.CodeOf(err); got != c.want {
			t.Errorf("%s: got %v (%v), want %v", name, got, err, c.want)
		}
	}
	if end := m.Log(tp).EndOffset(); end != 0 {
		t.Errorf("something was stored: %d", end)
	}
}

// A ZooKeeper that was restored from a backup begins again with smaller numbers:
// what was led under larger ones is led no more, and the older states count.
func TestRegistrationsThatGoBack(t *testing.T) {
	m := start(t, vfs.NewMem())
	s := leading(5, self)
	s.Zxid = 200
	become(t, m, s)
	if _, err := m.Append(tp, records(t, 1), 1, log.Client); err != nil {
		t.Fatal(err)
	}
	m.SetRegistration(0, 0)
	m.SetRegistration(50, 50)
	_, err := m.Append(tp, records(t, 1), 1, log.Client)
	wantCode(t, err, protocol.NotLeaderOrFollower)
	s.LeaderEpoch, s.Zxid = 3, 60
	become(t, m, s)
	if a, err := m.Append(tp, records(t, 1), 1, log.Client); err != nil || a.FirstOffset != 1 || a.Epoch != 3 {
		t.Errorf("got %+v, %v", a, err)
	}
}

// TestScanGoesOnAfterDamage: a header that is damaged costs its own batch; a consumer
// is told of the damage.
func TestScanGoesOnAfterDamage(t *testing.T) {
	fs := vfs.NewMem()
	m := start(t, fs)
	var logged bytes.Buffer
	m.logger = slog.New(slog.NewTextHandler(&logged, nil))
	become(t, m, leading(0, self))
	positions := []int64{0}
	for i := range 40 {
		b := records(t, 2000)
		if _, err := m.Append(tp, b, 1, log.Client); err != nil {
			t.Fatal(err)
		}
		positions = append(positions, positions[i]+int64(len(b)))
	}
	f, err := fs.OpenReadWrite("/data/t-0/00000000000000000000.log")
	if err == nil {
		_, err = f.WriteAt(make([]byte, 40), positions[7])
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	var given []int64
	if err := m.Scan(t.Context(), tp, func(b []byte) error {
		h, err := batch.ParseHeader(b)
		given = append(given, h.BaseOffset/2000)
		return err
	}); err != nil || len(given) != 39 || !slices.IsSorted(given) || slices.Contains(given, 7) || given[38] != 39 {
		t.Errorf("scanned %v, %v", given, err)
	}
	want := fmt.Sprintf("position=%d next_position=%d lost_from=14000 lost_to=15999 lost=2000", positions[7], positions[8])
	if s := logged.String(); strings.Count(s, "level=ERROR") != 1 || !strings.Contains(s, want) {
		t.Errorf("logged %q, want %s", s, want)
	}
	_, err = m.Read(&ReadArgs{TP: tp, Epoch: kafka.NoLeaderEpoch, LastFetched: kafka.NoLeaderEpoch, Offset: 14000, MaxBytes: 1 << 20, MinOne: true})
	wantCode(t, err, protocol.CorruptMessage)
}

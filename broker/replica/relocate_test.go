package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log"
	"barnabas/protocol"
)

// startTwo makes a running manager on the directories /a and /b.
func startTwo(t *testing.T, fs vfs.FS, change func(*Options)) *Manager {
	t.Helper()
	usedDirectory(t, fs, "/a")
	usedDirectory(t, fs, "/b")
	var m *Manager
	logs, err := log.OpenManager(t.Context(), log.ManagerOptions{
		FS: fs, Dirs: []string{"/a", "/b"}, Defaults: log.DefaultOptions(), BootID: "boot",
		OnDirFailure: func(dir string, err error) { go m.DirFailed(dir, err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	small := log.DefaultOptions()
	small.SegmentBytes = 20000
	o := Options{
		Self: self, Logs: logs, Logger: slog.New(slog.DiscardHandler), MoveThreads: 2,
		Topic: func(map[string]string) (int, log.Options) { return 1, small },
	}
	if change != nil {
		change(&o)
	}
	m = NewManager(o)
	m.SetRegistration(100, 100)
	m.Follow(image(), nil)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { m.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		if err := logs.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// image has the topic t with one partition, and the topic later.
func image() *cluster.Image {
	e := cluster.NewEdit(cluster.Empty())
	for i, name := range []string{"t", "later"} {
		e.ReadTopic(cluster.TopicRead{Name: name, ID: kafka.TopicID{byte(i + 1)}, Zxid: 150, Assignment: map[int32]cluster.Assignment{0: {Replicas: []kafka.BrokerID{self}}}})
		e.ReadState(kafka.TopicPartition{Topic: name}, cluster.EntryState{Leader: self, ISR: []kafka.BrokerID{self}}, 200, 200)
	}
	im, _ := e.Publish()
	return im
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// placed waits until the partition's log is in a directory, and nothing moves.
func placed(t *testing.T, m *Manager, dir string) {
	t.Helper()
	eventually(t, "the log to be in "+dir, func() bool {
		l := m.Log(tp)
		_, moving := m.logs.Future(tp)
		return l != nil && !moving && l.Dir() == dir+"/"+tp.String()
	})
}

func home(m *Manager) (here, there string) {
	if strings.HasPrefix(m.Log(tp).Dir(), "/a/") {
		return "/a", "/b"
	}
	return "/b", "/a"
}

// writer appends to the partition until it is stopped, and reads along as a
// consumer; it counts what was acknowledged.
type writer struct {
	m    *Manager
	stop atomic.Bool
	n    atomic.Int64
	wg   sync.WaitGroup
}

func startWriter(t *testing.T, m *Manager) *writer {
	w := &writer{m: m}
	w.wg.Go(func() {
		for !w.stop.Load() {
			a, err := m.Append(tp, records(t, 3), -1, log.Client)
			if err != nil || a.FirstOffset != w.n.Load() {
				t.Errorf("append after %d: %+v, %v", w.n.Load(), a, err)
				return
			}
			w.n.Add(3)
		}
	})
	w.wg.Go(func() {
		for at := int64(0); !w.stop.Load(); {
			d, err := m.Read(&ReadArgs{TP: tp, Epoch: kafka.NoLeaderEpoch, LastFetched: kafka.NoLeaderEpoch, Offset: at, MaxBytes: 1 << 10, MinOne: true})
			if err != nil {
				t.Errorf("reading at %d: %v", at, err)
				return
			}
			if d.Records.Length > 0 {
				b := make([]byte, d.Records.Length)
				if _, err := d.Records.File.ReadAt(b, d.Records.Offset); err != nil {
					t.Errorf("reading at %d: %v", at, err)
				}
				at += 3
			}
			d.Records.Release()
		}
	})
	return w
}

func (w *writer) end(t *testing.T) {
	t.Helper()
	w.stop.Store(true)
	w.wg.Wait()
	count := int64(0)
	err := w.m.Scan(t.Context(), tp, func(b []byte) error { count += 3; return nil })
	if err != nil || count != w.n.Load() {
		t.Errorf("%d records in the log, %d acknowledged, %v", count, w.n.Load(), err)
	}
}

// TestMoveUnderLoad moves a log to and fro while it is written and read.
func TestMoveUnderLoad(t *testing.T) {
	m := startTwo(t, vfs.NewMem(), nil)
	become(t, m, leading(0, self))
	w := startWriter(t, m)
	for range 5 {
		_, there := home(m)
		if err := m.MoveLog(tp, there); err != nil {
			t.Fatal(err)
		}
		placed(t, m, there)
		before := w.n.Load()
		eventually(t, "more records", func() bool { return w.n.Load() > before+30 || t.Failed() })
	}
	w.end(t)
	if e, ok := m.Log(tp).LatestEpoch(); !ok || e != 0 {
		t.Errorf("epoch %d, %v", e, ok)
	}
	for _, d := range m.LogDirs(nil) {
		if here, _ := home(m); (d.Path == here) != (len(d.Replicas) == 1) {
			t.Errorf("%s has %+v", d.Path, d.Replicas)
		}
	}
}

// TestMoveIsThrottledAndCancelled: a copy shows as one, keeps to its rate, and goes
// when the log is asked to stay.
func TestMoveIsThrottledAndCancelled(t *testing.T) {
	var rate atomic.Int64
	rate.Store(1)
	m := startTwo(t, vfs.NewMem(), func(o *Options) { o.MoveRate = rate.Load; o.MoveThreads = 1 })
	become(t, m, leading(0, self))
	for range 200 {
		if _, err := m.Append(tp, records(t, 500), 1, log.Client); err != nil {
			t.Fatal(err)
		}
	}
	here, there := home(m)
	if err := m.MoveLog(tp, there); err != nil {
		t.Fatal(err)
	}
	copyOf := func() (r LogDirReplica) {
		for _, d := range m.LogDirs(nil) {
			for _, x := range d.Replicas {
				if x.Future {
					r = x
				}
			}
		}
		return r
	}
	eventually(t, "a piece to be copied", func() bool { return copyOf().Size > 0 })
	if c := copyOf(); c.TP != tp || c.Lag <= 0 || c.Size > 2*movePiece {
		t.Errorf("the copy: %+v", c)
	}
	if err := m.MoveLog(tp, here); err != nil { // stay
		t.Fatal(err)
	}
	if c := copyOf(); c.Future {
		t.Errorf("still a copy: %+v", c)
	}
	if err := m.MoveLog(tp, there); err != nil {
		t.Fatal(err)
	}
	rate.Store(1 << 40)
	placed(t, m, there)
}

// TestMoveRules are the errors of Kafka's alterReplicaLogDirs.
func TestMoveRules(t *testing.T) {
	m := startTwo(t, vfs.NewMem(), nil)
	become(t, m, leading(0, self))
	here, there := home(m)
	long := kafka.TopicPartition{Topic: strings.Repeat("x", 220)}
	wantCode(t, m.MoveLog(long, there), protocol.InvalidTopic)
	wantCode(t, m.MoveLog(tp, "/elsewhere"), protocol.LogDirNotFound)
	wantCode(t, m.MoveLog(kafka.TopicPartition{Topic: "no such"}, there), protocol.UnknownTopicOrPartition)
	wantCode(t, m.MoveLog(tp, here), protocol.None)
	later := kafka.TopicPartition{Topic: "later"}
	// The preferred directory is not the one with the fewest logs.
	wantCode(t, m.MoveLog(later, here), protocol.ReplicaNotAvailable)
	if err := m.Become(later, State{TopicID: kafka.TopicID{2}, Replicas: []kafka.BrokerID{self}, ISR: []kafka.BrokerID{self}, Leader: self, Zxid: 200, Created: 200, MinISR: 1}, log.DefaultOptions()); err != nil {
		t.Fatal(err)
	}
	if dir := m.Log(later).Dir(); dir != here+"/later-0" {
		t.Errorf("made in %s", dir)
	}
}

// TestMoveFollowsTruncation: what a follower cuts off its log is in no copy.
func TestMoveFollowsTruncation(t *testing.T) {
	var rate atomic.Int64
	rate.Store(1) // the copy is made, and then waits
	m := startTwo(t, vfs.NewMem(), func(o *Options) { o.MoveRate = rate.Load })
	s := leading(0, self, 2)
	become(t, m, s)
	for range 100 {
		if _, err := m.Append(tp, records(t, 500), 1, log.Client); err != nil {
			t.Fatal(err)
		}
	}
	_, there := home(m)
	if err := m.MoveLog(tp, there); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a piece to be copied", func() bool {
		f, ok := m.logs.Future(tp)
		return ok && f.EndOffset() > 600
	})
	s.Leader, s.LeaderEpoch = 2, 1
	become(t, m, s)
	f := &Following{TP: tp, TopicID: s.TopicID, Leader: 2, Epoch: 1}
	if err := m.Diverged(f, EpochEnd{Epoch: 0, Offset: 500}); err != nil {
		t.Fatal(err)
	}
	s.Leader, s.LeaderEpoch = self, 2
	become(t, m, s)
	if _, err := m.Append(tp, records(t, 500), 1, log.Client); err != nil {
		t.Fatal(err)
	}
	rate.Store(1 << 40)
	placed(t, m, there)
	l := m.Log(tp)
	if e, end := l.EndOffsetForEpoch(0); l.EndOffset() != 1000 || e != 0 || end != 500 {
		t.Errorf("the log ends at %d, epoch 0 at %d", l.EndOffset(), end)
	}
	if err := m.Scan(t.Context(), tp, func([]byte) error { return nil }); err != nil {
		t.Error(err)
	}
}

// TestMoveIntoAFailingDirectory and out of one.
func TestMoveIntoAFailingDirectory(t *testing.T) {
	for _, side := range []string{"to", "from"} {
		t.Run(side, func(t *testing.T) {
			var bad atomic.Pointer[string]
			fs := vfs.NewFailing(vfs.NewMem(), func(op vfs.Op) error {
				if b := bad.Load(); b != nil && op.Kind == vfs.OpWrite && strings.HasPrefix(op.Name, *b) {
					return errors.New("input/output error")
				}
				return nil
			})
			var rate atomic.Int64
			rate.Store(1)
			m := startTwo(t, fs, func(o *Options) { o.MoveRate = rate.Load })
			become(t, m, leading(0, self))
			for range 200 {
				if _, err := m.Append(tp, records(t, 500), 1, log.Client); err != nil {
					t.Fatal(err)
				}
			}
			here, there := home(m)
			if err := m.MoveLog(tp, there); err != nil {
				t.Fatal(err)
			}
			eventually(t, "a piece to be copied", func() bool { f, ok := m.logs.Future(tp); return ok && f.EndOffset() > 0 })
			fails := there
			if side == "from" {
				fails = here
			}
			bad.Store(&fails)
			rate.Store(1 << 40)
			if side == "to" {
				eventually(t, "the move to be given up", func() bool { _, ok := m.logs.Future(tp); return !ok })
				if _, err := m.Append(tp, records(t, 1), 1, log.Client); err != nil {
					t.Errorf("the log that stayed: %v", err)
				}
				wantCode(t, m.MoveLog(tp, there), protocol.KafkaStorageError)
				return
			}
			_, err := m.Append(tp, records(t, 1), 1, log.Client)
			wantCode(t, err, protocol.KafkaStorageError)
			eventually(t, "the partition to be given up", func() bool { return m.Log(tp) == nil })
			wantCode(t, m.MoveLog(tp, there), protocol.KafkaStorageError)
			if u := m.Unavailable(image()); len(u) != 1 || u[0].TP != tp {
				t.Errorf("unavailable: %+v", u)
			}
		})
	}
}

// TestDeletedWhileMoving leaves neither log nor copy in use.
func TestDeletedWhileMoving(t *testing.T) {
	m := startTwo(t, vfs.NewMem(), func(o *Options) { o.MoveRate = func() int64 { return 1 } })
	become(t, m, leading(0, self))
	for range 200 {
		if _, err := m.Append(tp, records(t, 500), 1, log.Client); err != nil {
			t.Fatal(err)
		}
	}
	_, there := home(m)
	if err := m.MoveLog(tp, there); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a piece to be copied", func() bool { f, ok := m.logs.Future(tp); return ok && f.EndOffset() > 0 })
	m.remove(m.Partition(tp), "test", true)
	if _, ok := m.logs.Future(tp); ok {
		t.Error("the copy is there")
	}
	for _, d := range m.LogDirs(nil) {
		if len(d.Replicas) > 0 {
			t.Errorf("%+v", d)
		}
	}
}

// TestMoveGoesOnAfterARestart.
func TestMoveGoesOnAfterARestart(t *testing.T) {
	mem := vfs.NewMem()
	m := startTwo(t, mem, func(o *Options) { o.MoveRate = func() int64 { return 1 } })
	become(t, m, leading(0, self))
	for range 200 {
		if _, err := m.Append(tp, records(t, 500), 1, log.Client); err != nil {
			t.Fatal(err)
		}
	}
	_, there := home(m)
	if err := m.MoveLog(tp, there); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a piece to be copied", func() bool { f, ok := m.logs.Future(tp); return ok && f.EndOffset() > 0 })
	again := startTwo(t, mem.CrashClone(100), nil)
	become(t, again, leading(1, self))
	placed(t, again, there)
	if end := again.Log(tp).EndOffset(); end != 100000 {
		t.Errorf("the log ends at %d", end)
	}
}

// TestStuckDisk: a write that does not end takes its partition out of use when the
// directory is found to stall; nobody who works for all partitions waits for it.
func TestStuckDisk(t *testing.T) {
	hang, entered := make(chan struct{}), make(chan struct{}, 1)
	var stuck atomic.Bool
	fs := vfs.NewFailing(vfs.NewMem(), func(op vfs.Op) error {
		if stuck.Load() && op.Kind == vfs.OpWrite && strings.HasSuffix(op.Name, ".log") {
			select {
			case entered <- struct{}{}:
			default:
			}
			<-hang
		}
		return nil
	})
	led := map[bool]int{}
	m := startTwo(t, fs, func(o *Options) {
		o.OnLeadership = func(_ kafka.TopicPartition, leading bool, _ kafka.LeaderEpoch) { led[leading]++ }
	})
	become(t, m, leading(0, self, 2))
	if _, err := m.Append(tp, records(t, 1), 1, log.Client); err != nil {
		t.Fatal(err)
	}
	here, _ := home(m)
	stuck.Store(true)
	var wg sync.WaitGroup
	wg.Go(func() { m.Append(tp, records(t, 1), 1, log.Client) })
	<-entered
	old := m.Partition(tp)
	if c := m.Census(nil); c.Partitions != 1 || c.Leaders != 1 || c.Traffic.BytesIn != 0 {
		t.Errorf("census: %+v", c)
	}
	if ask := old.laggards(time.Now()); ask != nil {
		t.Errorf("asked for %+v", ask)
	}
	m.DirFailed(here, fmt.Errorf("%w: %s", log.ErrOffline, "stalled"))
	if led[false] != 1 {
		t.Errorf("coordinators were told %v", led)
	}
	_, err := m.Append(tp, records(t, 1), 1, log.Client)
	wantCode(t, err, protocol.KafkaStorageError)
	if c := m.Census(nil); c.OfflineLeaders != 1 {
		t.Errorf("census: %+v", c)
	}
	if old.lockUnlessReplaced() {
		t.Error("locked a partition that is stuck")
	}
	stuck.Store(false)
	close(hang)
	wg.Wait()
}

// TestSweep sets aside the logs of topics that are gone, and no others.
func TestSweep(t *testing.T) {
	mem := vfs.NewMem()
	m := startTwo(t, mem, nil)
	become(t, m, leading(0, self))
	for name, id := range map[string]kafka.TopicID{"gone": {9}, "later": {8}} { // the second is of an earlier topic of that name
		if _, err := m.logs.GetOrCreate(kafka.TopicPartition{Topic: name}, id, true); err != nil {
			t.Fatal(err)
		}
	}
	m.sweep()
	var left []string
	for l := range m.logs.All() {
		left = append(left, l.TopicPartition().String())
	}
	if len(left) != 1 || left[0] != "t-0" {
		t.Errorf("left: %v", left)
	}
	strays := 0
	for _, dir := range []string{"/a", "/b"} {
		names, err := mem.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			if strings.HasSuffix(n, "-stray") {
				strays++
			}
		}
	}
	if strays != 2 {
		t.Errorf("%d strays", strays)
	}
}

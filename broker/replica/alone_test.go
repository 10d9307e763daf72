package replica

import (
	"context"
	"errors"
	"log/slog"
	"path"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log"
	"barnabas/protocol"
)

// startAlone is startCluster on a file system, with syncs for lone leaders.
func startAlone(t *testing.T, fs vfs.FS) (*Manager, *proposals) {
	t.Helper()
	m := start(t, fs)
	m.flushWhenAlone = true
	asked := &proposals{}
	m.propose = asked.add
	m.Follow(aliveImage(1, 2, 3))
	run(t, m)
	return m, asked
}

// run runs m until the test ends.
func run(t *testing.T, m *Manager) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = m.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// of is a state that this broker leads with other replicas than its ISR.
func of(epoch kafka.LeaderEpoch, partitionEpoch kafka.PartitionEpoch, isr ...kafka.BrokerID) State {
	s := leading(epoch, isr...)
	s.Replicas, s.PartitionEpoch = []kafka.BrokerID{1, 2, 3}, partitionEpoch
	return s
}

// ack appends with acks=all and returns a channel that gets the outcome.
func ack(t *testing.T, m *Manager, wait time.Duration) (last int64, done chan error) {
	t.Helper()
	done = make(chan error, 1)
	a, err := m.Append(tp, records(t, 1), -1, log.Client)
	switch {
	case err != nil:
		done <- err
	case a.Replicated:
		done <- nil
	default:
		m.AwaitReplicated(tp, a.LastOffset, a.Epoch, wait, func(err error) { done <- err })
	}
	return a.LastOffset, done
}

// survivors is where the log ends after a crash of the machine that kept a share
// of what was not synced.
func survivors(t *testing.T, fs *vfs.Mem, keep int) int64 {
	t.Helper()
	logs, err := log.OpenManager(t.Context(), log.ManagerOptions{
		FS: fs.CrashClone(keep), Dirs: []string{"/data"}, Defaults: log.DefaultOptions(), BootID: "another boot", Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	l, ok := logs.Get(tp)
	if !ok {
		return 0
	}
	return l.EndOffset()
}

func TestWhatALoneLeaderAcknowledgedSurvivesTheMachine(t *testing.T) {
	fs := vfs.NewMem()
	m, _ := startAlone(t, fs)
	become(t, m, of(0, 0, self))
	var wg sync.WaitGroup
	for range 20 {
		for range 5 { // at a time, so that they share syncs
			wg.Go(func() {
				last, done := ack(t, m, time.Minute)
				if err := <-done; err != nil {
					t.Error(err)
				}
				for _, keep := range []int{0, 50, 100} {
					if end := survivors(t, fs, keep); end <= last {
						t.Errorf("offset %d was acknowledged; after a crash that kept %d %% the log ends at %d", last, keep, end)
					}
				}
			})
		}
		wg.Wait()
	}
	if n := m.syncs.count(); n == 0 || n > 100 {
		t.Errorf("%d syncs for 100 produces", n)
	}
}

// Without other replicas, with others in sync, and for acks=1 nobody waits for a
// disk.
func TestNobodyElseWaitsForTheDisk(t *testing.T) {
	for _, c := range []struct {
		name  string
		s     State
		acks  int16
		syncs int64
	}{
		{"one replica", leading(0, self), -1, 0},
		{"three in sync", of(0, 0, 1, 2, 3), -1, 0},
		{"alone, acks=1", of(0, 0, self), 1, 0},
		{"alone, acks=all", of(0, 0, self), -1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, _ := startAlone(t, vfs.NewMem())
				become(t, m, c.s)
				a, err := m.Append(tp, records(t, 1), c.acks, log.Client)
				if err != nil {
					t.Fatal(err)
				}
				for id := kafka.BrokerID(2); len(c.s.ISR) > 1 && id <= 3; id++ {
					fetch(t, m, id, a.LastOffset+1)
				}
				synctest.Wait()
				if hw := m.Log(tp).HighWatermark(); hw != a.LastOffset+1 {
					t.Errorf("high watermark %d", hw)
				}
				if c.acks == -1 {
					if ok, err := m.Partition(tp).replicated(a.LastOffset, a.Epoch); !ok || err != nil {
						t.Errorf("got %v, %v", ok, err)
					}
				}
				if n := m.syncs.count(); n != c.syncs {
					t.Errorf("%d syncs", n)
				}
			})
		})
	}
}

// A leader that loses its followers syncs what it had from before, since those
// who left can't be elected any more, and those who wait get their answer by it.
func TestBecomingAloneSyncs(t *testing.T) {
	fs := vfs.NewMem()
	m, _ := startAlone(t, fs)
	become(t, m, of(0, 0, 1, 2))
	last, done := ack(t, m, time.Minute)
	if end := survivors(t, fs, 0); end != 0 {
		t.Fatalf("synced up to %d already", end)
	}
	become(t, m, of(0, 1, self))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if end := survivors(t, fs, 0); end != last+1 {
		t.Fatalf("acknowledged %d, after a crash the log ends at %d", last, end)
	}
}

// The state that the leader asked for may be in force before it hears so.
func TestAskingToBeAloneSyncs(t *testing.T) {
	fs := vfs.NewMem()
	m, asked := startAlone(t, fs)
	become(t, m, of(0, 0, 1, 2))
	last, done := ack(t, m, time.Minute)
	if ask := m.Partition(tp).laggards(time.Now().Add(time.Hour)); ask == nil {
		t.Fatal("nobody fell behind")
	} else {
		asked.add(ask)
	}
	fetch(t, m, 2, last+1) // in time after all: the high watermark moves
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if end := survivors(t, fs, 0); end != last+1 {
		t.Fatalf("acknowledged %d, after a crash the log ends at %d", last, end)
	}
}

// A disk that fails acknowledges nothing.
func TestAFailedSyncIsNoAcknowledgement(t *testing.T) {
	broken := errors.New("broken")
	var fail bool
	var mu sync.Mutex
	fs := vfs.NewFailing(vfs.NewMem(), func(op vfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if fail && op.Kind == vfs.OpSync && strings.HasSuffix(op.Name, ".log") {
			return broken
		}
		return nil
	})
	m, _ := startAlone(t, fs)
	become(t, m, of(0, 0, self))
	mu.Lock()
	fail = true
	mu.Unlock()
	_, done := ack(t, m, time.Minute)
	err := <-done
	wantCode(t, err, protocol.KafkaStorageError)
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// A sync under way covers only what was there when it began: who comes later
// waits for the next.
func TestAProduceDuringASyncWaitsForTheNext(t *testing.T) {
	mem := vfs.NewMem()
	enter, leave := make(chan struct{}), make(chan struct{})
	var block bool
	var mu sync.Mutex
	fs := vfs.NewFailing(mem, func(op vfs.Op) error {
		mu.Lock()
		b := block
		mu.Unlock()
		if b && op.Kind == vfs.OpSync && path.Ext(op.Name) == ".log" {
			enter <- struct{}{}
			<-leave
		}
		return nil
	})
	m, _ := startAlone(t, fs)
	become(t, m, of(0, 0, self))
	mu.Lock()
	block = true
	mu.Unlock()
	_, first := ack(t, m, time.Minute)
	<-enter
	_, second := ack(t, m, time.Minute)
	select {
	case err := <-second:
		t.Fatalf("acknowledged during the sync: %v", err)
	default:
	}
	leave <- struct{}{}
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	<-enter
	leave <- struct{}{}
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	if end := survivors(t, mem, 0); end != 2 {
		t.Errorf("the log ends at %d", end)
	}
	mu.Lock()
	block = false
	mu.Unlock()
}

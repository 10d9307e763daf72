package metadata

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/internal/zktest"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// log is a change log that a test writes.
type log struct {
	t       *testing.T
	zk      *session.Client
	r       *Reader
	counter int64
	changes []cluster.Change
}

func open(t *testing.T, connect string, interval time.Duration) *log {
	l := &log{t: t}
	var mu sync.Mutex // guards l.changes against the reader's goroutine
	l.r = New(Options{Interval: interval, OnChange: func(_, _ *cluster.Image, c []cluster.Change) {
		mu.Lock()
		defer mu.Unlock()
		l.changes = append(l.changes, c...)
	}})
	zk, err := session.Open(t.Context(), session.Options{Connect: connect, OnEvent: l.r.OnEvent, OnState: l.r.OnState})
	if err != nil {
		t.Fatal(err)
	}
	l.zk = zk
	l.r.SetClient(zk)
	for _, p := range zkpaths.StartupPaths() {
		if _, err := zk.CreateAll(t.Context(), p, nil, session.Persistent); err != nil && !errors.Is(err, session.ErrNodeExists) {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { l.r.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait(); zk.Close() })
	<-l.r.Loaded()
	return l
}

// write appends an entry that says that broker id is up.
func (l *log) write(id kafka.BrokerID) cluster.Token {
	l.t.Helper()
	l.counter++
	e := cluster.Entry{Version: cluster.EntryVersion, Epoch: 1, Token: cluster.Token{Broker: 1, Session: 2, Counter: l.counter},
		Brokers: []cluster.EntryBroker{{ID: id, Epoch: kafka.BrokerEpoch(l.counter), State: cluster.Up}}}
	l.create(e.Encode())
	return e.Token
}

func (l *log) create(data []byte) {
	l.t.Helper()
	if _, err := l.zk.Create(l.t.Context(), zkpaths.NewMetadataChange, data, session.PersistentSequential); err != nil {
		l.t.Fatal(err)
	}
}

func (l *log) await(what string, until func(*cluster.Image) bool) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), time.Minute)
	defer cancel()
	if err := l.r.WaitFor(ctx, until); err != nil {
		l.t.Fatalf("waiting for %s: %v", what, err)
	}
}

func alive(id kafka.BrokerID) func(*cluster.Image) bool {
	return func(im *cluster.Image) bool { return im.Alive(id) }
}

// The watch alone brings entries: the interval is an hour.
func TestEntriesComeByWatch(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		l := open(t, connect, time.Hour)
		for id := range kafka.BrokerID(100) {
			token := l.write(id)
			if id%10 == 0 {
				l.await("broker "+strconv.Itoa(int(id)), alive(id))
				if n, ok := l.r.Seen(token); !ok || n != int64(id) {
					t.Errorf("token %v: %d, %v", token, n, ok)
				}
			}
		}
		l.await("the last", alive(99))
		if im := l.r.Current(); im.Next != 100 || len(im.Brokers()) != 100 {
			t.Errorf("next %d, %d brokers", im.Next, len(im.Brokers()))
		}
	})
}

// Without any watch the interval brings them.
func TestEntriesComeWithoutWatches(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		l := open(t, connect, 20*time.Millisecond)
		writer, err := session.Open(t.Context(), session.Options{Connect: connect})
		if err != nil {
			t.Fatal(err)
		}
		defer writer.Close()
		l.zk = writer
		l.write(4)
		l.await("broker 4", alive(4))
	})
}

// What can't be read on from is loaded: a purge past us, a log made anew, an
// entry of a later format, another child's number in between.
func TestReloads(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		l := open(t, connect, 50*time.Millisecond)
		ctx := t.Context()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		register := func(id kafka.BrokerID) {
			t.Helper()
			reg := zkpaths.Registration{Endpoints: []zkpaths.Endpoint{{Listener: "A", Host: "h", Port: 1, Protocol: "PLAINTEXT"}}}
			_, err := l.zk.Create(ctx, zkpaths.BrokerPath(id), reg.Encode(), session.Ephemeral)
			must(err)
		}
		l.write(1)
		l.await("broker 1", alive(1))

		register(2) // known by a load only
		l.create([]byte(`{"version":9,"min_reader":9,"token":"1-1-1"}`))
		l.await("a load after an entry of a later format", alive(2))
		l.write(3)
		l.await("reading on", alive(3))

		register(4)
		_, err := l.zk.Create(ctx, zkpaths.MetadataChanges+"/other_", nil, session.PersistentSequential)
		must(err)
		l.write(5)
		l.await("a load over a gap", alive(4))

		names, st, err := l.zk.Children(ctx, zkpaths.MetadataChanges)
		must(err)
		var ops []session.Op
		for _, n := range names {
			ops = append(ops, session.DeleteOp(zkpaths.MetadataChanges+"/"+n, -1))
		}
		ops = append(ops, session.DeleteOp(zkpaths.MetadataChanges, st.Version), session.CreateOp(zkpaths.MetadataChanges, nil, session.Persistent))
		register(6)
		_, err = l.zk.Multi(ctx, ops...)
		must(err)
		l.await("a load of a log made anew", alive(6))
		l.write(7)
		l.await("reading on in the new log", func(im *cluster.Image) bool { return im.Alive(7) && im.Next == 1 })
	})
}

// A broker loads although a hand has overwritten what names the controller: the
// log will tell who it is.
func TestLoadsBesideGarbage(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		l := open(t, connect, 50*time.Millisecond)
		for _, p := range []string{zkpaths.ControllerPath, zkpaths.ControllerEpochPath} {
			if _, err := l.zk.Create(t.Context(), p, []byte("{nonsense"), session.Persistent); err != nil {
				t.Fatal(err)
			}
		}
		again := New(Options{Client: l.zk, Interval: 50 * time.Millisecond})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() { again.Run(ctx) })
		select {
		case <-again.Loaded():
			cancel()
		case <-ctx.Done():
			t.Error("not loaded")
		}
	})
}

package client

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/internal/zktest"
	"barnabas/zkpaths"
	"barnabas/zkpaths/devzk"
	"barnabas/zkpaths/session"
)

// pretended is a kgo.Client that uses partition 0 of "used" and learns of leaders
// after some requests for metadata.
type pretended struct {
	mu     sync.Mutex // guards following
	epoch  int32
	slow   int   // requests that bring nothing new
	next   int32 // the epoch that the one after brings
	asked  int
	seeds  []string
	change chan struct{} // closed and replaced at each call
}

func newPretended() *pretended { return &pretended{change: make(chan struct{})} }

func (p *pretended) PartitionLeader(topic string, n int32) (int32, int32, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if topic != "used" || n != 0 {
		return -1, -1, nil
	}
	return 1, p.epoch, nil
}

func (p *pretended) changedLocked() {
	close(p.change)
	p.change = make(chan struct{})
}

func (p *pretended) ForceMetadataRefresh() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	if p.slow--; p.slow < 0 {
		p.epoch = p.next
	}
	p.changedLocked()
}

func (p *pretended) UpdateSeedBrokers(addrs ...string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seeds = addrs
	p.changedLocked()
	return nil
}

// set says what the next requests bring.
func (p *pretended) set(slow int, next int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked, p.slow, p.next = 0, slow, next
}

// await waits until something holds; it is called under the lock.
func (p *pretended) await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	timeout := time.After(time.Minute)
	for {
		p.mu.Lock()
		ok, change := holds(), p.change
		p.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-change:
		case <-timeout:
			t.Fatalf("waited in vain until %s: epoch %d, asked %d times, seeds %v", what, p.epoch, p.asked, p.seeds)
		}
	}
}

// writer plays broker and controller.
type writer struct {
	*session.Client
	t *testing.T
}

func newWriter(t *testing.T, connect string) writer {
	t.Helper()
	zk, err := session.Open(t.Context(), session.Options{Connect: connect})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(zk.Close)
	return writer{zk, t}
}

func (w writer) create(path string, data []byte, mode session.Mode) {
	w.t.Helper()
	if _, err := w.CreateAll(w.t.Context(), path, data, mode); err != nil {
		w.t.Fatal(err)
	}
}

func (w writer) delete(paths ...string) {
	w.t.Helper()
	for _, p := range paths {
		if err := w.Delete(w.t.Context(), p, -1); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w writer) broker(id kafka.BrokerID, endpoints ...zkpaths.Endpoint) {
	w.t.Helper()
	w.create(zkpaths.BrokerPath(id), (&zkpaths.Registration{Endpoints: endpoints}).Encode(), session.Ephemeral)
}

func plain(host string) zkpaths.Endpoint {
	return zkpaths.Endpoint{Listener: "INTERNAL", Host: host, Port: 9092, Protocol: "PLAINTEXT"}
}

// leads writes the entry that broker leads partition 0 of a topic.
func (w writer) leads(topic string, broker kafka.BrokerID, epoch kafka.LeaderEpoch) {
	w.t.Helper()
	w.entry(entryOf(topic, broker, epoch).Encode())
}

func entryOf(topic string, broker kafka.BrokerID, epoch kafka.LeaderEpoch) *cluster.Entry {
	return &cluster.Entry{Version: cluster.EntryVersion, Token: cluster.Token{Session: 1}, States: []cluster.EntryStates{{
		Topic: topic, ID: cluster.TopicIDText{1}, Partitions: []cluster.EntryState{{Leader: broker, LeaderEpoch: epoch, ISR: []kafka.BrokerID{1}}},
	}}}
}

func (w writer) entry(data []byte) {
	w.t.Helper()
	if _, err := w.Create(w.t.Context(), zkpaths.NewMetadataChange, data, session.PersistentSequential); err != nil {
		w.t.Fatal(err)
	}
}

func open(t *testing.T, o Options) *Cluster {
	t.Helper()
	o.interval = time.Hour // watches must do
	c, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestFollowsBrokers(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		w := newWriter(t, connect)
		w.broker(1, zkpaths.Endpoint{Listener: "OUT", Host: "o1", Port: 9093, Protocol: "SSL"}, plain("h1"))
		w.create(zkpaths.BrokerIDs+"/junk", nil, session.Persistent)
		c := open(t, Options{ZooKeeper: connect})
		if got := c.Addrs(); !slices.Equal(got, []string{"h1:9092"}) {
			t.Errorf("found %q", got)
		}
		p := newPretended()
		c.add(p, c.Addrs())
		seeds := func(want ...string) {
			t.Helper()
			p.await(t, "the seeds are "+strings.Join(want, ","), func() bool { return slices.Equal(p.seeds, want) })
		}
		w.broker(3, plain("h3"))
		seeds("h1:9092", "h3:9092")
		w.delete(zkpaths.BrokerPath(1))
		seeds("h3:9092")
		if _, err := w.Set(t.Context(), zkpaths.BrokerPath(3), (&zkpaths.Registration{Endpoints: []zkpaths.Endpoint{plain("h4")}}).Encode(), -1); err != nil {
			t.Fatal(err)
		}
		seeds("h4:9092")
		w.delete(zkpaths.BrokerPath(3)) // the last known are kept
		w.broker(5, plain("h5"))
		seeds("h5:9092")
		p.await(t, "it was made to ask four times", func() bool { return p.asked >= 4 })

		out := open(t, Options{ZooKeeper: connect, Listener: "internal"})
		if got := out.Brokers(); !slices.Equal(got, []Broker{{ID: 5, Addr: "h5:9092"}}) {
			t.Errorf("by name: %+v", got)
		}
	})
}

func TestFollowsLeaders(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		w := newWriter(t, connect)
		w.broker(1, plain("h1"))
		heard := make(chan Leader, 100)
		c := open(t, Options{ZooKeeper: connect, OnLeader: func(l Leader) { heard <- l }})
		p := newPretended()
		c.add(p, c.Addrs())
		at := func(epoch int32) {
			t.Helper()
			p.await(t, "the leader is known", func() bool { return p.epoch == epoch })
		}

		// There was no log when the client began.
		p.set(0, 0)
		w.create(zkpaths.MetadataChanges, nil, session.Persistent)
		w.leads("other", 1, 1)
		w.leads("used", -1, 1)
		p.set(0, 2)
		w.leads("used", 2, 2)
		at(2)

		// The broker that is asked is behind: asked again.
		p.set(3, 3)
		w.leads("used", 1, 3)
		at(3)
		p.mu.Lock()
		if p.asked < 4 {
			t.Errorf("asked %d times", p.asked)
		}
		p.mu.Unlock()

		// Many at once.
		p.set(0, 90)
		for e := kafka.LeaderEpoch(4); e <= 90; e++ {
			w.leads("used", 2, e)
		}
		at(90)

		// An entry that can't be read may say anything.
		p.set(0, 91)
		w.entry([]byte("{"))
		at(91)

		// A log that was made anew.
		names, _, err := w.Children(t.Context(), zkpaths.MetadataChanges)
		if err != nil {
			t.Fatal(err)
		}
		p.set(0, 92)
		for _, n := range names {
			w.delete(zkpaths.MetadataChanges + "/" + n)
		}
		w.delete(zkpaths.MetadataChanges)
		w.create(zkpaths.MetadataChanges, nil, session.Persistent)
		at(92)
		p.set(0, 93)
		w.leads("used", 2, 93)
		at(93)

		// In order, and not what nobody wrote.
		var last int32
		for len(heard) > 0 {
			l := <-heard
			if l.Topic == "used" && l.Epoch < last {
				t.Errorf("epoch %d after %d", l.Epoch, last)
			} else if l.Topic == "used" {
				last = l.Epoch
			}
		}
		if last != 93 {
			t.Errorf("OnLeader heard last of epoch %d", last)
		}
	})
}

// TestLogThatComesLate: a log that was absent when the client began may have told of
// leaders by the time it is found.
func TestLogThatComesLate(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		w := newWriter(t, connect)
		w.broker(1, plain("h1"))
		c := open(t, Options{ZooKeeper: connect})
		p := newPretended()
		c.add(p, c.Addrs())
		p.set(0, 1)
		if _, err := w.Multi(t.Context(), session.CreateOp(zkpaths.MetadataChanges, nil, session.Persistent),
			session.CreateOp(zkpaths.MetadataChangePath(0), entryOf("used", 2, 1).Encode(), session.Persistent)); err != nil {
			t.Fatal(err)
		}
		p.await(t, "the leader is known", func() bool { return p.epoch == 1 })
	})
}

// TestPurged: entries that were deleted before they were read may have told of
// anything.
func TestPurged(t *testing.T) {
	server := zktest.DevZK(t, devzk.Options{})
	w := newWriter(t, server.Addr())
	w.broker(1, plain("h1"))
	w.create(zkpaths.MetadataChanges, nil, session.Persistent)
	held := make(chan struct{})
	begun := make(chan struct{}, 1)
	c := open(t, Options{ZooKeeper: server.Addr(), OnLeader: func(Leader) {
		select {
		case begun <- struct{}{}:
		default:
		}
		<-held
	}})
	p := newPretended()
	c.add(p, c.Addrs())
	w.leads("other", 1, 1)
	<-begun // the follower is busy with entry 0
	for e := kafka.LeaderEpoch(1); e <= 40; e++ {
		w.leads("used", 1, e)
	}
	for n := range int64(41) {
		w.delete(zkpaths.MetadataChangePath(n))
	}
	p.set(0, 40)
	close(held)
	p.await(t, "it asks", func() bool { return p.epoch == 40 })
	p.set(0, 41)
	w.leads("used", 1, 41) // and reads on
	p.await(t, "the leader is known", func() bool { return p.epoch == 41 })
}

// TestGivesUp: a client that never learns is not pestered for ever.
func TestGivesUp(t *testing.T) {
	p := newPretended()
	p.set(1<<30, 0)
	f := &follower{cl: p, want: map[partition]int32{}}
	f.expect(Leader{"used", 0, 1, 7})
	f.expect(Leader{"unused", 0, 1, 7})
	var waited time.Duration
	now := time.Now()
	for {
		wait, again := f.urge(now)
		if !again {
			break
		}
		if w, _ := f.urge(now); w != wait || p.asked > urges {
			t.Fatalf("asked %d times; wait %v, then %v", p.asked, wait, w)
		}
		now = now.Add(wait)
		waited += wait
	}
	if p.asked != urges || waited < time.Second || waited > 5*time.Second || len(f.want) != 0 {
		t.Errorf("asked %d times in %v; still wants %v", p.asked, waited, f.want)
	}
}

func TestOpenErrors(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		_, err := Open(t.Context(), Options{ZooKeeper: connect + "/misspelled"})
		if !errors.Is(err, session.ErrNoNode) || !strings.Contains(err.Error(), "/misspelled") {
			t.Errorf("a chroot that is not there: %v", err)
		}
		w := newWriter(t, connect)
		if _, ok, err := w.Exists(t.Context(), "/misspelled"); ok || err != nil {
			t.Errorf("it was made, or %v", err)
		}
		_, err = Open(t.Context(), Options{ZooKeeper: connect, ConnectTimeout: 3 * time.Second})
		if !errors.Is(err, ErrNoBroker) {
			t.Errorf("no broker: %v", err)
		}
		w.broker(1, plain("h1"))
		_, err = New(t.Context(), Options{ZooKeeper: connect, Listener: "OUT", ConnectTimeout: 3 * time.Second})
		if !errors.Is(err, ErrNoBroker) || !strings.Contains(err.Error(), "OUT") {
			t.Errorf("no broker with the listener: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Open(ctx, Options{ZooKeeper: connect}); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		if _, err := Open(t.Context(), Options{}); err == nil {
			t.Error("no address is taken")
		}
	})
}

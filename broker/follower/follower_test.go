package follower

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/replica"
	"barnabas/internal/kafka"
	"barnabas/net/peer"
	"barnabas/protocol"
)

// bench is a follower, broker 1, with its leader, broker 2, in a bubble.
type bench struct {
	t          *testing.T
	leader     *fakeLeader
	replicas   *fakeReplicas
	f          *Follower
	log        logBuffer
	registered atomic.Bool
	absent     atomic.Bool // the leader is not registered
}

// logBuffer keeps a log. It is safe for concurrent use.
type logBuffer struct {
	mu sync.Mutex // guards following
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func start(t *testing.T) *bench {
	b := &bench{t: t, leader: newFakeLeader(), replicas: &fakeReplicas{logs: map[kafka.TopicPartition]*fakeReplica{}}}
	b.registered.Store(true)
	logger := slog.New(slog.NewTextHandler(&b.log, nil))
	b.f = New(Options{
		Self: 1, Replicas: b.replicas, Logger: logger,
		Epoch: func() (kafka.BrokerEpoch, bool) { return 77, b.registered.Load() },
		Peers: peer.New(peer.Options{
			Dial: b.leader.dial, ClientID: "test", Timeout: 5 * time.Second,
			Address: func(id kafka.BrokerID) (string, bool) { return "two:9092", id == 2 && !b.absent.Load() },
		}),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
		b.leader.hangUp()
		b.after(time.Second) // requests that wait at the leader
	})
	return b
}

// add makes a partition that the leader has with the text has, and the follower
// with mine, and has it copied. Its topic's id begins with the topic's letter.
func (b *bench) add(name, has, mine string) replica.Following {
	tp, err := kafka.ParseTopicPartition(name)
	if err != nil {
		b.t.Fatal(err)
	}
	f := replica.Following{TP: tp, TopicID: kafka.TopicID{tp.Topic[0]}, Leader: 2, Epoch: 3}
	b.leader.change(func() {
		b.leader.names[tp.Topic] = f.TopicID
		b.leader.logs[partKey{f.TopicID, tp.Partition}] = &fakeLog{data: has}
	})
	b.replicas.mu.Lock()
	b.replicas.logs[tp] = &fakeReplica{following: f, data: mine, epoch: 1}
	b.replicas.mu.Unlock()
	b.f.Follow(f, true)
	return f
}

// at changes the leader's log of a partition.
func (b *bench) at(f replica.Following, change func(*fakeLog)) {
	b.leader.change(func() { change(b.leader.logs[partKey{f.TopicID, f.TP.Partition}]) })
}

// after lets so much time pass and all come to rest.
func (b *bench) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// dials is how often the leader was dialed.
func (b *bench) dials() int {
	b.leader.mu.Lock()
	defer b.leader.mu.Unlock()
	return b.leader.dials
}

// mine changes the copy of a partition.
func (b *bench) mine(f replica.Following, change func(*fakeReplica)) {
	b.replicas.mu.Lock()
	defer b.replicas.mu.Unlock()
	change(b.replicas.logs[f.TP])
}

func (b *bench) has(f replica.Following, want string) {
	b.t.Helper()
	b.replicas.mu.Lock()
	defer b.replicas.mu.Unlock()
	if got := b.replicas.logs[f.TP].data; got != want {
		b.t.Errorf("%s: the copy is %q, want %q", f.TP, got, want)
	}
}

// asked returns what was asked since the last time.
func (b *bench) asked() []string {
	b.leader.mu.Lock()
	defer b.leader.mu.Unlock()
	h := b.leader.history
	b.leader.history = nil
	return h
}

func (b *bench) wantAsked(want ...string) {
	b.t.Helper()
	if got := b.asked(); !slices.Equal(got, want) {
		b.t.Errorf("asked\n%q, want\n%q", got, want)
	}
}

func TestSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		a0, b1 := b.add("a-0", "abc", ""), b.add("b-1", "", "")
		b.after(250 * time.Millisecond)
		b.has(a0, "abc")
		b.asked()
		b.after(time.Second)
		b.wantAsked("more", "more") // nothing changed, nothing is named
		b.at(b1, func(l *fakeLog) { l.data = "x" })
		b.after(time.Millisecond)
		b.has(b1, "x")
		b.wantAsked("more b1@1", "more")
		b.at(a0, func(l *fakeLog) { l.start = 1 })
		b.f.Follow(replica.Following{TP: a0.TP}, false)
		b.after(600 * time.Millisecond)
		b.wantAsked("more -a0")
		b.leader.change(func() { clear(b.leader.sessions) })
		b.after(time.Second)
		b.at(b1, func(l *fakeLog) { l.data = "xyz" })
		b.after(time.Millisecond)
		b.has(b1, "xyz")
		if got := b.asked(); !slices.Contains(got, "full b1@1") {
			t.Errorf("no new session: %q", got)
		}
	})
}

// TestNewPartitionDoesNotWait: the loop's request has just begun to wait 500 ms.
func TestNewPartitionDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		b.add("a-0", "", "")
		b.after(time.Second)
		began := time.Now()
		c0 := b.add("c-0", "new", "")
		synctest.Wait()
		b.has(c0, "new")
		if d := time.Since(began); d > 0 {
			t.Errorf("it took %v", d)
		}
		b.after(time.Second)
		b.f.Follow(c0, true)
		b.after(time.Second)
		if n := b.dials(); n != 2 {
			t.Errorf("%d dials: what is told again is no news", n)
		}
	})
}

// TestSetFetchers: partitions move to other loops and back, and are copied on.
func TestSetFetchers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		var all []replica.Following
		for i := range 8 {
			all = append(all, b.add(fmt.Sprintf("a-%d", i), "x", ""))
		}
		b.after(time.Second)
		text := "x"
		for _, fetchers := range []int{4, 2, 1} {
			b.f.SetFetchers(fetchers)
			b.after(time.Second)
			text += "y"
			for _, f := range all {
				b.at(f, func(l *fakeLog) { l.data = text })
			}
			b.after(10 * time.Millisecond)
			for _, f := range all {
				b.has(f, text)
			}
			b.f.mu.Lock()
			if n := len(b.f.loops); n != fetchers {
				t.Errorf("%d loops, want %d", n, fetchers)
			}
			b.f.mu.Unlock()
			before := b.dials()
			b.f.SetFetchers(fetchers)
			b.after(time.Second)
			if n := b.dials(); n != before {
				t.Errorf("the same number again: %d dials more", n-before)
			}
		}
	})
}

func TestOneBadPartitionStopsNoOther(t *testing.T) {
	for _, code := range []protocol.Error{
		protocol.NotLeaderOrFollower, protocol.FencedLeaderEpoch, protocol.UnknownLeaderEpoch, protocol.UnknownTopicOrPartition,
		protocol.KafkaStorageError, protocol.CorruptMessage, protocol.UnknownServerError,
	} {
		t.Run(code.Name(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := start(t)
				bad, good := b.add("a-0", "abc", ""), b.add("b-0", "xyz", "")
				b.at(bad, func(l *fakeLog) { l.fail = code })
				b.after(10 * time.Minute)
				b.at(good, func(l *fakeLog) { l.data = "xyz!" })
				b.after(time.Millisecond)
				b.has(good, "xyz!")
				if n := strings.Count(b.log.String(), "partition=a-0"); n < 1 || n > 21 {
					t.Errorf("%d log lines in ten minutes:\n%s", n, b.log.String())
				}
				b.asked()
				b.after(10 * time.Second)
				if n := len(b.asked()); n > 35 {
					t.Errorf("%d requests in ten seconds", n)
				}
				b.at(bad, func(l *fakeLog) { l.fail = 0; l.data = "abcd" })
				b.after(2 * time.Second)
				b.has(bad, "abcd")
			})
		})
	}
}

// A write that does not end holds up the other partitions of that leader only until
// the broker gives its directory up; that it ends after all does no harm.
func TestStuckWriteStopsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		stuck, other := b.add("a-0", "", ""), b.add("b-0", "x", "")
		b.after(time.Second)
		hang := make(chan struct{})
		b.mine(stuck, func(r *fakeReplica) { r.hang = hang })
		b.at(stuck, func(l *fakeLog) { l.data = "abc" })
		b.after(time.Second)
		b.at(other, func(l *fakeLog) { l.data = "xy" })
		b.after(time.Minute)
		b.has(other, "x")
		b.f.Follow(stuck, false)
		b.after(time.Second)
		b.has(other, "xy")
		b.f.Follow(stuck, false) // and again, after it is gone
		close(hang)
		b.after(time.Second)
		b.at(other, func(l *fakeLog) { l.data = "xyz" })
		b.after(time.Second)
		b.has(other, "xyz")
		b.f.mu.Lock()
		if n := len(b.f.loops); n != 1 {
			t.Errorf("%d loops, want 1", n)
		}
		b.f.mu.Unlock()
	})
}

func TestDamageIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		f := b.add("a-0", "abc", "")
		b.mine(f, func(l *fakeReplica) { l.fail = fmt.Errorf("copying: %w", protocol.CorruptMessage) })
		b.after(20 * time.Second)
		if n := strings.Count(b.log.String(), "records are damaged"); n != 1 {
			t.Errorf("said %d times:\n%s", n, b.log.String())
		}
		b.mine(f, func(l *fakeReplica) {
			if l.appends > 40 {
				t.Errorf("%d appends in 20 s", l.appends)
			}
		})
	})
}

// TestOwnDiskRefuses: records are not fetched in vain every second, and a new
// state is tried at once.
func TestOwnDiskRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		f := b.add("a-0", "abc", "")
		b.mine(f, func(l *fakeReplica) { l.fail = fmt.Errorf("copying: %w", protocol.KafkaStorageError) })
		b.after(time.Minute)
		b.mine(f, func(l *fakeReplica) {
			if l.appends > 7 {
				t.Errorf("%d appends in a minute", l.appends)
			}
			l.fail = nil
		})
		b.f.Follow(f, true)
		b.after(time.Millisecond)
		b.has(f, "abc")
	})
}

func TestDivergingAndOutOfRange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		d := b.add("d-0", "abcd", "abX")
		b.at(d, func(l *fakeLog) {
			l.diverge = &kmsg.FetchResponseTopicPartitionDivergingEpoch{Epoch: 0, EndOffset: 2}
		})
		long, old := b.add("l-0", "ab", "abcde"), b.add("o-1", "abcdefgh", "ab")
		b.at(old, func(l *fakeLog) { l.start = 5 })
		b.after(300 * time.Millisecond)
		b.has(d, "abcd")
		b.has(long, "ab")
		b.has(old, "     fgh")
		b.replicas.mu.Lock()
		defer b.replicas.mu.Unlock()
		slices.Sort(b.replicas.done)
		want := []string{"d-0 diverged at 2 of epoch 0", "l-0 out of range 0-2", "o-1 out of range 5-8"}
		if !slices.Equal(b.replicas.done, want) {
			t.Errorf("got %q", b.replicas.done)
		}
		if s := b.log.String(); s != "" {
			t.Error(s)
		}
	})
}

func TestBrokenConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		fs := []replica.Following{b.add("a-0", "a", ""), b.add("b-0", "b", ""), b.add("c-0", "c", "")}
		b.after(time.Second)
		b.leader.change(func() { b.leader.down = true })
		b.leader.hangUp()
		b.after(30 * time.Second)
		if n := b.dials(); n > 45 {
			t.Errorf("%d dials in 30 s", n)
		}
		if n := strings.Count(b.log.String(), "copying from a leader fails"); n != 1 {
			t.Errorf("said %d times:\n%s", n, b.log.String())
		}
		for _, f := range fs {
			b.at(f, func(l *fakeLog) { l.data += "+" })
		}
		b.leader.change(func() { b.leader.down = false })
		b.after(2 * time.Second)
		for _, f := range fs {
			b.has(f, f.TP.Topic+"+")
		}
	})
}

// TestNobodyRegistered: neither an absent leader nor an own missing registration
// is asked under; both end by themselves.
func TestNobodyRegistered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		b.absent.Store(true)
		b.registered.Store(false)
		f := b.add("a-0", "abc", "")
		b.after(5 * time.Second)
		b.registered.Store(true)
		b.after(5 * time.Second)
		if n := b.dials(); n != 0 {
			t.Errorf("%d dials", n)
		}
		b.absent.Store(false)
		b.after(2 * time.Second)
		b.has(f, "abc")
	})
}

// TestLeadersChange: a partition moves to another loop, loops end when nothing
// is left, and what comes for a leadership that is over is not stored.
func TestLeadersChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		f := b.add("a-0", "abc", "")
		b.after(time.Second)
		g := f
		g.Leader, g.Epoch = 3, 4 // nobody knows 3
		b.mine(f, func(l *fakeReplica) { l.following = g })
		b.f.Follow(g, true)
		b.at(f, func(l *fakeLog) { l.data = "abcLATE" })
		b.after(2 * time.Second)
		b.has(f, "abc")
		b.f.mu.Lock()
		if n := len(b.f.loops); n != 1 || b.f.loops[loopKey{3, 0}] == nil {
			t.Errorf("%d loops", n)
		}
		b.f.mu.Unlock()
		b.f.Follow(replica.Following{TP: f.TP}, false)
		b.after(2 * time.Second)
		b.f.mu.Lock()
		if len(b.f.loops)+len(b.f.told) != 0 {
			t.Errorf("left: %d loops, %d partitions", len(b.f.loops), len(b.f.told))
		}
		b.f.mu.Unlock()
		g = f
		g.Epoch = 9
		b.mine(f, func(l *fakeReplica) { l.following = g })
		b.f.Follow(g, true)
		b.after(time.Second)
		b.has(f, "abcLATE")
	})
}

func TestFetcherOf(t *testing.T) {
	for _, c := range []struct {
		tp       kafka.TopicPartition
		fetchers int
		want     int32
	}{
		{kafka.TopicPartition{Topic: "a", Partition: 0}, 1, 0},
		{kafka.TopicPartition{Topic: "a", Partition: 0}, 4, 3}, // 31*97 = 3007
		{kafka.TopicPartition{Topic: "a", Partition: 2}, 4, 1}, // 3009
		{kafka.TopicPartition{Topic: "AaAaAaAa", Partition: 1}, 7, func() int32 {
			h := int32(31)*kafka.JavaHash("AaAaAaAa") + 1
			return int32(max(int64(h), -int64(h)) % 7)
		}()},
	} {
		if got := fetcherOf(c.tp, c.fetchers); got != c.want {
			t.Errorf("%s of %d: got %d, want %d", c.tp, c.fetchers, got, c.want)
		}
	}
}

// A leader that comes back is copied from as soon as its leadership is known, not
// after the pause that its absence has led to.
func TestALeaderThatComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t)
		b.absent.Store(true)
		f := b.add("a-0", "abc", "")
		b.after(30 * time.Second) // the pauses are a second long by now
		b.absent.Store(false)
		again := f
		again.Epoch++
		b.mine(f, func(r *fakeReplica) { r.following = again })
		b.f.Follow(again, true)
		b.after(2 * firstPause)
		b.has(f, "abc")
	})
}

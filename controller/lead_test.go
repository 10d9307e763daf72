package controller_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"barnabas/cluster"
	"barnabas/controller"
	"barnabas/internal/kafka"
	"barnabas/internal/zktest"
	"barnabas/protocol"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// t0 is the first partition of pair's topic.
var t0 = kafka.TopicPartition{Topic: "t"}

func leads(tp kafka.TopicPartition, id kafka.BrokerID) func(*cluster.Image) bool {
	return func(im *cluster.Image) bool { p := im.Partition(tp); return p != nil && p.Leader == id }
}

// elect holds an election of one partition.
func (n *node) elect(kind cluster.ElectionKind, tp kafka.TopicPartition) error {
	n.t.Helper()
	got, err := n.ctl.ElectLeaders(n.t.Context(), kind, []kafka.TopicPartition{tp})
	if err != nil || len(got) != 1 || got[0].TP != tp {
		n.t.Fatalf("got %+v, %v", got, err)
	}
	return got[0].Err
}

// alter asks for an ISR of t-0 as its leader.
func (n *node) alter(isr ...kafka.BrokerID) {
	n.t.Helper()
	im := n.meta.Current()
	leader := im.Partition(t0).Leader
	got, err := n.ctl.AlterPartition(n.t.Context(), leader, im.Broker(leader).Epoch, []cluster.ISRChange{wish(im, 0, isr...)})
	if err != nil || got[0].Err != nil {
		n.t.Fatalf("%+v, %v", got, err)
	}
}

func TestControlledShutdown(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		one, two := pair(t, connect, 3)
		if err := one.elect(cluster.PreferredElection, t0); protocol.CodeOf(err) != protocol.ElectionNotNeeded {
			t.Errorf("an election that is not needed: %v", err)
		}
		epoch := one.meta.Current().Broker(1).Epoch
		for _, c := range []struct {
			id    kafka.BrokerID
			epoch kafka.BrokerEpoch
			want  protocol.Error
		}{{9, 1, protocol.BrokerNotAvailable}, {1, epoch - 1, protocol.StaleBrokerEpoch}} {
			if _, err := one.ctl.ControlledShutdown(t.Context(), c.id, c.epoch); protocol.CodeOf(err) != c.want {
				t.Errorf("%+v: got %v", c, err)
			}
		}
		if _, err := two.ctl.ControlledShutdown(t.Context(), 1, epoch); protocol.CodeOf(err) != protocol.NotController {
			t.Errorf("asked of another: %v", err)
		}
		before := two.meta.Current().Next
		remaining, err := one.ctl.ControlledShutdown(t.Context(), 1, epoch)
		if err != nil || len(remaining) != 0 {
			t.Fatalf("remaining %v, %v", remaining, err)
		}
		im := two.await("leaders", func(im *cluster.Image) bool {
			return leads(kafka.TopicPartition{Topic: "t", Partition: 2}, 2)(im) && hasISR(0, 2)(im)
		})
		if n := im.Next - before; n != 1 {
			t.Errorf("it took %d entries", n)
		}
		if b := im.Broker(1); !b.Stopping {
			t.Errorf("%+v is not stopping", b)
		}
		// It comes back in the same registration? Then not: a new one is needed.
		if err := one.elect(cluster.PreferredElection, t0); protocol.CodeOf(err) != protocol.PreferredLeaderNotAvailable {
			t.Errorf("a stopping broker was elected: %v", err)
		}
		// Nobody is left for 2.
		remaining, err = one.ctl.ControlledShutdown(t.Context(), 2, -1)
		if err != nil || len(remaining) != 3 {
			t.Errorf("remaining %v, %v", remaining, err)
		}
		// The death of one that has left changes no state.
		states := one.meta.Current().Partition(t0).Zxid
		one.stop()
		im = two.await("the death of 1", func(im *cluster.Image) bool { return !im.Alive(1) && im.LiveController() == 2 })
		if got := im.Partition(t0).Zxid; got != states {
			t.Errorf("the state was written again, by %d", got)
		}
	})
}

func TestPreferredElectionByZnode(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		one, two := pair(t, connect, 2)
		// 1 loses what it leads and is in sync again.
		one.alter(1, 2)
		swap := func() {
			t.Helper()
			one.edit(zkpaths.StatePath(t0), func(old []byte) ([]byte, error) {
				s, err := zkpaths.DecodeState(old)
				if err != nil {
					return nil, err
				}
				s.Leader, s.LeaderEpoch = 2, s.LeaderEpoch+1
				return s.Encode(), nil
			})
			two.await("the edit to be found by the scrub", leads(t0, 2))
		}
		swap()
		for _, text := range [][]byte{
			zkpaths.EncodePartitions([]kafka.TopicPartition{t0, {Topic: "nope"}, {Topic: "t", Partition: 9}, t0}),
			[]byte("garbage"),
			nil,
		} {
			if _, err := two.zk.Create(t.Context(), zkpaths.PreferredElectionPath, text, session.Persistent); err != nil {
				t.Fatal(err)
			}
			waitUntil(t, "the znode to go", func() bool {
				_, there, err := two.zk.Exists(t.Context(), zkpaths.PreferredElectionPath)
				return err == nil && !there
			})
			two.await("the leader", leads(t0, 1))
		}
		// A request, and one whose state was edited under it.
		swap()
		if err := one.elect(cluster.PreferredElection, t0); err != nil {
			t.Error(err)
		}
		if err := one.elect(cluster.PreferredElection, t0); protocol.CodeOf(err) != protocol.ElectionNotNeeded {
			t.Errorf("again: %v", err)
		}
		sameAsLoaded(t, two)
	})
}

// Leaders go back by themselves once the share of those elsewhere is too large.
func TestAutoRebalance(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		var on atomic.Bool
		with := func(o *controller.Options) {
			o.Rebalance = func() controller.Rebalance {
				return controller.Rebalance{Enabled: on.Load(), Interval: time.Millisecond, Percentage: 10}
			}
		}
		one := startNode(t, connect, 1, with)
		one.awaitReign()
		two := startNode(t, connect, 2, with)
		one.await("both", func(im *cluster.Image) bool { return im.Alive(1) && im.Alive(2) })
		one.create(cluster.NewTopic{Name: "t", Assignment: [][]kafka.BrokerID{{2, 1}, {1, 2}}})
		two.await("the topic", led("t", 2))
		two.stop()
		one.await("the move", leads(t0, 1))
		startNode(t, connect, 2, with)
		one.await("the return", func(im *cluster.Image) bool { return im.Alive(2) })
		on.Store(true)
		one.alter(1, 2)
		one.await("the move back", leads(t0, 2))
	})
}

// No leader goes back by itself to a broker that nobody can connect to, and it
// does once somebody can.
func TestAutoRebalanceNotOutOfReach(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		var far atomic.Bool
		var asked atomic.Int64
		far.Store(true)
		with := func(o *controller.Options) {
			o.Rebalance = func() controller.Rebalance {
				return controller.Rebalance{Enabled: true, Interval: time.Millisecond, Percentage: 10}
			}
			o.Unreachable = func(id kafka.BrokerID) bool {
				asked.Add(1)
				return far.Load() && id == 2
			}
		}
		one := startNode(t, connect, 1, with)
		one.awaitReign()
		two := startNode(t, connect, 2, with)
		one.await("both", func(im *cluster.Image) bool { return im.Alive(1) && im.Alive(2) })
		one.create(cluster.NewTopic{Name: "t", Assignment: [][]kafka.BrokerID{{2, 1}, {1, 2}}})
		two.await("the topic", led("t", 2))
		two.stop()
		one.await("the move", leads(t0, 1))
		startNode(t, connect, 2, with)
		one.await("the return", func(im *cluster.Image) bool { return im.Alive(2) })
		one.alter(1, 2)
		one.await("the larger ISR", func(im *cluster.Image) bool { return len(im.Partition(t0).ISR) == 2 })
		want := asked.Load() + 2
		waitUntil(t, "somebody to ask who is in reach", func() bool { return asked.Load() >= want })
		if p := one.meta.Current().Partition(t0); p.Leader != 1 {
			t.Fatalf("given back: %+v", p)
		}
		far.Store(false)
		one.await("the move back", leads(t0, 2))
	})
}

// logEnds answers for brokers; those without an answer hang.
type logEnds struct {
	mu   sync.Mutex
	ends map[kafka.BrokerID]cluster.LogEnd
}

func (l *logEnds) set(id kafka.BrokerID, e cluster.LogEnd) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ends[id] = e
}

func (l *logEnds) ask(ctx context.Context, id kafka.BrokerID, of []cluster.EndQuestion) ([]cluster.LogEnd, error) {
	l.mu.Lock()
	e, ok := l.ends[id]
	l.mu.Unlock()
	if !ok {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	out := make([]cluster.LogEnd, len(of))
	for i := range out {
		out[i] = e
	}
	return out, nil
}

// trio is three brokers, of which 1 reigns for good, and t-0 with replicas 2, 3, 1
// that 2 alone is in sync with, and dead.
func trio(t *testing.T, connect string, l *logEnds, unclean *atomic.Bool) (one, three *node) {
	t.Helper()
	with := func(o *controller.Options) {
		o.Ends, o.Unclean, o.CrashedWait = l.ask, unclean.Load, 300*time.Millisecond
	}
	one = startNode(t, connect, 1, with)
	one.awaitReign()
	two := startNode(t, connect, 2, with)
	three = startNode(t, connect, 3, with)
	one.await("all", func(im *cluster.Image) bool { return im.Alive(1) && im.Alive(2) && im.Alive(3) })
	one.create(cluster.NewTopic{Name: "t", Assignment: [][]kafka.BrokerID{{2, 3, 1}}})
	one.await("the topic", led("t", 1))
	one.alter(2)
	two.stop()
	one.await("no leader", leads(t0, kafka.NoBroker))
	return one, three
}

func TestUncleanElection(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		l := &logEnds{ends: map[kafka.BrokerID]cluster.LogEnd{1: {Epoch: 0, End: 100, Committed: 130}, 3: {Epoch: 0, End: 90}}}
		var unclean atomic.Bool
		one, three := trio(t, connect, l, &unclean)
		sameAsLoaded(t, one)
		if p := one.meta.Current().Partition(t0); p.Leader != kafka.NoBroker {
			t.Fatalf("elected though it is not allowed: %+v", p)
		}
		// Changed live, for the whole cluster.
		unclean.Store(true)
		one.ctl.Reconsider()
		im := three.await("the longest log", leads(t0, 1))
		if p := im.Partition(t0); !p.Recovering || !slices.Equal(p.ISR, []kafka.BrokerID{1}) {
			t.Errorf("%+v", p)
		}
		one.await("its own entry", leads(t0, 1))
		if why := newestReason(t, one, "election-by-log-end").Args["t-0"]; why != "leader=1 epoch=0 end=100 known=130 missing=30 silent=2" {
			t.Errorf("the entry says %q", why)
		}
		sameAsLoaded(t, three)
	})
}

// newestReason is the reason of the newest entry with a code.
func newestReason(t *testing.T, n *node, code string) cluster.Reason {
	t.Helper()
	for i := n.meta.Current().Next - 1; i >= 0; i-- {
		data, _, err := n.zk.Get(t.Context(), zkpaths.MetadataChangePath(i))
		if errors.Is(err, session.ErrNoNode) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		e, err := cluster.DecodeEntry(data)
		if err != nil {
			t.Fatal(err)
		}
		if e.Reason.Code == code {
			return e.Reason
		}
	}
	t.Fatalf("no entry says %s", code)
	return cluster.Reason{}
}

// A topic's own config allows it, as kafka-configs writes it, and one replica that
// does not answer is not waited for longer than two seconds, nor does the loop stand
// still meanwhile.
func TestUncleanElectionOfTopic(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		l := &logEnds{ends: map[kafka.BrokerID]cluster.LogEnd{3: {Epoch: 0, End: 90}}}
		var unclean atomic.Bool
		one, _ := trio(t, connect, l, &unclean)
		data := zkpaths.EncodeConfig(map[string]string{"unclean.leader.election.enable": "true"})
		if _, err := one.zk.Set(t.Context(), zkpaths.TopicConfigPath("t"), data, -1); err != nil {
			t.Fatal(err)
		}
		note := zkpaths.ConfigChange{Type: zkpaths.ConfigTopics, Entity: "t"}
		if _, err := one.zk.Create(t.Context(), zkpaths.ConfigChangePath, note.Encode(), session.PersistentSequential); err != nil {
			t.Fatal(err)
		}
		one.await("the config", func(im *cluster.Image) bool { return len(im.Topic("t").Config) == 1 })
		for i := range 5 {
			one.create(cluster.NewTopic{Name: fmt.Sprintf("meanwhile%d", i), Partitions: 1, ReplicationFactor: 1})
		}
		if !leads(t0, kafka.NoBroker)(one.meta.Current()) {
			t.Error("the loop waited for the answers")
		}
		one.await("the one that answered", leads(t0, 3))
		if why := newestReason(t, one, "election-by-log-end").Args["t-0"]; !strings.HasSuffix(why, "silent=2") {
			t.Errorf("the entry says %q", why)
		}
	})
}

func TestUncleanElectionByRequest(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		l := &logEnds{ends: map[kafka.BrokerID]cluster.LogEnd{1: {Err: protocol.KafkaStorageError}, 3: {Err: protocol.KafkaStorageError}}}
		var unclean atomic.Bool
		one, _ := trio(t, connect, l, &unclean)
		err := one.elect(cluster.UncleanElection, t0)
		if want := "ELIGIBLE_LEADERS_NOT_AVAILABLE: Failed to elect leader for partition t-0 under strategy OfflinePartitionLeaderElectionStrategy(true)"; err == nil || err.Error() != want {
			t.Errorf("nobody has a log: %v", err)
		}
		l.set(3, cluster.LogEnd{Epoch: 0, End: 5})
		if err := one.elect(cluster.UncleanElection, t0); err != nil {
			t.Error(err)
		}
		one.await("the leader", leads(t0, 3))
		if err := one.elect(cluster.UncleanElection, t0); protocol.CodeOf(err) != protocol.ElectionNotNeeded {
			t.Errorf("again: %v", err)
		}
	})
}

// Members of an ISR whose machines crashed are compared before one of them leads;
// one that is absent is waited for, but not for ever.
func TestCrashedMembers(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		l := &logEnds{ends: map[kafka.BrokerID]cluster.LogEnd{2: {Epoch: 0, End: 95, Committed: 95}, 3: {Epoch: 0, End: 100, Committed: 100}}}
		with := func(o *controller.Options) { o.Ends, o.CrashedWait = l.ask, 500*time.Millisecond }
		one := startNode(t, connect, 1, with)
		one.awaitReign()
		two, three := startNode(t, connect, 2, with), startNode(t, connect, 3, with)
		one.await("all", func(im *cluster.Image) bool { return im.Alive(2) && im.Alive(3) })
		one.create(cluster.NewTopic{Name: "t", Assignment: [][]kafka.BrokerID{{2, 3}}})
		one.await("the topic", led("t", 1))
		// Both at a time, so that neither leaves the ISR alone.
		down := func() {
			var ops []session.Op
			for _, id := range []kafka.BrokerID{2, 3} {
				ops = append(ops, session.DeleteOp(zkpaths.BrokerPath(id), -1))
			}
			if _, err := one.zk.Multi(t.Context(), ops...); err != nil {
				t.Fatal(err)
			}
			one.await("no leader", leads(t0, kafka.NoBroker))
		}
		down()
		two.crashed, three.crashed = true, true
		two.register()
		one.await("2 back", func(im *cluster.Image) bool { return im.Alive(2) })
		if !leads(t0, kafka.NoBroker)(one.meta.Current()) {
			t.Error("2 leads before 3 was waited for")
		}
		three.register()
		im := one.await("the longer log", leads(t0, 3))
		if im.Partition(t0).Recovering {
			t.Error("it was in sync")
		}
		one.alter(2, 3)
		down()
		two.register()
		im = one.await("the one that is there", leads(t0, 2))
		if !slices.Equal(im.Partition(t0).ISR, []kafka.BrokerID{2}) {
			t.Errorf("%+v", im.Partition(t0))
		}
	})
}

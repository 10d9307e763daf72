package controller_test

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
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

// entries are the numbers of the entries that the change log has.
func entries(n *node) []int64 {
	n.t.Helper()
	names, _, err := n.zk.Children(n.t.Context(), zkpaths.MetadataChanges)
	if err != nil {
		n.t.Fatal(err)
	}
	var out []int64
	for _, name := range names {
		if number, ok := zkpaths.ParseMetadataChange(name); ok {
			out = append(out, number)
		}
	}
	slices.Sort(out)
	return out
}

// Old entries go, oldest first; the newest hundred stay, and so does what somebody
// may be about to read.
func TestPurge(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		age := func(d time.Duration) func(*controller.Options) {
			return func(o *controller.Options) { o.EntryAge = d }
		}
		one := startNode(t, connect, 1, age(time.Hour))
		one.awaitReign()
		two := startNode(t, connect, 2, age(time.Millisecond))
		one.await("both", func(im *cluster.Image) bool { return im.Alive(1) && im.Alive(2) })
		one.create(cluster.NewTopic{Name: "t", Assignment: [][]kafka.BrokerID{{1, 2}}})
		one.await("the topic", led("t", 1))
		for range 120 {
			one.alter(1)
			one.alter(1, 2)
		}
		all := entries(one)
		// Another reign, to which they are too young.
		newReign := func() {
			t.Helper()
			before := two.meta.Current().ControllerEpoch
			if err := two.zk.Delete(t.Context(), zkpaths.ControllerPath, -1); err != nil {
				t.Fatal(err)
			}
			waitUntil(t, "another reign", func() bool {
				return two.meta.Current().ControllerEpoch > before && (one.ctl.Active() || two.ctl.Active())
			})
		}
		for two.ctl.Active() || len(entries(one)) >= len(all) {
			if two.ctl.Active() {
				waitUntil(t, "old entries to go", func() bool { return len(entries(one)) < len(all)/2+20 })
				break
			}
			if got := entries(one); len(got) < len(all) || got[0] != all[0] {
				t.Fatalf("%d of %d entries are left though none is an hour old", len(got), len(all))
			}
			newReign()
		}
		left := entries(one)
		newest := left[len(left)-1]
		if left[0] > newest-99 || int64(len(left)) != newest-left[0]+1 {
			t.Errorf("entries %d to %d are left, %d of them: want the newest hundred, without a gap", left[0], newest, len(left))
		}
		// Who read on, who loads, and who comes now all see the same.
		sameAsLoaded(t, one)
		sameAsLoaded(t, two)
		three := startNode(t, connect, 3)
		three.await("itself", func(im *cluster.Image) bool { return im.Alive(3) && led("t", 1)(im) })
		sameAsLoaded(t, three)
	})
}

// The change log is begun anew long before its numbers end: all load what is there,
// and another reign begins, so that who has read more is known by its epoch.
func TestRenewal(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		one := startNode(t, connect, 1)
		one.awaitReign()
		two := startNode(t, connect, 2, func(o *controller.Options) { o.RenewAbove = 60 })
		one.await("both", func(im *cluster.Image) bool { return im.Alive(1) && im.Alive(2) })
		one.create(cluster.NewTopic{Name: "t", Assignment: [][]kafka.BrokerID{{1, 2}}})
		one.await("the topic", led("t", 1))
		for one.meta.Current().Next <= 60 {
			one.alter(1)
			one.alter(1, 2)
		}
		before, state := one.meta.Current(), one.meta.Current().Topic("t").Partition(0)
		waitUntil(t, "a reign of 2, which looks at once", func() bool {
			if two.meta.Current().Log == before.Log && one.ctl.Active() {
				one.zk.Delete(t.Context(), zkpaths.ControllerPath, -1) // if it is not being done already
			}
			return two.meta.Current().Log != before.Log
		})
		for _, n := range []*node{one, two} {
			im := n.await("a new log", func(im *cluster.Image) bool {
				return im.Log != before.Log && im.Next < 60 && im.ControllerEpoch >= before.ControllerEpoch+2 && im.LiveController() != kafka.NoBroker
			})
			p := im.Topic("t").Partition(0)
			if p == nil || p.Leader != state.Leader || p.LeaderEpoch != state.LeaderEpoch || len(p.ISR) != 2 || !p.UsableBy(im.Broker(p.Leader)) {
				t.Errorf("broker %d knows the partition as %+v, which was %+v", n.id, p, state)
			}
			sameAsLoaded(t, n)
		}
		if got := entries(one); got[0] != 0 {
			t.Errorf("the log begins with entry %d", got[0])
		}
		waitUntil(t, "another topic", func() bool {
			for _, n := range []*node{one, two} {
				if n.tryCreate(cluster.NewTopic{Name: "u", Assignment: [][]kafka.BrokerID{{2, 1}}}) == nil {
					return true
				}
			}
			return false
		})
		three := startNode(t, connect, 3)
		three.await("all", func(im *cluster.Image) bool { return im.Alive(3) && led("t", 1)(im) && led("u", 1)(im) })
		for _, n := range []*node{one, two, three} {
			sameAsLoaded(t, n)
		}
	})
}

// A log that has more entries than fit into one transaction is emptied in several.
func TestRenewalOfALongLog(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		n := startNode(t, connect, 1, func(o *controller.Options) { o.RenewAbove = 1200 })
		n.awaitReign()
		empty := &cluster.Entry{Version: cluster.EntryVersion, Controller: 1, Reason: cluster.Reason{Code: "test"}}
		for range 5 {
			ops := slices.Repeat([]session.Op{session.CreateOp(zkpaths.NewMetadataChange, empty.Encode(), session.PersistentSequential)}, 250)
			if _, err := n.zk.Multi(t.Context(), ops...); err != nil {
				t.Fatal(err)
			}
		}
		n.await("all of them", func(im *cluster.Image) bool { return im.Next > 1250 })
		epoch, _ := n.ctl.Epoch()
		if err := n.zk.Delete(t.Context(), zkpaths.ControllerPath, -1); err != nil {
			t.Fatal(err)
		}
		n.await("a new log", func(im *cluster.Image) bool { return im.Next < 100 && im.ControllerEpoch >= epoch+2 })
		if got := entries(n); len(got) > 20 || got[0] != 0 {
			t.Errorf("the log has entries %v", got)
		}
		n.create(cluster.NewTopic{Name: "t", Assignment: [][]kafka.BrokerID{{1}}})
		sameAsLoaded(t, n)
	})
}

// The names of all topics have to fit into what ZooKeeper lists in one reply.
func TestRoomForNames(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		var said lines
		n := startNode(t, connect, 1, func(o *controller.Options) {
			o.NameBytes = 1000
			o.Logger = slog.New(slog.NewTextHandler(&said, nil))
		})
		n.awaitReign()
		name := func(i int) string { return strings.Repeat(string(rune('a'+i)), 96) } // 100 bytes in a list
		for i := range 9 {
			n.create(cluster.NewTopic{Name: name(i), Assignment: [][]kafka.BrokerID{{1}}})
			want := 0
			if i >= 5 {
				want = 1
			}
			if got := said.count("more than half of what ZooKeeper lists"); got != want {
				t.Errorf("after %d topics it was said %d times, want %d", i+1, got, want)
			}
		}
		err := n.tryCreate(cluster.NewTopic{Name: name(9), Assignment: [][]kafka.BrokerID{{1}}})
		if protocol.CodeOf(err) != protocol.PolicyViolation {
			t.Errorf("one too many: %v", err)
		}
		n.delete(name(0))
		n.create(cluster.NewTopic{Name: name(9), Assignment: [][]kafka.BrokerID{{1}}})
	})
}

// lines is what was logged.
type lines struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

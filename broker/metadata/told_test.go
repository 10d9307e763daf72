package metadata

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/internal/zktest"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// registered makes a registration and gives its czxid.
func (l *log) registered(id kafka.BrokerID) kafka.BrokerEpoch {
	l.t.Helper()
	reg := zkpaths.Registration{Endpoints: []zkpaths.Endpoint{{Listener: "A", Host: "h", Port: int32(id), Protocol: "PLAINTEXT"}}}
	if _, err := l.zk.Create(l.t.Context(), zkpaths.BrokerPath(id), reg.Encode(), session.Ephemeral); err != nil {
		l.t.Fatal(err)
	}
	st, _, err := l.zk.Exists(l.t.Context(), zkpaths.BrokerPath(id))
	if err != nil {
		l.t.Fatal(err)
	}
	return kafka.BrokerEpoch(st.Czxid)
}

// tell writes an entry and gives its czxid and path.
func (l *log) tell(brokers ...cluster.EntryBroker) (int64, string) {
	l.t.Helper()
	l.counter++
	e := cluster.Entry{Version: cluster.EntryVersion, Epoch: 1, Token: cluster.Token{Broker: 1, Session: 2, Counter: l.counter}, Brokers: brokers}
	path, err := l.zk.Create(l.t.Context(), zkpaths.NewMetadataChange, e.Encode(), session.PersistentSequential)
	if err != nil {
		l.t.Fatal(err)
	}
	st, _, err := l.zk.Exists(l.t.Context(), path)
	if err != nil {
		l.t.Fatal(err)
	}
	return st.Czxid, path
}

// toldBy loads afresh and gives when the log told of each broker.
func (l *log) toldBy() map[kafka.BrokerID]int64 {
	l.t.Helper()
	fresh := New(Options{Client: l.zk})
	ctx, cancel := context.WithTimeout(l.t.Context(), time.Minute)
	var wg sync.WaitGroup
	wg.Go(func() { fresh.Run(ctx) })
	defer func() { cancel(); wg.Wait() }()
	select {
	case <-fresh.Loaded():
	case <-ctx.Done():
		l.t.Fatal("not loaded")
	}
	out := map[kafka.BrokerID]int64{}
	for _, b := range fresh.Current().Brokers() {
		out[b.ID] = b.Told
	}
	return out
}

// Who loads finds in the log which entry told of a registration first.
func TestToldByTheLog(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		l := open(t, connect, time.Hour)
		up := func(id kafka.BrokerID, epoch kafka.BrokerEpoch, told int64) cluster.EntryBroker {
			return cluster.EntryBroker{ID: id, Epoch: epoch, State: cluster.Up, Told: told}
		}
		want := map[kafka.BrokerID]int64{}
		check := func(when string) {
			t.Helper()
			if got := l.toldBy(); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: %v, want %v", when, got, want)
			}
		}
		one := l.registered(1)
		want[1] = 0
		check("an empty log")
		l.tell(up(1, one-1, 0)) // an earlier registration
		check("nobody told")
		_, first := l.tell(up(1, one, 0))
		st, _, _ := l.zk.Exists(t.Context(), first)
		want[1] = st.Czxid
		two := l.registered(2)
		for range 2 * window { // so that more than one step back is needed
			l.tell(up(3, 3, 0))
		}
		want[2] = 0
		check("far back")
		l.tell(up(1, one, 0), cluster.EntryBroker{ID: 2, Epoch: two, State: cluster.Down})
		check("told again by a build that does not say since when")
		_, again := l.tell(up(1, one, want[1]))
		want[2], _ = l.tell(up(2, two, 0))
		check("told again")

		purge := func(except string) {
			names, _, err := l.zk.Children(t.Context(), zkpaths.MetadataChanges)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range names {
				if path := zkpaths.MetadataChanges + "/" + n; path < except {
					if err := l.zk.Delete(t.Context(), path, -1); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		purge(again)
		check("what told first is purged")
		three := l.registered(3)
		_, last := l.tell()
		want[3] = 0
		purge(last)
		// Nobody told again of what was purged: it is told of by then, as each reign
		// tells of all.
		want[1], want[2], want[3] = int64(one), int64(two), int64(three)
		check("a log of an older build")
	})
}

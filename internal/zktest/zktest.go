package zktest

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"barnabas/zkpaths/devzk"
)

// Both runs test as two subtests, "devzk" and "zookeeper", each with a connect
// string that ends in a fresh chroot (which exists already). With -short only
// devzk runs; without it a missing Java or ZooKeeper fails the test. Session
// timeouts from 400 ms to 60 s are granted, with a grain of 200 ms.
func Both(t *testing.T, test func(t *testing.T, connect string)) {
	t.Run("devzk", func(t *testing.T) {
		test(t, Chroot(t, DevZK(t, devzk.Options{}).Addr()))
	})
	if testing.Short() {
		return
	}
	t.Run("zookeeper", func(t *testing.T) {
		test(t, Chroot(t, Real(t)))
	})
}

// DevZK starts a server that ends with the test. Without a Tick in o it has the
// grain and the session timeouts that Both promises.
func DevZK(t testing.TB, o devzk.Options) *devzk.Server {
	t.Helper()
	if o.Tick == 0 {
		o.Tick, o.MinSessionTimeout, o.MaxSessionTimeout = 200*time.Millisecond, 400*time.Millisecond, time.Minute
	}
	s, err := devzk.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// chroots numbers the chroots of this process.
var chroots atomic.Int64

// Chroot makes a fresh znode at addr and returns the connect string that ends in
// it.
func Chroot(t testing.TB, addr string) string {
	t.Helper()
	c := Dial(t, addr)
	defer c.Close()
	path := fmt.Sprintf("/t%d", chroots.Add(1))
	if _, err := c.Create(path, nil, 0, zk.WorldACL(zk.PermAll)); err != nil {
		t.Fatalf("making the chroot %s on %s: %v", path, addr, err)
	}
	return addr + path
}

// Dial connects go-zookeeper's client, quietly, to an address without chroot,
// with a session timeout of 10 s. It is closed at the end of the test, if not
// before.
func Dial(t testing.TB, addr string) *zk.Conn {
	t.Helper()
	// A handshake that is not answered would be waited for longer than a test
	// likes to: rather begin anew.
	for range 6 {
		c, events, err := zk.Connect([]string{addr}, 10*time.Second, zk.WithLogger(quiet{}))
		if err != nil {
			t.Fatal(err)
		}
		if awaitSession(events) {
			t.Cleanup(c.Close)
			return c
		}
		c.Close()
	}
	t.Fatalf("no session at %s", addr)
	return nil
}

func awaitSession(events <-chan zk.Event) bool {
	deadline := time.After(5 * time.Second)
	for {
		select {
		case e := <-events:
			if e.State == zk.StateHasSession {
				return true
			}
		case <-deadline:
			return false
		}
	}
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}

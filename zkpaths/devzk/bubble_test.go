package devzk_test

import (
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-zookeeper/zk"

	"barnabas/zkpaths/devzk"
)

// memory is a network of one address, of pipes.
type memory struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newMemory() *memory { return &memory{conns: make(chan net.Conn), done: make(chan struct{})} }

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.done:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error   { m.once.Do(func() { close(m.done) }); return nil }
func (m *memory) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 2181} }

func (m *memory) dial(string, string, time.Duration) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case m.conns <- there:
		return here, nil
	case <-m.done:
		return nil, errors.New("connection refused")
	}
}

type silent struct{}

func (silent) Printf(string, ...any) {}

// TestHoursInABubble: with a network in memory a server and its clients live on
// a bubble's clock.
func TestHoursInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		s, err := devzk.Start(devzk.Options{Listener: m})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		c, events, err := zk.Connect([]string{s.Addr()}, 18*time.Second, zk.WithDialer(m.dial), zk.WithLogger(silent{}))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for e := range events {
			if e.State == zk.StateHasSession {
				break
			}
		}
		if _, err := c.Create("/e", nil, zk.FlagEphemeral, world); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		time.Sleep(5 * time.Hour)
		if _, st, err := c.Get("/e"); err != nil || st.EphemeralOwner != c.SessionID() {
			t.Fatalf("after five hours: %+v, %v", st, err)
		}
		if st := s.Sessions(); len(st) != 1 || !st[0].Connected || st[0].Timeout != 18*time.Second || len(st[0].Ephemerals) != 1 {
			t.Fatalf("sessions %+v", st)
		}
		s.DropConnections()
		time.Sleep(time.Minute)
		if _, _, err := c.Get("/e"); err != nil {
			t.Fatalf("after a broken connection: %v", err)
		}
		old := c.SessionID()
		s.ExpireSession(old)
		time.Sleep(time.Minute)
		if ok, _, err := c.Exists("/e"); ok || err != nil || c.SessionID() == old {
			t.Fatalf("after the expiry: %v, %v, session %#x", ok, err, c.SessionID())
		}
		if d := time.Since(start); d < 5*time.Hour {
			t.Fatalf("only %v passed", d)
		}
	})
}

package socket

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// listening is options with listeners of these names.
func listening(o Options, names ...string) Options {
	for _, n := range names {
		o.Listeners = append(o.Listeners, ListenerOptions{Name: n, Addr: "127.0.0.1:0", Protected: n == "BROKERS"})
	}
	return o
}

func dialTo(t *testing.T, s *Server, listener string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr(listener).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	return c
}

// ask makes sure that the connection is served.
func ask(t *testing.T, c net.Conn, id int32) {
	t.Helper()
	send(t, c, request(metadataKey, 1, id, ""))
	receive(t, c, id)
}

// settle waits until the server has noted all replies that it has sent: it does so
// after their clients may have them.
func settle(t *testing.T, s *Server) {
	t.Helper()
	waitFor(t, "the replies to be noted", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			c.mu.Lock()
			busy := c.count+c.sending > 0
			c.mu.Unlock()
			if busy {
				return false
			}
		}
		return true
	})
}

// unserved makes sure that it is not.
func unserved(t *testing.T, c net.Conn, id int32) {
	t.Helper()
	send(t, c, request(metadataKey, 1, id, ""))
	if err := c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatalf("served: %d bytes", n)
	}
	if err := c.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
}

func TestLimitOfAListener(t *testing.T) {
	s := start(t, listening(Options{Limits: Limits{Listeners: map[string]ListenerLimits{"A": {MaxConnections: 1}}}}, "A", "B"), echo)
	a := dialTo(t, s, "A")
	ask(t, a, 1)
	second := dialTo(t, s, "A")
	unserved(t, second, 1)
	ask(t, dialTo(t, s, "B"), 1) // has no limit
	s.SetLimits(Limits{Listeners: map[string]ListenerLimits{"A": {MaxConnections: 2}}})
	receive(t, second, 1)
	if l := s.Listeners()[0]; l.Open != 2 || l.Limit != 2 {
		t.Errorf("got %+v", l)
	}
}

// TestBrokersGetAPlace: with all places taken, another broker's connection
// closes the client's that was idle for longest.
func TestBrokersGetAPlace(t *testing.T) {
	s := start(t, listening(Options{Limits: Limits{MaxConnections: 2}}, "CLIENTS", "BROKERS"), echo)
	first, second := dialTo(t, s, "CLIENTS"), dialTo(t, s, "CLIENTS")
	ask(t, first, 1)
	ask(t, second, 1)
	settle(t, s)
	ask(t, first, 2)
	settle(t, s)
	third := dialTo(t, s, "CLIENTS")
	unserved(t, third, 1)
	broker := dialTo(t, s, "BROKERS")
	ask(t, broker, 1)
	closed(t, second)
	ask(t, first, 3)
	unserved(t, third, 2)
	another := dialTo(t, s, "BROKERS")
	ask(t, another, 1)
	closed(t, first)
	ask(t, broker, 2) // brokers are not closed for brokers
	ask(t, dialTo(t, s, "BROKERS"), 1)
	ask(t, another, 2)
	waitFor(t, "three connections", func() bool { return s.Connections() == 3 })
	s.SetLimits(Limits{})
	receive(t, third, 1)
}

// TestTheOnlyListenerIsNotProtected: else max.connections would bound nothing.
func TestTheOnlyListenerIsNotProtected(t *testing.T) {
	s := start(t, listening(Options{Limits: Limits{MaxConnections: 1}}, "BROKERS"), echo)
	ask(t, dialTo(t, s, "BROKERS"), 1)
	unserved(t, dialTo(t, s, "BROKERS"), 1)
}

func TestNothingIsLetIn(t *testing.T) {
	s := start(t, listening(Options{Limits: Limits{MaxPerIP: -1, MaxPerIPOverrides: map[string]int{"10.1.1.1": 5}}}, "A"), echo)
	closed(t, dialTo(t, s, "A"))
	s.SetLimits(Limits{MaxPerIP: -1, MaxPerIPOverrides: map[string]int{"127.0.0.1": 1}})
	ask(t, dialTo(t, s, "A"), 1)
	closed(t, dialTo(t, s, "A"))
	if l := s.Listeners()[0]; l.Refused != 2 {
		t.Errorf("%d refused, want 2", l.Refused)
	}
}

// memoryNet is a listening socket without a system below it.
type memoryNet struct {
	conns chan net.Conn
	once  sync.Once
	gone  chan struct{}
}

func (m *memoryNet) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.gone:
		return nil, net.ErrClosed
	}
}
func (m *memoryNet) Close() error   { m.once.Do(func() { close(m.gone) }); return nil }
func (m *memoryNet) Addr() net.Addr { return &net.TCPAddr{} }

func TestRateOfNewConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nets := map[string]*memoryNet{}
		o := listening(Options{
			Limits: Limits{Rate: 10, Listeners: map[string]ListenerLimits{"SLOW": {Rate: 2}}},
			Listen: func(_, addr string) (net.Listener, error) {
				m := &memoryNet{conns: make(chan net.Conn), gone: make(chan struct{})}
				nets[addr] = m
				return m, nil
			},
		}, "SLOW", "CLIENTS", "BROKERS")
		for i := range o.Listeners {
			o.Listeners[i].Addr = o.Listeners[i].Name
		}
		s := New(o)
		if err := s.Listen(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Serve(ctx, handlerFunc(echo)) }()
		connect := func(listener string) {
			_, conn := net.Pipe()
			nets[listener].conns <- conn
			synctest.Wait()
		}
		// A second's worth at once, then one in each step.
		for _, c := range []struct {
			listener string
			n        int
			took     time.Duration
		}{
			{"CLIENTS", 10, 0},
			{"BROKERS", 50, 0},
			{"CLIENTS", 10, 6 * time.Second}, // brokers count, though they don't wait
		} {
			began := time.Now()
			for range c.n {
				connect(c.listener)
			}
			if took := time.Since(began).Round(time.Second); took != c.took {
				t.Errorf("%d on %s took %v, want %v", c.n, c.listener, took, c.took)
			}
		}
		time.Sleep(time.Minute)
		began := time.Now()
		for range 9 {
			connect("SLOW")
		}
		if took := time.Since(began); took != 3500*time.Millisecond {
			t.Errorf("9 at 2 a second took %v, want 3.5s", took)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

package session

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// reply is a connect reply.
func reply(id int64, timeout time.Duration) []byte {
	b := make([]byte, 4+41)
	binary.BigEndian.PutUint32(b, 41)
	binary.BigEndian.PutUint32(b[8:], uint32(timeout.Milliseconds()))
	binary.BigEndian.PutUint64(b[12:], uint64(id))
	binary.BigEndian.PutUint32(b[20:], 16)
	return b
}

// frame is a reply of n bytes.
func frame(n int) []byte {
	b := make([]byte, 4+n)
	binary.BigEndian.PutUint32(b, uint32(n))
	return b
}

// canned is a connection that gives bytes, in pieces of 7.
type canned struct {
	net.Conn
	r io.Reader
}

func (c canned) Read(p []byte) (int, error)      { return c.r.Read(p[:min(7, len(p))]) }
func (c canned) SetReadDeadline(time.Time) error { return nil }

func guarded(b []byte, expect int64) *guard {
	return &guard{
		watched: make(chan struct{}),
		Conn:    canned{r: bytes.NewReader(b)}, handshake: time.Second, maxWait: time.Second, maxReply: 1 << 16, expect: expect,
		established: func(int64, time.Duration) {}, failed: func(error) {},
	}
}

func TestGuard(t *testing.T) {
	cat := func(b ...[]byte) []byte { return bytes.Join(b, nil) }
	good := reply(77, 6*time.Second)
	expired := reply(77, 6*time.Second)
	clear(expired[12:20])
	huge := frame(0)
	binary.BigEndian.PutUint32(huge, 1<<31)
	for name, c := range map[string]struct {
		in     []byte
		expect int64
		out    []byte
		bad    string // part of the error
	}{
		"good":                 {cat(good, frame(16), frame(1000)), 0, cat(good, frame(16), frame(1000)), ""},
		"same session":         {good, 77, good, ""},
		"another session":      {good, 76, expired, ""},
		"refused":              {reply(0, 0), 76, reply(0, 0), ""},
		"no time":              {reply(5, 0), 0, nil, "timeout of 0s"},
		"a web server":         {[]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), 0, nil, "not a ZooKeeper"},
		"torn":                 {good[:20], 0, nil, "torn"},
		"a reply too short":    {cat(good, frame(15)), 0, good, "15 bytes"},
		"a reply too long":     {cat(good, frame(1<<16+1)), 0, good, "65537 bytes"},
		"a negative length":    {cat(good, huge), 0, good, "bytes"},
		"a lying second reply": {cat(good, frame(20), huge), 0, nil, "bytes"},
	} {
		var out bytes.Buffer
		_, err := io.Copy(&out, guarded(c.in, c.expect))
		if c.bad == "" && err != nil || c.bad != "" && (err == nil || !strings.Contains(err.Error(), c.bad)) {
			t.Errorf("%s: error %v, want %q", name, err, c.bad)
		}
		if c.out != nil && !bytes.HasPrefix(out.Bytes(), c.out) {
			t.Errorf("%s: got % x, want % x", name, out.Bytes(), c.out)
		}
	}
}

// FuzzGuard: whatever a server sends, frames that get through are in bounds.
func FuzzGuard(f *testing.F) {
	f.Add(append(reply(77, time.Second), frame(16)...), int64(0))
	f.Add([]byte("HTTP/1.1 200 OK"), int64(1))
	f.Fuzz(func(t *testing.T, b []byte, expect int64) {
		g := guarded(b, expect)
		head := make([]byte, 4)
		if _, err := io.ReadFull(g, head); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(head)) // at most maxHandshakeReply
		if _, err := io.ReadFull(g, body); err != nil {
			t.Fatal("a connect reply got through torn")
		}
		for {
			if _, err := io.ReadFull(g, head); err != nil {
				return
			}
			n := binary.BigEndian.Uint32(head)
			if n < minReply || n > 1<<16 {
				t.Fatalf("a frame of %d bytes got through", n)
			}
			if _, err := io.ReadFull(g, make([]byte, n)); err != nil {
				return
			}
		}
	})
}

// TestSilentServer: a server that accepts and says nothing costs min(2 s,
// session/6) a try, and Close does not wait for it.
func TestSilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var dials []time.Time
		start := time.Now()
		var ends []net.Conn
		_, err := Open(t.Context(), Options{
			Connect: "10.0.0.1:1,10.0.0.2:2", Timeout: 6 * time.Second, ConnectTimeout: 10 * time.Second,
			Dialer: func(_ context.Context, network, addr string) (net.Conn, error) {
				a, b := net.Pipe()
				go io.Copy(io.Discard, b)
				mu.Lock()
				defer mu.Unlock()
				ends = append(ends, b)
				dials = append(dials, time.Now())
				return a, nil
			},
		})
		if !errors.Is(err, ErrNoServer) || !strings.Contains(err.Error(), "10.0.0.1:1,10.0.0.2:2") || !strings.Contains(err.Error(), "no connect reply within 1s") {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took > 15*time.Second {
			t.Errorf("gave up after %v", took)
		}
		if len(dials) < 5 {
			t.Errorf("%d dials in 10 s: %v", len(dials), dials)
		}
		for _, e := range ends {
			e.Close()
		}
	})
}

func TestHostsResolveEachRound(t *testing.T) {
	round := 0
	h := &hosts{ctx: t.Context(), servers: []string{"zk:1"}, failed: func(string, error) {}, resolve: func(context.Context, string) ([]string, error) {
		round++
		if round == 2 {
			return nil, errors.New("no DNS")
		}
		return []string{"10.0.0." + string(rune('0'+round))}, nil
	}}
	for i, want := range []string{"10.0.0.1:1 false", "zk:1 true", "10.0.0.3:1 true"} {
		server, again := h.Next()
		got := server + " false"
		if again {
			got = server + " true"
		}
		if got != want {
			t.Errorf("%d: got %s, want %s", i, got, want)
		}
	}
	h.Connected()
	if _, again := h.Next(); again {
		t.Error("a lost connection need not wait before the next try")
	}
}

func TestWatchesRace(t *testing.T) {
	var w watches
	k := watchKey{"/a", dataWatch}
	a, ask := w.begin(k)
	w.fired(NodeDataChanged, "/a") // before the reader's goroutine came to end
	w.end(k, a, true)
	if _, again := w.begin(k); !ask || !again {
		t.Error("a watch that has fired counts as armed")
	}
	b, _ := w.begin(k)
	w.end(k, b, true)
	if _, again := w.begin(k); again {
		t.Error("armed twice")
	}
	w.fired(NodeChildrenChanged, "/a")
	if _, again := w.begin(k); again {
		t.Error("a child event used up the data watch")
	}
	w.fired(NodeDeleted, "/a")
	if _, again := w.begin(k); !again {
		t.Error("not armed again after the deletion")
	}
}

func TestDispatcherCoalesces(t *testing.T) {
	var got []any
	d := newDispatcher(func(e Event) { got = append(got, e) }, func(s State) { got = append(got, s.Kind) })
	for range 3 {
		d.event(Event{NodeDataChanged, "/a"})
		d.state(State{Disconnected, 1})
		d.state(State{Connected, 1})
		d.state(State{Disconnected, 1})
		d.state(State{Connected, 1})
	}
	d.close()
	d.run()
	want := []any{Event{NodeDataChanged, "/a"}, Disconnected, Connected}
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}

func TestPoison(t *testing.T) {
	var l losses
	k := call{op: "multi", write: true, ops: []Op{SetOp("/a", []byte("x"), 1)}}
	other := call{op: "multi", write: true, ops: []Op{SetOp("/a", []byte("x"), 2)}}
	if l.add(k) || l.add(other) || !l.add(k) {
		t.Error("the second loss of the same request is the poison")
	}
	l.forget(other)
	if l.add(other) {
		t.Error("an answer forgives")
	}
}

// TestRepliesWaitForTheWatches: on a connection that goes on with a session no reply
// is handed on before the library has asked for its watches again, or has had time
// to; on a new one at once.
func TestRepliesWaitForTheWatches(t *testing.T) {
	read := func(g *guard) time.Duration {
		if _, err := io.ReadFull(g, make([]byte, 45)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := io.ReadFull(g, make([]byte, 20)); err != nil {
			t.Fatal(err)
		}
		return time.Since(began)
	}
	in := func(id int64) []byte { return append(reply(id, 6*time.Second), frame(16)...) }
	synctest.Test(t, func(t *testing.T) {
		if took := read(guarded(in(77), 0)); took != 0 {
			t.Errorf("new session: %v", took)
		}
		if took := read(guarded(in(77), 77)); took != heldFor {
			t.Errorf("no watches: %v, want %v", took, heldFor)
		}
		g := guarded(in(77), 77)
		g.Conn = struct {
			canned
			io.Writer
		}{g.Conn.(canned), io.Discard}
		go func() {
			<-time.After(10 * time.Millisecond)
			ask := make([]byte, 44)
			binary.BigEndian.PutUint32(ask[8:], 101)
			g.Write(ask)
		}()
		if took := read(g); took != 10*time.Millisecond {
			t.Errorf("watches asked for after 10 ms: %v", took)
		}
	})
}

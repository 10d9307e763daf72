package session_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"barnabas/internal/testaddr"
	"barnabas/internal/zktest"
	"barnabas/zkpaths/devzk"
	"barnabas/zkpaths/session"
)

// heard collects what the callbacks tell.
type heard struct {
	mu     sync.Mutex // guards following
	events []session.Event
	states []session.State
	wake   chan struct{}
}

func newHeard() *heard { return &heard{wake: make(chan struct{}, 1)} }

func (h *heard) signal() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

func (h *heard) event(e session.Event) {
	h.mu.Lock()
	h.events = append(h.events, e)
	h.mu.Unlock()
	h.signal()
}

func (h *heard) state(s session.State) {
	h.mu.Lock()
	h.states = append(h.states, s)
	h.mu.Unlock()
	h.signal()
}

func (h *heard) kinds() (out []session.StateKind) {
	for _, s := range h.states {
		out = append(out, s.Kind)
	}
	return out
}

// await waits until what was heard satisfies ok.
func (h *heard) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		h.mu.Lock()
		good := ok()
		h.mu.Unlock()
		if good {
			return
		}
		select {
		case <-h.wake:
		case <-deadline:
			h.mu.Lock()
			defer h.mu.Unlock()
			t.Fatalf("waited in vain for %s; heard %v, %v", what, h.events, h.kinds())
		}
	}
}

func open(t *testing.T, o session.Options) (*session.Client, *heard) {
	t.Helper()
	h := newHeard()
	o.OnEvent, o.OnState = h.event, h.state
	if o.Timeout == 0 {
		o.Timeout = 20 * time.Second
	}
	c, err := session.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, h
}

func is(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func TestCalls(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		ctx := t.Context()
		c, _ := open(t, session.Options{Connect: connect + "/deep/chroot"})
		if _, err := c.Create(ctx, "/a/b", nil, session.Persistent); !errors.Is(err, session.ErrNoNode) {
			t.Fatalf("create without parent: %v", err)
		}
		p, err := c.CreateAll(ctx, "/a/b", nil, session.Persistent)
		if err != nil || p != "/a/b" {
			t.Fatalf("CreateAll: %q, %v", p, err)
		}
		_, err = c.CreateAll(ctx, "/a/b", nil, session.Persistent)
		is(t, err, session.ErrNodeExists)
		data, st, err := c.Get(ctx, "/a/b")
		if err != nil || data != nil || st.Version != 0 || st.Czxid == 0 || st.Czxid != st.Mzxid {
			t.Fatalf("Get: %v, %+v, %v", data, st, err)
		}
		st2, err := c.Set(ctx, "/a/b", []byte("x"), 0)
		if err != nil || st2.Version != 1 || st2.Mzxid <= st.Mzxid {
			t.Fatalf("Set: %+v, %v", st2, err)
		}
		_, err = c.Set(ctx, "/a/b", []byte("y"), 0)
		is(t, err, session.ErrBadVersion)
		p, err = c.Create(ctx, "/a/b/s_", []byte{}, session.EphemeralSequential)
		if err != nil || p != "/a/b/s_0000000000" {
			t.Fatalf("sequential: %q, %v", p, err)
		}
		if st, ok, err := c.Exists(ctx, p); err != nil || !ok || st.EphemeralOwner != c.SessionID() {
			t.Fatalf("Exists: %+v %v %v, session %#x", st, ok, err, c.SessionID())
		}
		is(t, c.Delete(ctx, "/a/b", -1), session.ErrNotEmpty)
		names, st, err := c.Children(ctx, "/a/b")
		if err != nil || !slices.Equal(names, []string{"s_0000000000"}) || st.NumChildren != 1 || st.Cversion != 1 {
			t.Fatalf("Children: %v, %+v, %v", names, st, err)
		}
		if err := c.Delete(ctx, p, 0); err != nil {
			t.Fatal(err)
		}
		if _, ok, err := c.Exists(ctx, p); ok || err != nil {
			t.Fatal(ok, err)
		}
		if names, _, err := c.Children(ctx, "/"); err != nil || !slices.Equal(names, []string{"a"}) {
			t.Fatalf("children of the chroot: %v, %v", names, err)
		}
		for _, bad := range []string{"", "a", "/a/", "//a", "/a/../b", "/a\x00"} {
			if _, _, err := c.Get(ctx, bad); err == nil {
				t.Errorf("path %q was taken", bad)
			}
		}
		_, err = c.Set(ctx, "/a", make([]byte, session.MaxOpBytes), -1)
		is(t, err, session.ErrTooLarge)
		if err := c.Sync(ctx); err != nil {
			t.Fatal(err)
		}
		c.Close()
		_, _, err = c.Get(ctx, "/a")
		is(t, err, session.ErrClosed)
	})
}

func TestMulti(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		ctx := t.Context()
		c, _ := open(t, session.Options{Connect: connect})
		res, err := c.Multi(ctx,
			session.CreateOp("/a", []byte("1"), session.Persistent),
			session.SetOp("/a", []byte("2"), 0),
			session.CreateOp("/a/n_", nil, session.PersistentSequential),
			session.CheckOp("/a", 1),
			session.CreateOp("/b", nil, session.Ephemeral),
			session.DeleteOp("/b", 0))
		if err != nil {
			t.Fatal(err)
		}
		if res[0].Path != "/a" || res[1].Stat.Version != 1 || res[2].Path != "/a/n_0000000000" || res[1].Stat.Mzxid != res[1].Stat.Czxid {
			t.Fatalf("results %+v", res)
		}
		_, st, err := c.Get(ctx, "/a/n_0000000000")
		if err != nil || st.Czxid != res[1].Stat.Mzxid {
			t.Fatalf("%+v, %v: one transaction has one zxid, %d", st, err, res[1].Stat.Mzxid)
		}
		_, err = c.Multi(ctx, session.SetOp("/a", nil, 1), session.CheckOp("/a", 1), session.DeleteOp("/c", -1))
		var me *session.MultiError
		if !errors.As(err, &me) || me.Index != 1 || !errors.Is(err, session.ErrBadVersion) {
			t.Fatalf("got %v", err)
		}
		if _, st, _ := c.Get(ctx, "/a"); st.Version != 1 {
			t.Fatal("a failed transaction left something", st)
		}
		big := make([]byte, 400<<10)
		_, err = c.Multi(ctx, session.SetOp("/a", big, 1), session.SetOp("/a", big, 2), session.SetOp("/a", big, 3))
		is(t, err, session.ErrTooLarge)
		_, err = c.Multi(ctx, session.SetOp("/a", make([]byte, 600<<10), 1))
		is(t, err, session.ErrTooLarge)
		// The computed size is the real one: the largest request that we let
		// through is taken.
		half := make([]byte, session.MaxOpBytes-1024)
		rest := make([]byte, session.MaxRequestBytes-c.Size(session.SetOp("/a", half, 1), session.SetOp("/a", nil, 2)))
		ops := []session.Op{session.SetOp("/a", half, 1), session.SetOp("/a", rest, 2)}
		if n := c.Size(ops...); n != session.MaxRequestBytes {
			t.Fatal("size", n)
		}
		if _, err := c.Multi(ctx, ops...); err != nil {
			t.Fatal(err)
		}
	})
}

func TestGetAll(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		ctx := t.Context()
		c, h := open(t, session.Options{Connect: connect})
		var paths []string
		var ops []session.Op
		for i := range 500 {
			paths = append(paths, fmt.Sprintf("/n%d", i))
			ops = append(ops, session.CreateOp(paths[i], fmt.Append(nil, i), session.Persistent))
		}
		if _, err := c.Multi(ctx, ops...); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, "/absent")
		got := make([]string, len(paths))
		c.GetAllW(ctx, paths, func(i int, data []byte, st session.Stat, err error) {
			if err != nil && !(i == 500 && errors.Is(err, session.ErrNoNode)) {
				t.Errorf("%s: %v", paths[i], err)
			}
			got[i] += string(data)
		})
		for i := range 500 {
			if got[i] != fmt.Sprint(i) {
				t.Fatalf("%s: got %q", paths[i], got[i])
			}
		}
		if _, err := c.Set(ctx, "/n77", nil, -1); err != nil {
			t.Fatal(err)
		}
		h.await(t, "the event", func() bool {
			return slices.Equal(h.events, []session.Event{{Type: session.NodeDataChanged, Path: "/n77"}})
		})
	})
}

func TestWatches(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		ctx := t.Context()
		c, h := open(t, session.Options{Connect: connect})
		w, _ := open(t, session.Options{Connect: connect})
		expect := func(events ...session.Event) {
			t.Helper()
			h.await(t, fmt.Sprint(events), func() bool { return len(h.events) == len(events) && slices.Equal(h.events, events) })
			h.mu.Lock()
			h.events = nil
			h.mu.Unlock()
		}
		for range 3 { // armed once
			if _, ok, err := c.ExistsW(ctx, "/a"); ok || err != nil {
				t.Fatal(ok, err)
			}
			if _, _, err := c.ChildrenW(ctx, "/"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.Create(ctx, "/a", nil, session.Persistent); err != nil {
			t.Fatal(err)
		}
		expect(session.Event{Type: session.NodeCreated, Path: "/a"}, session.Event{Type: session.NodeChildrenChanged, Path: "/"})
		for range 3 {
			if _, _, err := c.GetW(ctx, "/a"); err != nil {
				t.Fatal(err)
			}
		}
		w.Set(ctx, "/a", nil, -1)
		w.Set(ctx, "/a", nil, -1)
		expect(session.Event{Type: session.NodeDataChanged, Path: "/a"})
		if _, _, err := c.GetW(ctx, "/a"); err != nil { // armed anew
			t.Fatal(err)
		}
		w.Delete(ctx, "/a", -1)
		expect(session.Event{Type: session.NodeDeleted, Path: "/a"})
	})
}

// cut is a dialer whose connections can be broken and refused.
type cut struct {
	mu    sync.Mutex // guards following
	conns []net.Conn
	down  bool
}

func (c *cut) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		return nil, errors.New("refused by the test")
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err == nil {
		c.conns = append(c.conns, conn)
	}
	return conn, err
}

func (c *cut) set(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}

func TestReconnectKeepsSessionAndWatches(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		ctx := t.Context()
		var d cut
		c, h := open(t, session.Options{Connect: connect, Dialer: d.dial})
		id := c.SessionID()
		if _, _, err := c.ChildrenW(ctx, "/"); err != nil {
			t.Fatal(err)
		}
		d.set(true)
		h.await(t, "disconnection", func() bool { return slices.Contains(h.kinds(), session.Disconnected) })
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		_, err := c.Create(short, "/never", nil, session.Persistent)
		cancel()
		is(t, err, context.DeadlineExceeded)
		d.set(false)
		h.await(t, "reconnection", func() bool { return slices.Contains(h.kinds(), session.Connected) })
		if _, err := c.Create(ctx, "/e", nil, session.Ephemeral); err != nil {
			t.Fatal(err)
		}
		h.await(t, "the event", func() bool { return len(h.events) == 1 })
		if names, _, err := c.Children(ctx, "/"); err != nil || !slices.Equal(names, []string{"e"}) {
			t.Fatalf("a call that timed out while disconnected was sent: %v, %v", names, err)
		}
		if c.SessionID() != id {
			t.Fatal("another session")
		}
	})
}

func TestExpiry(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		ctx := t.Context()
		var d cut
		c, h := open(t, session.Options{Connect: connect, Dialer: d.dial, Timeout: 3 * time.Second, ConnectTimeout: time.Minute})
		w, _ := open(t, session.Options{Connect: connect})
		old := c.SessionID()
		if _, err := c.Create(ctx, "/e", nil, session.Ephemeral); err != nil {
			t.Fatal(err)
		}
		w2, wh := open(t, session.Options{Connect: connect})
		if _, ok, err := w2.ExistsW(ctx, "/e"); !ok || err != nil {
			t.Fatal(ok, err)
		}
		d.set(true)
		wh.await(t, "the end of the ephemeral", func() bool { return len(wh.events) == 1 })
		if _, err := w.Create(ctx, "/fresh", nil, session.Persistent); err != nil {
			t.Fatal(err)
		}
		d.set(false)
		h.await(t, "a new session", func() bool {
			k := h.kinds()
			return len(k) >= 4 && slices.Equal(k[len(k)-2:], []session.StateKind{session.Expired, session.NewSession})
		})
		if c.SessionID() == old || c.SessionID() == 0 {
			t.Fatalf("session %#x after %#x", c.SessionID(), old)
		}
		if _, ok, err := c.Exists(ctx, "/fresh"); !ok || err != nil {
			t.Fatal("the first read after the sync missed a write", ok, err)
		}
		if _, ok, err := c.Exists(ctx, "/e"); ok || err != nil {
			t.Fatal(ok, err)
		}
	})
}

func TestPendingCallsFailOnExpiry(t *testing.T) {
	srv := zktest.DevZK(t, devzk.Options{})
	c, h := open(t, session.Options{Connect: srv.Addr()})
	ctx := t.Context()
	stop := make(chan struct{})
	errs := make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				errs <- nil
				return
			default:
			}
			if _, err := c.Set(ctx, "/", nil, -1); err != nil && !errors.Is(err, session.ErrExpired) && !errors.Is(err, session.ErrConnectionLost) {
				errs <- err
				return
			}
		}
	}()
	srv.ExpireSession(c.SessionID())
	h.await(t, "a second session", func() bool {
		return slices.Contains(h.kinds(), session.Expired) && h.kinds()[len(h.kinds())-1] == session.NewSession
	})
	close(stop)
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
}

func TestOpenWithoutServerNamesIt(t *testing.T) {
	addr := testaddr.Reserve(t)
	_, err := session.Open(t.Context(), session.Options{Connect: addr + "/x", ConnectTimeout: time.Second})
	if !errors.Is(err, session.ErrNoServer) || !strings.Contains(err.Error(), addr) || !strings.Contains(err.Error(), "refused") {
		t.Fatalf("got %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err = session.Open(ctx, session.Options{Connect: addr, ConnectTimeout: -1}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
}

func TestParseConnect(t *testing.T) {
	for in, want := range map[string]string{
		"h1:2181,h2:2182/a/b": "[h1:2181 h2:2182] /a/b", "h": "[h:2181] ", " h:1 , k:2/": "[h:1 k:2] ", "[::1]:5/x": "[[::1]:5] /x", "[::1]": "[[::1]:2181] ",
		"": "error", "h:0": "error", "h:x": "error", "/x": "error", "h:1/a//b": "error", "h:99999": "error",
	} {
		servers, chroot, err := session.ParseConnect(in)
		got := fmt.Sprint(servers) + " " + chroot
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: got %q (%v), want %q", in, got, err, want)
		}
	}
}

// TestPoisonedRequests: what the server or we refuse by closing the connection is
// recognized, and does not stop the rest.
func TestPoisonedRequests(t *testing.T) {
	srv := zktest.DevZK(t, devzk.Options{MaxBuffer: 64 << 10})
	ctx := t.Context()
	c, _ := open(t, session.Options{Connect: srv.Addr(), MaxReplyBytes: 4096})
	big := make([]byte, 100<<10)
	_, err := c.Set(ctx, "/", big, 0)
	if !errors.Is(err, session.ErrConnectionLost) || errors.Is(err, session.ErrPoison) {
		t.Fatalf("first try: %v", err)
	}
	_, err = c.Set(ctx, "/", big, 0)
	is(t, err, session.ErrPoison)
	is(t, err, session.ErrConnectionLost)
	if _, err := c.Set(ctx, "/", make([]byte, 8<<10), 0); err != nil {
		t.Fatal(err)
	}
	_, _, err = c.Get(ctx, "/") // longer than the reply that we take
	is(t, err, session.ErrPoison)
	if _, ok, err := c.Exists(ctx, "/"); !ok || err != nil {
		t.Fatal(ok, err)
	}
}

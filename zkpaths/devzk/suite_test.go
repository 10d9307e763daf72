package devzk_test

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"barnabas/internal/zktest"
)

// within fails the test if the condition has not come true in 20 s.
func within(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		case <-tick.C:
		}
	}
}

// wantEvent takes one event off a watch.
func wantEvent(t testing.TB, w <-chan zk.Event, kind zk.EventType, path string) {
	t.Helper()
	select {
	case e := <-w:
		if e.Type != kind || e.Path != path {
			t.Fatalf("event %v %s, want %v %s", e.Type, e.Path, kind, path)
		}
	case <-time.After(time.Minute):
		t.Fatalf("no event, want %v %s", kind, path)
	}
}

var world = zk.WorldACL(zk.PermAll)

func TestWatchesFireOnce(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		addr, root := split(connect)
		c, other := zktest.Dial(t, addr), zktest.Dial(t, addr)
		p := root + "/n"
		_, _, exists, err := c.ExistsW(p)
		if err != nil {
			t.Fatal(err)
		}
		_, _, children, err := c.ChildrenW(root)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Create(p, []byte("1"), 0, world); err != nil {
			t.Fatal(err)
		}
		wantEvent(t, exists, zk.EventNodeCreated, p)
		wantEvent(t, children, zk.EventNodeChildrenChanged, root)
		_, st, data, err := c.GetW(p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Set(p, []byte("2"), st.Version); err != nil {
			t.Fatal(err)
		}
		wantEvent(t, data, zk.EventNodeDataChanged, p)
		// Armed no more: the next change must not be what fires this.
		if _, err := other.Set(p, []byte("3"), -1); err != nil {
			t.Fatal(err)
		}
		_, _, data, err = c.GetW(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Delete(p, -1); err != nil {
			t.Fatal(err)
		}
		wantEvent(t, data, zk.EventNodeDeleted, p)
	})
}

func TestSequentialsCountTheParentsCreations(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		addr, root := split(connect)
		c := zktest.Dial(t, addr)
		for i, prefix := range []string{"/a_", "/b_", "/", "/a_"} {
			got, err := c.Create(root+prefix, nil, zk.FlagSequence, world)
			if want := fmt.Sprintf("%s%s%010d", root, prefix, i); err != nil || got != want {
				t.Fatalf("created %q, %v; want %q", got, err, want)
			}
			if i == 1 {
				if err := c.Delete(got, -1); err != nil {
					t.Fatal(err)
				}
			}
		}
		// The rule by which a reader of a log finds the next number.
		_, st, err := c.Get(root)
		if err != nil || (st.Cversion+st.NumChildren)/2 != 4 {
			t.Fatalf("cversion %d, children %d, %v", st.Cversion, st.NumChildren, err)
		}
	})
}

func TestMultiIsAllOrNothing(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		addr, root := split(connect)
		c := zktest.Dial(t, addr)
		a, b := root+"/a", root+"/b"
		if _, err := c.Create(a, []byte("1"), 0, world); err != nil {
			t.Fatal(err)
		}
		_, before, _ := c.Get(root)
		_, err := c.Multi(
			&zk.SetDataRequest{Path: a, Data: []byte("2"), Version: 0},
			&zk.CreateRequest{Path: b, Acl: world},
			&zk.DeleteRequest{Path: a, Version: 1},
			&zk.CreateRequest{Path: a, Acl: world, Flags: zk.FlagEphemeral},
			&zk.CheckVersionRequest{Path: b, Version: 7},
		)
		if err != zk.ErrBadVersion {
			t.Fatalf("error %v, want %v", err, zk.ErrBadVersion)
		}
		data, st, err := c.Get(a)
		if err != nil || string(data) != "1" || st.Version != 0 || st.EphemeralOwner != 0 {
			t.Fatalf("%q %+v %v", data, st, err)
		}
		if ok, _, _ := c.Exists(b); ok {
			t.Fatal("b exists")
		}
		if _, after, _ := c.Get(root); *after != *before {
			t.Fatalf("the parent is now %+v, was %+v", after, before)
		}
		results, err := c.Multi(
			&zk.SetDataRequest{Path: a, Data: []byte("2"), Version: 0},
			&zk.CreateRequest{Path: b, Acl: world},
			&zk.CheckVersionRequest{Path: a, Version: 1},
		)
		if err != nil || results[0].Stat.Version != 1 || results[1].String != b {
			t.Fatalf("%+v %v", results, err)
		}
		_, sa, _ := c.Get(a)
		_, sb, _ := c.Get(b)
		if sa.Mzxid != sb.Czxid {
			t.Fatalf("one transaction, two zxids: %d and %d", sa.Mzxid, sb.Czxid)
		}
	})
}

func TestEphemeralsEndWithTheSession(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		addr, root := split(connect)
		owner, other := zktest.Dial(t, addr), zktest.Dial(t, addr)
		p := root + "/e"
		if _, err := owner.Create(p, nil, zk.FlagEphemeral, world); err != nil {
			t.Fatal(err)
		}
		if _, err := other.Create(p+"/child", nil, 0, world); err != zk.ErrNoChildrenForEphemerals {
			t.Fatalf("child of an ephemeral: %v", err)
		}
		_, st, gone, err := other.ExistsW(p)
		if err != nil || st.EphemeralOwner != owner.SessionID() {
			t.Fatalf("%+v, %v; the owner is %#x", st, err, owner.SessionID())
		}
		owner.Close()
		wantEvent(t, gone, zk.EventNodeDeleted, p)
	})
}

// proxy passes connections on to addr until it is cut or paused.
type proxy struct {
	l    net.Listener
	addr string

	mu     sync.Mutex // guards the following
	resume sync.Cond
	paused bool
	conns  []net.Conn
}

func newProxy(t testing.TB, addr string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: l, addr: addr}
	p.resume.L = &p.mu
	var running sync.WaitGroup
	running.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", addr)
			if err != nil {
				in.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, in, out)
			p.mu.Unlock()
			running.Go(func() { p.copy(in, out) })
			running.Go(func() { p.copy(out, in) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.pause(false)
		p.cut()
		running.Wait()
	})
	return p
}

func (p *proxy) copy(dst, src net.Conn) {
	defer dst.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := src.Read(b)
		p.mu.Lock()
		for p.paused {
			p.resume.Wait()
		}
		p.mu.Unlock()
		if _, werr := dst.Write(b[:n]); err != nil || werr != nil {
			return
		}
	}
}

// cut breaks all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

// pause lets nothing through until it is called with false.
func (p *proxy) pause(on bool) {
	p.mu.Lock()
	p.paused = on
	p.resume.Broadcast()
	p.mu.Unlock()
}

func TestReconnectKeepsTheSessionAndItsWatches(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		addr, root := split(connect)
		other := zktest.Dial(t, addr)
		if _, err := other.Create(root+"/d", nil, 0, world); err != nil {
			t.Fatal(err)
		}
		p := newProxy(t, addr)
		c := zktest.Dial(t, p.l.Addr().String())
		id := c.SessionID()
		if _, err := c.Create(root+"/e", nil, zk.FlagEphemeral, world); err != nil {
			t.Fatal(err)
		}
		_, _, data, err := c.GetW(root + "/d")
		if err != nil {
			t.Fatal(err)
		}
		_, _, exists, err := c.ExistsW(root + "/x")
		if err != nil {
			t.Fatal(err)
		}
		_, _, later, err := c.ChildrenW(root + "/d")
		if err != nil {
			t.Fatal(err)
		}
		// The client is cut off and may not come back before this has happened.
		p.pause(true)
		p.cut()
		if _, err := other.Set(root+"/d", []byte("new"), -1); err != nil {
			t.Fatal(err)
		}
		if _, err := other.Create(root+"/x", nil, 0, world); err != nil {
			t.Fatal(err)
		}
		p.pause(false)
		wantEvent(t, data, zk.EventNodeDataChanged, root+"/d")
		wantEvent(t, exists, zk.EventNodeCreated, root+"/x")
		if _, err := other.Create(root+"/d/child", nil, 0, world); err != nil {
			t.Fatal(err)
		}
		wantEvent(t, later, zk.EventNodeChildrenChanged, root+"/d")
		_, st, err := c.Get(root + "/e")
		if err != nil || st.EphemeralOwner != id || c.SessionID() != id {
			t.Fatalf("ephemeral %+v, %v; session %#x, was %#x", st, err, c.SessionID(), id)
		}
	})
}

func TestSilentSessionExpires(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		addr, root := split(connect)
		r := dialRaw(t, addr, 2000, 0, 0, nil)
		if r.timeout != 2000 {
			t.Fatalf("negotiated %d ms, want 2000", r.timeout)
		}
		start := time.Now()
		r.must(opCreate, buf{}.create(root+"/e", nil, 1))
		other := zktest.Dial(t, addr)
		_, _, gone, err := other.ExistsW(root + "/e")
		if err != nil {
			t.Fatal(err)
		}
		wantEvent(t, gone, zk.EventNodeDeleted, root+"/e")
		if d := time.Since(start); d < time.Second {
			t.Errorf("expired after %v", d)
		}
		if _, err := r.next(); err != io.EOF {
			t.Errorf("the connection of the expired session: %v, want its end", err)
		}
		again := dialRaw(t, addr, 2000, 0, r.session, r.password)
		if again.session != 0 || again.timeout != 0 {
			t.Errorf("the expired session came back as %#x with %d ms", again.session, again.timeout)
		}
	})
}

func TestPingsKeepASessionAlive(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		addr, root := split(connect)
		// A busy machine may stop the test for longer than a session: then a longer one.
		for ms := int32(800); ; ms *= 4 {
			r := dialRaw(t, addr, ms, 0, 0, nil)
			r.must(opCreate, buf{}.create(root+"/e"+strconv.Itoa(int(ms)), nil, 1))
			err := pingFor(r, 12, time.Duration(ms)*time.Millisecond/4)
			if err != nil && ms < 10_000 {
				t.Logf("a session of %d ms: %v", ms, err)
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			r.must(opExists, buf{}.str(root+"/e"+strconv.Itoa(int(ms))).bool(false))
			return
		}
	})
}

// pingFor sends pings, and wants an answer to each.
func pingFor(r *raw, n int, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for range n {
		<-tick.C
		r.write(buf{}.i32(-2).i32(opPing))
		if p, err := r.next(); err != nil || p.xid != -2 || len(p.body) != 0 {
			return fmt.Errorf("ping: %+v, %v", p, err)
		}
	}
	return nil
}

func TestSessionNeedsItsPassword(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		addr, root := split(connect)
		r := dialRaw(t, addr, 10000, 0, 0, nil)
		wrong := slices.Clone(r.password)
		wrong[3] ^= 1
		thief := dialRaw(t, addr, 10000, 0, r.session, wrong)
		if thief.session != 0 {
			t.Fatal("a wrong password got the session")
		}
		owner := dialRaw(t, addr, 10000, 0, r.session, r.password)
		if owner.session != r.session || !slices.Equal(owner.password, r.password) {
			t.Fatalf("the right one got session %#x, want %#x", owner.session, r.session)
		}
		owner.must(opSync, buf{}.str(root))
	})
}

func TestNewConnectionOfASessionEndsTheOld(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		addr, root := split(connect)
		old := dialRaw(t, addr, 10000, 0, 0, nil)
		old.call(opExists, buf{}.str(root+"/x").bool(true))
		fresh := dialRaw(t, addr, 10000, 0, old.session, old.password)
		if _, err := old.next(); err == nil {
			t.Fatal("the old connection still gets packets")
		}
		// Watches are the connection's: nobody hears of this.
		fresh.must(opCreate, buf{}.create(root+"/x", nil, 0))
		if events := fresh.must(opSync, buf{}.str(root)); len(events) != 0 {
			t.Fatalf("events %v", events)
		}
	})
}

func TestSetWatchesFiresWhatWasMissed(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		addr, root := split(connect)
		r := dialRaw(t, addr, 10000, 0, 0, nil)
		for _, name := range []string{"changed", "same", "gone", "grown", "calm"} {
			r.must(opCreate, buf{}.create(root+"/"+name, nil, 0))
		}
		p, _ := r.call(opSync, buf{}.str(root))
		seen := p.zxid
		r.must(opSetData, buf{}.str(root+"/changed").bytes(nil).i32(-1))
		r.must(opDelete, buf{}.str(root+"/gone").i32(-1))
		r.must(opCreate, buf{}.create(root+"/grown/child", nil, 0))
		r.must(opCreate, buf{}.create(root+"/born", nil, 0))
		r.send(opSetWatches, buf{}.i64(seen).
			strs(root+"/changed", root+"/same", root+"/gone").
			strs(root+"/born", root+"/unborn").
			strs(root+"/grown", root+"/calm"))
		var events []string
		for {
			p, err := r.next()
			if err != nil || p.err != 0 {
				t.Fatal(p, err)
			}
			if p.xid != -1 {
				break
			}
			events = append(events, event(p))
		}
		want := []string{"data " + root + "/changed", "deleted " + root + "/gone", "created " + root + "/born", "children " + root + "/grown"}
		slices.Sort(events)
		slices.Sort(want)
		if !slices.Equal(events, want) {
			t.Fatalf("events %v, want %v", events, want)
		}
		events = r.must(opSetData, buf{}.str(root+"/same").bytes(nil).i32(-1))
		events = append(events, r.must(opCreate, buf{}.create(root+"/unborn", nil, 0))...)
		events = append(events, r.must(opCreate, buf{}.create(root+"/calm/child", nil, 0))...)
		want = []string{"data " + root + "/same", "created " + root + "/unborn", "children " + root + "/calm"}
		if !slices.Equal(events, want) {
			t.Fatalf("then %v, want %v", events, want)
		}
	})
}

func TestRepliesComeInOrder(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		addr, root := split(connect)
		r := dialRaw(t, addr, 10000, 0, 0, nil)
		const n = 500
		for i := range n {
			if i%3 == 0 {
				r.send(opCreate, buf{}.create(fmt.Sprintf("%s/%d", root, i), nil, 0))
			} else {
				r.send(opExists, buf{}.str(root).bool(false))
			}
		}
		var last int64
		for i := range n {
			p, err := r.next()
			if err != nil || p.xid != int32(i+1) || p.zxid < last {
				t.Fatalf("reply %d: %+v, %v; the zxid before was %d", i, p, err, last)
			}
			last = p.zxid
		}
	})
}

func TestBadPacketsEndTheConnection(t *testing.T) {
	for name, packet := range map[string][]byte{
		"negative length":  {0xff, 0xff, 0xff, 0xf0},
		"too long":         buf{}.i32(1<<20 + 1),
		"unknown op":       append(buf{}.i32(8), buf{}.i32(1).i32(4711)...),
		"header cut short": append(buf{}.i32(3), 0, 0, 0),
	} {
		t.Run(name, func(t *testing.T) {
			zktest.Both(t, func(t *testing.T, connect string) {
				addr, root := split(connect)
				r := dialRaw(t, addr, 10000, 0, 0, nil)
				if _, err := r.conn.Write(packet); err != nil {
					t.Fatal(err)
				}
				var err error
				for range 2 { // the unknown op is answered first
					if _, err = r.next(); err != nil {
						break
					}
				}
				if err == nil {
					t.Fatal("the connection lives on")
				}
				// The session does, too.
				again := dialRaw(t, addr, 10000, 0, r.session, r.password)
				again.must(opSync, buf{}.str(root))
			})
		})
	}
}

func TestCloseSessionIsAnsweredThenCloses(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		addr, root := split(connect)
		r := dialRaw(t, addr, 10000, 0, 0, nil)
		r.must(opCreate, buf{}.create(root+"/e", nil, 1))
		r.must(opCloseSession, nil)
		if _, err := r.next(); err != io.EOF {
			t.Fatalf("after closing: %v, want the end", err)
		}
		other := zktest.Dial(t, addr)
		if ok, _, err := other.Exists(root + "/e"); ok || err != nil {
			t.Fatalf("the ephemeral is there: %v, %v", ok, err)
		}
	})
}

func TestAuthAndACLs(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		addr, root := split(connect)
		c := zktest.Dial(t, addr)
		if err := c.AddAuth("digest", []byte("user:secret")); err != nil {
			t.Fatal(err)
		}
		p := root + "/p"
		if _, err := c.Create(p, nil, 0, zk.AuthACL(zk.PermAll)); err != nil {
			t.Fatal(err)
		}
		got, _, err := c.GetACL(p)
		if want := zk.DigestACL(zk.PermAll, "user", "secret"); err != nil || !slices.Equal(got, want) {
			t.Fatalf("ACL %v, %v; want %v", got, err, want)
		}
		st, err := c.SetACL(p, world, 0)
		if err != nil || st.Aversion != 1 {
			t.Fatalf("%+v %v", st, err)
		}
		if _, err := c.SetACL(p, world, 0); err != zk.ErrBadVersion {
			t.Fatalf("an old version: %v", err)
		}
	})
}

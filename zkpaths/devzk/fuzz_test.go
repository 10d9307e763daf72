package devzk

import (
	"bytes"
	"net"
	"slices"
	"testing"
	"time"
)

// noListener accepts nobody.
type noListener struct{ done chan struct{} }

func (l noListener) Accept() (net.Conn, error) { <-l.done; return nil, net.ErrClosed }
func (l noListener) Close() error              { close(l.done); return nil }
func (l noListener) Addr() net.Addr            { return &net.UnixAddr{Name: "nowhere"} }

// quietServer is a server with one session on a connection that nobody reads.
func quietServer(t testing.TB) (*Server, *conn) {
	t.Helper()
	s, err := Start(Options{Listener: noListener{make(chan struct{})}, MaxBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	nc, other := net.Pipe()
	t.Cleanup(func() { s.Close(); nc.Close(); other.Close() })
	c := newConn(s, nc)
	if err := s.connect(c, &connectRequest{timeoutMs: 30000}); err != nil {
		t.Fatal(err)
	}
	return s, c
}

// checkTree tests what must hold of every tree.
func checkTree(t testing.TB, tr *tree) {
	t.Helper()
	var size int64
	fresh := newTree()
	children := map[string][]string{}
	ephemerals := 0
	for p, n := range tr.nodes {
		if fresh.nodes[p] == nil || len(n.data) > 0 {
			size += int64(len(p) + len(n.data) + nodeOverhead)
		}
		if fresh.nodes[p] != nil && len(n.data) > 0 {
			size -= int64(len(p) + nodeOverhead) // what a new tree holds is not counted
		}
		if p != "/" {
			parent, name := splitPath(p)
			children[parent] = append(children[parent], name)
		}
		if n.owner != 0 {
			ephemerals++
			if _, ok := tr.ephemerals[n.owner][p]; !ok {
				t.Fatalf("%s is not among the ephemerals of %#x", p, n.owner)
			}
			if len(n.children) > 0 {
				t.Fatalf("the ephemeral %s has children", p)
			}
		}
	}
	for p, n := range tr.nodes {
		slices.Sort(children[p])
		if !slices.Equal(n.children, children[p]) {
			t.Fatalf("children of %s: %q, want %q", p, n.children, children[p])
		}
	}
	for _, set := range tr.ephemerals {
		ephemerals -= len(set)
	}
	if ephemerals != 0 || size != tr.bytes {
		t.Fatalf("%d ephemerals too few, %d bytes counted, want %d", -ephemerals, tr.bytes, size)
	}
}

func seedPackets() [][]byte {
	create := func(path string, mode int32) []byte {
		b := appendBytes(appendString(appendInt32(appendInt32(nil, 1), opCreate), path), []byte("data"))
		return appendInt32(appendACL(b, []acl{{31, "world", "anyone"}}), mode)
	}
	watch := func(op int32, path string) []byte {
		return appendBool(appendString(appendInt32(appendInt32(nil, 2), op), path), true)
	}
	multi := appendInt32(appendInt32(nil, 3), opMulti)
	multi = append(appendMultiHeader(multi, opCreate, false, -1), create("/m", 0)[8:]...)
	multi = append(appendMultiHeader(multi, opDelete, false, -1), appendInt32(appendString(nil, "/m"), 0)...)
	multi = append(appendMultiHeader(multi, opCheck, false, -1), appendInt32(appendString(nil, "/x"), 0)...)
	multi = appendMultiHeader(multi, -1, true, -1)
	rearm := appendInt64(appendInt32(appendInt32(nil, 4), opSetWatches2), 1)
	for range 5 {
		rearm = appendStrings(rearm, []string{"/a", "/b"})
	}
	return [][]byte{
		create("/a", 0), create("/a/b", 1), create("/a/s", 2), create("/a/s", 3), create("/c", 4),
		watch(opExists, "/a"), watch(opGetData, "/a"), watch(opGetChildren2, "/a"), multi, rearm,
		appendInt32(appendString(appendInt32(appendInt32(nil, 5), opDelete), "/a/b"), -1),
		appendInt32(appendBytes(appendString(appendInt32(appendInt32(nil, 6), opSetData), "/a"), nil), 0),
		appendInt32(appendString(appendInt32(appendInt32(nil, 7), opAddWatch), "/"), 1),
		appendInt32(appendInt32(nil, xidPing), opPing), appendInt32(appendInt32(nil, 8), opCloseSession),
	}
}

// FuzzHandle gives a server any packets, each length-prefixed by two bytes.
func FuzzHandle(f *testing.F) {
	var all []byte
	for _, p := range seedPackets() {
		one := append([]byte{byte(len(p) >> 8), byte(len(p))}, p...)
		f.Add(one)
		all = append(all, one...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, c := quietServer(t)
		for len(b) >= 2 {
			n := min(int(b[0])<<8|int(b[1]), len(b)-2)
			last, err := s.handle(c, b[2:2+n])
			b = b[2+n:]
			checkTree(t, s.tree)
			if last || err != nil {
				break
			}
			checkPackets(t, c)
		}
		snapshot := s.snapshotLocked()
		loaded := &Server{}
		if err := loaded.loadSnapshot(snapshot); err != nil {
			t.Fatal(err)
		}
		checkTreeShape(t, loaded.tree, s.tree)
	})
}

// checkPackets: what goes out is whole packets.
func checkPackets(t testing.TB, c *conn) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	d := decoder{b: c.out}
	for len(d.b) > 0 {
		if d.bytes(); d.bad {
			t.Fatalf("broken packets: %x", c.out)
		}
	}
	c.out = c.out[:0]
}

func checkTreeShape(t testing.TB, got, want *tree) {
	t.Helper()
	if len(got.nodes) != len(want.nodes) {
		t.Fatalf("%d znodes loaded, want %d", len(got.nodes), len(want.nodes))
	}
	for p, w := range want.nodes {
		g := got.nodes[p]
		if g == nil || !bytes.Equal(g.appendStat(nil), w.appendStat(nil)) || !bytes.Equal(g.data, w.data) ||
			(g.data == nil) != (w.data == nil) || g.acl != w.acl || !slices.Equal(g.children, w.children) {
			t.Fatalf("%s: %+v, want %+v", p, g, w)
		}
	}
}

func FuzzHello(f *testing.F) {
	f.Add(appendBytes(appendInt64(appendInt32(appendInt64(appendInt32(nil, 0), 0), 4000), 0), make([]byte, 16)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := decodeConnect(b); err == nil {
			s, c := quietServer(t)
			if s.connect(c, &r) == nil && c.session.timeout > time.Minute {
				t.Fatalf("timeout %v", c.session.timeout)
			}
		}
	})
}

// FuzzRecover gives a server any log after its magic.
func FuzzRecover(f *testing.F) {
	t1 := txn{zxid: 1, kind: txnOpenSession, session: 5, timeout: time.Second, password: make([]byte, 16)}
	t2 := txn{zxid: 2, prev: 1, kind: txnChanges, changes: []change{
		{op: opCreate, path: "/a", acl: worldACL}, {op: opCreate, path: "/a/b", acl: worldACL, owner: 5}, {op: opSetData, path: "/a", data: []byte{}},
	}}
	t3 := txn{zxid: 3, prev: 2, kind: txnCloseSession, session: 5}
	var b []byte
	for _, t := range []txn{t1, t2, t3} {
		b = appendBytes(b, t.append(nil))
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &Server{tree: newTree(), sessions: map[int64]*session{}}
		d := decoder{b: b}
		for len(d.b) > 0 && !d.bad {
			x, err := decodeTxn(d.bytes())
			if err != nil {
				continue
			}
			if got := x.append(nil); len(got) == 0 {
				t.Fatal("a transaction of no bytes")
			}
			if s.replay(&x) != nil {
				break
			}
			checkTree(t, s.tree)
		}
		s.replayLog(b)
		if err := s.loadSnapshot(b); err == nil {
			checkTree(t, s.tree)
		}
	})
}

package devzk_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-zookeeper/zk"

	"barnabas/internal/vfs"
	"barnabas/internal/zktest"
	"barnabas/zkpaths/devzk"
)

// dump shows the znodes below / with what a restart must keep.
func dump(t testing.TB, s *devzk.Server) string {
	t.Helper()
	c := zktest.Dial(t, s.Addr())
	defer c.Close()
	var b strings.Builder
	var walk func(path string)
	walk = func(path string) {
		data, st, err := c.Get(path)
		if err != nil {
			t.Fatal(err)
		}
		acl, _, err := c.GetACL(path)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %#v %+v %v\n", path, data, *st, acl)
		children, _, err := c.Children(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range children {
			walk(strings.TrimSuffix(path, "/") + "/" + name)
		}
	}
	walk("/")
	return b.String()
}

// fill makes a bit of everything and returns the open connection of a session
// with an ephemeral.
func fill(t testing.TB, s *devzk.Server, n int) *raw {
	t.Helper()
	r := dialRaw(t, s.Addr(), 30000, 0, 0, nil)
	r.must(opCreate, buf{}.create("/null", nil, 0))
	r.must(opCreate, buf{}.create("/empty", []byte{}, 0))
	r.must(opCreate, buf{}.create("/e", []byte("mine"), 1))
	r.must(opCreate, buf{}.str("/acl").bytes(nil).i32(1).i32(1).str("digest").str("a:b").i32(0))
	r.must(opCreate, buf{}.create("/many", nil, 0))
	for i := range n {
		r.must(opCreate, buf{}.create("/many/s", []byte("data"), 2))
		if i%3 == 0 {
			r.must(opDelete, buf{}.str(fmt.Sprintf("/many/s%010d", i)).i32(-1))
		}
		r.must(opSetData, buf{}.str("/null").bytes(nil).i32(-1))
	}
	r.must(opMulti, buf{}.op(opCreate, buf{}.create("/m", nil, 0)).op(opCreate, buf{}.create("/m/n", nil, 0)).
		op(opSetData, buf{}.str("/m").bytes([]byte("x")).i32(0)).end())
	return r
}

func TestRestartKeepsEverything(t *testing.T) {
	for _, every := range []int{1_000_000, 40, 1} {
		t.Run(fmt.Sprint("snapshot every ", every), func(t *testing.T) {
			o := devzk.Options{Dir: t.TempDir(), SnapshotEvery: every}
			s := zktest.DevZK(t, o)
			r := fill(t, s, 60)
			want := dump(t, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = zktest.DevZK(t, o)
			if got := dump(t, s); got != want {
				t.Fatalf("after the restart:\n%s\nbefore:\n%s", got, want)
			}
			// The session lives on, with its ephemeral.
			p, _ := r2(t, s, r).call(opCreate, buf{}.create("/many/s", nil, 2))
			if p.err != 0 || p.zxid <= 1<<32 {
				t.Fatalf("zxid %#x, error %d", p.zxid, p.err)
			}
			s.ExpireSession(r.session)
			if got := dump(t, s); strings.Contains(got, "/e ") {
				t.Fatal("the ephemeral survived its session")
			}
		})
	}
}

// r2 takes up a session on another server.
func r2(t testing.TB, s *devzk.Server, r *raw) *raw {
	t.Helper()
	again := dialRaw(t, s.Addr(), 30000, 0, r.session, r.password)
	if again.session != r.session {
		t.Fatalf("session %#x is gone", r.session)
	}
	return again
}

func TestSecondServerIsRefusedTheDirectory(t *testing.T) {
	o := devzk.Options{Dir: t.TempDir()}
	zktest.DevZK(t, o)
	if _, err := devzk.Start(o); !errors.Is(err, vfs.ErrLocked) {
		t.Fatalf("error %v, want %v", err, vfs.ErrLocked)
	}
}

// TestTornTail cuts the log at every length, as a crash may, and expects a
// prefix of the history.
func TestTornTail(t *testing.T) {
	mem := vfs.NewMem()
	o := devzk.Options{Dir: "zk", FS: mem}
	s := zktest.DevZK(t, o)
	r := dialRaw(t, s.Addr(), 30000, 0, 0, nil)
	for i := range 5 {
		r.must(opCreate, buf{}.create(fmt.Sprint("/n", i), nil, 0))
	}
	s.Close()
	const name = "zk/log.0000000000000000"
	whole, err := vfs.ReadFile(mem, name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	had := -1
	for n := range len(whole) + 1 {
		fs := vfs.NewMem()
		if err := fs.MkdirAll("zk"); err != nil {
			t.Fatal(err)
		}
		if err := vfs.WriteFileAtomic(fs, name, whole[:n]); err != nil {
			t.Fatal(err)
		}
		s, err := devzk.Start(devzk.Options{Dir: "zk", FS: fs})
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		have := nodesOf(t, s)
		if have != had && have != had+1 {
			t.Fatalf("cut at %d: %d znodes, %d with a byte less", n, have, had)
		}
		had = have
		s.Close()
		s, err = devzk.Start(devzk.Options{Dir: "zk", FS: fs})
		if err != nil || nodesOf(t, s) != have {
			t.Fatalf("cut at %d: the second recovery changed something: %v", n, err)
		}
		s.Close()
	}
	if had != 5 {
		t.Fatalf("%d znodes in the whole log, want 5", had)
	}
}

// nodesOf counts /n0, /n1 … without a gap.
func nodesOf(t testing.TB, s *devzk.Server) int {
	t.Helper()
	r := dialRaw(t, s.Addr(), 30000, 0, 0, nil)
	defer r.conn.Close()
	n := 0
	for {
		if p, _ := r.call(opExists, buf{}.str(fmt.Sprint("/n", n)).bool(false)); p.err != 0 {
			return n
		}
		n++
	}
}

// TestCrashOfTheMachine drops what was not synced at a random moment: with Sync
// nothing that was answered may be missing.
func TestCrashOfTheMachine(t *testing.T) {
	for _, keep := range []int{0, 50, 100} {
		mem := vfs.NewMem()
		s := zktest.DevZK(t, devzk.Options{Dir: "zk", FS: mem, Sync: true, SnapshotEvery: 7})
		r := dialRaw(t, s.Addr(), 30000, 0, 0, nil)
		for i := range 30 {
			r.must(opCreate, buf{}.create(fmt.Sprint("/n", i), nil, 0))
			again, err := devzk.Start(devzk.Options{Dir: "zk", FS: mem.CrashClone(keep)})
			if err != nil {
				t.Fatalf("keeping %d%% after %d: %v", keep, i, err)
			}
			if have := nodesOf(t, again); have != i+1 {
				t.Fatalf("keeping %d%%: %d znodes, answered %d", keep, have, i+1)
			}
			again.Close()
		}
		s.Close()
	}
}

func TestDamagedSnapshotFallsBack(t *testing.T) {
	mem := vfs.NewMem()
	o := devzk.Options{Dir: "zk", FS: mem, SnapshotEvery: 20}
	s := zktest.DevZK(t, o)
	fill(t, s, 40)
	want := dump(t, s)
	s.Close()
	names, err := mem.List("zk")
	if err != nil {
		t.Fatal(err)
	}
	newest := ""
	snapshots, logs := 0, 0
	for _, n := range names {
		if strings.HasPrefix(n, "snapshot.") {
			newest = n
			snapshots++
		} else if strings.HasPrefix(n, "log.") {
			logs++
		}
	}
	if snapshots != 2 || logs > 4 {
		t.Fatalf("files %v, want two snapshots and the logs since", names)
	}
	f, err := mem.OpenReadWrite("zk/" + newest)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff}, 100); err != nil {
		t.Fatal(err)
	}
	f.Close()
	s = zktest.DevZK(t, o)
	if got := dump(t, s); got != want {
		t.Fatalf("after the damage:\n%s\nbefore:\n%s", got, want)
	}
}

// TestFailedWriteStopsTheServer: nothing that is not in the log is answered.
func TestFailedWriteStopsTheServer(t *testing.T) {
	for _, kind := range []vfs.OpKind{vfs.OpWrite, vfs.OpSync} {
		t.Run(string(kind), func(t *testing.T) {
			var broken atomic.Bool
			mem := vfs.NewMem()
			full := errors.New("no space left on device")
			failing := vfs.NewFailing(mem, func(op vfs.Op) error {
				if op.Kind == kind && broken.Load() {
					return &fs.PathError{Op: string(op.Kind), Path: op.Name, Err: full}
				}
				return nil
			})
			s, err := devzk.Start(devzk.Options{Dir: "zk", FS: failing, Sync: true})
			if err != nil {
				t.Fatal(err)
			}
			r := dialRaw(t, s.Addr(), 30000, 0, 0, nil)
			r.must(opCreate, buf{}.create("/n0", nil, 0))
			broken.Store(true)
			r.send(opCreate, buf{}.create("/n1", nil, 0))
			if p, err := r.next(); err == nil {
				t.Fatalf("answered %+v", p)
			}
			<-s.Failed()
			if err := s.Close(); !errors.Is(err, full) {
				t.Fatalf("error %v, want %v", err, full)
			}
			s, err = devzk.Start(devzk.Options{Dir: "zk", FS: mem})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if nodesOf(t, s) < 1 {
				t.Fatal("what was answered is gone")
			}
		})
	}
}

func TestGroupCommit(t *testing.T) {
	var syncs atomic.Int64
	counting := vfs.NewFailing(vfs.NewMem(), func(op vfs.Op) error {
		if op.Kind == vfs.OpSync {
			syncs.Add(1)
		}
		return nil
	})
	s := zktest.DevZK(t, devzk.Options{Dir: "zk", FS: counting, Sync: true})
	c := zktest.Dial(t, s.Addr())
	if _, err := c.Create("/n", nil, 0, zk.WorldACL(zk.PermAll)); err != nil {
		t.Fatal(err)
	}
	before := syncs.Load()
	r := dialRaw(t, s.Addr(), 30000, 0, 0, nil)
	const n = 200
	for range n { // pipelined
		r.send(opSetData, buf{}.str("/n").bytes(nil).i32(-1))
	}
	for range n {
		if p, err := r.next(); err != nil || p.err != 0 {
			t.Fatal(p, err)
		}
	}
	if got := syncs.Load() - before; got > n {
		t.Fatalf("%d syncs for %d transactions of one connection", got, n)
	}
}

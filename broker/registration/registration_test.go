package registration_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"barnabas/broker/registration"
	"barnabas/internal/kafka"
	"barnabas/internal/testaddr"
	"barnabas/internal/vfs"
	"barnabas/internal/zktest"
	"barnabas/zkpaths"
	"barnabas/zkpaths/devzk"
	"barnabas/zkpaths/session"
)

// node is one broker process, as far as its registration goes.
type node struct {
	client *session.Client
	reg    *registration.Registrar
	opts   registration.Options
	epochs chan kafka.BrokerEpoch
	lost   chan struct{}
	cut    func()
}

// start connects a client and makes a registrar; change edits its options.
func start(t *testing.T, connect string, id kafka.BrokerID, dirs []string, change func(*registration.Options)) *node {
	t.Helper()
	l, err := net.Listen("tcp", testaddr.Reserve(t)) // nobody else's after cut
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	n := &node{epochs: make(chan kafka.BrokerEpoch, 16), lost: make(chan struct{}, 16)}
	var mu sync.Mutex
	var conns []net.Conn
	down := false
	var reg atomic.Pointer[registration.Registrar]
	n.cut = func() {
		mu.Lock()
		defer mu.Unlock()
		down = true
		for _, c := range conns {
			c.Close()
		}
		l.Close()
	}
	n.client, err = session.Open(t.Context(), session.Options{
		Connect: connect, Timeout: time.Minute,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			if down {
				return nil, errors.New("the machine is gone")
			}
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err == nil {
				conns = append(conns, c)
			}
			return c, err
		},
		OnState: func(s session.State) {
			if r := reg.Load(); r != nil {
				r.SessionChanged(s)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.client.Close)
	if err := registration.Prepare(t.Context(), n.client); err != nil {
		t.Fatal(err)
	}
	port := int32(l.Addr().(*net.TCPAddr).Port)
	n.opts = registration.Options{
		Client: n.client, BrokerID: id, Bound: []net.Addr{l.Addr()},
		Endpoints: []zkpaths.Endpoint{{Listener: "PLAINTEXT", Host: "127.0.0.1", Port: port, Protocol: "PLAINTEXT"}},
		Marker:    zkpaths.Marker{Version: "test"}, FS: vfs.OS, LogDirs: dirs, MachineID: "m1",
		Interval:     20 * time.Millisecond,
		OnRegistered: func(e kafka.BrokerEpoch) { n.epochs <- e },
		OnLost:       func() { n.lost <- struct{}{} },
	}
	for _, d := range dirs {
		f, err := vfs.OS.OpenReadWrite(d + "/.lock")
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	if change != nil {
		change(&n.opts)
	}
	n.reg = registration.New(n.opts)
	reg.Store(n.reg)
	return n
}

func (n *node) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.reg.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
}

func (n *node) next(t *testing.T) kafka.BrokerEpoch {
	t.Helper()
	select {
	case e := <-n.epochs:
		return e
	case <-time.After(time.Minute):
		t.Fatal("not registered again after a minute")
	}
	return 0
}

func (n *node) waitLost(t *testing.T) {
	t.Helper()
	select {
	case <-n.lost:
	case <-time.After(time.Minute):
		t.Fatal("the loss was not noticed in a minute")
	}
}

func (n *node) get(t *testing.T, path string) ([]byte, session.Stat) {
	t.Helper()
	data, st, err := n.client.Get(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return data, st
}

func TestStart(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		n := start(t, connect, 1, []string{t.TempDir()}, nil)
		id, err := registration.ClusterID(t.Context(), n.client, "")
		if err != nil || len(id) != 22 {
			t.Fatal(id, err)
		}
		if again, err := registration.ClusterID(t.Context(), n.client, id); err != nil || again != id {
			t.Fatal(again, err)
		}
		_, err = registration.ClusterID(t.Context(), n.client, "other")
		if !errors.Is(err, registration.ErrClusterID) || !strings.Contains(err.Error(), "other") || !strings.Contains(err.Error(), id) {
			t.Fatal(err)
		}
		for want := kafka.BrokerID(1001); want < 1003; want++ {
			if got, err := registration.GenerateBrokerID(t.Context(), n.client, 1000); err != nil || got != want {
				t.Fatal(got, err)
			}
		}
		for _, p := range zkpaths.StartupPaths() {
			if data, st := n.get(t, p); len(data) != 0 || st.EphemeralOwner != 0 || data != nil && p != zkpaths.BrokerSeqID {
				t.Errorf("%s: %q %+v", p, data, st)
			}
		}
	})
}

func TestClusterIDIsNotMadeBesideAStoredOne(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		n := start(t, connect, 1, nil, nil)
		if _, err := registration.ClusterID(t.Context(), n.client, "stored"); !errors.Is(err, registration.ErrClusterID) {
			t.Fatal(err)
		}
		if _, ok, _ := n.client.Exists(t.Context(), zkpaths.ClusterIDPath); ok {
			t.Fatal("it was made")
		}
	})
}

func TestRegisterAndKeep(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		ctx := t.Context()
		n := start(t, connect, 7, []string{t.TempDir()}, nil)
		epoch, err := n.reg.Register(ctx)
		if err != nil {
			t.Fatal(err)
		}
		data, st := n.get(t, "/brokers/ids/7")
		reg, err := zkpaths.DecodeRegistration(data)
		if err != nil || reg.Marker == nil || !slices.Equal(reg.Endpoints, n.opts.Endpoints) || st.Version != 1 ||
			st.EphemeralOwner != n.client.SessionID() || kafka.BrokerEpoch(st.Czxid) != epoch || n.next(t) != epoch {
			t.Fatalf("%s %+v %v, epoch %d", data, st, err, epoch)
		}
		n.run(t)
		if err := n.client.Delete(ctx, "/brokers/ids/7", -1); err != nil {
			t.Fatal(err)
		}
		n.waitLost(t)
		second := n.next(t)
		if second <= epoch {
			t.Fatal("no larger epoch", second, epoch)
		}
		if _, err := n.client.Set(ctx, "/brokers/ids/7", []byte("by hand"), -1); err != nil {
			t.Fatal(err)
		}
		n.waitLost(t)
		if third := n.next(t); third <= second {
			t.Fatal("no larger epoch", third, second)
		}
		if data, _ := n.get(t, "/brokers/ids/7"); !strings.Contains(string(data), "barnabas") {
			t.Fatalf("%s", data)
		}
	})
}

// TestCrashedUntilJudged: a registration tells of the machine's crash until nothing
// counts on what was lost. One that is made after that, by the same process, would
// keep a replica that is whole from being elected.
func TestCrashedUntilJudged(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		n := start(t, connect, 7, []string{t.TempDir()}, func(o *registration.Options) { o.Marker.Crashed = true })
		if _, err := n.reg.Register(t.Context()); err != nil {
			t.Fatal(err)
		}
		n.next(t)
		n.run(t)
		for i, want := range []bool{true, true, false} {
			data, _ := n.get(t, "/brokers/ids/7")
			if reg, err := zkpaths.DecodeRegistration(data); err != nil || reg.Marker.Crashed != want {
				t.Errorf("registration %d: %s, %v", i, data, err)
			}
			if i == 1 {
				n.reg.Judged()
			}
			if err := n.client.Delete(t.Context(), "/brokers/ids/7", -1); err != nil {
				t.Fatal(err)
			}
			n.waitLost(t)
			n.next(t)
		}
	})
}

func TestRegistersAgainAfterExpiry(t *testing.T) {
	srv := zktest.DevZK(t, devzk.Options{})
	n := start(t, srv.Addr(), 1, []string{t.TempDir()}, nil)
	first, err := n.reg.Register(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n.next(t)
	n.run(t)
	for range 3 {
		old := n.client.SessionID()
		srv.ExpireSession(old)
		n.waitLost(t)
		again := n.next(t)
		if again <= first || n.client.SessionID() == old {
			t.Fatal("no larger epoch", again, first)
		}
		first = again
	}
}

func TestWhatOthersForbid(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		ctx := t.Context()
		one := start(t, connect, 1, []string{t.TempDir()}, nil)
		if _, err := one.reg.Register(ctx); err != nil {
			t.Fatal(err)
		}
		// The same endpoint under another id.
		two := start(t, connect, 2, nil, func(o *registration.Options) { o.Endpoints = one.opts.Endpoints })
		if _, err := two.reg.Register(ctx); !errors.Is(err, registration.ErrEndpointInUse) || !strings.Contains(err.Error(), "broker 1") {
			t.Fatal(err)
		}
		// The same id, alive elsewhere.
		twin := start(t, connect, 1, []string{t.TempDir()}, nil)
		if _, err := twin.reg.Register(ctx); !errors.Is(err, registration.ErrIDInUse) || !strings.Contains(err.Error(), one.opts.Endpoints[0].Addr()) {
			t.Fatal(err)
		}
		// A broker without our marker.
		foreign := zkpaths.Registration{Endpoints: []zkpaths.Endpoint{{Listener: "PLAINTEXT", Host: "kafka3", Port: 9092, Protocol: "PLAINTEXT"}}}
		if _, err := one.client.Create(ctx, "/brokers/ids/3", foreign.Encode(), session.Ephemeral); err != nil {
			t.Fatal(err)
		}
		four := start(t, connect, 4, nil, nil)
		if _, err := four.reg.Register(ctx); !errors.Is(err, registration.ErrForeign) || !strings.Contains(err.Error(), "kafka3") {
			t.Fatal(err)
		}
	})
}

// crash registers broker 1, makes it controller, and cuts it off while its
// session lives on.
func crash(t *testing.T, connect string, dirs []string) *node {
	t.Helper()
	n := start(t, connect, 1, dirs, nil)
	if _, err := n.reg.Register(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := n.client.Multi(t.Context(),
		session.CreateOp(zkpaths.ControllerEpochPath, []byte("1"), session.Persistent),
		session.CreateOp(zkpaths.ControllerPath, zkpaths.Controller{BrokerID: 1, KRaftEpoch: -1}.Encode(), session.Ephemeral))
	if err != nil {
		t.Fatal(err)
	}
	n.cut()
	return n
}

func TestStaleRegistrationIsReplaced(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		dirs := []string{t.TempDir(), t.TempDir()}
		old := crash(t, connect, dirs)
		began := time.Now()
		n := start(t, connect, 1, dirs, func(o *registration.Options) { o.Endpoints = old.opts.Endpoints })
		if _, err := n.reg.Register(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 40*time.Second {
			t.Errorf("it took %v", took)
		}
		if _, st := n.get(t, "/brokers/ids/1"); st.EphemeralOwner != n.client.SessionID() {
			t.Error("not ours")
		}
		if _, ok, err := n.client.Exists(t.Context(), zkpaths.ControllerPath); ok || err != nil {
			t.Error("the dead process is still controller", ok, err)
		}
	})
}

// A process killed after it recorded its session and before its transaction
// leaves the registration of the one before; the next start still proves it.
func TestKilledBetweenRecordAndRegistration(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		dirs := []string{t.TempDir()}
		old := crash(t, connect, dirs)
		name := filepath.Join(dirs[0], registration.RecordFile)
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		id := strconv.FormatUint(uint64(old.client.SessionID()), 16)
		between := strings.Replace(string(data), `"session":"`+id+`"`, `"session":"77","replaced":"`+id+`"`, 1)
		if between == string(data) {
			t.Fatalf("no session %s in %s", id, data)
		}
		if err := os.WriteFile(name, []byte(between), 0o644); err != nil {
			t.Fatal(err)
		}
		n := start(t, connect, 1, dirs, func(o *registration.Options) { o.Endpoints = old.opts.Endpoints })
		began := time.Now()
		if _, err := n.reg.Register(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 40*time.Second {
			t.Errorf("it took %v", took)
		}
		if data, err := os.ReadFile(name); err != nil || !strings.Contains(string(data), `"replaced":"`+id+`"`) {
			t.Errorf("the record says %s, %v", data, err)
		}
	})
}

// TestProofsMissing: each missing proof makes the new process wait.
func TestProofsMissing(t *testing.T) {
	cases := map[string]func(o *registration.Options){
		"no record in one directory": func(o *registration.Options) { o.LogDirs = append(o.LogDirs, o.LogDirs[0]+"/other") },
		"another machine":            func(o *registration.Options) { o.MachineID = "m2" },
		"a machine without id":       func(o *registration.Options) { o.MachineID = "" },
		"another lock file": func(o *registration.Options) {
			o.LockIdentity = func(string) (uint64, uint64, error) { return 1, 1, nil }
		},
		"an endpoint that is silent": func(o *registration.Options) {
			o.Dialer = func(context.Context, string, string) (net.Conn, error) { return nil, context.DeadlineExceeded }
		},
		"no directory": func(o *registration.Options) { o.LogDirs = nil },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			srv := zktest.DevZK(t, devzk.Options{})
			dirs := []string{t.TempDir()}
			old := crash(t, srv.Addr(), dirs).client.SessionID()
			n := start(t, srv.Addr(), 1, dirs, change)
			short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if _, err := n.reg.Register(short); err == nil {
				t.Error("replaced without proof")
			}
			srv.ExpireSession(old)
			if _, err := n.reg.Register(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAnsweringEndpointIsNamed(t *testing.T) {
	srv := zktest.DevZK(t, devzk.Options{})
	dirs := []string{t.TempDir()}
	old := crash(t, srv.Addr(), dirs)
	l, err := net.Listen("tcp", old.opts.Endpoints[0].Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n := start(t, srv.Addr(), 1, dirs, nil)
	if _, err := n.reg.Register(t.Context()); !errors.Is(err, registration.ErrIDInUse) || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Fatal(err)
	}
	// Bound by this very process it is no other broker.
	n = start(t, srv.Addr(), 1, dirs, func(o *registration.Options) { o.Bound = append(o.Bound, l.Addr()) })
	if _, err := n.reg.Register(t.Context()); err != nil {
		t.Fatal(err)
	}
}

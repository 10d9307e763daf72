package health

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"barnabas/internal/metrics"
	"barnabas/internal/pulse"
	"barnabas/zkpaths/session"
)

func page(w io.Writer, partitions bool) error {
	text := "page\n"
	if partitions {
		text = "page with partitions\n"
	}
	_, err := io.WriteString(w, text)
	return err
}

// get asks without a network.
func get(s *Server, path string) (int, string) {
	w := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func expect(t *testing.T, s *Server, path string, code int, body ...string) {
	t.Helper()
	want := strings.Join(body, "\n") + "\n"
	if c, b := get(s, path); c != code || b != want {
		t.Errorf("%s: got %d\n%swant %d\n%s", path, c, b, code, want)
	}
}

// TestStart is the life of a broker as its probes see it.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Page: page})
		up := s.Startup()
		up.Stage("recovering logs")
		time.Sleep(2 * time.Second)
		expect(t, s, "/startupz", 200, "starting: recovering logs for 2s")
		expect(t, s, "/livez", 200, "alive", "ok    start  starting: recovering logs for 2s")

		up.Recovered("/a", Recovery{Done: 1, Total: 4, Share: 0.25, Left: 12 * time.Second})
		up.Recovered("/b", Recovery{Total: 2, Share: 0.125, Left: 28 * time.Second})
		up.Stage("registering")
		expect(t, s, "/startupz", 200, "starting: registering, recovering logs, 12 %, about 28s left",
			"/a  1 of 4 logs, 25 %, about 12s left", "/b  0 of 2 logs, 12 %, about 28s left")
		expect(t, s, "/readyz", 503, "not ready", "FAIL  start  starting: registering, recovering logs, 12 %, about 28s left")

		time.Sleep(6 * time.Minute)
		if c, b := get(s, "/startupz"); c != 503 || !strings.HasPrefix(b, "starting: recovering logs stands still at 12 %, about 28s left for 6m0s\n") {
			t.Errorf("%d %s", c, b)
		}
		up.Recovered("/a", Recovery{Done: 4, Total: 4, Share: 1})
		up.Recovered("/b", Recovery{Done: 2, Total: 2, Share: 1})
		up.Stage("connecting to ZooKeeper")
		time.Sleep(time.Hour) // it may be away for as long as it likes
		expect(t, s, "/startupz", 200, "starting: connecting to ZooKeeper for 1h0m0s",
			"/a  4 of 4 logs, 100 %", "/b  2 of 2 logs, 100 %")
		up.Started()
		expect(t, s, "/startupz", 200, "started, in 1h6m2s")
		expect(t, s, "/readyz", 200, "ready", "ok    start  started, in 1h6m2s")

		up.Recovered("/a", Recovery{Done: 1, Total: 4, Share: 0.25})
		time.Sleep(time.Hour) // one disk that is slow is no reason to be killed
		expect(t, s, "/livez", 200, "alive", "ok    start  started, in 1h6m2s; recovering logs, 25 %")
		expect(t, s, "/startupz", 200, "started, in 1h6m2s; recovering logs, 25 %", "/a  1 of 4 logs, 25 %", "/b  2 of 2 logs, 100 %")
		up.Recovered("/a", Recovery{Done: 4, Total: 4, Share: 1})

		up.Stopping()
		expect(t, s, "/livez", 200, "alive", "ok    start  stopping")
		expect(t, s, "/readyz", 503, "not ready", "FAIL  start  stopping")
		up.Failed(errors.Join(errors.New("disk /a is gone"), errors.New("disk /b is gone")))
		up.Failed(errors.New("a later one"))
		expect(t, s, "/livez", 503, "not alive", "FAIL  start  failed: disk /a is gone; disk /b is gone")
		expect(t, s, "/startupz", 503, "failed: disk /a is gone; disk /b is gone")
	})
}

// TestLoop: a loop is stuck only if it could have turned.
func TestLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pulse.Pulse
		var zk Session
		stopping := false
		check := Loop(&p, &zk, func() bool { return stopping })
		step := func(ok bool, says string) {
			t.Helper()
			if f := check(time.Now()); f.OK != ok || f.Says != says {
				t.Errorf("got %v %q, want %v %q", f.OK, f.Says, ok, says)
			}
		}
		step(true, "has not begun yet")
		zk.OnState(session.State{Kind: session.NewSession, SessionID: 7})
		p.Beat()
		time.Sleep(time.Second)
		step(true, "turned 1s ago")
		time.Sleep(2 * time.Minute)
		step(false, "stuck for 2m1s")
		zk.OnState(session.State{Kind: session.Disconnected, SessionID: 7})
		time.Sleep(time.Hour)
		step(true, "waits for ZooKeeper, 1h2m1s")
		zk.OnState(session.State{Kind: session.Connected, SessionID: 7})
		time.Sleep(30 * time.Second)
		step(true, "catches up since ZooKeeper is back")
		time.Sleep(time.Minute)
		step(false, "stuck for 1m30s")
		p.Beat()
		step(true, "turned 0s ago")
		p.End()
		step(false, "ended")
		stopping = true
		step(true, "stopping")
	})
}

func TestSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var zk Session
		step := func(kind session.StateKind, ok bool, says string) {
			t.Helper()
			if kind != 0 {
				zk.OnState(session.State{Kind: kind, SessionID: 0xab})
			}
			time.Sleep(3 * time.Second)
			if f := zk.Check(time.Now()); f.OK != ok || f.Says != says {
				t.Errorf("got %v %q, want %v %q", f.OK, f.Says, ok, says)
			}
		}
		step(0, false, "no session with ZooKeeper yet")
		step(session.NewSession, true, "session 0xab, connected for 3s")
		step(session.Disconnected, true, "coordination lost for 3s: disconnected from ZooKeeper; partitions are served, nothing is elected or changed")
		step(session.Connected, true, "session 0xab, connected for 3s")
		step(session.Expired, true, "coordination lost for 3s: the session expired; a new one is being made")

		r := metrics.New()
		r.Collect(zk.Collect)
		var b strings.Builder
		if err := r.WritePage(&b, false); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			`sessionexpirelistener_sessionstate{state="CLOSED"} 1`, `sessionexpirelistener_sessionstate{state="CONNECTED"} 0`,
			"zookeepersyncconnects_total 2", "zookeeperdisconnectspersec 1", "zookeeperexpires_total 1",
		} {
			if !strings.Contains(b.String(), want+"\n") {
				t.Errorf("no %s in\n%s", want, b.String())
			}
		}
	})
}

// TestHangingCheck: a check that never returns fails, is not piled up, and does
// not hide the others.
func TestHangingCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Page: page})
		s.Startup().Started()
		release := make(chan struct{})
		var calls atomic.Int32
		s.Live("locks", func(time.Time) Finding {
			calls.Add(1)
			<-release
			return Good("got it")
		})
		s.Live("listeners", func(time.Time) Finding { return Good("3 connections") })
		began := time.Now()
		want := []string{
			"not alive", "ok    start      started, in 0s",
			"FAIL  locks      the check itself did not return in 5s: a lock is not given back",
			"ok    listeners  3 connections",
		}
		expect(t, s, "/livez", 503, want...)
		if took := time.Since(began); took != checkTimeout {
			t.Errorf("took %v", took)
		}
		expect(t, s, "/livez", 503, want...)
		if calls.Load() != 1 {
			t.Errorf("%d calls", calls.Load())
		}
		close(release)
		synctest.Wait()
		expect(t, s, "/livez", 200, "alive", "ok    start      started, in 0s", "ok    locks      got it", "ok    listeners  3 connections")
		if calls.Load() != 2 {
			t.Errorf("%d calls", calls.Load())
		}
	})
}

func TestMetricsAndOthers(t *testing.T) {
	s := New(Options{Page: page})
	expect(t, s, "/metrics", 200, "page")
	expect(t, s, "/metrics?partitions=1", 200, "page with partitions")
	expect(t, s, "/metrics?partitions=0", 200, "page")
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/x"} {
		if c, _ := get(s, path); c != 404 {
			t.Errorf("%s: %d", path, c)
		}
	}
	w := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/livez", nil))
	if w.Code != 405 {
		t.Errorf("POST: %d", w.Code)
	}
	w = httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if got := w.Header().Get("Content-Type"); got != metrics.ContentType {
		t.Errorf("content type %q", got)
	}
	if c, b := get(New(Options{Page: page, Pprof: true}), "/debug/pprof/goroutine?debug=1"); c != 200 || !strings.Contains(b, "goroutine profile") {
		t.Errorf("pprof: %d %s", c, b)
	}
}

// TestListener: over a real socket, bounded in connections.
func TestListener(t *testing.T) {
	s := New(Options{Addr: "127.0.0.1:0", Page: page})
	if s.Addr() != nil {
		t.Error("an address before Listen")
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	addr := s.Addr().String()
	var idle []net.Conn
	for range maxConnections {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	one, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := one.Read(make([]byte, 1)); err == nil {
		t.Error("one connection too many is served")
	}
	one.Close()
	for _, c := range idle {
		c.Close()
	}
	client := &http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	var resp *http.Response
	for resp == nil { // until the server has seen that they are closed
		if resp, err = client.Get("http://" + addr + "/livez"); err != nil && t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != 200 || !strings.HasPrefix(string(body), "alive\n") {
		t.Errorf("%d %s %v", resp.StatusCode, body, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("listens after Close")
	}
	if err := New(Options{Addr: "127.0.0.1:0", Page: page}).Close(); err != nil {
		t.Error(err)
	}
}

package socket

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"barnabas/internal/slowpeer"
	"barnabas/internal/vfs"
)

const (
	produceKey  = 0
	fetchKey    = 1
	metadataKey = 3
)

type handlerFunc func(ctx context.Context, r *Request) Reply

func (f handlerFunc) Serve(ctx context.Context, r *Request) Reply { return f(ctx, r) }

// limit is how long something may take that a test waits for: far longer than it
// does, since only what hangs shall meet it.
const limit = 2 * time.Minute

// pollers is Options.Pollers of the tests' servers.
var pollers int

// TestMain runs all tests on goroutines, and again on a poller.
func TestMain(m *testing.M) {
	code := m.Run()
	pollers = 1
	os.Exit(max(code, m.Run()))
}

// start serves h on a port of its own until the test ends.
func start(t *testing.T, o Options, h handlerFunc) *Server {
	t.Helper()
	if o.Listeners == nil {
		o.Listeners = []ListenerOptions{{Name: "PLAINTEXT", Addr: "127.0.0.1:0"}}
	}
	if o.CloseGrace == 0 {
		o.CloseGrace = 100 * time.Millisecond
	}
	o.Pollers = pollers
	s := New(o)
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, h) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if n := s.Connections(); n != 0 {
			t.Errorf("%d connections left", n)
		}
	})
	return s
}

func dial(t *testing.T, s *Server) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr("PLAINTEXT").String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	return c
}

// request is a frame with a version 1 header (Metadata v1, Produce v3, Fetch v4
// and so on).
func request(key, version int16, correlation int32, body string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+2+4+len(body)))
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = binary.BigEndian.AppendUint32(b, uint32(correlation))
	b = append(b, 0, 4)
	b = append(b, "test"...)
	return append(b, body...)
}

func send(t *testing.T, c net.Conn, frames ...[]byte) {
	t.Helper()
	if _, err := c.Write(bytes.Join(frames, nil)); err != nil {
		t.Fatal(err)
	}
}

// receive reads one reply and checks its correlation id.
func receive(t *testing.T, c io.Reader, correlation int32) string {
	t.Helper()
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		t.Fatalf("reply %d: %v", correlation, err)
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatalf("reply %d: %v", correlation, err)
	}
	if got := int32(binary.BigEndian.Uint32(b)); got != correlation {
		t.Fatalf("got reply %d, want %d", got, correlation)
	}
	return string(b[4:])
}

// closed fails unless the server closes the connection without another byte.
func closed(t *testing.T, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %d bytes, %v, want the connection closed", n, err)
	}
}

func text(r *Request, s string) Reply {
	o := r.NewOut()
	o.B = append(o.B, s...)
	return Send(o)
}

func echo(_ context.Context, r *Request) Reply { return text(r, string(r.Body)) }

func TestRepliesInOrder(t *testing.T) {
	s := start(t, Options{}, echo)
	c := dial(t, s)
	const n = 300
	var all []byte
	for i := range int32(n) {
		key := []int16{produceKey, fetchKey, metadataKey}[i%3]
		all = append(all, request(key, 1, i, strings.Repeat("x", int(i*i)))...)
	}
	go func() {
		for len(all) > 0 { // in pieces that end anywhere
			k := min(len(all), 7001)
			if _, err := c.Write(all[:k]); err != nil {
				return
			}
			all = all[k:]
		}
	}()
	for i := range int32(n) {
		if got := receive(t, c, i); len(got) != int(i*i) {
			t.Fatalf("reply %d has %d bytes, want %d", i, len(got), i*i)
		}
	}
}

// parker parks fetches and answers the rest at once.
type parker struct {
	t         *testing.T
	mu        sync.Mutex
	pending   map[int32]*Pending
	served    chan int32
	cancelled atomic.Int32
}

func newParker(t *testing.T) *parker {
	return &parker{t: t, pending: make(map[int32]*Pending), served: make(chan int32, 1000)}
}

func (p *parker) serve(_ context.Context, r *Request) Reply {
	defer func(id int32) { p.served <- id }(r.CorrelationID)
	if r.Key != fetchKey {
		return text(r, "now")
	}
	req := *r
	pending := r.Park(func() Reply { return text(&req, "parked") }, func() { p.cancelled.Add(1) })
	p.mu.Lock()
	p.pending[r.CorrelationID] = pending
	p.mu.Unlock()
	return Parked(pending)
}

func (p *parker) complete(id int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending[id].Complete()
	p.pending[id].Complete() // again is nothing
}

func (p *parker) await(id int32) {
	p.t.Helper()
	select {
	case got := <-p.served:
		if got != id {
			p.t.Fatalf("request %d served, want %d", got, id)
		}
	case <-time.After(limit):
		p.t.Fatalf("request %d was not served", id)
	}
}

func TestOverlap(t *testing.T) {
	p := newParker(t)
	c := dial(t, start(t, Options{}, p.serve))
	send(t, c, request(fetchKey, 4, 1, ""), request(produceKey, 3, 2, ""), request(fetchKey, 4, 3, ""))
	for id := range int32(3) {
		p.await(id + 1) // 2 and 3 are served while 1 waits
	}
	p.complete(3)
	p.complete(1)
	for id, want := range []string{"parked", "now", "parked"} {
		if got := receive(t, c, int32(id+1)); got != want {
			t.Errorf("reply %d: got %q, want %q", id+1, got, want)
		}
	}
}

func TestOtherKeysAreServedAlone(t *testing.T) {
	p := newParker(t)
	c := dial(t, start(t, Options{}, p.serve))
	send(t, c, request(fetchKey, 4, 1, ""), request(metadataKey, 1, 2, ""), request(fetchKey, 4, 3, ""))
	p.await(1)
	select {
	case id := <-p.served:
		t.Fatalf("request %d served while 1 waits", id)
	case <-time.After(20 * time.Millisecond):
	}
	p.complete(1)
	receive(t, c, 1)
	p.await(2)
	receive(t, c, 2)
	p.await(3)
	p.complete(3)
	receive(t, c, 3)
}

func TestPendingRequestsAreBounded(t *testing.T) {
	p := newParker(t)
	c := dial(t, start(t, Options{MaxPending: 4}, p.serve))
	for i := range int32(10) {
		send(t, c, request(fetchKey, 4, i, ""))
	}
	for i := range int32(4) {
		p.await(i)
	}
	select {
	case id := <-p.served:
		t.Fatalf("request %d served, beyond the bound", id)
	case <-time.After(20 * time.Millisecond):
	}
	for i := range int32(10) {
		if i >= 4 {
			p.await(i)
		}
		p.complete(i)
		receive(t, c, i)
	}
}

func TestClientGoesWhileParked(t *testing.T) {
	p := newParker(t)
	s := start(t, Options{}, p.serve)
	c := dial(t, s)
	send(t, c, request(fetchKey, 4, 1, ""), request(fetchKey, 4, 2, ""))
	p.await(1)
	p.await(2)
	c.Close()
	waitFor(t, "the connection to be gone", func() bool { return s.Connections() == 0 })
	waitFor(t, "both to be cancelled", func() bool { return p.cancelled.Load() == 2 })
	p.complete(1) // too late, and harmless
}

func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestCloseFollowsEarlierReplies(t *testing.T) {
	p := newParker(t)
	reason := errors.New("bad produce")
	c := dial(t, start(t, Options{}, func(ctx context.Context, r *Request) Reply {
		if r.CorrelationID == 3 {
			return CloseConn(reason)
		}
		return p.serve(ctx, r)
	}))
	send(t, c, request(fetchKey, 4, 1, ""), request(produceKey, 3, 2, ""), request(produceKey, 3, 3, ""))
	p.await(1)
	p.await(2)
	p.complete(1)
	receive(t, c, 1)
	receive(t, c, 2)
	closed(t, c)
}

func TestNoReply(t *testing.T) {
	c := dial(t, start(t, Options{}, func(_ context.Context, r *Request) Reply {
		if r.CorrelationID == 1 {
			return NoReply()
		}
		return text(r, "answer")
	}))
	send(t, c, request(produceKey, 3, 1, ""), request(produceKey, 3, 2, ""))
	receive(t, c, 2)
}

func TestBadFrames(t *testing.T) {
	for name, frame := range map[string]string{
		"size 0":           "\x00\x00\x00\x00",
		"size -1":          "\xff\xff\xff\xff",
		"too large":        "\x00\x00\x10\x01",
		"half a header":    "\x00\x00\x00\x05\x00\x03\x00\x01\x00",
		"lying client id":  "\x00\x00\x00\x0a\x00\x03\x00\x01\x00\x00\x00\x00\x7f\xff",
		"lying header tag": "\x00\x00\x00\x0f\x00\x03\x00\x0c\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\x0f",
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, start(t, Options{MaxRequestBytes: 4096}, echo))
			send(t, c, []byte(frame))
			closed(t, c)
		})
	}
}

func TestSlowReader(t *testing.T) {
	const reply = 256 << 10
	var served atomic.Int64
	s := start(t, Options{WriteTimeout: 50 * time.Millisecond, SendBuffer: 64 << 10}, func(_ context.Context, r *Request) Reply {
		if r.Key == metadataKey {
			return text(r, "short")
		}
		served.Add(1)
		return text(r, strings.Repeat("x", reply))
	})
	slow, other := dial(t, s), dial(t, s)
	waitFor(t, "both to be accepted", func() bool { return s.Connections() == 2 })
	go func() { // until the server hangs up
		for i := int32(0); ; i++ {
			if _, err := slow.Write(request(produceKey, 3, i, "")); err != nil {
				return
			}
		}
	}()
	waitFor(t, "the slow connection to be closed", func() bool { return s.Connections() == 1 })
	if n := served.Load(); n > 200 {
		t.Errorf("%d requests were served for a client that reads nothing", n)
	}
	send(t, other, request(metadataKey, 1, 1, ""))
	receive(t, other, 1) // undisturbed
}

// TestSlowButAlive: a client is not cut off as long as it takes anything, however long
// its socket stays full.
func TestSlowButAlive(t *testing.T) {
	const reply = 24 << 20
	big := strings.Repeat("x", reply)
	for timeout := 40 * time.Millisecond; ; timeout *= 4 { // a busy machine may stop the client for longer
		parked := make(chan *Pending, 1)
		s := start(t, Options{WriteTimeout: timeout}, func(_ context.Context, r *Request) Reply {
			req := *r
			p := r.Park(func() Reply { return text(&req, big) }, func() {})
			parked <- p
			return Parked(p)
		})
		c := dial(t, s)
		send(t, c, request(fetchKey, 4, 1, ""))
		(<-parked).Complete()
		err := slowpeer.Read(c, reply, timeout)
		if err == nil {
			return
		}
		if timeout > 3*time.Second {
			t.Fatal(err)
		}
		t.Logf("with a timeout of %v: %v", timeout, err)
	}
}

func TestIdleConnectionIsClosed(t *testing.T) {
	p := newParker(t)
	s := start(t, Options{MaxIdle: 20 * time.Millisecond}, p.serve)
	// A busy machine may close one before its request comes: then another.
	var c net.Conn
	id := int32(0)
	for served := false; !served; {
		id++
		c = dial(t, s)
		_, _ = c.Write(request(fetchKey, 4, id, ""))
		select {
		case got := <-p.served:
			served = got == id
		case <-time.After(time.Second):
		}
	}
	// One that waits for an answer is not idle.
	if err := c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %v, want the connection open", err)
	}
	if err := c.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	p.complete(id)
	receive(t, c, id)
	closed(t, c)
}

func TestRanges(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	path := t.TempDir() + "/segment"
	for name, fs := range map[string]vfs.FS{"os": vfs.OS, "memory": vfs.NewMem()} {
		t.Run(name, func(t *testing.T) {
			if name == "memory" {
				if err := fs.MkdirAll(t.TempDir()); err != nil {
					t.Fatal(err)
				}
				path = "/segment"
			}
			f, err := fs.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt(content, 0); err != nil {
				t.Fatal(err)
			}
			var released atomic.Int32
			c := dial(t, start(t, Options{}, func(_ context.Context, r *Request) Reply {
				o := r.NewOut()
				for _, n := range []int64{10, 200_000, 0, 16 << 10, 100} {
					o.B = append(o.B, '<')
					if err := o.AppendRange(vfs.Range{File: f, Offset: 3, Length: n, OnRelease: func() { released.Add(1) }}); err != nil {
						return CloseConn(err)
					}
					o.B = append(o.B, '>')
				}
				if r.CorrelationID == 2 { // beyond the end: what was promised can't be sent
					_ = o.AppendRange(vfs.Range{File: f, Offset: 100_000, Length: 400_000, OnRelease: func() { released.Add(1) }})
				}
				return Send(o)
			}))
			var want strings.Builder
			for _, n := range []int{10, 200_000, 0, 16 << 10, 100} {
				fmt.Fprintf(&want, "<%s>", content[3:3+n])
			}
			send(t, c, request(fetchKey, 4, 1, ""))
			if got := receive(t, c, 1); got != want.String() {
				t.Errorf("got %d bytes, want %d, or others", len(got), want.Len())
			}
			send(t, c, request(fetchKey, 4, 2, ""))
			if got, err := io.ReadAll(c); err != nil || len(got) >= want.Len()+400_000 {
				t.Errorf("got %d bytes and %v, want a frame cut short and the end", len(got), err)
			}
			waitFor(t, "all ranges to be released", func() bool { return released.Load() == 11 })
		})
	}
}

func TestConnectionLimits(t *testing.T) {
	s := start(t, Options{Limits: Limits{MaxPerIP: 2}}, echo)
	a, b := dial(t, s), dial(t, s)
	send(t, a, request(metadataKey, 1, 1, ""))
	receive(t, a, 1)
	send(t, b, request(metadataKey, 1, 1, ""))
	receive(t, b, 1)
	closed(t, dial(t, s))

	s = start(t, Options{Limits: Limits{MaxConnections: 1}}, echo)
	a, b = dial(t, s), dial(t, s)
	send(t, a, request(metadataKey, 1, 1, ""))
	receive(t, a, 1)
	send(t, b, request(metadataKey, 1, 2, "")) // not accepted yet
	if n := s.Connections(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	a.Close()
	receive(t, b, 2)
}

func TestPortTaken(t *testing.T) {
	s := start(t, Options{}, echo)
	addr := s.Addr("PLAINTEXT").String()
	err := New(Options{Listeners: []ListenerOptions{{Name: "OTHER", Addr: addr}}}).Listen()
	if err == nil || !strings.Contains(err.Error(), addr) || !strings.Contains(err.Error(), "OTHER") {
		t.Errorf("got %v, want an error that names %s", err, addr)
	}
}

func TestCloseEndsBlockedHandlers(t *testing.T) {
	blocked := make(chan struct{})
	s := start(t, Options{}, func(ctx context.Context, r *Request) Reply {
		close(blocked)
		<-ctx.Done()
		return NoReply()
	})
	c := dial(t, s)
	send(t, c, request(metadataKey, 1, 1, ""))
	<-blocked
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	closed(t, c)
}

func TestCloseLetsRequestsFinish(t *testing.T) {
	p := newParker(t)
	s := start(t, Options{CloseGrace: limit}, p.serve)
	c := dial(t, s)
	send(t, c, request(fetchKey, 4, 1, ""))
	p.await(1)
	done := make(chan error)
	go func() { done <- s.Close() }()
	waitFor(t, "the listener to close", func() bool {
		nc, err := net.Dial("tcp", s.Addr("PLAINTEXT").String())
		if err == nil {
			nc.Close()
		}
		return err != nil
	})
	p.complete(1)
	receive(t, c, 1)
	closed(t, c)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestNewConnectionIsAnsweredOnce: one that was made just before the server closes
// gets its first answer, and then ends.
func TestNewConnectionIsAnsweredOnce(t *testing.T) {
	s := start(t, Options{CloseGrace: 5 * limit}, func(_ context.Context, r *Request) Reply { return text(r, "fine") })
	old, fresh := dial(t, s), dial(t, s)
	send(t, old, request(metadataKey, 1, 1, ""))
	receive(t, old, 1)
	for s.Connections() != 2 {
		runtime.Gosched()
	}
	done := make(chan error)
	go func() { done <- s.Close() }()
	closed(t, old) // so the server closes
	send(t, fresh, request(metadataKey, 1, 2, ""))
	receive(t, fresh, 2)
	closed(t, fresh)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

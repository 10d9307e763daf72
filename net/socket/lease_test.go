package socket

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"barnabas/internal/vfs"
	"barnabas/net/frame"
	"barnabas/protocol"
)

// TestLargeRepliesAreBounded: clients that take nothing of their large replies make
// others of that kind wait, and small requests go on. Once they take theirs, all are
// answered.
func TestLargeRepliesAreBounded(t *testing.T) {
	const clients, size, limit = 40, 1 << 20, 4 << 20
	s := start(t, Options{MaxWorkBytes: limit, SendBuffer: 64 << 10}, func(_ context.Context, r *Request) Reply {
		if r.Version != 1 {
			return text(r, "small")
		}
		lease, err := r.Lease(size)
		if err != nil {
			return CloseConn(err)
		}
		out := r.NewOut()
		out.Room(size)
		out.B = append(out.B, strings.Repeat("x", size)...)
		r.Charge(out, lease)
		return Send(out)
	})
	conns := make([]net.Conn, clients)
	for i := range conns {
		conns[i] = dial(t, s)
		send(t, conns[i], request(metadataKey, 1, int32(i), ""))
	}
	waitFor(t, "the budget to be used up", func() bool { return s.Work().Waiting > clients/2 })
	if w := s.work.Status(); w.Used > w.Limit || w.Limit > limit {
		t.Errorf("%+v", w)
	}
	other := dial(t, s)
	send(t, other, request(metadataKey, 0, 7, ""))
	if got := receive(t, other, 7); got != "small" {
		t.Errorf("got %q", got)
	}
	takeMost(t, conns, size)
	waitFor(t, "all to be given back", func() bool { w := s.Work(); return w.Used == 0 && w.Waiting == 0 })
}

// TestBrokersWaitForNoLease: however much clients have, other brokers are answered.
func TestBrokersWaitForNoLease(t *testing.T) {
	const limit = 1 << 20
	o := listening(Options{MaxWorkBytes: limit}, "INTERNAL", "CLIENTS")
	o.Listeners[0].Protected = true
	s := start(t, o, func(_ context.Context, r *Request) Reply {
		lease, err := r.Lease(limit)
		if err != nil {
			return CloseConn(err)
		}
		defer lease.Release()
		return text(r, "")
	})
	for {
		l := s.work.TryLease(limit/16, frame.Peer{}) // of the open part
		if l == nil {
			break
		}
		defer l.Release()
	}
	l, err := s.work.Lease(limit, frame.Peer{})
	if err != nil {
		t.Fatal(err)
	}
	client := dialTo(t, s, "CLIENTS")
	send(t, client, request(metadataKey, 1, 1, ""))
	waitFor(t, "the client to wait", func() bool { return s.Work().Waiting == 1 })
	ask(t, dialTo(t, s, "INTERNAL"), 2)
	l.Release()
	receive(t, client, 1)
}

// TestTheOnlyListenerIsLeased: a listener for brokers that clients have to use too
// keeps to the bound; who says that he is a broker does not wait for what clients have.
func TestTheOnlyListenerIsLeased(t *testing.T) {
	const limit = 1 << 20
	o := Options{MaxWorkBytes: limit, Listeners: []ListenerOptions{{Name: "PLAINTEXT", Addr: "127.0.0.1:0", Protected: true}},
		Stamp: func() protocol.Stamp { return protocol.Stamp{} }}
	s := start(t, o, func(_ context.Context, r *Request) Reply {
		lease, err := r.Lease(limit / 8)
		if err != nil {
			return CloseConn(err)
		}
		defer lease.Release()
		if (lease == nil) || r.Stamped != (r.CorrelationID == 2) {
			return CloseConn(errors.New("not leased"))
		}
		return text(r, "")
	})
	for {
		l := s.work.TryLease(limit/16, frame.Peer{})
		if l == nil {
			break
		}
		defer l.Release()
	}
	l, err := s.work.Lease(limit/2, frame.Peer{Evict: func(error) {}})
	if err != nil {
		t.Fatal(err)
	}
	client := dial(t, s)
	send(t, client, request(metadataKey, 1, 1, ""))
	waitFor(t, "the client to wait", func() bool { return s.work.Status().Waiting == 1 })
	broker := dial(t, s)
	b := protocol.AppendRequestHeader(nil, metadataKey, 12, 2, "broker", &protocol.Stamp{})
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	send(t, broker, b)
	receive(t, broker, 2)
	l.Release()
	receive(t, client, 1)
}

// made is a file that is made while it is sent, as log/downconvert makes it.
type made struct {
	vfs.File
	hold  func(n int64) (*frame.Lease, error)
	lease *frame.Lease
	held  bool
}

func (m *made) Name() string { return "made" }

func (m *made) ReadAt(p []byte, _ int64) (int, error) {
	if !m.held {
		var err error
		if m.lease, err = m.hold(madeSize); err != nil {
			return 0, err
		}
		m.held = true
	}
	return len(p), nil
}

const madeSize = 2 << 20

// TestMadeWhileSent: replies whose clients take nothing hold no more memory for what
// is made while they are sent than there is, also with replies that hold leases; small
// requests go on, and those who take theirs get it whole.
func TestMadeWhileSent(t *testing.T) {
	const clients, limit = 40, 64 << 20
	s := start(t, Options{MaxWorkBytes: limit, SendBuffer: 64 << 10}, func(_ context.Context, r *Request) Reply {
		if r.Version != 1 {
			return text(r, "small")
		}
		lease, err := r.Lease(1 << 20)
		if err != nil {
			return CloseConn(err)
		}
		from := *r
		m := &made{hold: from.Hold}
		out := r.NewOut()
		out.Adopt(lease)
		if err := out.AppendRange(vfs.Range{File: m, Length: madeSize, OnRelease: func() { m.lease.Release() }}); err != nil {
			return CloseConn(err)
		}
		return Send(out)
	})
	conns := make([]net.Conn, clients)
	for i := range conns {
		conns[i] = dial(t, s)
		send(t, conns[i], request(fetchKey, 1, int32(i), ""))
	}
	waitFor(t, "the memory to be used up", func() bool { return s.held.Status().Waiting > clients/2 })
	if h := s.held.Status(); h.Used > h.Limit || h.Limit > limit/4 {
		t.Errorf("%+v", h)
	}
	waitFor(t, "goroutines to serve all of them, which may wait for memory", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			c.mu.Lock()
			polled := c.polled != nil && (c.inline || time.Until(c.slowUntil) < time.Hour)
			c.mu.Unlock()
			if polled {
				return false
			}
		}
		return true
	})
	other := dial(t, s)
	send(t, other, request(fetchKey, 4, 7, ""))
	receive(t, other, 7)
	takeMost(t, conns, madeSize)
	waitFor(t, "all to be given back", func() bool { w := s.Work(); return w.Used == 0 && w.Waiting == 0 })
}

// takeMost takes the replies of conns, of size bytes each; every fourth client goes
// without its own.
func takeMost(t *testing.T, conns []net.Conn, size int) {
	t.Helper()
	var wg sync.WaitGroup
	for i, c := range conns {
		if i%4 == 3 {
			c.Close()
			continue
		}
		wg.Go(func() {
			if got := receive(t, c, int32(i)); len(got) != size {
				t.Errorf("client %d got %d bytes, want %d", i, len(got), size)
			}
		})
	}
	wg.Wait()
}

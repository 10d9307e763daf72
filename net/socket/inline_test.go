package socket

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"barnabas/internal/vfs"
)

// TestLargeAmongSmall: frames that are too large for the poller come between small
// ones, in pieces.
func TestLargeAmongSmall(t *testing.T) {
	c := dial(t, start(t, Options{}, echo))
	sizes := []int{10, inlineFrame + 1000, 10, inlineFrame, 3 * inlineFrame, 2 * inlineFrame, 10}
	go func() {
		for i, n := range sizes {
			if _, err := c.Write(request(produceKey, 3, int32(i), strings.Repeat("x", n))); err != nil {
				return
			}
		}
	}()
	for i, n := range sizes {
		if got := receive(t, c, int32(i)); len(got) != n {
			t.Errorf("reply %d has %d bytes, want %d", i, len(got), n)
		}
	}
}

// TestWaitForMemory: frames that a poller could serve wait for memory that others
// have, and get done when these are.
func TestWaitForMemory(t *testing.T) {
	const largest = 300 << 10
	release, in := make(chan struct{}), make(chan struct{}, 100)
	s := start(t, Options{MaxRequestBytes: largest + 100, MaxQueuedBytes: largest + 100}, func(_ context.Context, r *Request) Reply {
		if r.Key == metadataKey {
			in <- struct{}{}
			<-release
		}
		return text(r, "done")
	})
	body := strings.Repeat("x", largest)
	holder := dial(t, s)
	send(t, holder, request(metadataKey, 1, 1, body))
	<-in
	var waiting []net.Conn
	for range 5 {
		c := dial(t, s)
		go func() { _, _ = c.Write(request(produceKey, 3, 2, body)) }()
		waiting = append(waiting, c)
	}
	waitFor(t, "all to wait", func() bool { return s.Memory().Waiting == len(waiting) })
	if m := s.Memory(); m.Used > m.Limit {
		t.Errorf("got %+v", m)
	}
	close(release)
	receive(t, holder, 1)
	for _, c := range waiting {
		receive(t, c, 2)
	}
	waitFor(t, "the memory to be given back", func() bool { return s.Memory().Used == 0 })
}

// TestBadFrameFollowsReplies: what came before it, in one piece with it, is answered.
func TestBadFrameFollowsReplies(t *testing.T) {
	for name, bad := range map[string]string{"length": "\x00\x00\x00\x00", "header": "\x00\x00\x00\x05\x00\x03\x00\x01\x00"} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, start(t, Options{}, echo))
			for id := int32(1); id < 3; id++ { // the second time it is the poller's
				send(t, c, request(produceKey, 3, id, ""))
				receive(t, c, id)
			}
			send(t, c, request(produceKey, 3, 3, ""), request(produceKey, 3, 4, ""), []byte(bad))
			receive(t, c, 3)
			receive(t, c, 4)
			closed(t, c)
		})
	}
}

// TestLongWaitIsNotIdle: who waited for an answer for longer than it may be idle has
// the idle time to send what comes next, as a member of a group has that joined it.
func TestLongWaitIsNotIdle(t *testing.T) {
	const idle = 400 * time.Millisecond
	p := newParker(t)
	s := start(t, Options{MaxIdle: idle}, p.serve)
	// A busy machine may really leave the connection idle for so long; then all
	// begins anew.
	for range 50 {
		c, begun := dial(t, s), time.Now()
		const last = 2
		for id := int32(0); ; id++ {
			_, _ = c.Write(request(fetchKey, 4, id, ""))
			waitFor(t, "the request, or the end", func() bool { return len(p.served) > 0 || time.Since(begun) > idle && s.Connections() == 0 })
			if len(p.served) == 0 {
				break // idle, by begun
			}
			p.await(id)
			hold := time.NewTimer(time.Second)
			<-hold.C
			begun = time.Now()
			p.complete(id)
			receive(t, c, id)
			if id == last {
				return
			}
			hold.Reset(idle / 2)
			<-hold.C
		}
	}
	t.Error("the connection counted as idle again and again")
}

// TestHalfClosed: who says that it sends nothing more gets what it has asked for, also
// if it takes its time. So does one whose last frame is bad.
func TestHalfClosed(t *testing.T) {
	for name, bad := range map[string]string{"half-closed": "", "bad length": "\x00\x00\x00\x00", "bad header": "\x00\x00\x00\x05\x00\x03\x00\x01\x00"} {
		t.Run(name, func(t *testing.T) {
			large := strings.Repeat("x", 600<<10) // more than the system takes over; a poller is done with the request
			served := make(chan struct{}, 10)
			c := dial(t, start(t, Options{SendBuffer: 64 << 10}, func(_ context.Context, r *Request) Reply {
				defer func() { served <- struct{}{} }()
				if r.CorrelationID == 1 {
					return text(r, "first")
				}
				return text(r, large)
			}))
			if err := c.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
				t.Fatal(err)
			}
			send(t, c, request(produceKey, 3, 1, "")) // the next one is the poller's
			receive(t, c, 1)
			<-served
			send(t, c, request(fetchKey, 4, 2, ""), []byte(bad))
			if err := c.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			<-served
			<-time.After(50 * time.Millisecond) // so that the end is seen before the reply is taken
			if got := receive(t, c, 2); got != large {
				t.Errorf("got %d bytes", len(got))
			}
			closed(t, c)
		})
	}
}

// slowFile is a file of zeros on a disk that takes its time. It has no descriptor.
type slowFile struct {
	vfs.File
	reads atomic.Int32
	other atomic.Bool // it was read by who is no poller
}

func (f *slowFile) Name() string { return "slow" }

func (f *slowFile) ReadAt(b []byte, _ int64) (int, error) {
	stack := make([]byte, 8<<10)
	if !strings.Contains(string(stack[:runtime.Stack(stack, false)]), "(*Poller).lead") {
		f.other.Store(true)
	}
	f.reads.Add(1)
	<-time.After(2 * slowHandler)
	clear(b)
	return len(b), nil
}

// TestSlowFileLeavesPoller: a consumer that reads what is not in memory any more costs
// the other connections of its poller little: soon goroutines send to it. So it is
// with answers that were parked.
func TestSlowFileLeavesPoller(t *testing.T) {
	for _, parks := range []bool{false, true} {
		t.Run(fmt.Sprintf("parks %v", parks), func(t *testing.T) {
			f := new(slowFile)
			c := dial(t, start(t, Options{}, func(_ context.Context, r *Request) Reply {
				req := *r
				answer := func() Reply {
					o := req.NewOut()
					if err := o.AppendRange(vfs.Range{File: f, Length: 100 << 10}); err != nil {
						return CloseConn(err)
					}
					return Send(o)
				}
				if !parks {
					return answer()
				}
				p := r.Park(answer, nil)
				time.AfterFunc(time.Millisecond, p.Complete)
				return Parked(p)
			}))
			for id := range int32(slowLimit/slowCount + 2) {
				send(t, c, request(fetchKey, 4, id, ""))
				receive(t, c, id)
			}
			if !f.other.Load() {
				t.Errorf("%d reads, all by the poller", f.reads.Load())
			}
		})
	}
}

// TestMayWait: while handlers may wait before their effects, goroutines serve what
// pollers else do, so that one that waits holds up no other connection.
func TestMayWait(t *testing.T) {
	var may atomic.Bool
	release, in, streams := make(chan struct{}), make(chan struct{}, 1), make(chan bool, 4)
	s := start(t, Options{MayWait: may.Load}, func(_ context.Context, r *Request) Reply {
		streams <- r.Conn.Streams()
		if string(r.Body) == "waits" {
			r.Conn.mu.Lock()
			if r.Conn.inline {
				t.Error("a poller serves what may wait")
			}
			r.Conn.mu.Unlock()
			in <- struct{}{}
			<-release
		}
		return text(r, "done")
	})
	waits, other := dial(t, s), dial(t, s)
	send(t, waits, request(metadataKey, 3, 1, ""))
	receive(t, waits, 1)
	if <-streams {
		t.Error("a connection without Produce and Fetch streams")
	}
	send(t, waits, request(produceKey, 3, 2, "")) // the poller has it afterwards
	receive(t, waits, 2)
	if !<-streams {
		t.Error("a connection with Produce does not stream")
	}
	may.Store(true)
	send(t, waits, request(produceKey, 3, 3, "waits"))
	<-in
	send(t, other, request(produceKey, 3, 1, ""))
	receive(t, other, 1)
	close(release)
	receive(t, waits, 3)
}

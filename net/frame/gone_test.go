package frame

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"barnabas/internal/buf"
)

// waiter is a frame over a real connection that waits for memory.
type waiter struct {
	client *net.TCPConn
	why    chan error // of its eviction
	done   chan error // what Next returned
}

func waits(t *testing.T, b *Budget, size, sent int) *waiter {
	t.Helper()
	a, c := tcp(t)
	ctx, cancel := context.WithCancel(t.Context())
	w := &waiter{client: a.(*net.TCPConn), why: make(chan error, 1), done: make(chan error, 1)}
	r := NewReader(c, buf.New(), size)
	r.Share(b, Peer{Done: ctx.Done(), Gone: Gone(c), Evict: func(err error) {
		w.why <- err
		cancel()
		c.Close()
	}})
	before := b.Status().Waiting
	go func() {
		_, err := r.Next()
		r.Close()
		w.done <- err
	}()
	if _, err := a.Write(append(binary.BigEndian.AppendUint32(nil, uint32(size)), make([]byte, sent)...)); err != nil {
		t.Fatal(err)
	}
	for late := time.Now().Add(time.Minute); b.Status().Waiting == before; {
		if time.Now().After(late) {
			t.Fatal("it does not wait")
		}
		<-time.After(time.Millisecond)
	}
	return w
}

// TestBudgetClientsThatGo: a client that goes while its request waits for memory
// gives up its place and what it holds; one that has only said all it has to say
// keeps it.
func TestBudgetClientsThatGo(t *testing.T) {
	const largest = 256 << 10
	b := NewBudget(2*largest, largest)
	kept := Peer{Evict: func(error) {}}
	open := b.TryLease(b.open.max, kept)
	last, err := b.Lease(largest, kept) // in the largest lane
	if open == nil || err != nil {
		t.Fatal(open, err)
	}
	used := b.Status().Used

	reset, cut, whole := waits(t, b, largest, 32<<10), waits(t, b, largest, 32<<10), waits(t, b, largest, largest)
	if err := reset.client.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(reset.client.Close(), cut.client.CloseWrite(), whole.client.CloseWrite()); err != nil {
		t.Fatal(err)
	}
	for name, w := range map[string]*waiter{"reset": reset, "cut": cut} {
		select {
		case err := <-w.why:
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s: %v", name, err)
			}
			if err := <-w.done; !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s: still waits", name)
		}
	}
	if s := b.Status(); s.Waiting != 1 {
		t.Errorf("afterwards: %+v", s)
	}
	last.Release()
	if err := <-whole.done; err != nil {
		t.Errorf("one that was whole: %v", err)
	}
	open.Release()
	if s := b.Status(); s.Used != 0 || s.Waiting != 0 || used < largest {
		t.Errorf("at the end: %+v", s)
	}
}

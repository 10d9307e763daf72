package frame

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"barnabas/internal/buf"
)

// sharer is a Reader on a pipe with its peer.
type sharer struct {
	*Reader
	peer net.Conn
	end  func(error)

	mu  sync.Mutex // guards why
	why error
}

func joined(t *testing.T, b *Budget, max int) *sharer {
	peer, conn := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	s := &sharer{Reader: NewReader(conn, buf.New(), max), peer: peer}
	s.end = func(err error) {
		s.mu.Lock()
		s.why = err
		s.mu.Unlock()
		cancel()
		conn.Close()
	}
	s.Share(b, Peer{Done: ctx.Done(), Evict: s.end})
	return s
}

func (s *sharer) reason() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}

// next reads a frame, holds it until hold is closed, and ends.
func (s *sharer) next(hold <-chan struct{}) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := s.Next()
		if err == nil {
			s.Complete()
			<-hold
		}
		s.Close()
		done <- err
	}()
	return done
}

// sends writes the first sent bytes of a frame of size.
func (s *sharer) sends(size, sent int) {
	go func() {
		if _, err := s.peer.Write(binary.BigEndian.AppendUint32(nil, uint32(size))); err == nil {
			s.peer.Write(make([]byte, sent)) // cut short when the reader goes
		}
	}()
}

// TestBudgetWithoutDeadlock: frames that together exceed the budget by far, all
// half there, get done one after the other.
func TestBudgetWithoutDeadlock(t *testing.T) {
	const largest = 1 << 20
	for _, limit := range []int64{largest, 3 * largest, 8 * largest} {
		synctest.Test(t, func(t *testing.T) {
			b := NewBudget(limit, largest)
			free := make(chan struct{})
			close(free)
			var done []<-chan error
			var all []*sharer
			for i := range 50 {
				s := joined(t, b, largest)
				all = append(all, s)
				size := largest - i*20_000
				s.sends(size, size)
				done = append(done, s.next(free))
			}
			for i := range done {
				if err := <-done[i]; err != nil {
					t.Errorf("limit %d, frame %d: %v", limit, i, err)
				}
				all[i].end(nil)
			}
			if s := b.Status(); s.Used != 0 || s.Waiting != 0 || s.Evicted != 0 || len(b.holders) != 0 {
				t.Errorf("at the end: %+v, %d holders", s, len(b.holders))
			}
			synctest.Wait()
		})
	}
}

// TestBudgetClaimsCostNothing: lengths that are only claimed take what has
// arrived, and leave the rest to others.
func TestBudgetClaimsCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const largest = 100 << 20
		b := NewBudget(256<<20, largest)
		var slow []*sharer
		var done []<-chan error
		for range 2000 {
			s := joined(t, b, largest)
			s.sends(largest, 8<<10)
			slow, done = append(slow, s), append(done, s.next(nil))
		}
		synctest.Wait()
		if s := b.Status(); s.Used > 2000*(33<<10) || s.Waiting != 0 {
			t.Errorf("claims: %+v", s)
		}
		hold := make(chan struct{})
		real := joined(t, b, largest)
		real.sends(1<<20, 1<<20)
		got := real.next(hold)
		close(hold)
		if err := <-got; err != nil {
			t.Error(err)
		}
		real.end(nil)
		for i, s := range slow {
			s.end(nil)
			<-done[i]
		}
		if s := b.Status(); s.Used != 0 {
			t.Errorf("at the end: %+v", s)
		}
	})
}

// TestBudgetSlowHoldersAreClosed: who holds memory that others wait for must
// bring the rest; who waits is not closed for it, and gets its turn.
func TestBudgetSlowHoldersAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const largest = 4 << 20
		b := NewBudget(64<<20, largest)
		var slow []*sharer
		var done []<-chan error
		for range 40 {
			s := joined(t, b, largest)
			s.sends(largest, 1<<20)
			slow, done = append(slow, s), append(done, s.next(nil))
		}
		synctest.Wait()
		if s := b.Status(); s.Used > s.Limit || s.Waiting < 20 {
			t.Errorf("full: %+v", s)
		}
		began := time.Now()
		real := joined(t, b, largest)
		real.sends(256<<10, 256<<10)
		free := make(chan struct{})
		close(free)
		if err := <-real.next(free); err != nil {
			t.Error(err)
		}
		if d := time.Since(began); d > 0 {
			t.Errorf("waited %v behind frames that do not come", d)
		}
		real.end(nil)
		time.Sleep(20 * time.Minute)
		evicted := 0
		for i, s := range slow {
			if errors.Is(s.reason(), ErrSlow) {
				evicted++
			}
			s.end(nil)
			if err := <-done[i]; err == nil {
				t.Error("half a frame was taken for a whole one")
			}
		}
		if s := b.Status(); s.Used != 0 || s.Waiting != 0 || int(s.Evicted) != evicted || evicted < 20 {
			t.Errorf("at the end: %+v, %d evicted", s, evicted)
		}
		time.Sleep(2 * slowCheck)
	})
}

// TestBudgetWaitEndsWithItsConnection: one that goes while it waits leaves
// nothing behind.
func TestBudgetWaitEndsWithItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const largest = 1 << 20
		b := NewBudget(largest, largest)
		hold := make(chan struct{})
		first, second := joined(t, b, largest), joined(t, b, largest)
		first.sends(largest, largest)
		got := first.next(hold)
		synctest.Wait()
		second.sends(largest, largest)
		gone := second.next(nil)
		synctest.Wait()
		if s := b.Status(); s.Waiting != 1 || s.Used != s.Limit {
			t.Errorf("got %+v", s)
		}
		second.end(nil)
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		close(hold)
		if err := <-got; err != nil {
			t.Error(err)
		}
		first.end(nil)
		if s := b.Status(); s.Waiting != 0 || s.Used != 0 || s.Evicted != 0 {
			t.Errorf("got %+v", s)
		}
		time.Sleep(2 * slowCheck)
	})
}

// TestProgress: a deadline that passes in the middle of a frame that arrives is
// told from one without traffic, and the frame goes on after it.
func TestProgress(t *testing.T) {
	peer, conn := net.Pipe()
	defer peer.Close()
	r := NewReader(conn, buf.New(), 1<<20)
	defer r.Close()
	go peer.Write([]byte{0, 0, 0, 3, 'a'})
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		if _, err := r.Next(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		if got := r.Progress(); got != want {
			t.Errorf("progress %v, want %v", got, want)
		}
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	go func() { peer.Write([]byte("bc")); peer.Close() }()
	if got, err := r.Next(); err != nil || string(got) != "abc" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("got %v", err)
	}
}

// TestBudgetLeavesNobodyWaiting: who goes from the open part to its lane makes room
// there, which one of another lane gets at once.
func TestBudgetLeavesNobodyWaiting(t *testing.T) {
	const k = 2 * exempt
	b := &Budget{holders: make(map[*claim]struct{}), open: share{max: 3 * k}}
	b.lanes[0] = lane{share: share{max: 2 * k, used: 2 * k}, frame: 2 * k}
	b.lanes[1] = lane{share: share{max: 6 * k}, frame: 6 * k}
	b.lanes[2] = lane{share: share{max: 9 * k}, frame: 9 * k}
	claimOf := func() *claim { return &claim{b: b, wake: make(chan struct{}, 1)} }
	large, small := claimOf(), claimOf()
	if err := large.get(2*k, 6*k, 0); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- small.get(2*k, 2*k, 0) }()
	for b.Status().Waiting == 0 {
		runtime.Gosched()
	}
	if err := large.get(6*k, 6*k, 0); err != nil {
		t.Fatal(err)
	}
	if n := b.Status().Waiting; n != 0 {
		t.Fatalf("%d wait, though there is room", n)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

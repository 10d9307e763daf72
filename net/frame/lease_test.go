package frame

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestLeasesWithoutDeadlock: leases that change once they are had, of far more than the
// budget together, are all served.
func TestLeasesWithoutDeadlock(t *testing.T) {
	const limit = 16 << 20
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(limit, limit/2)
		rnd := rand.New(rand.NewPCG(1, 2))
		var wg sync.WaitGroup
		var served, over atomic.Int64 // over is what they became more than was leased
		for range 2000 {
			first := rnd.Int64N(limit) // some are more than there can be
			then := rnd.Int64N(min(first, limit/2) + 1)
			if rnd.IntN(20) == 0 {
				then = 2 * first
			}
			wg.Go(func() {
				l, err := b.Lease(first, Peer{Done: t.Context().Done(), Evict: func(err error) { t.Error(err) }})
				if err != nil {
					t.Error(err)
					return
				}
				if s := b.Status(); s.Used > s.Limit+over.Load() || s.Limit > limit {
					t.Errorf("%d of %d bytes", s.Used, s.Limit)
				}
				time.Sleep(time.Millisecond)
				if then > first {
					over.Add(then - min(first, limit/2))
					defer over.Add(min(first, limit/2) - then)
				}
				l.Resize(then)
				time.Sleep(time.Millisecond)
				l.Release()
				served.Add(1)
			})
		}
		wg.Wait()
		if s := b.Status(); served.Load() != 2000 || s.Used != 0 || s.Waiting != 0 || s.Evicted != 0 {
			t.Errorf("%d served, then %+v", served.Load(), s)
		}
	})
}

// TestKeptLease: who keeps a lease while nobody waits may do so; when somebody waits
// it is ended after a while. A small one goes on meanwhile.
func TestKeptLease(t *testing.T) {
	const limit = 16 << 20
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(limit, limit/2)
		var kept [3]*Lease
		var ended atomic.Int64
		for i := range kept {
			var err error
			if kept[i], err = b.Lease(5<<20, Peer{Evict: func(err error) {
				if !errors.Is(err, ErrSlow) {
					t.Error(err)
				}
				ended.Add(1)
				kept[i].Release()
			}}); err != nil {
				t.Fatal(err)
			}
			if i == 1 {
				break // of 16 MiB, 6 are open, 8 are for one large, and 2 for smaller ones
			}
		}
		time.Sleep(time.Hour)
		if n := ended.Load(); n != 0 {
			t.Fatalf("%d were ended though nobody waited", n)
		}
		begin := time.Now()
		small, err := b.Lease(60<<10, Peer{})
		if err != nil || time.Since(begin) != 0 {
			t.Errorf("a small one waited %v: %v", time.Since(begin), err)
		}
		small.Release()
		large, err := b.Lease(8<<20, Peer{})
		if took := time.Since(begin); err != nil || took < slowGrace || took > 2*slowGrace {
			t.Errorf("a large one waited %v: %v", took, err)
		}
		large.Release()
		for _, l := range kept {
			l.Release()
			l.Release()
		}
		if s := b.Status(); s.Used != 0 || ended.Load() == 0 {
			t.Errorf("%d ended, %+v", ended.Load(), s)
		}
	})
}

// TestLeaseOfOneWhoGoes: who waits and goes is forgotten.
func TestLeaseOfOneWhoGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(4<<20, 1<<20) // 2 in the open part, one more in a lane
		var first [3]*Lease
		for i := range first {
			var err error
			if first[i], err = b.Lease(1<<20, Peer{}); err != nil {
				t.Fatal(err)
			}
		}
		if l := b.TryLease(1<<20, Peer{}); l != nil {
			t.Error("more than there is")
		}
		done, failed := make(chan struct{}), make(chan error)
		go func() {
			_, err := b.Lease(1<<20, Peer{Done: done})
			failed <- err
		}()
		synctest.Wait()
		if s := b.Status(); s.Waiting != 1 {
			t.Errorf("%+v", s)
		}
		close(done)
		if err := <-failed; err == nil {
			t.Error("a lease without its connection")
		}
		for _, l := range first {
			l.Release()
		}
		if s := b.Status(); s.Used != 0 || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
		if l := b.TryLease(1<<20, Peer{}); l == nil || !l.Try(10<<10) || l.Try(2<<20) {
			t.Error("a lease that was to be had")
		} else {
			l.Release()
		}
		time.Sleep(time.Minute) // the check ends
	})
}

package purgatory

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestParkIsFulfilledByAWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New[string]()
		var have atomic.Int64
		got := make(chan Outcome, 1)
		p.Park([]string{"a", "b"}, time.Minute, func() bool { return have.Load() >= 2 }, func(o Outcome) { got <- o })
		have.Add(1)
		p.Wake("a")
		p.Wake("c")
		if p.Len() != 1 {
			t.Fatalf("Len = %d after too little, want 1", p.Len())
		}
		have.Add(1)
		p.Wake("b")
		if o := <-got; o != Fulfilled {
			t.Errorf("outcome %v, want Fulfilled", o)
		}
		if p.Len() != 0 {
			t.Errorf("Len = %d at the end", p.Len())
		}
		time.Sleep(2 * time.Minute)
		if len(got) != 0 {
			t.Error("ended twice")
		}
		assertEmpty(t, p)
	})
}

// A long poll must not hold up a shutdown.
func TestCloseEndsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New[string]()
		got := make(chan Outcome, 2)
		park := func() {
			p.Park([]string{"a", "b"}, time.Hour, func() bool { return false }, func(o Outcome) { got <- o })
		}
		park()
		p.Close()
		park()
		for range 2 {
			if o := <-got; o != TimedOut {
				t.Errorf("outcome %v, want TimedOut", o)
			}
		}
		assertEmpty(t, p)
	})
}

func TestParkTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New[string]()
		start := time.Now()
		got := make(chan Outcome, 1)
		p.Park([]string{"a"}, 3*time.Second, func() bool { return false }, func(o Outcome) { got <- o })
		if o := <-got; o != TimedOut || time.Since(start) != 3*time.Second {
			t.Errorf("outcome %v after %v", o, time.Since(start))
		}
		assertEmpty(t, p)
	})
}

func TestParkChecksAfterRegistering(t *testing.T) {
	p := New[string]()
	ended := false
	p.Park([]string{"a"}, time.Hour, func() bool { return true }, func(o Outcome) { ended = o == Fulfilled })
	if !ended {
		t.Error("a condition that held already was not noticed")
	}
	assertEmpty(t, p)
}

func TestCancel(t *testing.T) {
	p := New[string]()
	w := p.Park([]string{"a"}, time.Hour, func() bool { return false }, func(Outcome) { t.Error("done after Cancel") })
	if !w.Cancel() || w.Cancel() {
		t.Error("Cancel must succeed once")
	}
	p.Wake("a")
	assertEmpty(t, p)
}

func TestManyWakersEndEachWaiterOnce(t *testing.T) {
	p := New[int]()
	const waiters, keys = 500, 7
	var level, ended atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range waiters {
			want := int64(i)
			p.Park([]int{i % keys, (i + 1) % keys, (i + 2) % keys}, time.Hour, func() bool { return level.Load() > want }, func(Outcome) { ended.Add(1) })
		}
	})
	for range 4 {
		wg.Go(func() {
			for level.Load() <= waiters {
				k := int(level.Add(1)) % keys
				p.Wake(k)
			}
		})
	}
	wg.Wait()
	for k := range keys {
		p.Wake(k)
	}
	if ended.Load() != waiters {
		t.Errorf("%d of %d ended", ended.Load(), waiters)
	}
	assertEmpty(t, p)
}

func assertEmpty[K comparable](t *testing.T, p *Purgatory[K]) {
	t.Helper()
	for i := range p.shards {
		s := &p.shards[i]
		s.mu.Lock()
		if len(s.lists) != 0 || s.count.Load() != 0 {
			t.Errorf("shard %d still holds %d lists, %d entries", i, len(s.lists), s.count.Load())
		}
		s.mu.Unlock()
	}
	if p.Len() != 0 {
		t.Errorf("Len = %d", p.Len())
	}
}

func BenchmarkParkAndWake(b *testing.B) {
	p := New[int]()
	keys := []int{1, 2, 3}
	b.ReportAllocs()
	for b.Loop() {
		ok := false
		p.Park(keys, time.Minute, func() bool { return ok }, func(Outcome) {})
		ok = true
		p.Wake(2)
	}
}

func BenchmarkWakeOfNobody(b *testing.B) {
	p := New[int]()
	for b.Loop() {
		p.Wake(1)
	}
}

// TestWakesDoNotWait: while somebody asks the condition, others who wake leave that to
// him; what they changed is looked at, too.
func TestWakesDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New[string]()
		var looks atomic.Int64
		var have atomic.Bool
		slow := make(chan struct{})
		got := make(chan Outcome, 1)
		var keys []string
		for i := range 1000 {
			keys = append(keys, strconv.Itoa(i))
		}
		p.Park(keys, time.Minute, func() bool {
			now := have.Load()
			if looks.Add(1) == 2 {
				<-slow
			}
			return now
		}, func(o Outcome) { got <- o })
		go p.Wake(keys[0])
		synctest.Wait() // it looks, and has seen nothing
		have.Store(true)
		for _, k := range keys[1:] {
			p.Wake(k)
		}
		if n := looks.Load(); n != 2 {
			t.Errorf("%d looks while one was under way", n)
		}
		close(slow)
		if o := <-got; o != Fulfilled {
			t.Errorf("outcome %v, want Fulfilled", o)
		}
		if n := looks.Load(); n != 3 {
			t.Errorf("%d looks, want 3", n)
		}
		assertEmpty(t, p)
	})
}

// A waiter without keys is asked when somebody says so, and ends like the others.
func TestWaitersWithoutKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New[string]()
		var have atomic.Bool
		got := make(chan Outcome, 2) // Close and a late Wait each end one before either is read
		wait := func() *Waiter[string] { return p.Wait(time.Minute, have.Load, func(o Outcome) { got <- o }) }
		w := wait()
		have.Store(true)
		p.Wake("a")
		if len(got) != 0 || p.Len() != 1 {
			t.Error("asked by a wake of a key")
		}
		w.Check()
		if o := <-got; o != Fulfilled {
			t.Errorf("outcome %v, want Fulfilled", o)
		}
		have.Store(false)
		start := time.Now()
		wait().Check()
		if o := <-got; o != TimedOut || time.Since(start) != time.Minute {
			t.Errorf("outcome %v after %v", o, time.Since(start))
		}
		if w = wait(); !w.Cancel() || w.Cancel() {
			t.Error("Cancel must succeed once")
		}
		wait()
		p.Close()
		wait()
		for range 2 {
			if o := <-got; o != TimedOut {
				t.Errorf("outcome %v at the end, want TimedOut", o)
			}
		}
		assertEmpty(t, p)
		if len(p.loose) != 0 || p.keyed.Load() != 0 {
			t.Errorf("%d loose, %d keyed at the end", len(p.loose), p.keyed.Load())
		}
	})
}

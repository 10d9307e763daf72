package watch

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// counter is a Reader that counts.
type counter struct {
	woken, touched int
	call           func()
}

func (c *counter) Changed(wake bool) func() {
	if !wake {
		c.touched++
		return nil
	}
	c.woken++
	return c.call
}

func (c *counter) Looked() time.Time { return time.Time{} }

func TestFireEndsWatches(t *testing.T) {
	var l List
	called := 0
	a, b := &counter{call: func() { called++ }}, &counter{}
	na, nb := &Node{Reader: a}, &Node{Reader: b}
	l.Watch(na)
	l.Watch(nb)
	l.Watch(na) // once is enough
	l.Touch()
	if a.touched != 1 || b.touched != 1 || a.woken != 0 {
		t.Errorf("after Touch: %+v, %+v", a, b)
	}
	calls := l.Fire(nil, nb)
	if a.woken != 1 || b.woken != 0 || len(calls) != 1 {
		t.Errorf("after Fire but for b: %+v, %+v, %d calls", a, b, len(calls))
	}
	for _, call := range calls {
		call()
	}
	if calls = l.Fire(nil, nil); a.woken != 1 || b.woken != 1 || called != 1 || len(calls) != 0 {
		t.Errorf("after Fire: %+v, %+v, %d called, %d calls", a, b, called, len(calls))
	}
	l.Touch()
	if l.Fire(nil, nil); a.touched != 1 || a.woken != 1 || l.first != nil || l.count.Load() != 0 {
		t.Errorf("nobody watches: %+v, %d", a, l.count.Load())
	}
}

func TestWatchOneAtATime(t *testing.T) {
	var l, m List
	c := &counter{}
	n := &Node{Reader: c}
	n.Stop()
	l.Watch(n)
	m.Watch(n)
	if l.Fire(nil, nil); c.woken != 0 {
		t.Error("told by a list that it has left")
	}
	if m.Fire(nil, nil); c.woken != 1 {
		t.Error("not told by the list it is in")
	}
	m.Watch(n)
	n.Stop()
	if m.Fire(nil, nil); c.woken != 1 || m.count.Load() != 0 {
		t.Error("told after Stop")
	}
}

// reader is a Reader that is used by many goroutines.
type reader struct{ told chan struct{} }

func (r *reader) Changed(bool) func() {
	select {
	case r.told <- struct{}{}:
	default:
	}
	return nil
}

func (r *reader) Looked() time.Time { return time.Time{} }

// TestNoChangeIsMissed: whoever watches and then looks sees a change, or is told.
func TestNoChangeIsMissed(t *testing.T) {
	const changes = 20_000
	var l, other List
	var value atomic.Int64
	r := &reader{told: make(chan struct{}, 1)}
	n := &Node{Reader: r}
	var wg sync.WaitGroup
	wg.Go(func() {
		for range changes {
			value.Add(1)
			l.Fire(nil, nil)
		}
	})
	limit := time.After(time.Minute)
	for seen := int64(0); seen < changes; {
		l.Watch(n)
		if seen = value.Load(); seen == changes {
			break
		}
		select {
		case <-r.told:
		case <-limit:
			t.Fatalf("asleep at change %d of %d", seen, value.Load())
		}
	}
	wg.Wait()
	l.Fire(nil, nil)
	// Several who move and end one watch leave it in at most one list.
	for _, to := range []*List{&l, &other} {
		wg.Go(func() {
			for range changes {
				to.Watch(n)
				to.Fire(nil, nil)
				to.Watch(n)
				n.Stop()
			}
		})
	}
	wg.Wait()
	n.Stop()
	if a, b := l.count.Load(), other.count.Load(); a != 0 || b != 0 || l.first != nil || other.first != nil {
		t.Errorf("%d and %d watches are left", a, b)
	}
}

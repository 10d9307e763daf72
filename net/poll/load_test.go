//go:build linux

package poll

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestShare: the handlers of two connections run at the same time.
func TestShare(t *testing.T) {
	p := unled(t)
	var both sync.WaitGroup
	both.Add(2)
	var events []unix.EpollEvent
	for range 2 {
		c, other := pair(t, p)
		c.Handle(handler{readable: func() { both.Done(); both.Wait() }})
		c.WatchRead(true)
		put(t, other, "a")
	}
	for len(events) < 2 {
		events = p.events(t, time.Minute)
	}
	p.share(new(reign), events)
}

// TestLoad: it is high when the thread ran nearly all the time, until it did so for
// less than half of it.
func TestLoad(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var l load
	for _, step := range []struct {
		percent time.Duration
		high    bool
	}{{60, false}, {95, true}, {60, true}, {20, false}, {60, false}} {
		l.begin()
		l.since = time.Now().Add(-time.Hour) // so that what the test takes is nothing
		l.used = step.percent * time.Hour / 100
		l.end()
		if l.high != step.high {
			t.Errorf("%d %%: high is %v", step.percent, l.high)
		}
	}
	l.begin()
	l.tid++ // another thread
	l.since, l.used = time.Now().Add(-time.Hour), time.Hour
	l.end()
	if l.high {
		t.Error("the clock of another thread counts")
	}
}

package broker

import (
	"sync"

	"barnabas/zkpaths/session"
)

// fanout hands what the ZooKeeper session tells to all rooms that listen, which
// only enqueue it.
type fanout struct {
	mu     sync.Mutex // guards the lists
	events []func(session.Event)
	states []func(session.State)
}

// add lets a room listen; nil functions are left out.
func (f *fanout) add(event func(session.Event), state func(session.State)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if event != nil {
		f.events = append(f.events, event)
	}
	if state != nil {
		f.states = append(f.states, state)
	}
}

func (f *fanout) event(e session.Event) {
	f.mu.Lock()
	listeners := f.events
	f.mu.Unlock()
	for _, l := range listeners {
		l(e)
	}
}

func (f *fanout) state(s session.State) {
	f.mu.Lock()
	listeners := f.states
	f.mu.Unlock()
	for _, l := range listeners {
		l(s)
	}
}

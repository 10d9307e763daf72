package session

import "sync"

// dispatcher hands events and states to the callbacks, in order, on a goroutine
// of its own, so that neither the reader of the socket nor the session waits.
// Waiting events coalesce: the queue is bounded by the watches that are armed.
// States coalesce where the later one says all that the earlier ones did.
type dispatcher struct {
	onEvent func(Event)
	onState func(State)

	mu      sync.Mutex // guards following
	queue   []any      // Event or State
	pending map[Event]struct{}
	closed  bool
	wake    chan struct{} // holds one token when there is something to do
}

func newDispatcher(onEvent func(Event), onState func(State)) *dispatcher {
	return &dispatcher{onEvent: onEvent, onState: onState, pending: make(map[Event]struct{}), wake: make(chan struct{}, 1)}
}

func (d *dispatcher) event(e Event) {
	d.mu.Lock()
	if _, waiting := d.pending[e]; !waiting && !d.closed {
		d.pending[e] = struct{}{}
		d.queue = append(d.queue, e)
	}
	d.mu.Unlock()
	d.signal()
}

func (d *dispatcher) state(s State) {
	d.mu.Lock()
	if !d.closed {
		// Disconnected, Connected, Disconnected … of one session: a pair that
		// waits side by side says nothing that its last one does not.
		if n := len(d.queue); n > 1 {
			last, ok1 := d.queue[n-1].(State)
			before, ok2 := d.queue[n-2].(State)
			if ok1 && ok2 && last.Kind == Connected && before.Kind == Disconnected && s.Kind == Disconnected {
				d.queue = d.queue[:n-2]
			}
		}
		d.queue = append(d.queue, s)
	}
	d.mu.Unlock()
	d.signal()
}

func (d *dispatcher) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// close makes run return once the queue is empty.
func (d *dispatcher) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.signal()
}

// run delivers until close.
func (d *dispatcher) run() {
	for range d.wake {
		for {
			d.mu.Lock()
			if len(d.queue) == 0 {
				closed := d.closed
				d.mu.Unlock()
				if closed {
					return
				}
				break
			}
			item := d.queue[0]
			d.queue = d.queue[1:]
			if e, ok := item.(Event); ok {
				delete(d.pending, e)
			}
			d.mu.Unlock()
			switch v := item.(type) {
			case Event:
				d.onEvent(v)
			case State:
				d.onState(v)
			}
		}
	}
}

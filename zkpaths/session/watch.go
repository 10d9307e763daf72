package session

import "sync"

// watchKind tells the two tables of watches that a server has.
type watchKind int

const (
	dataWatch  watchKind = iota // armed by exists and getData
	childWatch                  // armed by getChildren
)

type watchKey struct {
	path string
	kind watchKind
}

// watches remembers what is armed, so that a watch is asked for at most once
// per path and kind. Where it is unsure it says "not armed": a second watch at
// the server is the same watch.
type watches struct {
	mu    sync.Mutex           // guards following
	armed map[watchKey]*arming // armed or being armed
}

// arming is one attempt; done once the server has answered.
type arming struct{ done bool }

// begin reports whether the read must ask for a watch, and the attempt to end.
func (w *watches) begin(k watchKey) (*arming, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a := w.armed[k]; a != nil && a.done {
		return nil, false
	}
	if w.armed == nil {
		w.armed = make(map[watchKey]*arming)
	}
	a := new(arming)
	w.armed[k] = a
	return a, true
}

// end says whether the attempt armed the watch. An event that came between has
// removed the attempt, and the watch counts as fired.
func (w *watches) end(k watchKey, a *arming, armed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.armed[k] != a {
		return
	}
	if armed {
		a.done = true
	} else {
		delete(w.armed, k)
	}
}

// fired forgets what an event has used up.
func (w *watches) fired(t EventType, path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t != NodeChildrenChanged {
		delete(w.armed, watchKey{path, dataWatch})
	}
	if t == NodeChildrenChanged || t == NodeDeleted {
		delete(w.armed, watchKey{path, childWatch})
	}
}

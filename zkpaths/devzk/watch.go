package devzk

// watchKind is a set of the watches that one connection has on one path.
type watchKind uint8

const (
	watchData       watchKind = 1 << iota // one-shot, from exists and getData
	watchChild                            // one-shot, from getChildren
	watchPersistent                       // data and children, until removed
	watchRecursive                        // the same for all below, but no children events
)

// maxWatchBytes bounds the paths that one connection watches; beyond it the
// connection is closed.
const maxWatchBytes = 64 << 20

// watchTable holds who watches what. Server.mu guards it.
type watchTable struct {
	byPath    map[string]map[*conn]watchKind
	recursive int // paths and connections with watchRecursive
}

// add arms watches.
func (w *watchTable) add(path string, c *conn, kind watchKind) {
	set := w.byPath[path]
	if set == nil {
		set = map[*conn]watchKind{}
		w.byPath[path] = set
	}
	if _, ok := set[c]; !ok {
		c.watched[path] = struct{}{}
		c.watchBytes += len(path) + nodeOverhead
	}
	w.set(path, set, c, set[c]|kind)
}

// set changes what c watches on path; nothing left forgets it.
func (w *watchTable) set(path string, set map[*conn]watchKind, c *conn, kind watchKind) {
	w.recursive += int(kind&watchRecursive/watchRecursive) - int(set[c]&watchRecursive/watchRecursive)
	if kind != 0 {
		set[c] = kind
		return
	}
	delete(set, c)
	if len(set) == 0 {
		delete(w.byPath, path)
	}
	delete(c.watched, path)
	c.watchBytes -= len(path) + nodeOverhead
}

// remove disarms watches and reports whether one was there.
func (w *watchTable) remove(path string, c *conn, kind watchKind) bool {
	set := w.byPath[path]
	have := set[c]
	if have&kind == 0 {
		return false
	}
	w.set(path, set, c, have&^kind)
	return true
}

// drop disarms all of a connection's watches.
func (w *watchTable) drop(c *conn) {
	for path := range c.watched {
		w.set(path, w.byPath[path], c, 0)
	}
}

// count is the number of paths and connections with a watch.
func (w *watchTable) count() int {
	n := 0
	for _, set := range w.byPath {
		n += len(set)
	}
	return n
}

// fire tells the watchers of one event. by is the connection whose request
// caused it, if one did: its own goroutine sends what it gets.
func (w *watchTable) fire(path string, event int32, by *conn) {
	var oneShot, told watchKind
	switch event {
	case eventCreated, eventDataChanged:
		oneShot, told = watchData, watchData|watchPersistent|watchRecursive
	case eventDeleted:
		oneShot, told = watchData|watchChild, watchData|watchChild|watchPersistent|watchRecursive
	case eventChildrenChanged:
		oneShot, told = watchChild, watchChild|watchPersistent
	}
	set := w.byPath[path]
	var heard map[*conn]bool // by those who watch path itself; for the recursive
	if w.recursive > 0 && event != eventChildrenChanged {
		heard = map[*conn]bool{}
	}
	for c, kind := range set {
		if kind&told == 0 {
			continue
		}
		c.sendEvent(event, path, by)
		w.set(path, set, c, kind&^oneShot)
		if heard != nil {
			heard[c] = true
		}
	}
	if heard != nil {
		w.fireAbove(path, event, by, heard)
	}
}

// fireAbove tells the recursive watchers of the paths above, each connection
// once.
func (w *watchTable) fireAbove(path string, event int32, by *conn, heard map[*conn]bool) {
	for p := path; p != "/"; {
		p, _ = splitPath(p)
		for c, kind := range w.byPath[p] {
			if kind&watchRecursive != 0 && !heard[c] {
				heard[c] = true
				c.sendEvent(event, path, by)
			}
		}
	}
}

// fireChange tells the watchers of a change, in DataTree's order.
func (w *watchTable) fireChange(op int32, path string, by *conn) {
	parent, _ := splitPath(path)
	switch op {
	case opCreate:
		w.fire(path, eventCreated, by)
		w.fire(parent, eventChildrenChanged, by)
	case opDelete:
		w.fire(path, eventDeleted, by)
		w.fire(parent, eventChildrenChanged, by)
	case opSetData:
		w.fire(path, eventDataChanged, by)
	}
}

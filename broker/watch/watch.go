// Package watch tells readers which of the many things that they read has changed,
// so that who has looked at all of them once looks again only at those.
//
// A List belongs to what changes, a Node to one reader of it. The order that loses
// nothing: who changes does it, and fires the list; who reads watches first, and
// looks then. A change is either seen by that look, or it fires the node. Fire ends
// the watches, so that what nobody looks at costs nothing, however often it changes.
//
// It starts no goroutine. Locks: List.mu is held while Reader.Changed runs, and is
// itself taken under the lock of what changes; no list's is taken under another's.
package watch

import (
	"sync"
	"sync/atomic"
	"time"
)

// Reader is whose Node it is.
type Reader interface {
	// Changed notes that there is something to look at. It runs under the locks of
	// whoever changes, so it must not wait, nor call this package. If wake, it returns
	// whom to call once those locks are released; nil: nobody waits.
	Changed(wake bool) (call func())
	// Looked is when the reader last asked, be it that it did not look since nothing
	// had changed: a time before the first change that it has not seen. The same holds
	// for it as for Changed.
	Looked() time.Time
}

// Node is a reader's watch over one thing at a time. It is safe for concurrent use.
type Node struct {
	// Reader is set before the first Watch, and stays.
	Reader Reader

	list       atomic.Pointer[List] // nil: it watches nothing; changes under the mu of both
	prev, next *Node                // guarded by list.mu
}

// List is who watches one thing. The zero value is empty.
type List struct {
	count atomic.Int32 // lets Fire skip the lock; changes under mu
	mu    sync.Mutex   // guards following, and the links of the nodes
	first *Node
}

// Watch lets n be told of the next change, and of none before; where it watched
// before does not matter.
func (l *List) Watch(n *Node) {
	for {
		if n.list.Load() != l {
			n.Stop()
		}
		l.mu.Lock()
		if n.list.Load() == l {
			l.mu.Unlock()
			return
		}
		if n.list.CompareAndSwap(nil, l) { // else it came to another list meanwhile
			n.prev, n.next = nil, l.first
			if l.first != nil {
				l.first.prev = n
			}
			l.first = n
			l.count.Add(1)
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
	}
}

// Stop ends a watch, if there is one.
func (n *Node) Stop() {
	l := n.list.Load()
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n.list.Load() == l {
		l.removeLocked(n)
	}
}

func (l *List) removeLocked(n *Node) {
	if n.prev != nil {
		n.prev.next = n.next
	} else {
		l.first = n.next
	}
	if n.next != nil {
		n.next.prev = n.prev
	}
	n.prev, n.next = nil, nil
	l.count.Add(-1)
	n.list.Store(nil)
}

// Fire tells all who watch but except of a change, and ends their watches. Whom to
// call when the caller has released its locks is added to calls.
func (l *List) Fire(calls []func(), except *Node) []func() {
	if l.count.Load() == 0 {
		return calls
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := l.first; n != nil; {
		next := n.next
		if n != except {
			l.removeLocked(n)
			if call := n.Reader.Changed(true); call != nil {
				calls = append(calls, call)
			}
		}
		n = next
	}
	return calls
}

// Touch tells all who watch of a change that none of them waits for: they look when
// they ask next. They watch on.
func (l *List) Touch() {
	if l.count.Load() == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := l.first; n != nil; n = n.next {
		n.Reader.Changed(false)
	}
}

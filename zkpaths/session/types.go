package session

import (
	"errors"
	"fmt"

	"github.com/go-zookeeper/zk"
)

// Errors of calls; compare with errors.Is.
var (
	ErrNoNode     = errors.New("session: no such znode")
	ErrNodeExists = errors.New("session: znode exists already")
	ErrBadVersion = errors.New("session: znode has another version")
	ErrNotEmpty   = errors.New("session: znode has children")
	ErrNoAuth     = errors.New("session: not permitted by the znode's ACL")
	ErrNoEphChild = errors.New("session: an ephemeral znode has no children")
	// ErrConnectionLost means that the connection ended before the reply came:
	// the outcome of a write is unknown. Reads are sent again once before they
	// fail so.
	ErrConnectionLost = errors.New("session: connection lost, outcome unknown")
	// ErrExpired means that the session ended while the call was pending. The
	// outcome of a write that had been sent is unknown until the next session's
	// sync, which is over when its first read is answered.
	ErrExpired = errors.New("session: expired")
	// ErrPoison comes with ErrConnectionLost when the same request lost its
	// connection twice: it, or its reply, is probably too large for the servers.
	// It must not be sent again as it is.
	ErrPoison = errors.New("session: the same request lost its connection twice")
	// ErrTooLarge means that the request was not sent: see MaxOpBytes and
	// MaxRequestBytes.
	ErrTooLarge = errors.New("session: request too large for ZooKeeper")
	ErrClosed   = errors.New("session: client closed")
)

// Error tells which call failed on which path (relative to the chroot).
type Error struct {
	Op, Path string
	Err      error
}

func (e *Error) Error() string { return "zookeeper " + e.Op + " " + e.Path + ": " + e.Err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// MultiError says which operation made a transaction fail. Nothing was done.
type MultiError struct {
	Index int // of the first operation that failed
	Op    Op
	Err   error
}

func (e *MultiError) Error() string {
	return fmt.Sprintf("zookeeper multi: operation %d, %v %s: %v", e.Index, e.Op.Kind, e.Op.Path, e.Err)
}

// Unwrap gives the cause.
func (e *MultiError) Unwrap() error { return e.Err }

// Stat describes a znode. Times are epoch milliseconds of the server's clock.
type Stat struct {
	Czxid, Mzxid, Pzxid         int64 // transactions of creation, last setData, last change of children
	Ctime, Mtime                int64
	Version, Cversion, Aversion int32 // of data, children, ACL
	EphemeralOwner              int64 // session id, or 0
	DataLength, NumChildren     int32
}

func statOf(s *zk.Stat) Stat {
	if s == nil {
		return Stat{}
	}
	return Stat{
		Czxid: s.Czxid, Mzxid: s.Mzxid, Pzxid: s.Pzxid, Ctime: s.Ctime, Mtime: s.Mtime,
		Version: s.Version, Cversion: s.Cversion, Aversion: s.Aversion,
		EphemeralOwner: s.EphemeralOwner, DataLength: s.DataLength, NumChildren: s.NumChildren,
	}
}

// Mode is the kind of a created znode.
type Mode int32

const (
	Persistent           Mode = zk.FlagPersistent
	Ephemeral            Mode = zk.FlagEphemeral
	PersistentSequential Mode = zk.FlagSequence
	EphemeralSequential  Mode = zk.FlagEphemeralSequential
)

// EventType is what happened to a watched znode.
type EventType int

const (
	NodeCreated EventType = iota + 1
	NodeDeleted
	NodeDataChanged
	NodeChildrenChanged
)

func (t EventType) String() string {
	switch t {
	case NodeCreated:
		return "created"
	case NodeDeleted:
		return "deleted"
	case NodeDataChanged:
		return "data changed"
	case NodeChildrenChanged:
		return "children changed"
	}
	return fmt.Sprintf("EventType(%d)", int(t))
}

// Event says that a watch fired; it is no longer armed. Events that wait for
// delivery coalesce: one for each type and path.
type Event struct {
	Type EventType
	Path string // relative to the chroot
}

// StateKind is what happened to the session.
type StateKind int

const (
	// NewSession: a session was established and synced. Nothing ephemeral of
	// the last one may be relied on, no watch is armed.
	NewSession StateKind = iota + 1
	// Connected: the same session is connected again; events may have been
	// missed only if the servers lost them, but look again.
	Connected
	// Disconnected: calls wait. The session lives on for its timeout.
	Disconnected
	// Expired: the session is gone, with its ephemeral znodes and watches.
	Expired
)

func (k StateKind) String() string {
	switch k {
	case NewSession:
		return "new session"
	case Connected:
		return "connected"
	case Disconnected:
		return "disconnected"
	case Expired:
		return "expired"
	}
	return fmt.Sprintf("StateKind(%d)", int(k))
}

// State is a change of the session's state. SessionID is that of the session
// that it is about.
type State struct {
	Kind      StateKind
	SessionID int64
}

package devzk

import (
	"errors"
	"slices"
	"time"
)

// What a txn is.
const (
	txnChanges      = 1
	txnOpenSession  = 2
	txnCloseSession = 3
	txnEpoch        = 4 // the server started again
)

// txn is a transaction that has happened: the unit of the log.
type txn struct {
	zxid int64
	// prev is the zxid of the transaction before: a missing one shows.
	prev int64
	time int64 // Unix milliseconds
	kind uint8

	changes []change // of txnChanges

	session  int64 // of the other two
	timeout  time.Duration
	password []byte
}

var errBadTxn = errors.New("devzk: transaction that cannot have been written")

func (t *txn) append(b []byte) []byte {
	b = appendInt64(appendInt64(appendInt64(b, t.zxid), t.prev), t.time)
	b = append(b, t.kind)
	switch t.kind {
	case txnChanges:
		b = appendInt32(b, int32(len(t.changes)))
		for i := range t.changes {
			b = t.changes[i].append(b)
		}
	case txnOpenSession:
		b = appendInt64(appendInt64(b, t.session), int64(t.timeout))
		b = appendBytes(b, t.password)
	case txnCloseSession:
		b = appendInt64(b, t.session)
	}
	return b
}

func (c *change) append(b []byte) []byte {
	b = appendString(append(b, uint8(c.op)), c.path)
	if c.op == opCreate || c.op == opSetData {
		b = appendBytes(b, c.data)
	}
	if c.op == opCreate || c.op == opSetACL {
		b = appendCompactACL(b, c.acl)
	}
	if c.op == opCreate {
		b = appendInt64(b, c.owner)
	}
	return b
}

// appendCompactACL writes the usual list as the empty string.
func appendCompactACL(b []byte, list string) []byte {
	if list == worldACL {
		list = ""
	}
	return appendString(b, list)
}

func (d *decoder) compactACL() string {
	if list := d.string(); list != "" {
		return list
	}
	return worldACL
}

// decodeTxn copies what it needs of b.
func decodeTxn(b []byte) (txn, error) {
	d := decoder{b: b}
	t := txn{zxid: d.int64(), prev: d.int64(), time: d.int64(), kind: d.uint8()}
	switch t.kind {
	case txnChanges:
		for range d.count(5) {
			t.changes = append(t.changes, d.change())
		}
	case txnOpenSession:
		t.session, t.timeout = d.int64(), time.Duration(d.int64())
		t.password = cloneData(d.bytes())
		d.bad = d.bad || len(t.password) != passwordLength || t.timeout <= 0
	case txnCloseSession:
		t.session = d.int64()
	case txnEpoch:
	default:
		d.bad = true
	}
	if d.bad || len(d.b) > 0 || t.zxid <= t.prev {
		return txn{}, errBadTxn
	}
	return t, nil
}

func (d *decoder) change() change {
	c := change{op: int32(d.uint8()), path: d.string()}
	switch c.op {
	case opCreate:
		c.data, c.acl, c.owner = cloneData(d.bytes()), d.compactACL(), d.int64()
	case opSetData:
		c.data = cloneData(d.bytes())
	case opSetACL:
		c.acl = d.compactACL()
	case opDelete:
	default:
		d.bad = true
	}
	return c
}

// replay does a recovered transaction. It checks that it is possible: files are
// input like any other.
func (s *Server) replay(t *txn) error {
	if t.prev != s.zxid {
		return errBadTxn
	}
	switch t.kind {
	case txnChanges:
		if !s.tree.replay(t) {
			return errBadTxn
		}
	case txnOpenSession:
		s.sessions[t.session] = &session{id: t.session, password: t.password, timeout: t.timeout}
		s.nextSession = max(s.nextSession, t.session+1)
	case txnCloseSession:
		delete(s.sessions, t.session)
		for _, p := range s.tree.ephemeralsOf(t.session) {
			s.tree.delete(p, t.zxid)
		}
	}
	s.zxid = t.zxid
	return nil
}

// replay does all changes of a transaction or, if one is impossible, none.
func (t *tree) replay(x *txn) bool {
	undos := make([]undo, 0, len(x.changes))
	for i := range x.changes {
		if !t.possible(&x.changes[i]) {
			for i := range slices.Backward(undos) {
				t.revert(&undos[i])
			}
			return false
		}
		undos = append(undos, t.apply(&x.changes[i], x.zxid, x.time))
	}
	return true
}

func (t *tree) possible(c *change) bool {
	n := t.nodes[c.path]
	switch c.op {
	case opCreate:
		parentPath, _ := splitPath(c.path)
		parent := t.nodes[parentPath]
		return n == nil && validPath(c.path) && parent != nil && !parent.ephemeral()
	case opDelete:
		return n != nil && len(n.children) == 0 && !reserved(c.path)
	}
	return n != nil
}

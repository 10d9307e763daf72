package devzk

import (
	"errors"
	"time"
)

var errSessionGone = errors.New("devzk: request on an ended session")

// handle executes one packet and queues its reply. last means that nothing more
// is to be read.
func (s *Server) handle(c *conn, packet []byte) (last bool, err error) {
	r, err := decodeRequest(packet)
	if err != nil && len(packet) < 8 {
		return true, err
	}
	malformed := err != nil
	s.mu.Lock()
	defer s.mu.Unlock()
	ss := c.session
	if ss == nil || s.closing {
		return true, errSessionGone
	}
	s.touchLocked(ss, time.Now())
	s.requests++
	if malformed {
		c.sendReply(r.xid, s.zxid, codeMarshallingError, nil)
		return false, nil
	}
	if c.watchBytes > maxWatchBytes {
		return true, errors.New("devzk: too many watches on one connection")
	}
	body := s.scratch[:0]
	var result code
	switch r.op {
	case opPing:
		r.xid = xidPing
	case opCreate, opCreate2, opCreateContainer, opCreateTTL, opDelete, opSetData, opSetACL, opCheck, opMulti:
		body, result, err = s.writeLocked(c, &r, body)
	case opCloseSession:
		last, err = true, s.endSessionLocked(ss, c)
	case opAuth:
		if r.path == "digest" {
			c.ids = appendID(c.ids, digestID(r.data))
		} else if r.path != "ip" {
			result, last = codeAuthFailed, true
		}
	case opReconfig:
		result = codeUnimplemented
	default:
		body, result = s.readLocked(c, &r, body)
		last = result == codeUnimplemented
	}
	if err != nil {
		return true, err
	}
	c.sendReply(r.xid, s.zxid, result, body)
	if cap(body) <= keepBuffer {
		s.scratch = body
	}
	return last, s.rollLocked()
}

// maxIDs bounds what one connection authenticates as.
const maxIDs = 16

func appendID(ids []acl, id acl) []acl {
	for _, have := range ids {
		if have == id {
			return ids
		}
	}
	if len(ids) >= maxIDs {
		return ids
	}
	return append(ids, id)
}

// writeLocked executes a request that changes znodes: checked and applied,
// written to the transaction log, then told to the watchers.
func (s *Server) writeLocked(c *conn, r *request, body []byte) ([]byte, code, error) {
	x := transaction{
		tree: s.tree, zxid: s.zxid + 1, now: time.Now().UnixMilli(),
		session: c.session.id, ids: c.ids, limit: s.opts.MaxBytes,
	}
	result := codeOK
	if r.op == opMulti {
		body = x.multi(r.ops, body)
	} else if body, result = x.do(r, body); result == codeOK && r.op == opCheck {
		body = s.tree.nodes[r.path].appendStat(body)
	}
	if len(x.changes) == 0 {
		return body, result, nil
	}
	t := txn{zxid: x.zxid, time: x.now, kind: txnChanges, changes: x.changes}
	if err := s.commitLocked(&t); err != nil {
		return nil, 0, err
	}
	for i := range x.changes {
		s.watches.fireChange(x.changes[i].op, x.changes[i].path, c)
	}
	return body, result, nil
}

package devzk

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

// session is a client's session. Server.mu guards it.
type session struct {
	id       int64
	password []byte
	timeout  time.Duration
	deadline time.Time // it expires at the first tick at or after this
	conn     *conn     // nil while the client is away
}

const passwordLength = 16

// newSessionBase makes ids that no earlier server of this address gave out:
// milliseconds above, random bits below, the top byte zero as for server id 0.
func newSessionBase(now time.Time) int64 {
	var b [8]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return now.UnixMilli()<<16&0x00ffffffffff0000 | int64(binary.BigEndian.Uint16(b[:]))
}

// touchLocked moves the deadline, to a tick as ExpiryQueue does.
func (s *Server) touchLocked(ss *session, now time.Time) {
	at := now.Add(ss.timeout).Sub(s.epoch)
	ss.deadline = s.epoch.Add((at/s.opts.Tick + 1) * s.opts.Tick)
}

var errRefused = errors.New("devzk: session refused")

// connect answers the handshake: a new session, the old one again, or a refusal
// that means expired.
func (s *Server) connect(c *conn, r *connectRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return errRefused
	}
	if r.lastZxid > s.zxid {
		// As ZooKeeper: the client has seen the future and must look elsewhere.
		return fmt.Errorf("devzk: client has seen zxid %#x, the server's last is %#x", r.lastZxid, s.zxid)
	}
	timeout := time.Duration(r.timeoutMs) * time.Millisecond
	timeout = min(max(timeout, s.opts.MinSessionTimeout), s.opts.MaxSessionTimeout)
	var ss *session
	if r.session == 0 {
		if len(s.sessions) >= s.opts.MaxSessions {
			s.log.Warn("too many sessions", "max", s.opts.MaxSessions)
			return errRefused
		}
		var err error
		if ss, err = s.newSessionLocked(timeout); err != nil {
			return err
		}
	} else if old := s.sessions[r.session]; old != nil && bytes.Equal(old.password, r.password) {
		ss = old
		ss.timeout = timeout
		if ss.conn != nil {
			s.watches.drop(ss.conn)
			ss.conn.session = nil
			ss.conn.close()
		}
	}
	if ss == nil {
		c.sendHello(r, 0, 0, make([]byte, passwordLength))
		return errRefused
	}
	ss.conn, c.session = c, ss
	s.touchLocked(ss, time.Now())
	c.sendHello(r, timeout, ss.id, ss.password)
	return nil
}

func (s *Server) newSessionLocked(timeout time.Duration) (*session, error) {
	ss := &session{id: s.nextSession, password: make([]byte, passwordLength), timeout: timeout}
	rand.Read(ss.password)
	t := txn{zxid: s.zxid + 1, time: time.Now().UnixMilli(), kind: txnOpenSession, session: ss.id, timeout: timeout, password: ss.password}
	if err := s.commitLocked(&t); err != nil {
		return nil, err
	}
	s.nextSession++
	s.sessions[ss.id] = ss
	return ss, nil
}

// sendHello queues the answer to the handshake.
func (c *conn) sendHello(r *connectRequest, timeout time.Duration, id int64, password []byte) {
	b := appendInt32(appendInt32(make([]byte, 0, 64), 0), 0) // length, protocol version
	b = appendInt64(appendInt32(b, int32(timeout/time.Millisecond)), id)
	b = appendBytes(b, password)
	if !r.old {
		b = appendBool(b, false) // not a read-only server
	}
	c.mu.Lock()
	c.out = append(c.out, finishPacket(b, 0)...)
	c.after = c.server.lastTxn
	c.mu.Unlock()
}

// endSessionLocked removes a session with its ephemerals. by is the connection
// that asked for it, if one did.
func (s *Server) endSessionLocked(ss *session, by *conn) error {
	t := txn{zxid: s.zxid + 1, time: time.Now().UnixMilli(), kind: txnCloseSession, session: ss.id}
	paths := s.tree.ephemeralsOf(ss.id)
	if err := s.commitLocked(&t); err != nil {
		return err
	}
	delete(s.sessions, ss.id)
	for _, p := range paths {
		s.tree.delete(p, t.zxid)
		s.watches.fireChange(opDelete, p, by)
	}
	if c := ss.conn; c != nil {
		s.watches.drop(c)
		ss.conn, c.session = nil, nil
		if c != by {
			c.close()
		}
	}
	return nil
}

// expire ends sessions at each tick.
func (s *Server) expire() {
	timer := time.NewTimer(s.opts.Tick)
	defer timer.Stop()
	last := time.Now()
	for {
		select {
		case <-s.quit:
			return
		case <-timer.C:
		}
		now := time.Now()
		s.expireTick(now, now.Sub(last)-s.opts.Tick)
		last = now
		// The next whole tick after the server's start.
		timer.Reset(s.opts.Tick - now.Sub(s.epoch)%s.opts.Tick)
	}
}

// expireTick ends what is due. late is by how much the tick overslept: if the
// whole process was stopped, its clients could not be heard, and get that time
// on top.
func (s *Server) expireTick(now time.Time, late time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var due []*session
	for _, ss := range s.sessions {
		if late > s.opts.Tick {
			ss.deadline = ss.deadline.Add(late)
		}
		if !ss.deadline.After(now) {
			due = append(due, ss)
		}
	}
	slices.SortFunc(due, func(a, b *session) int { return a.deadline.Compare(b.deadline) })
	for _, ss := range due {
		s.log.Info("session expired", "session", fmt.Sprintf("%#x", ss.id), "timeout", ss.timeout)
		if s.endSessionLocked(ss, nil) != nil {
			return
		}
	}
}

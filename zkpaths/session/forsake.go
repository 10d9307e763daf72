package session

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// A server that has seen less than a client closes its connection without a
// word: the client is to look elsewhere. If all servers were restored from an
// older copy of their data there is no elsewhere, and a session that never ends
// is never accepted again. So a session that servers refuse for longer than it
// lasts looks whether they take new ones; if one does, and goes on refusing this
// one, it is given up. At once if the new one's end has a zxid that this one has
// seen: two transactions of one zxid are in two histories, and the attempt itself has
// brought the server nearer to where it would accept this session.

// refusals counts what servers refused in a row; guarded by Client.mu.
type refusals struct {
	n       int
	since   time.Time
	probing bool
	// serves is an address that took a new session, after how many refusals there
	// were since then.
	serves string
	after  int
}

const (
	// suspicious is how many refusals there must be before new sessions are tried,
	// convincing how many after one was taken.
	suspicious, convincing = 3, 2
)

// refused takes that a handshake failed that named the last zxid seen.
func (s *sess) refused(network, addr string, seen int64, err error) {
	if !errors.Is(err, io.EOF) {
		return
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	r := &s.refusals
	if s.dead || s.c.closed || !s.synced {
		return
	}
	if r.n++; r.n == 1 {
		r.since = time.Now()
	}
	if r.serves == addr {
		if r.after++; r.after >= convincing {
			s.forsake(addr)
		}
		return
	}
	if r.n >= suspicious && !r.probing && time.Since(r.since) >= s.timeout {
		r.probing = true
		timeout := s.timeout
		s.c.wg.Go(func() {
			zxid, err := s.probe(network, addr, timeout)
			s.c.mu.Lock()
			defer s.c.mu.Unlock()
			r.probing = false
			switch {
			case err != nil || s.dead || s.c.closed:
			case zxid <= seen:
				s.forsake(addr)
			case r.n > 0:
				r.serves, r.after = addr, 0
			}
		})
	}
}

// forsake gives the session up. The caller has Client.mu.
func (s *sess) forsake(addr string) {
	s.c.log.Error("ZooKeeper takes new sessions and refuses this one: its data are older than what was seen of it, as after a backup was restored. Giving the session up; what was written since the backup is lost there, and everything is loaded anew",
		"session", sessionText(s.id), "server", addr)
	s.c.wg.Go(s.expire) // it takes the lock
}

// probe makes a new session that has seen nothing, and ends it. It gives the zxid of
// its end.
func (s *sess) probe(network, addr string, timeout time.Duration) (zxid int64, err error) {
	wait := max(min(2*time.Second, timeout/6), 50*time.Millisecond)
	ctx, cancel := context.WithTimeout(s.ctx, wait)
	defer cancel()
	conn, err := s.c.opts.Dialer(ctx, network, addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		return 0, err
	}
	const passwordBytes = 16
	body := make([]byte, 4+8, 64) // protocol version and the last zxid seen: 0
	body = binary.BigEndian.AppendUint32(body, uint32(timeout.Milliseconds()))
	body = binary.BigEndian.AppendUint64(body, 0) // no session
	body = binary.BigEndian.AppendUint32(body, passwordBytes)
	body = append(body, make([]byte, passwordBytes+1)...) // and not read-only
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)); err != nil {
		return 0, err
	}
	var id int64
	g := &guard{Conn: conn, handshake: wait, maxReply: maxHandshakeReply, established: func(granted int64, _ time.Duration) { id = granted }}
	if err := g.shake(); err != nil {
		return 0, err
	}
	if id == 0 {
		return 0, errors.New("session: no session was granted")
	}
	const closeSession = -11
	end := binary.BigEndian.AppendUint32(nil, 8)
	end = binary.BigEndian.AppendUint32(end, 1)
	end = binary.BigEndian.AppendUint32(end, uint32(int64(closeSession)&0xffffffff))
	if _, err := conn.Write(end); err != nil {
		return 0, fmt.Errorf("session: ending a probe: %w", err)
	}
	reply := make([]byte, 4+minReply)
	if _, err := io.ReadFull(conn, reply); err != nil { // until the server has done it
		return 0, fmt.Errorf("session: ending a probe: %w", err)
	}
	return int64(binary.BigEndian.Uint64(reply[4+4:])), nil
}

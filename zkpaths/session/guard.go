package session

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// maxHandshakeReply bounds the connect reply, which has 41 bytes.
	maxHandshakeReply = 1024
	// minReply is the header of each later reply.
	minReply = 16
)

// guard is a connection to a server as the library sees it. It bounds the
// handshake in time and length, turns a session that is not ours into an expiry,
// and refuses frames whose length lies.
type guard struct {
	net.Conn
	maxWait   time.Duration // of any read or write
	handshake time.Duration // of the connect reply
	maxReply  int
	// expect is our session id, 0 if we have none yet; established is told the
	// id and timeout of a good reply.
	expect      int64
	established func(id int64, timeout time.Duration)
	failed      func(error) // is told why a handshake failed

	// shook is that the library has sent its connect request, seen the last zxid that
	// it names there. Used by the goroutine of the handshake.
	shook bool
	seen  int64

	// watched is closed once the library has asked for its watches again; hold waits
	// for that.
	watched chan struct{}
	asked   sync.Once
	hold    sync.Once

	once sync.Once
	err  error  // of the handshake
	head []byte // of the connect reply, not yet read by the library

	// Of the frame being read; used by the one reader only.
	length  [4]byte
	nLength int
	left    int
}

// lostError marks failures of the connection, so that they are never taken for
// an answer of the server.
type lostError struct{ err error }

func (e *lostError) Error() string { return e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// Read gives whole, checked bytes only.
func (g *guard) Read(p []byte) (int, error) {
	g.once.Do(func() {
		if g.err = g.shake(); g.err != nil {
			g.failed(g.err)
		}
	})
	if g.err != nil {
		return 0, g.err
	}
	if len(g.head) > 0 {
		n := copy(p, g.head)
		g.head = g.head[n:]
		return n, nil
	}
	if g.expect != 0 {
		g.hold.Do(g.awaitWatches)
	}
	n, err := g.Conn.Read(p)
	if bad := g.track(p[:n]); bad != nil {
		return 0, bad
	}
	return n, err
}

// heldFor bounds how long replies are held back on a connection that goes on with a
// session.
const heldFor = 50 * time.Millisecond

// awaitWatches holds the first reply back until the watches were asked for again.
// The library reads its last zxid for that, on another goroutine than the one that
// writes it with each reply, and nothing else orders the two: watches might be asked
// for as of a zxid that is too new, and miss what came before it.
func (g *guard) awaitWatches() {
	timer := time.NewTimer(heldFor) // it may have none
	defer timer.Stop()
	select {
	case <-g.watched:
	case <-timer.C:
	}
}

// track follows the frames in b.
func (g *guard) track(b []byte) error {
	for len(b) > 0 {
		if g.left > 0 {
			n := min(g.left, len(b))
			g.left -= n
			b = b[n:]
			continue
		}
		n := copy(g.length[g.nLength:], b)
		g.nLength += n
		b = b[n:]
		if g.nLength < len(g.length) {
			return nil
		}
		g.nLength = 0
		size := int(binary.BigEndian.Uint32(g.length[:]))
		if size < minReply || size > g.maxReply {
			return fmt.Errorf("session: a reply of %d bytes; want %d to %d (the servers' jute.maxbuffer may be larger than ours)", size, minReply, g.maxReply)
		}
		g.left = size
	}
	return nil
}

// shake reads the connect reply: protocol version, timeout in ms, session id,
// password, and perhaps a flag.
func (g *guard) shake() error {
	if err := g.Conn.SetReadDeadline(time.Now().Add(g.handshake)); err != nil {
		return err
	}
	head := make([]byte, 4, 64)
	if _, err := io.ReadFull(g.Conn, head); err != nil {
		return fmt.Errorf("session: no connect reply within %v: %w", g.handshake, err)
	}
	size := binary.BigEndian.Uint32(head)
	if size < 20 || size > maxHandshakeReply {
		return fmt.Errorf("session: a connect reply of %d bytes: not a ZooKeeper server?", size)
	}
	head = append(head, make([]byte, size)...)
	body := head[4:]
	if _, err := io.ReadFull(g.Conn, body); err != nil {
		return fmt.Errorf("session: torn connect reply: %w", err)
	}
	id := int64(binary.BigEndian.Uint64(body[8:]))
	timeout := time.Duration(int32(binary.BigEndian.Uint32(body[4:]))) * time.Millisecond
	// The password, as the library reads it, must lie inside.
	if n := int32(binary.BigEndian.Uint32(body[16:])); n > int32(size)-20 {
		return fmt.Errorf("session: a connect reply whose password has %d bytes", n)
	}
	switch {
	case id == 0:
	case g.expect != 0 && g.expect != id:
		// A server that hands out a new session instead of refusing ours.
		clear(body[8:16])
	case timeout < 3*time.Millisecond: // the library's ticker needs a third of two thirds
		return fmt.Errorf("session: the server granted a session timeout of %v", timeout)
	default:
		g.established(id, timeout)
	}
	g.head = head
	return nil
}

// Write wraps errors as lost connections.
func (g *guard) Write(p []byte) (int, error) {
	if !g.shook { // with its length and protocol version before the zxid
		if g.shook = true; len(p) >= 16 {
			g.seen = int64(binary.BigEndian.Uint64(p[8:]))
		}
	}
	const opSetWatches = 101
	if len(p) >= 12 && binary.BigEndian.Uint32(p[8:]) == opSetWatches {
		defer g.asked.Do(func() { close(g.watched) })
	}
	n, err := g.Conn.Write(p)
	if err != nil {
		err = &lostError{err}
	}
	return n, err
}

// SetReadDeadline clamps: the library asks for ten receive timeouts at times.
func (g *guard) SetReadDeadline(t time.Time) error { return g.Conn.SetReadDeadline(g.clamp(t)) }

// SetWriteDeadline clamps likewise.
func (g *guard) SetWriteDeadline(t time.Time) error { return g.Conn.SetWriteDeadline(g.clamp(t)) }

func (g *guard) clamp(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	if latest := time.Now().Add(g.maxWait); t.After(latest) {
		return latest
	}
	return t
}

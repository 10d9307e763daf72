package session_test

import (
	"context"
	"encoding/binary"
	"net"
	"slices"
	"sync/atomic"
	"testing"

	"barnabas/internal/zktest"
	"barnabas/zkpaths/session"
)

// harm is a connection that makes the library's next request for its watches one that
// the server refuses.
type harm struct {
	net.Conn
	armed *atomic.Bool
	done  *atomic.Int32
}

func (h harm) Write(p []byte) (int, error) {
	const opSetWatches, opCreate = 101, 1
	if len(p) >= 12 && binary.BigEndian.Uint32(p[8:]) == opSetWatches && h.armed.CompareAndSwap(true, false) {
		h.done.Add(1)
		p = slices.Clone(p) // what follows is no znode to make
		binary.BigEndian.PutUint32(p[8:], opCreate)
	}
	return h.Conn.Write(p)
}

// After a reconnection the library asks for its watches again, and only logs that it
// was refused. Then the connection is given up, and the next one has them.
func TestRefusedWatchesAreAskedForAgain(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		var d cut
		var armed atomic.Bool
		var done atomic.Int32
		dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := d.dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return harm{conn, &armed, &done}, nil
		}
		c, h := open(t, session.Options{Connect: connect, Dialer: dial})
		other, _ := open(t, session.Options{Connect: connect})
		id := c.SessionID()
		if _, _, err := c.ChildrenW(t.Context(), "/"); err != nil {
			t.Fatal(err)
		}
		armed.Store(true)
		d.set(true)
		h.await(t, "disconnection", func() bool { return slices.Contains(h.kinds(), session.Disconnected) })
		d.set(false)
		h.await(t, "two reconnections", func() bool {
			n := 0
			for _, k := range h.kinds() {
				if k == session.Connected {
					n++
				}
			}
			return n >= 2
		})
		if _, err := other.Create(t.Context(), "/e", nil, session.Persistent); err != nil {
			t.Fatal(err)
		}
		h.await(t, "the event", func() bool { return len(h.events) == 1 })
		if n := done.Load(); n != 1 || c.SessionID() != id {
			t.Errorf("refused %d times, session %#x, was %#x", n, c.SessionID(), id)
		}
	})
}

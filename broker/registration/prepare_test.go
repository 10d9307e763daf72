package registration_test

import (
	"context"
	"encoding/binary"
	"net"
	"sync/atomic"
	"testing"

	"barnabas/broker/registration"
	"barnabas/internal/zktest"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// creations is a connection that counts requests to create a znode.
type creations struct {
	net.Conn
	n *atomic.Int32
}

func (c creations) Write(p []byte) (int, error) {
	const opCreate = 1
	if len(p) >= 12 && binary.BigEndian.Uint32(p[8:]) == opCreate {
		c.n.Add(1)
	}
	return c.Conn.Write(p)
}

// What is there is not written again: each write would be a round trip to the
// ensemble, one after another, at each start of a broker.
func TestPrepareWritesWhatIsAbsent(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		var n atomic.Int32
		c, err := session.Open(t.Context(), session.Options{Connect: connect, Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return creations{conn, &n}, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		prepare := func() int32 {
			t.Helper()
			before := n.Load()
			if err := registration.Prepare(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			for _, p := range append(zkpaths.StartupPaths(), zkpaths.MetadataChanges) {
				if _, ok, err := c.Exists(t.Context(), p); !ok || err != nil {
					t.Errorf("%s: %v, %v", p, ok, err)
				}
			}
			return n.Load() - before
		}
		if got := prepare(); got == 0 {
			t.Error("nothing was made")
		}
		if got := prepare(); got != 0 {
			t.Errorf("%d creations of what is there", got)
		}
		if err := c.Delete(t.Context(), zkpaths.ISRChanges, -1); err != nil {
			t.Fatal(err)
		}
		if got := prepare(); got == 0 {
			t.Error("what a hand has deleted was not made")
		}
	})
}

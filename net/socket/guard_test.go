package socket

import (
	"context"
	"testing"

	"barnabas/internal/invariant"
)

// TestPanicOfAParkedRequest: a bug in a gather function costs one connection.
// Builds with invariants are meant to end.
func TestPanicOfAParkedRequest(t *testing.T) {
	if invariant.Enabled {
		return
	}
	s := start(t, Options{}, func(_ context.Context, r *Request) Reply {
		if r.CorrelationID == 1 {
			return text(r, "fine")
		}
		p := r.Park(func() Reply { panic("bug") }, nil)
		p.Complete()
		return Parked(p)
	})
	c, other := dial(t, s), dial(t, s)
	send(t, c, request(produceKey, 3, 1, ""), request(fetchKey, 4, 2, ""))
	receive(t, c, 1)
	closed(t, c)
	send(t, other, request(produceKey, 3, 1, ""))
	receive(t, other, 1)
}

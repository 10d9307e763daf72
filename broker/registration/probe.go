package registration

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"barnabas/zkpaths"
)

// probeTimeout bounds one dial.
const probeTimeout = time.Second

// presence is what a dial to an endpoint tells.
type presence int

const (
	silent  presence = iota // neither: time-out, no route
	absent                  // refused, or it is our own listener
	present                 // somebody else answers
)

// probe dials an endpoint. A dial that reaches a listener of this very process
// counts as absent: nobody else can be bound there.
func (r *Registrar) probe(ctx context.Context, e zkpaths.Endpoint) presence {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := r.o.Dialer(ctx, "tcp", e.Addr())
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) {
			return absent
		}
		return silent
	}
	defer conn.Close()
	if r.isSelf(conn.LocalAddr(), conn.RemoteAddr()) {
		return absent
	}
	return present
}

// isSelf reports whether remote is an address that this process has bound. A
// wildcard is ours on every address of this machine; a connection to oneself has
// the same address at both ends.
func (r *Registrar) isSelf(local, remote net.Addr) bool {
	to, ok := remote.(*net.TCPAddr)
	for _, b := range r.o.Bound {
		bound, tcp := b.(*net.TCPAddr)
		if !ok || !tcp {
			if b.Network() == remote.Network() && b.String() == remote.String() {
				return true
			}
			continue
		}
		if bound.Port != to.Port {
			continue
		}
		if bound.IP.Equal(to.IP) {
			return true
		}
		if from, ok := local.(*net.TCPAddr); ok && (len(bound.IP) == 0 || bound.IP.IsUnspecified()) && from.IP.Equal(to.IP) {
			return true
		}
	}
	return false
}

package deathwatch

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"barnabas/zkpaths"
)

// Host tells what the addresses of this host are; the zero value asks the system.
type Host struct {
	// Lookup gives the addresses of a name, Interfaces those of this host.
	Lookup     func(ctx context.Context, name string) ([]netip.Addr, error)
	Interfaces func() ([]net.Addr, error)
}

// Owns checks that whoever dials the advertised endpoints reaches a listener of
// this process without anybody between who might refuse in its place: each is
// an address of this host, at the port that was bound. bound are the listeners'
// addresses, by name. The error says what is not so.
func (h Host) Owns(ctx context.Context, advertised []zkpaths.Endpoint, bound func(listener string) net.Addr) error {
	if h.Lookup == nil {
		h.Lookup = func(ctx context.Context, name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		}
	}
	if h.Interfaces == nil {
		h.Interfaces = net.InterfaceAddrs
	}
	list, err := h.Interfaces()
	if err != nil {
		return err
	}
	own := map[netip.Addr]bool{}
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				own[ip.Unmap()] = true
			}
		}
	}
	for _, e := range advertised {
		if a, ok := bound(e.Listener).(*net.TCPAddr); !ok || a.Port != int(e.Port) {
			return fmt.Errorf("%s is advertised, %v was bound", e.Addr(), bound(e.Listener))
		}
		ips, err := h.addresses(ctx, e.Host)
		if err != nil {
			return fmt.Errorf("looking up %s: %w", e.Host, err)
		}
		for _, ip := range ips {
			if ip = ip.Unmap().WithZone(""); !ip.IsLoopback() && !own[ip] {
				return fmt.Errorf("%s is not an address of this host", ip)
			}
		}
	}
	return nil
}

func (h Host) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	return h.Lookup(ctx, host)
}

package broker

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"barnabas/conf"
	"barnabas/net/socket"
)

// lookupTimeout bounds the search for the addresses of one host that is named in
// max.connections.per.ip.overrides.
const lookupTimeout = 5 * time.Second

// maxConnections leaves half of the descriptors to the logs: a broker that has
// none left could not even roll a segment.
func maxConnections(configured int) int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur/2 > 1<<30 {
		return socketLimit(configured)
	}
	return socketLimit(min(configured, int(limit.Cur/2)))
}

// socketLimit is a limit of Kafka's as package socket has it: there 0 is none,
// and what is negative lets nothing in.
func socketLimit(n int) int {
	switch {
	case n <= 0:
		return -1
	case n >= math.MaxInt32:
		return 0
	}
	return n
}

// connectionLimits are the limits of connections. Hosts that are not found are
// in the error; the limits hold for all others.
func connectionLimits(ctx context.Context, c *conf.Socket) (socket.Limits, error) {
	l := socket.Limits{
		MaxConnections: maxConnections(c.MaxConnections), MaxPerIP: socketLimit(c.MaxConnectionsPerIP), Rate: socketLimit(c.MaxCreationRate),
		MaxPerIPOverrides: make(map[string]int), Listeners: make(map[string]socket.ListenerLimits),
	}
	for name, own := range c.Listeners {
		var s socket.ListenerLimits
		if own.MaxConnections >= 0 {
			s.MaxConnections = socketLimit(own.MaxConnections)
		}
		if own.MaxCreationRate >= 0 {
			s.Rate = socketLimit(own.MaxCreationRate)
		}
		l.Listeners[name] = s
	}
	var missing error
	for host, n := range c.MaxConnectionsPerIPOverrides {
		addrs, err := addresses(ctx, host)
		if err != nil {
			missing = fmt.Errorf("max.connections.per.ip.overrides: %w", err)
			continue
		}
		for _, a := range addrs {
			l.MaxPerIPOverrides[a] = n
		}
	}
	return l, missing
}

// addresses are those of a host, as socket.Conn.RemoteHost writes them.
func addresses(ctx context.Context, host string) ([]string, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []string{plain(ip)}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(ips))
	for i, ip := range ips {
		out[i] = plain(ip)
	}
	return out, nil
}

func plain(ip netip.Addr) string { return ip.Unmap().WithZone("").String() }

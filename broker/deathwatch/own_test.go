package deathwatch

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"barnabas/zkpaths"
)

func TestOwns(t *testing.T) {
	h := Host{
		Lookup: func(_ context.Context, name string) ([]netip.Addr, error) {
			switch name {
			case "me":
				return []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80::1%eth0")}, nil
			case "balancer":
				return []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.9")}, nil
			}
			return nil, errors.New("no such host")
		},
		Interfaces: func() ([]net.Addr, error) {
			return []net.Addr{&net.IPNet{IP: net.IPv4(127, 0, 0, 1)}, &net.IPNet{IP: net.IPv4(10, 0, 0, 1)}, &net.IPNet{IP: net.ParseIP("fe80::1")}}, nil
		},
	}
	bound := func(listener string) net.Addr {
		switch listener {
		case "A":
			return &net.TCPAddr{Port: 9092}
		case "B":
			return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 9093}
		}
		return nil
	}
	for _, c := range []struct {
		name string
		ends []string // listener host port
		want string   // in the error; "" for none
	}{
		{"own name and port", []string{"A me 9092"}, ""},
		{"loopback", []string{"A 127.0.0.1 9092"}, ""},
		{"all of two", []string{"A me 9092", "B 10.0.0.1 9093"}, ""},
		{"a forwarded port", []string{"A me 19092"}, "19092 is advertised"},
		{"another host", []string{"A 192.0.2.7 9092"}, "192.0.2.7 is not an address of this host"},
		{"a name with another host's address", []string{"A balancer 9092"}, "10.0.0.9 is not an address"},
		{"one of two", []string{"A me 9092", "B 192.0.2.7 9093"}, "192.0.2.7"},
		{"an unknown name", []string{"A nowhere 9092"}, "no such host"},
		{"a listener that is not bound", []string{"C me 9092"}, "9092 is advertised"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var list []zkpaths.Endpoint
			for _, e := range c.ends {
				f := strings.Fields(e)
				p, err := zkpaths.ParseEndpoint(f[0] + "://" + net.JoinHostPort(f[1], f[2]))
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, p)
			}
			err := h.Owns(t.Context(), list, bound)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

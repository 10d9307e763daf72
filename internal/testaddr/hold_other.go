//go:build !linux

package testaddr

import "net"

// hold finds a port that is free now; other systems do not share a bound one.
func hold() (addr string, release func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	return l.Addr().String(), func() {}, l.Close()
}

package testaddr

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

// A reserved address refuses, is listened on, again and again, and is given to no
// other meanwhile.
func TestReserve(t *testing.T) {
	addr := Reserve(t)
	for range 3 {
		if c, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("nobody listens: %v, %v", c, err)
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		in, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		// The end that closes first is remembered by the system for a while.
		in.Close()
		c.Close()
		l.Close()
	}
	// An outgoing connection may not have it, as it could if it were only free.
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	local, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := (&net.Dialer{LocalAddr: local}).Dial("tcp", other.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a connection from there: %v, %v", c, err)
	}
}

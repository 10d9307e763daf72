package peer

import (
	"net"
	"runtime"
	"testing"
	"time"
)

// The end of a link is known before anybody reads, however it ends, and looking
// neither hides it from who reads nor allocates.
func TestLinkOver(t *testing.T) {
	for name, end := range map[string]func(*net.TCPConn) error{
		"FIN": (*net.TCPConn).Close,
		"RST": func(c *net.TCPConn) error {
			if err := c.SetLinger(0); err != nil {
				return err
			}
			return c.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			p := New(Options{DialTimeout: time.Minute})
			defer p.Close()
			_, link := p.Probe(t.Context(), []string{ln.Addr().String()})
			if link == nil {
				t.Fatal("no link")
			}
			defer link.Close()
			other, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if link.Over() {
				t.Fatal("over at once")
			}
			if n := testing.AllocsPerRun(100, func() { link.Over() }); n > 0 {
				t.Errorf("%v allocations", n)
			}
			if err := end(other.(*net.TCPConn)); err != nil {
				t.Fatal(err)
			}
			for late := time.After(time.Minute); !link.Over(); runtime.Gosched() {
				select {
				case <-late:
					t.Fatal("its end is not seen")
				default:
				}
			}
			if !link.Wait() {
				t.Error("it was not ended by the other side")
			}
			if link.Over() {
				t.Error("a closed one is over")
			}
		})
	}
}

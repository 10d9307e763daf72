//go:build integration

package integration

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"barnabas/internal/zktest"
)

// proxy is a TCP relay to one address whose directions can be cut: bytes are
// then swallowed, as by a network that drops packets.
type proxy struct {
	target string
	l      net.Listener
	wg     sync.WaitGroup

	mu     sync.Mutex // guards the following
	moved  *sync.Cond
	up     bool // client to target flows
	down   bool // target to client flows
	refuse bool // new connections are closed at once
	conns  map[net.Conn]bool
}

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{target: target, l: l, up: true, down: true, conns: map[net.Conn]bool{}}
	p.moved = sync.NewCond(&p.mu)
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.set(true, true)
		p.drop()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.l.Addr().String() }

// set lets the directions flow, or holds their bytes back.
func (p *proxy) set(up, down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.up, p.down = up, down
	p.moved.Broadcast()
}

// drop closes all connections, by RST.
func (p *proxy) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
}

func (p *proxy) accept() {
	for {
		in, err := p.l.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() {
			defer in.Close()
			out, err := net.DialTimeout("tcp", p.target, time.Second)
			if err != nil {
				return
			}
			defer out.Close()
			p.mu.Lock()
			p.conns[in], p.conns[out] = true, true
			p.mu.Unlock()
			var both sync.WaitGroup
			both.Go(func() { p.relay(out, in, &p.up) })
			both.Go(func() { p.relay(in, out, &p.down) })
			both.Wait()
			p.mu.Lock()
			delete(p.conns, in)
			delete(p.conns, out)
			p.mu.Unlock()
		})
	}
}

// relay copies while flows says so; it closes both at the end of one.
func (p *proxy) relay(to, from net.Conn, flows *bool) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		p.mu.Lock()
		for !*flows {
			p.moved.Wait()
		}
		p.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if err != io.EOF {
				return
			}
			return
		}
	}
}

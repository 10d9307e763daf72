package peer

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"barnabas/internal/testaddr"
)

func TestProbe(t *testing.T) {
	open := listen(t, metadata)
	refusing := testaddr.Reserve(t)
	const silent = "silent:1" // as a host without power
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr == silent {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	for _, c := range []struct {
		name  string
		addrs []string
		want  Dialing
		link  bool
	}{
		{"answers", []string{open.Addr().String()}, Connected, true},
		{"refuses", []string{refusing}, Refused, false},
		{"all refuse", []string{refusing, refusing}, Refused, false},
		{"silent", []string{silent}, Silent, false},
		{"one is silent", []string{refusing, silent}, Silent, false},
		{"the second answers", []string{refusing, open.Addr().String()}, Connected, false},
		{"the first answers", []string{open.Addr().String(), refusing}, Connected, true},
		{"no address", nil, Silent, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			timeout := time.Minute
			if slices.Contains(c.addrs, silent) {
				timeout = 100 * time.Millisecond
			}
			p := New(Options{DialTimeout: timeout, Dial: dial})
			defer p.Close()
			got, link := p.Probe(t.Context(), c.addrs)
			if got != c.want || (link != nil) != c.link {
				t.Errorf("got %d and a link %v, want %d and %v", got, link != nil, c.want, c.link)
			}
			if link != nil {
				link.Close()
			}
		})
	}
}

// A process that has no time to accept connections is alive: the system does not
// refuse them for it.
func TestAFullAcceptQueueIsNoRefusal(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0) // with SOCK_CLOEXEC it is Linux's
	if err != nil {
		t.Fatal(err)
	}
	unix.CloseOnExec(fd)
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(bound.(*unix.SockaddrInet4).Port))
	for i := 0; ; i++ { // until nobody is let in any more
		if i == 100 {
			t.Fatal("a queue of no length takes a hundred connections")
		}
		conn, err := net.DialTimeout("tcp", addr, 300*time.Millisecond)
		if err != nil {
			break
		}
		defer conn.Close()
	}
	p := New(Options{DialTimeout: 300 * time.Millisecond})
	defer p.Close()
	for range 3 {
		if got, link := p.Probe(t.Context(), []string{addr}); got != Silent || link != nil {
			t.Fatalf("got %d and %v, want silence", got, link)
		}
	}
}

func TestALinkTellsWhoEndedIt(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(l *Link, theirs *net.TCPConn)
		want bool
	}{
		{"FIN", func(_ *Link, theirs *net.TCPConn) { theirs.Close() }, true},
		{"RST", func(_ *Link, theirs *net.TCPConn) { theirs.SetLinger(0); theirs.Close() }, true},
		{"our close", func(l *Link, _ *net.TCPConn) { l.Close() }, false},
		{"a deadline", func(l *Link, _ *net.TCPConn) { l.conn.SetDeadline(time.Unix(1, 0)) }, false},
		{"what nobody asked for", func(_ *Link, theirs *net.TCPConn) { theirs.Write([]byte("hello")); theirs.Close() }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			p := New(Options{})
			defer p.Close()
			_, link := p.Probe(t.Context(), []string{ln.Addr().String()})
			theirs, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer theirs.Close()
			ended := make(chan bool)
			go func() { ended <- link.Wait() }()
			c.end(link, theirs.(*net.TCPConn))
			if got := <-ended; got != c.want {
				t.Errorf("ended by its peer: %v", got)
			}
		})
	}
}

// broken is a connection that ends by an error.
type broken struct {
	net.Conn
	err error
}

func (b broken) Read([]byte) (int, error) { return 0, b.err }
func (b broken) Close() error             { return nil }

func TestATimeOutOfTheSystemIsNotThePeers(t *testing.T) {
	for _, err := range []error{syscall.ETIMEDOUT, syscall.EHOSTUNREACH, errors.New("anything else")} {
		l := &Link{conn: broken{err: &net.OpError{Op: "read", Err: err}}}
		if l.Wait() {
			t.Errorf("%v was taken for an end by the other side", err)
		}
	}
}

// TestALinkKeepsAlive: who rejects an idle link is heard of before long.
func TestALinkKeepsAlive(t *testing.T) {
	p := New(Options{DialTimeout: time.Minute, Dial: new(net.Dialer).DialContext})
	defer p.Close()
	_, link := p.Probe(t.Context(), []string{listen(t, metadata).Addr().String()})
	if link == nil {
		t.Fatal("no link")
	}
	defer link.Close()
	raw, err := link.conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var on, idle int
	var failed error
	err = raw.Control(func(fd uintptr) {
		var err1, err2 error
		on, err1 = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE)
		idle, err2 = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPINTVL)
		failed = errors.Join(err1, err2)
	})
	if err := errors.Join(err, failed); err != nil {
		t.Fatal(err)
	}
	if on == 0 || idle != 1 {
		t.Errorf("keep-alive %d, each %d s", on, idle)
	}
}

package socket

import (
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSilentPeersAreFound: the system probes connections that are silent, and
// gives up those that take nothing.
func TestSilentPeersAreFound(t *testing.T) {
	s := start(t, listening(Options{WriteTimeout: 7 * time.Second}, "A"), echo)
	c := dialTo(t, s, "A")
	ask(t, c, 1)
	var conn net.Conn
	s.mu.Lock()
	for c := range s.conns {
		conn = c.conn
	}
	s.mu.Unlock()
	get := func(level, option int) (n int) {
		err := control(conn.(syscall.Conn), func(fd int) (err error) {
			n, err = unix.GetsockoptInt(fd, level, option)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	got := fmt.Sprint(get(unix.SOL_SOCKET, unix.SO_KEEPALIVE), get(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE),
		get(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL), get(unix.IPPROTO_TCP, unix.TCP_KEEPCNT), get(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT))
	if want := "1 60 10 6 14000"; got != want {
		t.Errorf("keepalive, idle, interval, count, user timeout: %s, want %s", got, want)
	}
}

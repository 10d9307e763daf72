package socket

import (
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// setUserTimeout makes connections end whose peer does not take what was sent
// for so long, though nobody writes: keepalive does not look then. Accepted
// connections inherit it from their listening socket.
func setUserTimeout(ln net.Listener, d time.Duration) error {
	sc, ok := ln.(syscall.Conn)
	if !ok || d <= 0 {
		return nil
	}
	set := func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	}
	if err := control(sc, set); err != nil {
		return fmt.Errorf("user timeout: %w", err)
	}
	return nil
}

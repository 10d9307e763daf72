//go:build !linux

package frame

import "golang.org/x/sys/unix"

// ended sees an end only once all that came before it was read.
func ended(fd int, lacks int64) bool {
	var b [1]byte
	n, _, err := unix.Recvfrom(fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	switch err {
	case nil:
		return n == 0 && lacks > 0
	case unix.EAGAIN, unix.EINTR:
		return false
	}
	return true
}

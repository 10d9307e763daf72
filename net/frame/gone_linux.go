package frame

import "golang.org/x/sys/unix"

func ended(fd int, lacks int64) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	if n, err := unix.Poll(p, 0); err != nil || n == 0 {
		return false
	}
	switch got := p[0].Revents; {
	case got&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0:
		return true
	case got&unix.POLLRDHUP == 0 || lacks == 0:
		return false
	}
	here, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
	return err == nil && int64(here) < lacks
}

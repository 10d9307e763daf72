package testaddr

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// hold binds a socket that does not listen. The system gives its port to no other
// that asks for any, and lets those listen there that set SO_REUSEADDR as it does.
func hold() (addr string, release func(), err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", nil, os.NewSyscallError("socket", err)
	}
	fail := func(call string, err error) (string, func(), error) {
		unix.Close(fd)
		return "", nil, os.NewSyscallError(call, err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return fail("setsockopt", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return fail("bind", err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		return fail("getsockname", err)
	}
	return fmt.Sprintf("127.0.0.1:%d", at.(*unix.SockaddrInet4).Port), func() { unix.Close(fd) }, nil
}

package frame

import "golang.org/x/sys/unix"

const hasSendfile = true

func sendfile(to, from int, offset *int64, n int) (int, error) {
	return unix.Sendfile(to, from, offset, n)
}

// unsent gives the bytes that the system holds for a peer that has not acknowledged
// them.
func unsent(fd int) (n int, known bool) {
	n, err := unix.IoctlGetInt(fd, unix.TIOCOUTQ)
	return n, err == nil
}

package frame

import "golang.org/x/sys/unix"

const hasSendfile = true

func sendfile(to, from int, offset *int64, n int) (int, error) {
	return unix.Sendfile(to, from, offset, n)
}

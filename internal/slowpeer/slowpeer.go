// Package slowpeer is the other side of a connection in tests of what is sent to one
// that is slow.
package slowpeer

import (
	"io"
	"net"
	"time"
)

// Read reads little for six timeouts of the sender, much less than what makes a full
// socket writable again, and then all of size bytes.
func Read(c net.Conn, size int, timeout time.Duration) error {
	tick := time.NewTicker(timeout / 4)
	defer tick.Stop()
	in := make([]byte, 1<<20)
	for range 24 {
		<-tick.C
		n, err := io.ReadAtLeast(c, in[:32<<10], 1)
		if err != nil {
			return err
		}
		size -= n
	}
	for size > 0 {
		n, err := c.Read(in)
		if err != nil {
			return err
		}
		size -= n
	}
	return nil
}

package frame

import (
	"net"
	"syscall"
)

// Gone makes Peer.Gone for conn; nil if it has no descriptor. A client is gone if it
// has reset the connection, or has sent all that it ever will while something is
// lacking. What it still has to send when it ends is waited for by its system, which
// gives up after some minutes.
func Gone(conn net.Conn) func(lacks int64) bool {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return func(lacks int64) (gone bool) {
		err := raw.Control(func(fd uintptr) { gone = ended(int(fd), lacks) })
		return gone || err != nil // closed on our side
	}
}

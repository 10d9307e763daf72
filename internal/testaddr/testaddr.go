// Package testaddr gives tests loopback addresses that stay theirs while nobody
// listens there: before a program starts, and between its runs.
package testaddr

import "testing"

// Reserve gives an address, host:port, that nobody else on the machine is given
// until the test ends. Connections to it are refused until somebody listens, and
// whoever sets SO_REUSEADDR can, as often as it likes: listeners of Go and of
// ZooKeeper do.
//
// A port that was merely found free is anybody's again: programs that start at
// the same time get it, and so do outgoing connections, one to that very port
// among them, which is then connected with itself.
func Reserve(t testing.TB) string {
	t.Helper()
	addr, release, err := Hold()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return addr
}

// Hold is Reserve for as long as release has not been called.
func Hold() (addr string, release func(), err error) { return hold() }

// Package invariant checks what can only be false by a bug. In builds with the
// tag "invariants" and under the race detector (both are test builds) a broken
// invariant panics; elsewhere Check returns an error, and its caller takes the
// partition or directory offline, not the process.
package invariant

import "fmt"

// BrokenError tells of an invariant that did not hold.
type BrokenError struct{ What string }

func (e *BrokenError) Error() string { return "invariant broken: " + e.What }

// Check returns nil if ok. Otherwise it panics where Enabled, and returns a
// *BrokenError elsewhere. The arguments are formatted only on failure, but
// boxing them costs: on hot paths test first and call Check(false, …).
func Check(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	err := &BrokenError{What: fmt.Sprintf(format, args...)}
	if Enabled {
		panic(err)
	}
	return err
}

// Poison fills b with junk where Enabled, so that who reads a released buffer
// notices. Elsewhere it does nothing.
func Poison(b []byte) {
	if !Enabled {
		return
	}
	for i := range b {
		b[i] = 0xdb
	}
}

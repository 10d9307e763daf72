//go:build unix

package registration

import (
	"io/fs"
	"syscall"
)

// fileIdentity gives device and inode of a real file.
func fileIdentity(fi fs.FileInfo) (device, inode uint64, ok bool) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return uint64(st.Dev), uint64(st.Ino), true
}

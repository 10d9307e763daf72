//go:build !unix

package registration

import "io/fs"

// fileIdentity knows none here: stale registrations are waited for.
func fileIdentity(fs.FileInfo) (device, inode uint64, ok bool) { return 0, 0, false }

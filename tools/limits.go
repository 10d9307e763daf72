package tools

import (
	"log/slog"

	"golang.org/x/sys/unix"
)

// Open files from which there is no warning: for a broker among others, which
// holds about two for each segment that is read or written and one for each
// connection, and for one on a desk.
const (
	enoughFiles    = 65_536
	enoughDevFiles = 4_096
)

// checkFileLimit raises the limit of open files to what may be had, and warns
// when that is below enough.
func checkFileLimit(logger *slog.Logger, enough uint64) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return
	}
	if limit.Cur < limit.Max {
		raised := unix.Rlimit{Cur: limit.Max, Max: limit.Max}
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil {
			limit = raised
		}
	}
	if uint64(limit.Cur) < enough { // signed on some systems
		logger.Warn("few files may be open; a broker needs some for each partition and one for each connection. Raise it by ulimit -n or LimitNOFILE in the systemd unit",
			"allowed", limit.Cur, "advised", enough)
	}
}

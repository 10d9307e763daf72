package broker

import (
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxQueuedBytes is how much memory requests may take that arrive or are not
// answered yet. Without a setting it is an eighth of what the process may use,
// at most 256 MiB; more would only make them wait in memory instead of at their
// clients.
func maxQueuedBytes(configured int64) int64 {
	const most = 256 << 20
	if configured > 0 {
		return configured
	}
	if limit := memoryLimit("/"); limit > 0 {
		return min(limit/8, most)
	}
	return most
}

// memoryLimit is the memory of this machine, or of the control group (version 2
// or 1) that the process is in, if that has less; 0 if it is unknown. root is
// where /proc and /sys are found.
func memoryLimit(root string) int64 {
	limit := int64(0)
	take := func(n int64) {
		if n > 0 && (limit == 0 || n < limit) {
			limit = n
		}
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err == nil {
		take(int64(info.Totalram) * int64(info.Unit))
	}
	groups, err := os.ReadFile(path.Join(root, "proc/self/cgroup"))
	if err != nil {
		return limit
	}
	for line := range strings.Lines(string(groups)) {
		// id:controllers:path
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		base, file := "sys/fs/cgroup", "memory.max"
		if parts[1] == "memory" {
			base, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		} else if parts[1] != "" {
			continue
		}
		// A container sees its own group as the root, whatever its path says.
		for dir := path.Clean("/" + parts[2]); ; dir = path.Dir(dir) {
			if b, err := os.ReadFile(path.Join(root, base, dir, file)); err == nil {
				if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil { // not "max"
					take(n)
				}
			}
			if dir == "/" {
				break
			}
		}
	}
	return limit
}

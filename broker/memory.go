package broker

import (
	"context"
	"os"
	"path"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"barnabas/log/batch"
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

// groupBytes is how much of what members of groups sent may be kept, beyond 64 KiB
// of each.
func groupBytes() int64 { return maxQueuedBytes(-1) / 4 }

// leastRest is the least that is granted for all that is not bounded by itself.
const leastRest = 96 << 20

// softLimit is how much memory the process is to have, garbage included. Left to
// itself, Go's collector lets garbage become as much as what is in use, which
// doubles what a flood of requests takes. So what is bounded by itself (bounds, of
// which leased bytes are in use) gets its bound and nothing on top, and the rest of
// the heap in use two and a half times its size: that is no stricter than without a
// limit. It is at most nine tenths of the machine or its control group, if that is
// known, so that the process is not killed for garbage. All in bytes.
func softLimit(machine, bounds, leased, heap int64) int64 {
	limit := bounds + max(leastRest, 5*max(heap-leased, 0)/2)
	if machine > 0 {
		limit = min(limit, machine/10*9)
	}
	return limit
}

// limitMemory keeps the process's soft limit of memory at softLimit, until ctx ends.
func (b *Broker) limitMemory(ctx context.Context) error {
	machine := memoryLimit("/")
	bounds := b.server.Memory().Limit + b.server.Work().Limit + groupBytes() + int64(batch.MaxOpen)
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for set := int64(0); ; {
		metrics.Read(sample)
		leased := b.server.Memory().Used + b.server.Work().Used
		limit := softLimit(machine, bounds, leased, int64(sample[0].Value.Uint64()))
		if limit-set > set/16 || set-limit > set/16 {
			debug.SetMemoryLimit(limit)
			set = limit
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
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

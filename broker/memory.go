package broker

import (
	"context"
	"os"
	"path"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"time"

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

// maxOpenBatch is the most that a batch may be opened to, of a machine's memory: an
// eighth of it if that is less than usual, since two of the largest must have room.
func maxOpenBatch(machine int64) int {
	const least = 16 << 20
	if machine <= 0 {
		return batch.MaxOpen
	}
	return int(min(max(machine/8, least), batch.MaxOpen))
}

// leastRest is the least that is granted for all that is not bounded by itself.
const leastRest = 96 << 20

// softLimit is how much memory the process is to have, garbage included. Left to
// itself, Go's collector lets garbage become as much as what is in use, which
// doubles what a flood of requests takes. So what is bounded by itself gets its bound
// and nothing on top, and the rest of the heap in use two and a half times its size:
// that is no stricter than without a limit. What is in use (heap) has an eighth more at
// least, so that the collector finds something. It is at most nine tenths of the machine
// or its control group, if that is known, so that the process is not killed for garbage.
// All in bytes.
func softLimit(machine, bounds, rest, heap int64) int64 {
	limit := max(bounds+max(leastRest, 5*rest/2), heap/8*9)
	if machine > 0 {
		limit = min(limit, machine/10*9)
	}
	return limit
}

// restCycles is of how many collections the smallest rest counts.
const restCycles = 3

// rest finds out how much of the heap in use is not bounded by itself. That is known
// after a collection, with what was made while it ran, which in a flood is much; so it
// is learnt from collections while at most half of the bounds is taken.
type rest struct {
	known int64
	last  [restCycles]int64
	n     int // in last
	cycle uint64
	calm  bool // when it was looked last
}

// of takes the number of collections, the heap in use after the last one, and how much
// is taken of all bounds together.
func (r *rest) of(cycle uint64, heap, taken, bounds int64) int64 {
	was := r.calm
	if r.calm = taken <= bounds/2; !r.calm {
		r.n = 0
	}
	if cycle != r.cycle && r.calm && was {
		r.last[r.n%restCycles] = max(heap-taken, 0)
		if r.n++; r.n >= restCycles {
			r.known = slices.Min(r.last[:])
		}
	}
	r.cycle = cycle
	return r.known
}

// limitMemory keeps the process's soft limit of memory at softLimit, until ctx ends.
func (b *Broker) limitMemory(ctx context.Context) error {
	machine := memoryLimit("/")
	_, openLimit := b.codecs.Room()
	bounds := b.server.Memory().Limit + b.server.Work().Limit + groupBytes() + openLimit
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/cycles/total:gc-cycles"}}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var r rest
	for set := int64(0); ; {
		metrics.Read(sample)
		open, _ := b.codecs.Room()
		taken := b.server.Memory().Used + b.server.Work().Used + b.api.GroupBytes() + open
		heap := int64(sample[0].Value.Uint64())
		limit := softLimit(machine, bounds, r.of(sample[1].Value.Uint64(), heap, taken, bounds), heap)
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
	take(machineMemory())
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

package broker

import (
	"os"
	"path/filepath"
	"testing"

	"barnabas/log/batch"
)

func TestMemoryLimit(t *testing.T) {
	machine := memoryLimit(t.TempDir())
	if machine <= 0 {
		t.Fatalf("this machine has %d bytes", machine)
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"version 2, in a container", map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "67108864\n"}, 64 << 20},
		{"version 2, the parent has less", map[string]string{
			"proc/self/cgroup":                   "0::/a/b\n",
			"sys/fs/cgroup/a/b/memory.max":       "max\n",
			"sys/fs/cgroup/a/memory.max":         "33554432\n",
			"sys/fs/cgroup/system/b/memory.max":  "1\n",
			"sys/fs/cgroup/a/b/memory.high":      "2\n",
			"sys/fs/cgroup/a/b/c/memory.max":     "3\n",
			"sys/fs/cgroup/memory/memory.limit":  "4\n",
			"sys/fs/cgroup/cpu/a/b/memory.max":   "5\n",
			"sys/fs/cgroup/memory/a/b/memory.ma": "6\n"}, 32 << 20},
		{"version 1", map[string]string{
			"proc/self/cgroup":                           "5:cpu,cpuacct:/x\n4:memory:/docker/1\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "134217728\n"}, 128 << 20},
		{"no limit", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, machine},
		{"garbage", map[string]string{"proc/self/cgroup": "0\n::\n\n", "sys/fs/cgroup/memory.max": "-7\n"}, machine},
	} {
		root := t.TempDir()
		for name, content := range c.files {
			file := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := memoryLimit(root); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	if got := maxQueuedBytes(77); got != 77 {
		t.Errorf("configured: %d", got)
	}
	if got := maxQueuedBytes(-1); got <= 0 || got > 256<<20 {
		t.Errorf("default: %d", got)
	}
}

func TestSoftLimit(t *testing.T) {
	const mb = 1 << 20
	for _, c := range []struct{ machine, bounds, rest, heap, want int64 }{
		{0, 700, 0, 0, 700 + 96},
		{0, 700, 10, 600, 700 + 96},
		{0, 700, 400, 500, 700 + 1000}, // much that the broker keeps
		{0, 700, 10, 800, 900},         // and that is not known yet
		{1000, 700, 400, 500, 900},     // in a small machine
		{1000, 100, 10, 20, 196},
	} {
		if got := softLimit(c.machine*mb, c.bounds*mb, c.rest*mb, c.heap*mb) / mb; got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

// TestRest: what is in the bounds, or was when the collector looked, is not taken for
// what the broker keeps; that is found after some collections.
func TestRest(t *testing.T) {
	var r rest
	for i, c := range []struct {
		cycle             uint64
		heap, taken, want int64
	}{
		{1, 20, 0, 0},
		{2, 20, 0, 0}, {3, 30, 10, 0}, {3, 30, 10, 0}, {4, 25, 0, 20}, // known
		{5, 600, 590, 20}, {6, 900, 600, 20}, {7, 900, 400, 20}, // a flood
		{7, 900, 0, 20}, {7, 900, 0, 20}, // over, and nothing was collected since
		{8, 500, 100, 20}, {9, 450, 10, 20}, {10, 480, 0, 400},
		{11, 30, 0, 30},
	} {
		if got := r.of(c.cycle, c.heap, c.taken, 700); got != c.want {
			t.Errorf("%d: %d, want %d", i, got, c.want)
		}
	}
	for machine, want := range map[int64]int{0: batch.MaxOpen, 8 << 30: batch.MaxOpen, 512 << 20: 64 << 20, 32 << 20: 16 << 20} {
		if got := maxOpenBatch(machine); got != want {
			t.Errorf("a machine of %d: %d", machine, got)
		}
	}
}

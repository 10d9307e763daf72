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
	for _, c := range []struct{ machine, bounds, rest, want int64 }{
		{0, 700, 0, 700 + 96},
		{0, 700, 10, 700 + 96},
		{0, 700, 400, 700 + 1000}, // much that the broker keeps
		{1000, 700, 400, 900},     // in a small machine
		{1000, 100, 10, 196},
	} {
		if got := softLimit(c.machine*mb, c.bounds*mb, c.rest*mb) / mb; got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
}

// TestRest: in a flood, what is bounded by itself is not taken for what the broker
// keeps, though both are not known of the same moment; what it does keep is found.
func TestRest(t *testing.T) {
	var r rest
	for i, c := range []struct{ heap, taken, want int64 }{
		{20, 0, 20},
		{600, 0, 20}, // a flood that was over when it was looked
		{600, 590, 10},
		{900, 300, 200}, // more than all bounds
		{400, 300, 10},
	} {
		if got := r.of(c.heap, c.taken, 700); got != c.want {
			t.Errorf("%d: %d, want %d", i, got, c.want)
		}
	}
	got := int64(0)
	for range restWindow {
		got = r.of(500, 100, 700)
	}
	if got != 400 {
		t.Errorf("what is kept for long: %d", got)
	}
	for machine, want := range map[int64]int{0: batch.MaxOpen, 8 << 30: batch.MaxOpen, 512 << 20: 64 << 20, 32 << 20: 16 << 20} {
		if got := maxOpenBatch(machine); got != want {
			t.Errorf("a machine of %d: %d", machine, got)
		}
	}
}

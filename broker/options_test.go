package broker

import (
	"runtime"
	"testing"
)

// TestPollers: a processor is left for everything else, and where nothing is
// configured brokers that share a process have none.
func TestPollers(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, c := range []struct {
		processors, configured int
		sole                   bool
		want                   int
	}{
		{1, -1, true, 0}, {2, -1, true, 1}, {3, -1, true, 1}, {8, -1, true, 4},
		{8, -1, false, 0}, {8, 0, true, 0}, {8, 3, true, 3}, {8, 3, false, 3}, {8, 64, true, 4}, {1, 1, true, 0},
	} {
		runtime.GOMAXPROCS(c.processors)
		if got := pollers(c.configured, c.sole); got != c.want {
			t.Errorf("%d processors, %d configured, sole %v: got %d, want %d", c.processors, c.configured, c.sole, got, c.want)
		}
	}
}

//go:build integration

package integration

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestRestartsWithoutATrace kills each of three brokers in turn with SIGKILL and
// starts it at once, under load: nobody waits for a session, nothing acknowledged
// is lost, doubled or moved. BARNABAS_RESTARTS sets the number of kills.
func TestRestartsWithoutATrace(t *testing.T) {
	kills := 6
	if n, err := strconv.Atoi(os.Getenv("BARNABAS_RESTARTS")); err == nil {
		kills = n
	}
	brokers := newCluster(t, 3, "min.insync.replicas=2", "replica.lag.time.max.ms=10000", "log.segment.bytes=65536")
	const topic, partitions = "restarts", 6
	l := replicated(t, brokers, topic, partitions)
	l.progress(t, 500, patience, "by all three")
	l.lap()
	var gaps, starts []time.Duration
	for i := range kills {
		b := brokers[i%len(brokers)]
		b.proc.Kill()
		began := time.Now()
		b.start()
		b.awaitReady(patience)
		starts = append(starts, time.Since(began))
		awaitInSync(t, brokers[(i+1)%len(brokers)], topic, 3)
		l.progress(t, 200, patience, "by all three")
		gaps = append(gaps, l.lap())
		if out := b.proc.Output(); strings.Contains(out, "waiting for the old session") {
			t.Errorf("restart %d waited for its old session:\n%s", i, out)
		}
	}
	slices.Sort(gaps)
	slices.Sort(starts)
	t.Logf("%d kills: gaps median %v, longest %v; starts median %v, longest %v", kills, gaps[kills/2].Round(time.Millisecond), gaps[kills-1].Round(time.Millisecond),
		starts[kills/2].Round(time.Millisecond), starts[kills-1].Round(time.Millisecond))
	l.end(t, brokers[0], topic, partitions)
	t.Logf("%d records acknowledged", l.count())
}

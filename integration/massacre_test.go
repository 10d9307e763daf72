//go:build integration

package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"barnabas/internal/zktest"
)

// TestKillsOfAll kills at random moments a broker, two, all three, ZooKeeper, or
// everything at once by SIGKILL, and starts them again at once or a little later,
// under load: nothing acknowledged is lost, doubled or moved. BARNABAS_KILLS sets
// the number of rounds.
func TestKillsOfAll(t *testing.T) {
	rounds := 6
	if n, err := strconv.Atoi(os.Getenv("BARNABAS_KILLS")); err == nil {
		rounds = n
	}
	own := zktest.NewOwn(t)
	connect := zktest.Chroot(t, own.Addr())
	var brokers []*broker
	for i := range 3 {
		b := prepareBroker(t, connect, fmt.Sprint("broker.id=", i+1), "min.insync.replicas=2", "zookeeper.session.timeout.ms=3000",
			"replica.lag.time.max.ms=5000", "log.segment.bytes=65536")
		b.start()
		brokers = append(brokers, b)
	}
	for _, b := range brokers {
		b.awaitReady(patience)
	}
	awaitEachOther(t, brokers)
	const topic, partitions = "massacre", 6
	l := replicated(t, brokers, topic, partitions)
	l.progress(t, 500, patience, "at first")
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	wait := func(most time.Duration) {
		timer := time.NewTimer(time.Duration(rng.Int64N(int64(most))))
		<-timer.C
	}
	gaps := map[string][]time.Duration{}
	for n := range rounds {
		victims, zoo := rng.Perm(3)[:rng.IntN(4)], rng.IntN(4) == 0
		if len(victims) == 0 {
			zoo = true
		}
		what := fmt.Sprintf("%d brokers", len(victims))
		if zoo {
			what += " and ZooKeeper"
			own.Kill()
		}
		l.lap()
		for _, i := range victims {
			brokers[i].proc.Kill()
		}
		if rng.IntN(2) == 0 { // else at once
			wait(time.Second)
		}
		for _, i := range victims {
			brokers[i].start()
		}
		if zoo {
			own.Restart()
		}
		l.progress(t, 100+rng.IntN(300), patience, fmt.Sprintf("after round %d, %s", n, what))
		gaps[what] = append(gaps[what], l.lap())
	}
	for _, b := range brokers {
		b.awaitReady(patience)
	}
	awaitInSync(t, brokers[0], topic, 3)
	for what, g := range gaps {
		slices.Sort(g)
		t.Logf("%2d times %-26s longest gap: median %.2f s, most %.2f s", len(g), what, g[len(g)/2].Seconds(), g[len(g)-1].Seconds())
	}
	l.end(t, brokers[0], topic, partitions)
	t.Logf("%d records acknowledged", l.count())
}

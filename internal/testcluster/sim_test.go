package testcluster

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestKill: a broker is killed while a producer works.
func TestKill(t *testing.T) {
	topic := Topic{Name: "t", Partitions: 2, Replication: 3, Configs: map[string]string{"min.insync.replicas": "2"}}
	Run(t, Scenario{
		Seed: 1, Brokers: 3, Topics: []Topic{topic},
		Producers: []Producer{{Name: "p1", Topic: topic, Acks: -1, Seed: 1, Pause: 50 * time.Millisecond}},
		Consumers: []Consumer{{Name: "c1", Topic: topic, Seed: 2}},
		Faults: func(ctx context.Context, c *Cluster, rng *rand.Rand) {
			pause(ctx, 5*time.Second)
			c.nodes[0].Kill()
			pause(ctx, 20*time.Second)
		},
	})
}

var (
	schedules = flag.Int("schedules", 6, "how many schedules of faults TestSchedules plays")
	whole     = flag.Bool("history", false, "print the whole history of each run, not only what led to a failure")
	hard      = flag.Bool("hard", false, "play hard schedules: directories that break, and hands in ZooKeeper, too")
	firstSeed = flag.Uint64("seed", 1, "the seed of the first")
)

// TestSchedules plays seeded schedules of faults, one after another on each core.
func TestSchedules(t *testing.T) {
	n := *schedules
	if testing.Short() {
		n = min(n, 4)
	}
	for i := range n {
		seed := *firstSeed + uint64(i)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			s := Schedule(seed, *hard)
			s.Whole = *whole
			Run(t, s)
		})
	}
}

// TestInFlight: several batches to a partition are under way at once, and all are
// answered.
func TestInFlight(t *testing.T) {
	topic := Topic{Name: "t", Partitions: 1, Replication: 3}
	Run(t, Scenario{
		Seed: 1, Brokers: 3, Topics: []Topic{topic},
		Producers: []Producer{{Name: "i1", Topic: topic, Acks: -1, Seed: 1, Pause: 50 * time.Millisecond, Idempotent: true, InFlight: 5}},
		Faults: func(ctx context.Context, c *Cluster, _ *rand.Rand) {
			before := c.history.promises()
			pause(ctx, 10*time.Second)
			if got := c.history.promises() - before; got < 500 {
				t.Errorf("%d records were acknowledged in 10 s, of more than 1000", got)
			}
		},
	})
}

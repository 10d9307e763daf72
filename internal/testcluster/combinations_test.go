package testcluster

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// fate is what befalls a broker.
type fate int

const (
	lives  fate = iota
	killed      // its process; the page cache survives
	dark        // its machine, with what was not synced
)

var allCombinations = flag.Bool("all-combinations", false, "play all 25 combinations of fates of three brokers, and half of what was not synced kept, not only the 8 that differ in more than in who is who")

// TestEveryCombinationOfCrashes: all that can befall three brokers at one moment, as
// long as one log survives that was in sync (coordination §7). Those who have lost
// something come back first, and must not lead by it. Each broker leads one of three
// partitions, so that a combination meets every part that a replica can have.
func TestEveryCombinationOfCrashes(t *testing.T) {
	keeps := []int{0}
	if *allCombinations {
		keeps = append(keeps, 50)
	}
	for _, keep := range keeps {
		t.Run(fmt.Sprintf("%d %% of what was not synced is kept", keep), func(t *testing.T) {
			danger(t, 3, func(ctx context.Context, c *Cluster) {
				seen := map[[3]int]bool{}
				for i := range 27 {
					of := []fate{fate(i % 3), fate(i / 3 % 3), fate(i / 9)}
					var n [3]int
					for _, f := range of {
						n[f]++
					}
					if n[lives] == 3 || n[dark] == 3 || seen[n] && !*allCombinations {
						continue
					}
					seen[n] = true
					c.strike(ctx, of, keep)
					if !c.heal() {
						return
					}
					pause(ctx, 3*time.Second)
				}
			})
		})
	}
}

// strike lets everybody's fate happen at once, and then lets them come back, those
// first who have lost something.
func (c *Cluster) strike(ctx context.Context, of []fate, keep int) {
	c.history.note("**", "fates of all (0 lives, 1 killed, 2 without power): %v", of)
	for i, f := range of {
		switch f {
		case killed:
			c.nodes[i].Kill()
		case dark:
			c.nodes[i].Crash(keep)
		}
	}
	pause(ctx, 3*time.Second)
	for i, f := range of {
		if f == dark {
			c.nodes[i].Boot()
			pause(ctx, 4*time.Second)
		}
	}
	pause(ctx, 10*time.Second) // sessions end, and nobody else is there
	for i, f := range of {
		if f == killed {
			c.nodes[i].Start()
			pause(ctx, 2*time.Second)
		}
	}
}

// TestAllMachinesCrash: no member of an ISR is whole. Those who come back are asked
// where their logs end, the absent one is waited for, but not for ever, and the
// longest log leads. What was synced before it was acknowledged is there.
func TestAllMachinesCrash(t *testing.T) {
	topic := Topic{Name: "synced", Partitions: 3, Replication: 3, Configs: map[string]string{"min.insync.replicas": "2", "flush.messages": "1"}}
	for name, absent := range map[string]time.Duration{"and come back": 10 * time.Second, "and one is away for long": 3 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			Run(t, Scenario{
				Whole: *whole, Brokers: 3, Topics: []Topic{topic}, Configs: map[string]string{"zookeeper.session.timeout.ms": "6000"},
				Producers: []Producer{{Name: "i1", Topic: topic, Acks: -1, Seed: 1, Pause: 50 * time.Millisecond, Idempotent: true}},
				Consumers: []Consumer{{Name: "c1", Topic: topic, Seed: 2}},
				Faults: func(ctx context.Context, c *Cluster, _ *rand.Rand) {
					pause(ctx, 5*time.Second)
					for _, n := range c.nodes {
						n.Crash(0)
					}
					pause(ctx, 10*time.Second)
					before := c.history.promises()
					for _, n := range c.nodes[:2] {
						n.Boot()
					}
					pause(ctx, absent)
					if absent > 2*time.Minute && c.history.promises() == before {
						t.Error("nothing was acknowledged while the third one was away for longer than it is waited for")
					}
					c.nodes[2].Boot()
					pause(ctx, 10*time.Second)
				},
			})
		})
	}
}

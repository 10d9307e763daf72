package testcluster

import (
	"context"
	"fmt"
	"testing"
	"time"

	"barnabas/internal/kafka"
)

// TestSlowZooKeeper: each word to and from ZooKeeper takes up to four tenths of a
// second. Sessions last, what is led is led on, and who is killed is replaced.
func TestSlowZooKeeper(t *testing.T) {
	danger(t, 3, func(ctx context.Context, c *Cluster) {
		slow := func(least, most time.Duration) {
			for _, n := range c.nodes {
				c.net.Delay(n.host, c.zkHost, least, most)
				c.net.Delay(c.zkHost, n.host, least, most)
			}
		}
		c.control(ctx, 0)
		slow(100*time.Millisecond, 400*time.Millisecond)
		pause(ctx, 5*time.Second)
		im, before := c.nodes[0].Image(), c.history.promises()
		pause(ctx, 20*time.Second)
		if got := c.history.promises() - before; got < 400 {
			t.Errorf("%d records were acknowledged in 20 seconds, of some 800", got)
		}
		c.nodes[1].Kill()
		elected, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if err := await(elected, "the death of broker 1, while ZooKeeper is slow", func() (bool, string) {
			for p, s := range c.nodes[0].Image().Topic("safe").Partitions {
				if s.Leader == 1 || s.Leader == kafka.NoBroker {
					return false, fmt.Sprintf("partition %d is led by %d", p, s.Leader)
				}
			}
			return true, ""
		}); err != nil {
			t.Error(err)
		}
		c.nodes[1].Start()
		again, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if err := await(again, "the start of broker 1, while ZooKeeper is slow", c.whole); err != nil {
			t.Error(err)
		}
		now := c.nodes[0].Image()
		for _, id := range []kafka.BrokerID{0, 2} {
			if a, b := im.Broker(id), now.Broker(id); a == nil || b == nil || a.Epoch != b.Epoch {
				t.Errorf("broker %d was registered as %+v, and is as %+v: its session did not last", id, a, b)
			}
		}
		slow(20*time.Microsecond, 500*time.Microsecond)
		pause(ctx, 5*time.Second)
	})
}

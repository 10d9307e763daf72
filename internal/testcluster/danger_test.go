package testcluster

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"barnabas/internal/kafka"
	"barnabas/zkpaths/session"
)

// danger plays a script on three brokers, with two producers and a consumer of a
// topic of so many replicas that needs two of them in sync.
func danger(t *testing.T, replicas int16, script func(ctx context.Context, c *Cluster)) {
	t.Helper()
	topic := Topic{Name: "safe", Partitions: 3, Replication: replicas, Configs: map[string]string{"min.insync.replicas": "2"}}
	Run(t, Scenario{
		Whole: *whole, Brokers: 3, Topics: []Topic{topic},
		Configs: map[string]string{"zookeeper.session.timeout.ms": "6000", "replica.lag.time.max.ms": "10000"},
		Producers: []Producer{
			{Name: "p1", Topic: topic, Acks: -1, Seed: 1, Pause: 50 * time.Millisecond},
			{Name: "i1", Topic: topic, Acks: -1, Seed: 2, Pause: 50 * time.Millisecond, Idempotent: true},
		},
		Consumers: []Consumer{{Name: "c1", Topic: topic, Seed: 3}},
		Faults: func(ctx context.Context, c *Cluster, _ *rand.Rand) {
			pause(ctx, 3*time.Second)
			script(ctx, c)
		},
	})
}

// apart cuts a node from ZooKeeper, or mends that.
func (n *Node) apart(cut bool) {
	set := n.c.net.Mend
	if cut {
		set = n.c.net.Cut
	}
	set(n.host, n.c.zkHost)
	set(n.c.zkHost, n.host)
}

// TestCrashedComesBackFirst: all sessions have ended while ZooKeeper was away, and
// the first to come back is a broker whose machine lost what it had not synced. It
// must not lead before the others are heard (coordination §7).
func TestCrashedComesBackFirst(t *testing.T) {
	for name, again := range map[string]bool{"once": false, "and its process dies too": true} {
		t.Run(name, func(t *testing.T) {
			danger(t, 3, func(ctx context.Context, c *Cluster) {
				for _, n := range c.nodes {
					n.apart(true)
				}
				pause(ctx, 10*time.Second) // sessions end
				b := c.nodes[0]
				b.Crash(0)
				pause(ctx, time.Second)
				b.apart(false)
				b.Boot()
				pause(ctx, 5*time.Second)
				if again {
					b.Kill()
					pause(ctx, 10*time.Second)
					b.Start()
					pause(ctx, 5*time.Second)
				}
				for _, n := range c.nodes[1:] {
					n.apart(false)
					pause(ctx, 3*time.Second)
				}
				pause(ctx, 20*time.Second)
			})
		})
	}
}

// TestLastMemberCrashed: a leader's machine loses its power, and before anybody knows
// the other member of the ISR dies and is put out of it. That one has what the last
// member of the ISR lost, and must be heard.
func TestLastMemberCrashed(t *testing.T) {
	danger(t, 2, func(ctx context.Context, c *Cluster) { // one partition is of 0 and 1
		c.control(ctx, 2)
		c.nodes[0].Crash(0)
		c.nodes[1].Kill()
		c.ExpireSession(1)
		pause(ctx, 10*time.Second)
		c.nodes[0].Boot()
		pause(ctx, 5*time.Second)
		c.nodes[1].Start()
		pause(ctx, 20*time.Second)
	})
}

// TestDiskFailsAtStart: the only log directory fails while the broker starts, be it
// before or while it waits for ZooKeeper. The process ends, and the next one works.
func TestDiskFailsAtStart(t *testing.T) {
	for name, away := range map[string]bool{"with ZooKeeper": false, "without ZooKeeper": true} {
		t.Run(name, func(t *testing.T) {
			danger(t, 3, func(ctx context.Context, c *Cluster) {
				b := c.nodes[0]
				b.Kill()
				b.apart(away)
				b.disk.failNextSync()
				b.Start()
				pause(ctx, 10*time.Second)
				b.apart(false)
				pause(ctx, 20*time.Second)
			})
		})
	}
}

// TestEditedBeforeAStart: a hand names another leader in a state, in the old epoch,
// while no controller lives to see it. All find it by a load, and nobody leads in the
// epoch of old (docs/decisions/reigns.md).
func TestEditedBeforeAStart(t *testing.T) {
	for range 3 { // who leads what is up to chance
		danger(t, 3, func(ctx context.Context, c *Cluster) { editedBeforeAStart(ctx, t, c) })
	}
}

func editedBeforeAStart(ctx context.Context, t *testing.T, c *Cluster) {
	c.control(ctx, 2)
	for _, n := range c.nodes {
		n.Kill()
	}
	one := func(others []kafka.BrokerID) kafka.BrokerID { return others[max(0, slices.Index(others, 1))] }
	err := c.zkCli(ctx, func(ctx context.Context, zk *session.Client) (err error) {
		for p := range int32(3) {
			_, e := editState(ctx, zk, kafka.TopicPartition{Topic: "safe", Partition: p}, true, false, one)
			err = errors.Join(err, e)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	c.edits("safe")
	for _, id := range []int{1, 2, 0} { // it registers anew before there is a controller
		c.nodes[id].Start()
		pause(ctx, 3*time.Second)
	}
	pause(ctx, 10*time.Second)
}

// TestFullWhenATopicIsMade: a replica whose log can't be made, since the disk is
// full, is made when there is room again, whatever happens to its broker in between:
// nothing of it can be lost (docs/decisions/missing-logs.md).
func TestFullWhenATopicIsMade(t *testing.T) {
	late := Topic{Name: "late", Partitions: 2, On: []int32{0}}
	for name, meanwhile := range map[string]func(ctx context.Context, c *Cluster){
		"and its session ends": func(_ context.Context, c *Cluster) { c.ExpireSession(0) },
		"and it is killed":     func(_ context.Context, c *Cluster) { c.nodes[0].Kill() },
		"and its machine is gone": func(ctx context.Context, c *Cluster) {
			c.nodes[0].Crash(0)
			pause(ctx, time.Second)
			c.nodes[0].Boot()
		},
	} {
		for again, before := range map[string]bool{"for the first time": false, "again": true} {
			t.Run(name+", "+again, func(t *testing.T) {
				danger(t, 3, func(ctx context.Context, c *Cluster) {
					k := c.newClient("admin", 1)
					defer k.close()
					if before {
						if err := k.createTopic(ctx, late); err != nil {
							t.Error(err)
						}
						pause(ctx, 70*time.Second) // checkpoints name it
					}
					c.control(ctx, 2)
					c.nodes[0].disk.setFull(true)
					if before {
						if err := k.deleteTopic(ctx, late.Name); err != nil {
							t.Error(err)
						}
						pause(ctx, 5*time.Second)
					}
					if err := k.createTopic(ctx, late); err != nil {
						t.Error(err)
					}
					pause(ctx, time.Second)
					meanwhile(ctx, c)
					pause(ctx, 10*time.Second)
					c.nodes[0].Start()
					pause(ctx, 10*time.Second)
					c.nodes[0].disk.setFull(false)
					pause(ctx, 10*time.Second)
				})
			})
		}
	}
}

// TestAnHourWithoutZooKeeper: what was led is led on, and acknowledged (coordination
// §8); afterwards everybody registers anew and all is well.
func TestAnHourWithoutZooKeeper(t *testing.T) {
	topic := Topic{Name: "safe", Partitions: 2, Replication: 3, Configs: map[string]string{"min.insync.replicas": "2"}}
	Run(t, Scenario{
		Whole: *whole, Brokers: 3, Topics: []Topic{topic}, Configs: map[string]string{"zookeeper.session.timeout.ms": "6000"},
		Producers: []Producer{{Name: "i1", Topic: topic, Acks: -1, Seed: 1, Pause: 5 * time.Second, Idempotent: true}},
		Faults: func(ctx context.Context, c *Cluster, _ *rand.Rand) {
			pause(ctx, 20*time.Second)
			for _, n := range c.nodes {
				n.apart(true)
			}
			pause(ctx, time.Minute)
			before := c.history.promises()
			pause(ctx, time.Hour)
			if got := c.history.promises() - before; got < 500 {
				t.Errorf("%d records were acknowledged in an hour, of some 1800", got)
			}
			for _, n := range c.nodes {
				n.apart(false)
			}
		},
	})
}

// control lets a broker be the controller, by ending the sessions of others, and
// waits until all is whole.
func (c *Cluster) control(ctx context.Context, id kafka.BrokerID) {
	for {
		if now := c.nodes[id].Image().LiveController(); now == id {
			return
		} else if now != kafka.NoBroker {
			c.ExpireSession(now)
		}
		pause(ctx, 5*time.Second)
	}
}

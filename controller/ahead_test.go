package controller_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"

	"barnabas/cluster"
	"barnabas/controller"
	"barnabas/internal/kafka"
	"barnabas/internal/zktest"
	"barnabas/zkpaths"
)

// cutter dials ZooKeeper and may end a connection at a large request: what the
// server did then is not known.
type cutter struct {
	mu sync.Mutex // guards following
	// after is how many large requests go through before; negative: all.
	after int
	// sent: the request is sent whole before the connection ends, else by half.
	sent bool
	cuts int
}

func (c *cutter) arm(after int, sent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.after, c.sent = after, sent
}

func (c *cutter) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &cutConn{conn, c}, nil
}

type cutConn struct {
	net.Conn
	c *cutter
}

func (c *cutConn) Write(b []byte) (int, error) {
	const large = 64 << 10
	if len(b) < large {
		return c.Conn.Write(b)
	}
	c.c.mu.Lock()
	cut, sent := c.c.after == 0, c.c.sent
	if c.c.after >= 0 {
		c.c.after--
	}
	if cut {
		c.c.cuts++
	}
	c.c.mu.Unlock()
	if !cut {
		return c.Conn.Write(b)
	}
	if !sent {
		b = b[:len(b)/2]
	}
	n, err := c.Conn.Write(b)
	c.Conn.(*net.TCPConn).CloseWrite() // what was written arrives
	c.Conn.Close()
	return n, err
}

// Where the changes of one death need several transactions these are under way at
// the same time. Each state is written once, whatever becomes of the connection,
// and what a hand edited under us is repaired without holding up the others.
func TestTransactionsUnderWay(t *testing.T) {
	const topics, each = 4, 500 // three transactions
	for _, test := range []struct {
		name string
		fail func(n *node, c *cutter)
		cut  bool
	}{
		{"nothing fails", func(*node, *cutter) {}, false},
		{"the first is lost, done or not", func(_ *node, c *cutter) { c.arm(0, true) }, true},
		{"the third is lost, done or not", func(_ *node, c *cutter) { c.arm(2, true) }, true},
		{"the second does not arrive", func(_ *node, c *cutter) { c.arm(1, false) }, true},
		{"hands", func(n *node, c *cutter) {
			for _, topic := range []string{"t0", "t2", "t3"} {
				hand := zkpaths.State{Leader: 2, LeaderEpoch: 0, ISR: []kafka.BrokerID{2, 1}, ControllerEpoch: 1}
				path := zkpaths.StatePath(kafka.TopicPartition{Topic: topic, Partition: 200})
				if _, err := n.zk.Set(n.t.Context(), path, hand.Encode(), -1); err != nil {
					n.t.Fatal(err)
				}
			}
		}, false},
		{"hands, and one is lost", func(n *node, c *cutter) {
			path := zkpaths.StatePath(kafka.TopicPartition{Topic: "t1", Partition: 200})
			hand := zkpaths.State{Leader: 2, LeaderEpoch: 0, ISR: []kafka.BrokerID{2, 1}, ControllerEpoch: 1}
			if _, err := n.zk.Set(n.t.Context(), path, hand.Encode(), -1); err != nil {
				n.t.Fatal(err)
			}
			c.arm(1, true)
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			zktest.Both(t, func(t *testing.T, connect string) {
				c := &cutter{after: -1}
				still := func(o *controller.Options) { o.ScrubRest = 1 << 40 } // only a conflict finds what hands do
				one := startNodeOver(t, c.dial, connect, 1, still)
				one.awaitReign()
				two := startNode(t, connect, 2)
				one.await("both", func(im *cluster.Image) bool { return im.Alive(1) && im.Alive(2) })
				for i := range topics {
					nt := cluster.NewTopic{Name: fmt.Sprint("t", i)}
					for range each {
						nt.Assignment = append(nt.Assignment, []kafka.BrokerID{2, 1})
					}
					one.create(nt)
				}
				three := startNode(t, connect, 3)
				three.await("the topics", led("t3", each))
				test.fail(one, c)
				two.stop()
				allLed := func(im *cluster.Image) bool {
					for topic := range im.Topics() {
						for _, p := range topic.Partitions {
							if p.Leader != 1 {
								return false
							}
						}
					}
					return im.TopicCount() == topics && !im.Alive(2)
				}
				for _, n := range []*node{one, three} {
					im := n.await("1 leads all", allLed)
					for topic := range im.Topics() {
						for i, p := range topic.Partitions {
							if p.LeaderEpoch != 1 && p.PartitionEpoch < 2 || len(p.ISR) != 1 {
								t.Fatalf("broker %d: %s-%d is %+v", n.id, topic.Name, i, p)
							}
						}
					}
					sameAsLoaded(t, n)
				}
				c.mu.Lock()
				cuts := c.cuts
				c.mu.Unlock()
				if (cuts > 0) != test.cut {
					t.Errorf("%d connections were cut", cuts)
				}
				if names, _, err := one.zk.Children(t.Context(), zkpaths.MetadataChanges); err != nil || len(names) > 60 {
					t.Errorf("%d entries, %v", len(names), err)
				}
			})
		})
	}
}

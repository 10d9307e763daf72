package testcluster

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"barnabas/internal/kafka"
	"barnabas/internal/memnet"
	"barnabas/zkpaths"
	"barnabas/zkpaths/devzk"
)

// Addresses of the network.
const (
	zkIP     = "10.0.1.1"
	clientIP = "10.0.2.1"
	port     = "9092"
)

// Options of a Cluster.
type Options struct {
	Brokers int
	// Dirs is how many log directories each broker has; 0 is one.
	Dirs int
	// Configs are of all brokers, by Kafka's names.
	Configs map[string]string
	Rand    *rand.Rand
	History *History
}

// Cluster is a ZooKeeper and some brokers, in a bubble.
type Cluster struct {
	o       Options
	history *History
	net     *memnet.Network
	zkHost  *memnet.Host
	zk      *devzk.Server
	clients *memnet.Process
	nodes   []*Node
	running sync.WaitGroup // everything of brokers, dead ones too

	mu sync.Mutex // guards following
	// edited are topics that hands have changed in ZooKeeper: until the controller
	// has looked, who has read the znodes knows more than others.
	edited map[string]bool
	// sizes are the partitions that topics have by now, where they were given more.
	sizes map[string]int32
}

// size is how many partitions a topic has.
func (c *Cluster) size(t Topic) int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(t.Partitions, c.sizes[t.Name])
}

// grown notes that a topic has more partitions.
func (c *Cluster) grown(topic string, partitions int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sizes[topic] = max(c.sizes[topic], partitions)
}

// edits notes that a hand is about to change a topic in ZooKeeper.
func (c *Cluster) edits(topic string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.edited[topic] = true
}

// New starts a ZooKeeper. Nothing else runs yet.
func New(o Options) (*Cluster, error) {
	c := &Cluster{o: o, history: o.History, net: memnet.New(o.Rand), edited: map[string]bool{}, sizes: map[string]int32{}}
	c.zkHost = c.net.Host(zkIP)
	c.clients = c.net.Host(clientIP).Process()
	l, err := c.zkHost.Process().Listen("tcp", zkIP+":2181")
	if err != nil {
		return nil, err
	}
	c.zk, err = devzk.Start(devzk.Options{
		Listener: l, Tick: 200 * time.Millisecond, MinSessionTimeout: time.Second, MaxSessionTimeout: time.Minute,
		Logger: slog.New(&logHandler{h: o.History, who: "zk"}),
	})
	if err != nil {
		return nil, err
	}
	for id := range o.Brokers {
		c.nodes = append(c.nodes, newNode(c, kafka.BrokerID(id)))
	}
	hosts := c.hosts()
	for _, a := range hosts {
		for _, b := range hosts {
			if a != b {
				c.net.Delay(a, b, 20*time.Microsecond, 500*time.Microsecond)
			}
		}
	}
	return c, nil
}

// hosts are all machines: brokers', ZooKeeper's, and the clients'.
func (c *Cluster) hosts() []*memnet.Host {
	hosts := []*memnet.Host{c.zkHost, c.net.Host(clientIP)}
	for _, n := range c.nodes {
		hosts = append(hosts, n.host)
	}
	return hosts
}

// Close kills everything and returns when all is quiet.
func (c *Cluster) Close() {
	c.clients.Kill()
	for _, n := range c.nodes {
		n.Kill()
	}
	_ = c.zk.Close() // in memory
	c.running.Wait()
}

// addrs are the brokers' addresses.
func (c *Cluster) addrs() []string {
	var list []string
	for _, n := range c.nodes {
		list = append(list, n.addr())
	}
	return list
}

// ExpireSession ends a broker's session with ZooKeeper, as if it had been silent,
// and reports whether it had one.
func (c *Cluster) ExpireSession(id kafka.BrokerID) bool {
	own := zkpaths.BrokerPath(id)
	for _, s := range c.zk.Sessions() {
		if slices.Contains(s.Ephemerals, own) {
			return c.zk.ExpireSession(s.ID)
		}
	}
	return false
}

// await waits until cond is true; it looks every 100 ms.
func await(ctx context.Context, what string, cond func() (bool, string)) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, state := cond()
		if ok {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("testcluster: %s: %s", what, state)
		}
	}
}

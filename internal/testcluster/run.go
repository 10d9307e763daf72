package testcluster

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"barnabas/internal/kafka"
)

// Scenario is a cluster, its clients, and what happens to it.
type Scenario struct {
	Seed    uint64
	Brokers int
	// Dirs is how many log directories each broker has; 0 is one.
	Dirs    int
	Configs map[string]string
	Topics  []Topic
	// Volatile is a topic that faults delete and make again.
	Volatile  *Topic
	Producers []Producer
	Consumers []Consumer
	// Members are of consumer groups.
	Members []Member
	// Whole prints the whole history, however it ends.
	Whole bool
	// Faults happen while the clients work; when they return, everything is
	// mended.
	Faults func(ctx context.Context, c *Cluster, rng *rand.Rand)
}

// Times of a run, simulated.
const (
	// bornWithin is how long a new cluster may take until it is whole.
	bornWithin = time.Minute
	// healsWithin is how long it may take after the last fault.
	healsWithin = 5 * time.Minute
	// afterwards is how long clients work on after that.
	afterwards = 5 * time.Second
	// settles is how long followers have to copy the last records: one whose disk was
	// full rests for ten seconds.
	settles = 15 * time.Second
)

// Run plays a scenario in a bubble and fails the test if a law was broken.
func Run(t *testing.T, s Scenario) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHistory()
		s.play(h)
		if s.Whole {
			t.Log("\n" + h.all())
		}
		if broken := h.broken(); len(broken) > 0 {
			t.Errorf("seed %d: %d laws were broken, the first: %s\n\nhistory:\n%s", s.Seed, len(broken), broken[0], h.aroundMending(600, 600)+h.around(1000, 50))
		}
	})
}

// play runs the scenario; what goes wrong is in the history.
func (s *Scenario) play(h *History) {
	rng := rand.New(rand.NewPCG(s.Seed, 1))
	c, err := New(Options{Brokers: s.Brokers, Dirs: s.Dirs, Configs: s.Configs, Rand: rand.New(rand.NewPCG(s.Seed, 2)), History: h})
	if err != nil {
		h.violate("%v", err)
		return
	}
	defer c.Close()
	for _, n := range c.nodes {
		n.Start()
	}
	if !s.begin(c) {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	var clients, watchers sync.WaitGroup
	defer watchers.Wait()
	defer clients.Wait()
	defer stop()
	watchers.Go(func() { c.compareImages(ctx) })
	working, finish := context.WithCancel(ctx)
	defer finish()
	for _, p := range s.Producers {
		clients.Go(func() { p.run(working, c) })
	}
	for _, r := range s.Consumers {
		clients.Go(func() { r.run(working, c) })
	}
	for _, m := range s.Members {
		clients.Go(func() { m.run(working, c) })
	}
	if s.Faults != nil {
		s.Faults(ctx, c, rng)
	}
	c.mend()
	h.isMended()
	if s.Volatile != nil && !s.make(c, *s.Volatile) {
		return
	}
	if !c.heal() {
		return
	}
	h.note("--", "everything is whole")
	pause(ctx, afterwards)
	finish()
	clients.Wait()
	h.note("--", "the clients have ended")
	s.finish(c)
}

// all are the topics that there are in the end.
func (s *Scenario) all() []Topic {
	if s.Volatile == nil {
		return s.Topics
	}
	return append(slices.Clone(s.Topics), *s.Volatile)
}

// begin waits for the cluster and makes the topics.
func (s *Scenario) begin(c *Cluster) bool {
	if !s.make(c, s.all()...) {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), bornWithin)
	defer cancel()
	if err := await(ctx, "a new cluster", c.whole); err != nil {
		c.history.violate("%v", err)
		return false
	}
	c.history.note("--", "everything is there")
	return true
}

// make makes topics, or finds them made.
func (s *Scenario) make(c *Cluster, topics ...Topic) bool {
	ctx, cancel := context.WithTimeout(context.Background(), bornWithin)
	defer cancel()
	k := c.newClient("make", s.Seed)
	defer k.close()
	for _, t := range topics {
		if err := k.createTopic(ctx, t); err != nil {
			c.history.violate("%v", err)
			return false
		}
	}
	return true
}

// mend ends all faults: links, disks, machines, processes.
func (c *Cluster) mend() {
	hosts := c.hosts()
	for _, a := range hosts {
		for _, b := range hosts {
			if a != b {
				c.net.Mend(a, b)
			}
		}
	}
	for _, n := range c.nodes {
		if n.disk.mend() {
			n.Kill()
		}
		n.Boot()
	}
}

// heal waits until the cluster is whole.
func (c *Cluster) heal() bool {
	ctx, cancel := context.WithTimeout(context.Background(), healsWithin)
	defer cancel()
	if err := await(ctx, "healing", c.whole); err != nil {
		c.history.violate("%v", err)
		return false
	}
	return true
}

// finish judges what is there when nothing happens any more.
func (s *Scenario) finish(c *Cluster) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c.checkReads(ctx, s.Topics)
	c.checkGroups(ctx)
	pause(ctx, settles)
	if !c.heal() {
		return
	}
	replicas := map[kafka.TopicPartition][]kafka.BrokerID{}
	im := c.nodes[0].Image()
	for _, t := range s.all() {
		for p := range c.size(t) {
			tp := kafka.TopicPartition{Topic: t.Name, Partition: p}
			if state := im.Partition(tp); state != nil {
				replicas[tp] = state.Replicas
			}
		}
	}
	for _, n := range c.nodes {
		n.Stop()
	}
	c.checkLogs(s.all(), replicas)
}

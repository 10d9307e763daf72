package testcluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"barnabas/internal/memnet"
)

// Schedule makes the scenario of a seed: three brokers, some topics and clients,
// and a minute or two of faults.
func Schedule(seed uint64) Scenario {
	rng := rand.New(rand.NewPCG(seed, 3))
	power := rng.IntN(2) == 0 // machines crash
	s := Scenario{
		Seed: seed, Brokers: 3,
		Configs: map[string]string{
			"zookeeper.session.timeout.ms":            fmt.Sprint(2000 + rng.IntN(4000)),
			"replica.lag.time.max.ms":                 fmt.Sprint(2000 + rng.IntN(8000)),
			"log.segment.bytes":                       fmt.Sprint(2000 + rng.IntN(20_000)),
			"log.index.interval.bytes":                "200",
			"log.retention.ms":                        "-1",
			"replica.socket.timeout.ms":               "5000",
			"replica.fetch.wait.max.ms":               "500",
			"auto.create.topics.enable":               "false",
			"controlled.shutdown.max.retries":         "1",
			"leader.imbalance.check.interval.seconds": fmt.Sprint(5 + rng.IntN(20)),
		},
	}
	safe := Topic{Name: "safe", Partitions: 3, Replication: 3, Configs: map[string]string{"min.insync.replicas": "2"}}
	s.Topics = append(s.Topics, safe)
	s.Producers = append(s.Producers,
		Producer{Name: "p1", Topic: safe, Acks: -1, Pause: 100 * time.Millisecond},
		Producer{Name: "i1", Topic: safe, Acks: -1, Pause: 100 * time.Millisecond, Idempotent: true},
		Producer{Name: "i2", Topic: safe, Acks: -1, Pause: 300 * time.Millisecond, Idempotent: true})
	s.Consumers = append(s.Consumers, Consumer{Name: "c1", Topic: safe}, Consumer{Name: "c2", Topic: safe})
	if !power { // one copy, in one page cache, is enough for these
		alone := Topic{Name: "alone", Partitions: 2, Replication: 3, Configs: map[string]string{"min.insync.replicas": "1"}}
		quick := Topic{Name: "quick", Partitions: 2, Replication: 2}
		s.Topics = append(s.Topics, alone, quick)
		s.Producers = append(s.Producers,
			Producer{Name: "i3", Topic: alone, Acks: -1, Pause: 100 * time.Millisecond, Idempotent: true},
			Producer{Name: "q1", Topic: quick, Acks: 1, Pause: 50 * time.Millisecond})
		s.Consumers = append(s.Consumers, Consumer{Name: "c3", Topic: alone}, Consumer{Name: "c4", Topic: quick})
	}
	for i := range s.Producers {
		s.Producers[i].Seed = rng.Uint64()
	}
	for i := range s.Consumers {
		s.Consumers[i].Seed = rng.Uint64()
	}
	length := 30*time.Second + time.Duration(rng.Int64N(int64(time.Minute)))
	s.Faults = func(ctx context.Context, c *Cluster, rng *rand.Rand) {
		ctx, cancel := context.WithTimeout(ctx, length)
		defer cancel()
		(&chaos{c: c, rng: rng, power: power}).run(ctx)
	}
	return s
}

// chaos lets one fault follow another. Some last until the next ones.
type chaos struct {
	c     *Cluster
	rng   *rand.Rand
	power bool
	wg    sync.WaitGroup
}

// fault is something that happens and how often it does, beside others.
type fault struct {
	weight int
	do     func(x *chaos, ctx context.Context)
}

var faults = []fault{
	{6, (*chaos).kill},
	{2, (*chaos).killAll},
	{4, (*chaos).stop},
	{8, (*chaos).crash},
	{4, (*chaos).expire},
	{2, (*chaos).dropZooKeeper},
	{3, (*chaos).zooKeeperOutage},
	{4, (*chaos).isolate},
	{4, (*chaos).cutOneWay},
	{3, (*chaos).cutFromZooKeeper},
	{3, (*chaos).cutPair},
	{3, (*chaos).slow},
	{2, (*chaos).fillDisk},
	{1, (*chaos).failSync},
}

// run ends when ctx does and all that it began is over.
func (x *chaos) run(ctx context.Context) {
	defer x.wg.Wait()
	total := 0
	for _, f := range faults {
		total += f.weight
	}
	for pause(ctx, x.between(0, 5*time.Second)) {
		n := x.rng.IntN(total)
		for _, f := range faults {
			if n -= f.weight; n < 0 {
				f.do(x, ctx)
				break
			}
		}
	}
}

func (x *chaos) between(least, most time.Duration) time.Duration {
	return least + time.Duration(x.rng.Int64N(int64(most-least)))
}

func (x *chaos) node() *Node { return x.c.nodes[x.rng.IntN(len(x.c.nodes))] }

func (x *chaos) note(format string, args ...any) { x.c.history.note("**", format, args...) }

// later does something after d, or when the faults are over.
func (x *chaos) later(ctx context.Context, d time.Duration, do func()) {
	x.wg.Go(func() {
		pause(ctx, d)
		do()
	})
}

func (x *chaos) kill(ctx context.Context) {
	n := x.node()
	n.Kill()
	x.later(ctx, x.between(0, 12*time.Second), n.Start)
}

func (x *chaos) killAll(ctx context.Context) {
	for _, n := range x.c.nodes {
		n.Kill()
		x.later(ctx, x.between(0, 8*time.Second), n.Start)
	}
}

func (x *chaos) stop(ctx context.Context) {
	n := x.node()
	wait := x.between(0, 5*time.Second)
	x.wg.Go(func() {
		n.Stop()
		pause(ctx, wait)
		n.Start()
	})
}

// crash takes the power from one machine, once all others have what it has.
func (x *chaos) crash(ctx context.Context) {
	n, keep, wait := x.node(), x.rng.IntN(3)*50, x.between(0, 15*time.Second)
	if !x.power {
		return
	}
	if whole, _ := x.c.whole(); !whole {
		return
	}
	n.Crash(keep)
	x.later(ctx, wait, n.Boot)
}

func (x *chaos) expire(context.Context) {
	n := x.node()
	x.note("the session of %s ends: %v", n.name(), x.c.ExpireSession(n.id))
}

func (x *chaos) dropZooKeeper(context.Context) {
	x.note("ZooKeeper drops all connections")
	x.c.zk.DropConnections()
}

func (x *chaos) zooKeeperOutage(ctx context.Context) {
	most := 30 * time.Second
	x.silence(ctx, x.between(0, most), "ZooKeeper is away", func(yield func(from, to *memnet.Host)) {
		for _, n := range x.c.nodes {
			yield(n.host, x.c.zkHost)
			yield(x.c.zkHost, n.host)
		}
	})
}

// silence cuts links for a while.
func (x *chaos) silence(ctx context.Context, d time.Duration, what string, links func(yield func(from, to *memnet.Host))) {
	x.note("%s for %v", what, d)
	links(x.c.net.Cut)
	x.later(ctx, d, func() {
		links(x.c.net.Mend)
		x.note("over: %s", what)
	})
}

func (x *chaos) isolate(ctx context.Context) {
	n := x.node()
	x.silence(ctx, x.between(0, 20*time.Second), n.name()+" is cut off", func(yield func(from, to *memnet.Host)) {
		for _, h := range x.c.hosts() {
			if h != n.host {
				yield(n.host, h)
				yield(h, n.host)
			}
		}
	})
}

func (x *chaos) cutOneWay(ctx context.Context) {
	n, out := x.node(), x.rng.IntN(2) == 0
	x.silence(ctx, x.between(0, 20*time.Second), fmt.Sprintf("%s is cut off in one direction (out: %v)", n.name(), out), func(yield func(from, to *memnet.Host)) {
		for _, h := range x.c.hosts() {
			switch {
			case h == n.host:
			case out:
				yield(n.host, h)
			default:
				yield(h, n.host)
			}
		}
	})
}

func (x *chaos) cutFromZooKeeper(ctx context.Context) {
	n := x.node()
	x.silence(ctx, x.between(0, 20*time.Second), n.name()+" is cut off from ZooKeeper", func(yield func(from, to *memnet.Host)) {
		yield(n.host, x.c.zkHost)
		yield(x.c.zkHost, n.host)
	})
}

func (x *chaos) cutPair(ctx context.Context) {
	a, b, both := x.node(), x.node(), x.rng.IntN(2) == 0
	if a == b {
		return
	}
	x.silence(ctx, x.between(0, 20*time.Second), fmt.Sprintf("%s to %s is cut (both ways: %v)", a.name(), b.name(), both), func(yield func(from, to *memnet.Host)) {
		yield(a.host, b.host)
		if both {
			yield(b.host, a.host)
		}
	})
}

func (x *chaos) slow(ctx context.Context) {
	n, delay := x.node(), x.between(0, 800*time.Millisecond)
	set := func(least, most time.Duration) {
		for _, h := range x.c.hosts() {
			if h != n.host {
				x.c.net.Delay(n.host, h, least, most)
				x.c.net.Delay(h, n.host, least, most)
			}
		}
	}
	x.note("the links of %s are slow: %v", n.name(), delay)
	set(0, delay+1)
	x.later(ctx, x.between(0, 15*time.Second), func() {
		set(20*time.Microsecond, 500*time.Microsecond)
		x.note("over: the links of %s are slow", n.name())
	})
}

func (x *chaos) fillDisk(ctx context.Context) {
	n := x.node()
	x.note("the disk of %s is full", n.name())
	n.disk.setFull(true)
	x.later(ctx, x.between(0, 15*time.Second), func() {
		n.disk.setFull(false)
		x.note("over: the disk of %s is full", n.name())
	})
}

func (x *chaos) failSync(context.Context) {
	n := x.node()
	x.note("the next fsync of %s fails", n.name())
	n.disk.failNextSync()
}

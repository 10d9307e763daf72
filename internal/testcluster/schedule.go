package testcluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/memnet"
	"barnabas/protocol"
)

// Schedule makes the scenario of a seed: some brokers, topics and clients, and a
// minute or two of faults. With hard, brokers may have two directories, which break,
// and hands work in ZooKeeper.
func Schedule(seed uint64, hard bool) Scenario {
	rng := rand.New(rand.NewPCG(seed, 3))
	s := Scenario{
		Seed: seed, Brokers: 3 + rng.IntN(2),
		Configs: map[string]string{
			"zookeeper.session.timeout.ms":            fmt.Sprint(2000 + rng.IntN(4000)),
			"replica.lag.time.max.ms":                 fmt.Sprint(2000 + rng.IntN(8000)),
			"log.segment.bytes":                       fmt.Sprint(2000 + rng.IntN(20_000)),
			"log.index.interval.bytes":                "200",
			"log.retention.ms":                        "-1",
			"replica.socket.timeout.ms":               "5000",
			"replica.fetch.wait.max.ms":               "500",
			"auto.create.topics.enable":               "false",
			"leader.imbalance.check.interval.seconds": fmt.Sprint(5 + rng.IntN(20)),
			"replica.selector.class":                  "org.apache.kafka.common.replica.RackAwareReplicaSelector",
			"offsets.topic.num.partitions":            "2",
			"group.initial.rebalance.delay.ms":        fmt.Sprint(rng.IntN(2000)),
		},
	}
	safe := Topic{Name: "safe", Partitions: 3, Replication: 3, Configs: map[string]string{"min.insync.replicas": "2"}}
	alone := Topic{Name: "alone", Partitions: 2, Replication: 3, Configs: map[string]string{"min.insync.replicas": "1"}}
	quick := Topic{Name: "quick", Partitions: 2, Replication: 2}
	grows := Topic{Name: "grows", Partitions: 1, Replication: 3, Configs: map[string]string{"min.insync.replicas": "2"}}
	s.Topics = []Topic{safe, alone, quick, grows}
	if s.Dirs = 1; hard {
		s.Dirs += rng.IntN(2)
	}
	s.Producers = []Producer{
		{Name: "p1", Topic: safe, Acks: -1, Pause: 100 * time.Millisecond},
		{Name: "i1", Topic: safe, Acks: -1, Pause: 100 * time.Millisecond, Idempotent: true, InFlight: 5},
		{Name: "i2", Topic: safe, Acks: -1, Pause: 300 * time.Millisecond, Idempotent: true},
		{Name: "i3", Topic: alone, Acks: -1, Pause: 100 * time.Millisecond, Idempotent: true, InFlight: 3},
		{Name: "i4", Topic: grows, Acks: -1, Pause: 200 * time.Millisecond, Idempotent: true},
	}
	s.Consumers = []Consumer{{Name: "c1", Topic: safe}, {Name: "c2", Topic: safe, Rack: "r1"}, {Name: "c3", Topic: alone, Rack: "r0"}, {Name: "c5", Topic: grows}}
	power := rng.IntN(3) > 0 // machines crash
	if !power {              // what one of two page caches has is enough for these
		s.Producers = append(s.Producers, Producer{Name: "q1", Topic: quick, Acks: 1, Pause: 50 * time.Millisecond})
		s.Consumers = append(s.Consumers, Consumer{Name: "c4", Topic: quick})
	}
	if rng.IntN(2) == 0 {
		s.Volatile = &Topic{Name: "volatile", Partitions: 2, Replication: 2}
		s.Producers = append(s.Producers, Producer{Name: "v1", Topic: *s.Volatile, Acks: 1, Pause: 100 * time.Millisecond})
	}
	for i := range 2 + rng.IntN(3) {
		s.Members = append(s.Members, Member{Group: "g1", Name: fmt.Sprintf("m%d", i), Topics: []Topic{safe, quick}})
	}
	s.Members = append(s.Members, Member{Group: "g2", Name: "n0", Topics: []Topic{alone}}, Member{Group: "g2", Name: "n1", Topics: []Topic{alone}})
	for i := range s.Members {
		s.Members[i].Seed = rng.Uint64()
	}
	for i := range s.Producers {
		s.Producers[i].Seed = rng.Uint64()
	}
	for i := range s.Consumers {
		s.Consumers[i].Seed = rng.Uint64()
	}
	hand := s.Topics[rng.IntN(len(s.Topics))].Name
	length := 30*time.Second + time.Duration(rng.Int64N(int64(time.Minute)))
	s.Faults = func(ctx context.Context, c *Cluster, rng *rand.Rand) {
		ctx, cancel := context.WithTimeout(ctx, length)
		defer cancel()
		x := &chaos{c: c, rng: rng, power: power, volatile: s.Volatile, topics: s.Topics, grows: grows, hand: hand, faults: slices.Clip(faults)}
		if hard {
			x.faults = append(x.faults, hardFaults...)
		}
		x.run(ctx)
	}
	return s
}

// chaos lets one fault follow another. Some last until the next ones.
type chaos struct {
	c        *Cluster
	rng      *rand.Rand
	power    bool
	faults   []fault
	topics   []Topic
	volatile *Topic
	grows    Topic  // is given more partitions
	hand     string // the topic whose states hands edit
	wg       sync.WaitGroup

	mu sync.Mutex // guards following
	// dark is a machine that lost its power since the cluster was whole last. The
	// law is about one log that survives: no second one may crash meanwhile.
	dark *Node
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
	{3, (*chaos).fillDisk},
	{1, (*chaos).failSync},
	{2, (*chaos).grow},
	{3, (*chaos).electPreferred},
	{4, (*chaos).reassign},
	{3, (*chaos).remake},
}

// hardFaults come on top of them in hard schedules.
var hardFaults = []fault{
	{2, (*chaos).breakDir},
	{2, (*chaos).moveLog},
	{1, (*chaos).dismissController},
	{2, (*chaos).reassignByHand},
	{1, (*chaos).preferByHand},
	{3, (*chaos).editState},
	{1, (*chaos).topicByHand},
	{1, (*chaos).deleteByHand},
}

// run ends when ctx does and all that it began is over.
func (x *chaos) run(ctx context.Context) {
	defer x.wg.Wait()
	total := 0
	for _, f := range x.faults {
		total += f.weight
	}
	for pause(ctx, x.between(0, 5*time.Second)) {
		n := x.rng.IntN(total)
		for _, f := range x.faults {
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

// nodeOrController is the controller more often than others.
func (x *chaos) nodeOrController() *Node {
	n := x.node()
	if im := n.Image(); im != nil && x.rng.IntN(3) == 0 {
		if id := im.LiveController(); id >= 0 {
			return x.c.nodes[id]
		}
	}
	return n
}

func (x *chaos) note(format string, args ...any) { x.c.history.note("**", format, args...) }

// later does something after d, or when the faults are over.
func (x *chaos) later(ctx context.Context, d time.Duration, do func()) {
	x.wg.Go(func() {
		pause(ctx, d)
		do()
	})
}

func (x *chaos) kill(ctx context.Context) {
	n := x.nodeOrController()
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

// crash takes the power from one machine, if no other has lost it since the
// cluster was whole.
func (x *chaos) crash(ctx context.Context) {
	n, keep, wait := x.node(), x.rng.IntN(3)*50, x.between(0, 15*time.Second)
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.power || x.dark != nil {
		return
	}
	x.dark = n
	n.Crash(keep)
	x.later(ctx, wait, n.Boot)
	x.wg.Go(func() {
		for {
			if !pause(ctx, 200*time.Millisecond) {
				return
			}
			if whole, _ := x.c.whole(); whole {
				x.mu.Lock()
				x.dark = nil
				x.mu.Unlock()
				return
			}
		}
	})
}

func (x *chaos) expire(context.Context) {
	n := x.nodeOrController()
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

// request asks the controller for something, for a while, beside the other faults.
func (x *chaos) request(ctx context.Context, what string, req kmsg.Request) {
	x.note("%s", what)
	x.administer(ctx, 10*time.Second, func(ctx context.Context, k *client) {
		if _, err := k.admin(ctx, req); err != nil {
			x.note("%s: %v", what, err)
		}
	})
}

func (x *chaos) electPreferred(ctx context.Context) {
	req := kmsg.NewPtrElectLeadersRequest()
	req.Version, req.TimeoutMillis = 1, 5000 // all partitions
	x.request(ctx, "preferred leaders are asked for", req)
}

// reassign moves one partition to other brokers, or only into another order.
func (x *chaos) reassign(ctx context.Context) {
	t, tp := x.partition()
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	req.TimeoutMillis = 5000
	rt := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	rt.Topic = t.Name
	rp := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
	rp.Partition = tp.Partition
	for _, id := range x.brokers(t.Replication) {
		rp.Replicas = append(rp.Replicas, int32(id))
	}
	if x.rng.IntN(5) == 0 {
		rp.Replicas = nil // cancels one that is under way
	}
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	x.request(ctx, fmt.Sprintf("%v is to be on %v", tp, rp.Replicas), req)
}

// remake deletes the volatile topic and makes it again at once.
func (x *chaos) remake(ctx context.Context) {
	if x.volatile == nil {
		return
	}
	x.note("%s is deleted and made again", x.volatile.Name)
	x.administer(ctx, 20*time.Second, func(ctx context.Context, k *client) {
		if err := k.deleteTopic(ctx, x.volatile.Name); err != nil {
			x.note("deleting %s: %v", x.volatile.Name, err)
			return
		}
		if err := k.createTopic(ctx, *x.volatile); err != nil {
			x.note("making %s again: %v", x.volatile.Name, err)
		}
	})
}

// grow gives a topic one more partition.
func (x *chaos) grow(ctx context.Context) {
	const most = 4
	n := x.c.size(x.grows) + 1
	if n > most {
		return
	}
	x.note("%s is to have %d partitions", x.grows.Name, n)
	x.administer(ctx, 20*time.Second, func(ctx context.Context, k *client) {
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.Version, req.TimeoutMillis = 1, 5000
		rt := kmsg.NewCreatePartitionsRequestTopic()
		rt.Topic, rt.Count = x.grows.Name, n
		req.Topics = append(req.Topics, rt)
		resp, err := k.admin(ctx, req)
		if err == nil {
			if t := resp.(*kmsg.CreatePartitionsResponse).Topics[0]; t.ErrorCode != 0 {
				err = &refused{protocol.Error(t.ErrorCode), t.ErrorMessage}
			}
		}
		x.note("%s is to have %d partitions: %v", x.grows.Name, n, err)
		if err == nil {
			x.c.grown(x.grows.Name, n)
		}
	})
}

// administer does something as a client of its own, beside all else, for at most limit.
func (x *chaos) administer(ctx context.Context, limit time.Duration, do func(ctx context.Context, k *client)) {
	seed := x.rng.Uint64()
	x.wg.Go(func() {
		k := x.c.newClient("admin", seed)
		defer k.close()
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		do(ctx, k)
	})
}

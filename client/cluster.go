package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"barnabas/internal/kafka"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// ErrNoBroker is returned by Open, wrapped, when none is registered in time.
var ErrNoBroker = errors.New("client: no broker is registered in ZooKeeper")

// Options of Open and New. Only ZooKeeper is needed.
type Options struct {
	// ZooKeeper is host:port,host:port/chroot, as zookeeper.connect of the brokers.
	ZooKeeper string
	// Listener is the name of the advertised listener to connect to, in upper
	// case; a broker without it is not used. Default: a broker's first one whose
	// protocol is PLAINTEXT, or else its first.
	Listener string
	// ConnectTimeout bounds Open: the connection to ZooKeeper and the wait for a
	// first broker. Default 10 s.
	ConnectTimeout time.Duration
	// SessionTimeout of the session with ZooKeeper. Default 18 s.
	SessionTimeout time.Duration
	// OnLeader, if set, hears of each leader that the change log tells of, of any
	// topic, in order; leaders of a time without ZooKeeper may be left out. It must
	// be quick: it holds up what follows.
	OnLeader func(Leader)
	// Dialer connects to ZooKeeper. Default: net.Dialer's.
	Dialer func(ctx context.Context, network, addr string) (net.Conn, error)
	// Logger takes what goes wrong with ZooKeeper. Default: nobody does.
	Logger *slog.Logger

	// interval between looks without a reason, in case a watch was lost.
	interval time.Duration
}

func (o Options) withDefaults() Options {
	if o.ConnectTimeout <= 0 {
		o.ConnectTimeout = 10 * time.Second
	}
	if o.SessionTimeout <= 0 {
		o.SessionTimeout = 18 * time.Second
	}
	if o.OnLeader == nil {
		o.OnLeader = func(Leader) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.interval <= 0 {
		o.interval = 30 * time.Second
	}
	return o
}

// Broker is a live broker.
type Broker struct {
	ID   int32
	Addr string // host:port of the listener that Options choose
	Rack string
}

// Leader says who leads a partition.
type Leader struct {
	Topic     string
	Partition int32
	Broker    int32 // -1: nobody
	Epoch     int32 // grows with each election
}

// Cluster follows a cluster in ZooKeeper. Its methods may be called by any
// goroutine.
type Cluster struct {
	o      Options
	zk     *session.Client
	wake   chan struct{} // holds one token when there is something to look at
	cancel context.CancelFunc
	done   sync.WaitGroup
	once   sync.Once // guards the closing
	log    changeLog // used by run alone

	mu      sync.Mutex // guards following
	brokers map[int32]Broker
	reading bool          // the place in the change log, or that there is none, is known
	moved   chan struct{} // closed and replaced when brokers or reading change
	served  map[refresher]*follower
	stale   stale
}

// stale says what is to be read again.
type stale struct{ brokers, log bool }

// New makes a kgo.Client that finds the cluster in ZooKeeper. Closing it ends the
// session with ZooKeeper too. opts are any of kgo's except SeedBrokers.
func New(ctx context.Context, o Options, opts ...kgo.Opt) (*kgo.Client, error) {
	c, err := Open(ctx, o)
	if err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(slices.Concat(c.Opts(), []kgo.Opt{kgo.WithHooks(closeAfter{c})}, opts)...)
	if err != nil {
		c.Close()
		return nil, err
	}
	return cl, nil
}

// closeAfter is a hook that closes the Cluster with its only client.
type closeAfter struct{ c *Cluster }

func (h closeAfter) OnClientClosed(*kgo.Client) { h.c.Close() }

// Open connects to ZooKeeper and returns when a broker is known and leaders are
// followed: what is elected from then on is not missed. The error wraps
// session.ErrNoNode for a chroot that is not there, and ErrNoBroker.
func Open(ctx context.Context, o Options) (*Cluster, error) {
	o = o.withDefaults()
	c := &Cluster{
		o: o, wake: make(chan struct{}, 1), moved: make(chan struct{}),
		served: make(map[refresher]*follower), stale: stale{true, true},
	}
	wait, cancelWait := context.WithTimeout(ctx, o.ConnectTimeout)
	defer cancelWait()
	zk, err := session.Open(wait, session.Options{
		Connect: o.ZooKeeper, KeepChroot: true, Timeout: o.SessionTimeout, ConnectTimeout: o.ConnectTimeout,
		Dialer: o.Dialer, OnEvent: c.onEvent, OnState: c.onState, Logger: o.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	c.zk = zk
	var run context.Context
	run, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	c.done.Go(func() { c.run(run) })
	if err := c.awaitReady(wait); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// awaitReady returns when a broker is known and the change log is followed.
func (c *Cluster) awaitReady(ctx context.Context) error {
	for {
		c.mu.Lock()
		ready, moved := len(c.brokers) > 0 && c.reading, c.moved
		c.mu.Unlock()
		if ready {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			of := ""
			if c.o.Listener != "" {
				of = " with a listener " + c.o.Listener
			}
			return fmt.Errorf("%w%s at %s (%w)", ErrNoBroker, of, c.o.ZooKeeper, ctx.Err())
		}
	}
}

// Close ends the session. Clients that were made with Opts stay usable, but are
// told of nothing more.
func (c *Cluster) Close() {
	c.once.Do(func() {
		c.cancel()
		c.done.Wait()
		c.zk.Close()
	})
}

// Opts are what a kgo.Client needs to find the cluster and to be told of leaders. They
// have AlwaysRetryEOF: the addresses are those that the brokers have registered, so a
// connection that ends before its first answer is one to a broker that stops, and no
// reason to give records up.
// Each client takes the answer of a call of its own: a second one that is made
// with the same would find the brokers, but be told of nothing.
func (c *Cluster) Opts() []kgo.Opt {
	addrs := c.Addrs()
	return []kgo.Opt{kgo.SeedBrokers(addrs...), kgo.AlwaysRetryEOF(), kgo.WithHooks(&serve{c: c, addrs: addrs})}
}

// serve is the hook that tells the Cluster whom it serves. OnNewClient comes
// before a client is ready to be asked anything; its first connection, good or
// bad, after that.
type serve struct {
	c     *Cluster
	addrs []string // that the client was made with
	cl    atomic.Pointer[kgo.Client]
	once  sync.Once // guards the adding
}

func (h *serve) OnNewClient(cl *kgo.Client) { h.cl.CompareAndSwap(nil, cl) }

func (h *serve) OnBrokerConnect(kgo.BrokerMetadata, time.Duration, net.Conn, error) {
	h.once.Do(func() { h.c.add(h.cl.Load(), h.addrs) })
}

func (h *serve) OnClientClosed(cl *kgo.Client) { h.c.remove(cl) }

func (c *Cluster) add(cl refresher, addrs []string) {
	c.mu.Lock()
	c.served[cl] = &follower{cl: cl, addrs: addrs, want: make(map[partition]int32)}
	c.mu.Unlock()
	c.again(stale{}) // brokers may have moved since it was made
}

func (c *Cluster) remove(cl refresher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.served, cl)
}

// followers are those who are served now.
func (c *Cluster) followers() []*follower {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.served))
}

// Brokers are those that are alive, by id. When all are gone it gives the last
// ones: they come back, most likely, where they were.
func (c *Cluster) Brokers() []Broker {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := slices.Collect(maps.Values(c.brokers))
	slices.SortFunc(list, func(a, b Broker) int { return int(a.ID) - int(b.ID) })
	return list
}

// Addrs are the addresses of Brokers.
func (c *Cluster) Addrs() []string {
	var list []string
	for _, b := range c.Brokers() {
		list = append(list, b.Addr)
	}
	return list
}

// Leaders reads who leads the partitions of a topic, by partition; the error
// wraps session.ErrNoNode if there is no such topic. A partition that has had no
// leader yet is given with -1.
func (c *Cluster) Leaders(ctx context.Context, topic string) ([]Leader, error) {
	data, _, err := c.zk.Get(ctx, zkpaths.TopicPath(topic))
	if err != nil {
		return nil, fmt.Errorf("client: topic %q: %w", topic, err)
	}
	a, err := zkpaths.DecodeAssignment(data)
	if err != nil {
		return nil, fmt.Errorf("client: topic %q: %w", topic, err)
	}
	list := make([]Leader, 0, len(a.Partitions))
	var paths []string
	for _, p := range slices.Sorted(maps.Keys(a.Partitions)) {
		list = append(list, Leader{Topic: topic, Partition: p, Broker: int32(kafka.NoBroker), Epoch: -1})
		paths = append(paths, zkpaths.StatePath(kafka.TopicPartition{Topic: topic, Partition: p}))
	}
	var bad error
	c.zk.GetAll(ctx, paths, func(i int, data []byte, _ session.Stat, err error) {
		if errors.Is(err, session.ErrNoNode) {
			return
		}
		var st zkpaths.State
		if err == nil {
			st, err = zkpaths.DecodeState(data)
		}
		if err != nil {
			bad = fmt.Errorf("client: topic %q: %w", topic, err)
			return
		}
		list[i].Broker, list[i].Epoch = int32(st.Leader), int32(st.LeaderEpoch)
	})
	if bad != nil {
		return nil, bad
	}
	return list, nil
}

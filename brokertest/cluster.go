package brokertest

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"barnabas/internal/testaddr"
	"barnabas/internal/vfs"
	"barnabas/zkpaths/devzk"
)

// patience bounds every wait; a test that reaches it fails.
const patience = time.Minute

// Cluster is a running cluster. It is used by the test's goroutine.
type Cluster struct {
	t       testing.TB
	o       *options
	zk      *devzk.Server // nil with the option ZooKeeper
	connect string
	brokers []*Broker
	once    sync.Once      // guards the closing
	release []func()       // the brokers' ports
	dying   sync.WaitGroup // killed brokers whose goroutines still end
}

// Start starts a cluster that ends with the test. It returns when every broker
// serves and knows all others, and the topics' leaders.
func Start(t testing.TB, opts ...Option) *Cluster {
	t.Helper()
	o := defaults()
	for _, opt := range opts {
		opt(o)
	}
	if o.brokers < 1 {
		t.Fatalf("brokertest: %d brokers", o.brokers)
	}
	c := &Cluster{t: t, o: o, connect: o.zookeeper}
	dir, fs := "/data", vfs.FS(vfs.NewMem())
	if o.onDisk {
		dir, fs = t.TempDir(), vfs.OS
	}
	t.Cleanup(c.Close)
	if c.connect == "" {
		zk, err := devzk.Start(devzk.Options{
			Tick: 200 * time.Millisecond, MinSessionTimeout: 400 * time.Millisecond, MaxSessionTimeout: time.Hour, Logger: o.logger,
		})
		if err != nil {
			t.Fatalf("brokertest: starting ZooKeeper: %v", err)
		}
		c.zk, c.connect = zk, zk.Addr()
	}
	for id := range o.brokers {
		addr, release, err := testaddr.Hold() // also while the broker does not run
		if err != nil {
			t.Fatalf("brokertest: %v", err)
		}
		c.release = append(c.release, release)
		c.brokers = append(c.brokers, &Broker{c: c, id: id, fs: fs, addr: addr, dir: filepath.Join(dir, fmt.Sprintf("broker-%d", id))})
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var g errgroup.Group
	for _, b := range c.brokers {
		g.Go(func() error { return b.start(ctx) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := c.settle(ctx); err != nil {
		t.Fatal(err)
	}
	c.CreateTopics(o.topics...)
	return c
}

// Close ends all brokers and ZooKeeper and waits until they have. The test does
// it by itself at its end.
func (c *Cluster) Close() {
	c.t.Helper()
	c.once.Do(func() {
		var g errgroup.Group
		for _, b := range c.brokers {
			g.Go(b.close)
		}
		if err := g.Wait(); err != nil {
			c.t.Errorf("brokertest: closing: %v", err)
		}
		c.dying.Wait()
		for _, release := range c.release {
			release()
		}
		if c.zk == nil {
			return
		}
		if err := c.zk.Close(); err != nil {
			c.t.Errorf("brokertest: closing ZooKeeper: %v", err)
		}
	})
}

// Addrs are the addresses of all brokers, running or not, by id.
func (c *Cluster) Addrs() []string {
	var list []string
	for _, b := range c.brokers {
		list = append(list, b.Addr())
	}
	return list
}

// Bootstrap is Addrs as bootstrap.servers has them.
func (c *Cluster) Bootstrap() string { return strings.Join(c.Addrs(), ",") }

// ZooKeeper is the connect string, as zookeeper.connect has it.
func (c *Cluster) ZooKeeper() string { return c.connect }

// Broker gives a broker by its id.
func (c *Cluster) Broker(id int) *Broker { return c.brokers[id] }

// Client makes a client of the cluster that is closed at the end of the test, if
// not before. Options are added to the addresses.
func (c *Cluster) Client(opts ...kgo.Opt) *kgo.Client {
	c.t.Helper()
	cl, err := c.client(c.Addrs(), opts...)
	if err != nil {
		c.t.Fatalf("brokertest: making a client: %v", err)
	}
	c.t.Cleanup(cl.Close)
	return cl
}

// client asks for metadata as often as it needs to, so that what follows a change
// of the cluster is not delayed by a client's caution. A connection that a dying broker
// has just accepted is no sign of TLS.
func (c *Cluster) client(addrs []string, opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addrs...), kgo.MetadataMinAge(10 * time.Millisecond), kgo.AlwaysRetryEOF()}, opts...)...)
}

// CreateTopics creates topics and returns when every running broker knows the
// leaders of all their partitions.
func (c *Cluster) CreateTopics(topics ...Topic) {
	c.t.Helper()
	if len(topics) == 0 {
		return
	}
	cl, err := c.client(c.running())
	if err != nil {
		c.t.Fatalf("brokertest: making a client: %v", err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	admin := kadm.NewClient(cl)
	for _, t := range topics {
		if _, err := admin.CreateTopic(ctx, int32(max(t.Partitions, 1)), int16(max(t.ReplicationFactor, 1)), t.configs(), t.Name); err != nil {
			c.t.Fatalf("brokertest: creating topic %q: %v", t.Name, err)
		}
	}
	for _, t := range topics {
		c.Await("a leader", t.Name, func(p Partition) bool { return p.Leader >= 0 })
	}
}

// running are the addresses of the brokers that run.
func (c *Cluster) running() []string {
	var list []string
	for _, b := range c.brokers {
		if b.Running() {
			list = append(list, b.Addr())
		}
	}
	return list
}

// settle returns when each broker that runs knows that all those do, and no
// others, and there is a controller that does what it is asked.
func (c *Cluster) settle(ctx context.Context) error {
	addrs := c.running()
	for _, addr := range addrs {
		if err := c.knowsAll(ctx, addr); err != nil {
			return fmt.Errorf("brokertest: broker at %s: waiting until it knows the cluster: %w", addr, err)
		}
	}
	if len(addrs) == 0 {
		return nil
	}
	cl, err := c.client(addrs, kgo.RetryBackoffFn(func(int) time.Duration { return 2 * time.Millisecond }), kgo.RetryTimeout(patience),
		kgo.RequestRetries(int(patience/(2*time.Millisecond))))
	if err != nil {
		return err
	}
	defer cl.Close()
	// The client asks again while a controller is not ready (NOT_CONTROLLER).
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics, req.ValidateOnly = []kmsg.CreateTopicsRequestTopic{kmsg.NewCreateTopicsRequestTopic()}, true
	if _, err := req.RequestWith(ctx, cl); err != nil {
		return fmt.Errorf("brokertest: waiting for the controller: %w", err)
	}
	return nil
}

func (c *Cluster) knowsAll(ctx context.Context, addr string) error {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{} // none
	resp, err := c.awaitMetadata(ctx, addr, req, func(resp *kmsg.MetadataResponse) bool {
		return len(resp.Brokers) == len(c.running()) && resp.ControllerID >= 0
	})
	if err != nil && resp != nil {
		err = fmt.Errorf("it knows %d brokers, controller %d: %w", len(resp.Brokers), resp.ControllerID, err)
	}
	return err
}

//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"barnabas/internal/zktest"
)

// machines is a cluster whose brokers and ZooKeeper are on hosts of their own.
type machines struct {
	*testing.T
	hosts   []*host
	zoo     *host
	disks   []string
	brokers []*broker
	watch   *watcher
	load    *load
}

const (
	netTopic      = "machines"
	netPartitions = 6
)

// fault is something that happens to a machine and ends again.
type fault struct {
	name  string
	begin func(m *machines, victim, other int) (end func())
	// serves says that records are acknowledged while it lasts.
	serves bool
	// silent says that nobody may take the victim for dead without its session.
	silent bool
	// who it happens to; anybody if it is nil.
	who func(m *machines) (victim int)
	// lasts is how long; beyond the session and the lag that is allowed if 0.
	lasts time.Duration
	// long leaves it to the long form.
	long bool
}

// others are two brokers one after the other of which none is the controller.
func others(m *machines) int { return (controller(m) + 1) % 3 }

func controller(m *machines) int { return controllerOf(m.T, kadm.NewClient(m.load.client)) }

func onHost(do func(m *machines, h, other *host)) func(*machines, int, int) func() {
	return func(m *machines, victim, other int) func() {
		h := m.hosts[victim]
		do(m, h, m.hosts[other])
		return h.whole
	}
}

var faults = []fault{
	{name: "one broker does not hear another", serves: true, silent: true, who: others, begin: onHost(func(_ *machines, h, o *host) { h.deaf(o) })},
	{name: "one broker does not reach another", serves: true, silent: true, who: others, long: true, begin: onHost(func(_ *machines, h, o *host) { h.mute(o) })},
	{name: "two brokers are cut from each other", serves: true, silent: true, who: others, begin: onHost(func(_ *machines, h, o *host) { h.cut(o) })},
	// Here leaders can't ask for another ISR, so that acks=all waits.
	{name: "a broker is cut from the controller", silent: true, who: controller, long: true, begin: onHost(func(_ *machines, h, o *host) { h.cut(o) })},
	{name: "a broker is cut from ZooKeeper", serves: true, silent: true, begin: onHost(func(m *machines, h, _ *host) { h.cut(m.zoo) })},
	{name: "a broker does not hear ZooKeeper", serves: true, silent: true, long: true, begin: onHost(func(m *machines, h, _ *host) { h.deaf(m.zoo) })},
	{name: "a broker does not reach ZooKeeper", serves: true, silent: true, long: true, begin: onHost(func(m *machines, h, _ *host) { h.mute(m.zoo) })},
	{name: "a machine is silent", serves: true, silent: true, who: controller, begin: onHost(func(_ *machines, h, _ *host) {
		h.firewall([]string{"drop"}, []string{"drop"})
	})},
	{name: "ZooKeeper's machine is silent", serves: true, silent: true, long: true, begin: func(m *machines, _, _ int) func() {
		m.zoo.firewall([]string{"drop"}, []string{"drop"})
		return m.zoo.whole
	}},
	// Long enough for a controller that would give leaders back. A leader whose
	// followers fell out before it was deposed is alone in its ISR and leads on.
	{name: "a firewall rejects by RST", who: controller, lasts: 8 * time.Second, begin: rejected("tcp dport 9092 reject with tcp reset")},
	// Unlike a RST this ends no connection, so that the broker does not look dead:
	// it leads on, and nobody reaches it, as in Apache Kafka. Long enough for the
	// links of the others to time out, by an error that says "refused".
	{name: "a firewall rejects by ICMP", silent: true, long: true, lasts: 25 * time.Second, begin: rejected("tcp dport 9092 reject with icmp port-unreachable")},
	{name: "every fifth packet is lost", serves: true, silent: true, begin: onHost(func(_ *machines, h, _ *host) {
		h.firewall([]string{"numgen random mod 100 < 20 drop"}, []string{"numgen random mod 100 < 20 drop"})
	})},
	{name: "a slow line", serves: true, silent: true, long: true, begin: onHost(func(_ *machines, h, _ *host) { h.slow() })},
	{name: "SIGSTOP", serves: true, silent: true, begin: func(m *machines, victim, _ int) func() {
		pid := m.brokers[victim].proc.PID()
		syscall.Kill(pid, syscall.SIGSTOP)
		return func() { syscall.Kill(pid, syscall.SIGCONT) }
	}},
	{name: "kill -9", serves: true, long: true, begin: func(m *machines, victim, _ int) func() {
		m.brokers[victim].proc.Kill()
		return m.brokers[victim].start
	}},
	{name: "a full disk", silent: true, begin: fullDisk},
}

// rejected is a firewall before a broker that lives: the broker must be a member
// again while the firewall is there, or nothing but a restart would help it.
func rejected(rule string) func(*machines, int, int) func() {
	return func(m *machines, victim, _ int) func() {
		h, b := m.hosts[victim], m.brokers[victim]
		h.firewall([]string{rule}, nil)
		return func() {
			eventually(m, patience, "the broker behind the firewall is registered", func() error { return m.registered(b, victim) })
			h.whole()
		}
	}
}

// fullDisk writes until nothing more goes.
func fullDisk(m *machines, victim, _ int) func() {
	ballast := filepath.Join(m.disks[victim], "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		m.Fatal(err)
	}
	defer f.Close()
	zero, err := os.Open("/dev/zero")
	if err != nil {
		m.Fatal(err)
	}
	defer zero.Close()
	if _, err := io.Copy(f, zero); !errors.Is(err, syscall.ENOSPC) {
		m.Fatalf("the disk is not full: %v", err)
	}
	return func() {
		if err := os.Remove(ballast); err != nil {
			m.Error(err)
		}
	}
}

func (m *machines) registered(b *broker, victim int) error {
	c, root := b.tree()
	defer c.Close()
	ok, _, err := c.Exists(fmt.Sprintf("%s/brokers/ids/%d", root, victim+1))
	if err == nil && !ok {
		err = errors.New("it is not")
	}
	return err
}

func newMachines(t *testing.T) *machines {
	n := newNetwork(t)
	m := &machines{T: t, zoo: n.host(100)}
	own := zktest.NewOwnAt(t, m.zoo.addr+":2181", m.zoo.within()...)
	connect := zktest.Chroot(t, own.Addr())
	var seeds []string
	for i := range 3 {
		h, disk := n.host(i+1), n.disk(256<<20)
		addr := h.addr + ":9092"
		b := prepareBroker(t, connect, fmt.Sprint("broker.id=", i+1), "listeners=PLAINTEXT://"+addr, "log.dirs="+filepath.Join(disk, "data"),
			"min.insync.replicas=2", "zookeeper.session.timeout.ms=2000", "replica.lag.time.max.ms=2000", "log.segment.bytes=1048576")
		b.addr, b.under = addr, h.within()
		b.start()
		m.hosts, m.disks, m.brokers = append(m.hosts, h), append(m.disks, disk), append(m.brokers, b)
		seeds = append(seeds, addr)
	}
	for _, b := range m.brokers {
		b.awaitReady(patience)
	}
	awaitEachOther(t, m.brokers)
	m.load = replicated(t, m.brokers, netTopic, netPartitions, kgo.ProduceRequestTimeout(2*time.Second), kgo.RequestTimeoutOverhead(time.Second))
	m.watch = startWatcher(m.brokers[0], netTopic, kgo.SeedBrokers(seeds...), kgo.DialTimeout(time.Second), kgo.RequestTimeoutOverhead(time.Second))
	if !n.netem {
		t.Log("this kernel has no netem: a slow line is a narrow one")
	}
	return m
}

// meet lets a fault happen to a machine and wants all to be well after it.
func (m *machines) meet(f fault, victim int) {
	m.Helper()
	if f.who != nil {
		victim = f.who(m)
	}
	other := (victim + 1) % 3
	began := time.Now()
	dead := says(m.brokers, "declaring a broker dead")
	m.load.lap()
	end := f.begin(m, victim, other)
	timer := time.NewTimer(max(f.lasts, 3*time.Second))
	<-timer.C
	if f.serves {
		m.load.progress(m, 100, patience, "while "+f.name)
	}
	if n := says(m.brokers, "declaring a broker dead") - dead; f.silent && n != 0 {
		m.Errorf("%s: declared dead %d times", f.name, n)
	}
	silent := m.load.silent(2 * time.Second)
	end()
	healed := time.Now()
	for i, b := range m.brokers {
		b.awaitReady(patience)
		eventually(m, patience, "the broker is registered", func() error { return m.registered(b, i) })
	}
	awaitInSync(m.T, m.brokers[other], netTopic, 3)
	whole := time.Since(healed)
	m.load.progress(m, 300, patience, "after "+f.name)
	m.Logf("%-42s broker %d: longest gap of all %5.2f s, %d partitions without an acknowledgement in its last 2 s, all in sync %5.2f s after its end, %.1f s in all", f.name, victim+1,
		m.load.lap().Seconds(), silent, whole.Seconds(), time.Since(began).Seconds())
}

// TestFaultyNetwork has three brokers and a ZooKeeper on four hosts, which are
// network namespaces, and lets everything happen to them that can happen to
// machines on a network, under load: nothing acknowledged is lost, doubled or
// moved, a consumer reads all in order, and all replicas are in sync after each
// fault. BARNABAS_NETWORK, a duration, goes on at random for so long.
func TestFaultyNetwork(t *testing.T) {
	var long time.Duration
	if s := os.Getenv("BARNABAS_NETWORK"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		long = d
	}
	if !inNetwork(t, long+10*time.Minute) {
		return
	}
	m := newMachines(t)
	m.load.progress(t, 500, patience, "at first")
	for i, f := range faults {
		if long > 0 || !f.long {
			m.meet(f, i%3)
		}
	}
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	for until, n := time.Now().Add(long), 0; time.Now().Before(until); n++ {
		if n == 0 {
			t.Logf("seed %d", seed)
		}
		m.meet(faults[rng.IntN(len(faults))], rng.IntN(3))
	}
	close(m.load.stop)
	m.load.done.Wait()
	if m.load.failed != nil {
		t.Errorf("a record was refused: %v", m.load.failed)
	}
	records := readAll(t, m.brokers[0], netTopic, netPartitions)
	m.load.check(t, records)
	m.watch.end(t, records)
	t.Logf("%d records acknowledged", len(m.load.acked))
}

// watcher consumes a topic all along and notes what it was given.
type watcher struct {
	cancel context.CancelFunc
	client *kgo.Client
	done   sync.WaitGroup

	mu    sync.Mutex // guards the following
	seen  map[int32][]string
	wrong []string
}

func startWatcher(b *broker, topic string, opts ...kgo.Opt) *watcher {
	w := &watcher{seen: map[int32][]string{}}
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(context.Background())
	w.client = b.client(append([]kgo.Opt{kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(500 * time.Millisecond)}, opts...)...)
	w.done.Go(func() {
		for ctx.Err() == nil {
			w.client.PollFetches(ctx).EachRecord(w.note)
		}
	})
	return w
}

func (w *watcher) note(r *kgo.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if want := int64(len(w.seen[r.Partition])); r.Offset != want {
		w.wrong = append(w.wrong, fmt.Sprintf("partition %d: offset %d, want %d", r.Partition, r.Offset, want))
		return
	}
	w.seen[r.Partition] = append(w.seen[r.Partition], string(r.Value))
}

// end waits until all that is stored was seen and compares the two.
func (w *watcher) end(t *testing.T, stored []*kgo.Record) {
	t.Helper()
	want := map[int32][]string{}
	for _, r := range stored { // in order within a partition
		want[r.Partition] = append(want[r.Partition], string(r.Value))
	}
	eventually(t, patience, "the consumer has read all", func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		for p := range want {
			if len(w.seen[p]) < len(want[p]) && len(w.wrong) == 0 {
				return fmt.Errorf("partition %d: %d of %d", p, len(w.seen[p]), len(want[p]))
			}
		}
		return nil
	})
	w.cancel()
	w.done.Wait()
	for _, text := range w.wrong[:min(10, len(w.wrong))] {
		t.Error("the consumer: ", text)
	}
	for p, values := range want {
		for o, v := range w.seen[p] {
			if o >= len(values) || values[o] != v {
				t.Errorf("the consumer was given %q at %d/%d, which is not what is stored", v, p, o)
				break
			}
		}
	}
}

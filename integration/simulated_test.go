//go:build integration && scale

package integration

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"barnabas/broker/metadata"
	"barnabas/cluster"
	control "barnabas/controller"
	"barnabas/internal/kafka"
	"barnabas/internal/zktest"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// What the tests of scale measure stands in docs/scale.md. They take minutes and
// say little on a machine that does other work, so they run on demand:
//
//	_JAVA_OPTIONS=-Xmx1500m go test -tags integration,scale ./integration -run Scale -v
//
// The variable gives ZooKeeper the heap that 50,000 partitions need.
var (
	simulated   = flag.Int("simulated", 50_000, "partitions of TestScaleSimulated")
	rounds      = flag.Int("scale.rounds", 5, "how often TestScaleSimulated takes over and elects")
	perTopic    = flag.Int("scale.topic", 50, "partitions of each topic of TestScaleSimulated")
	scaleReps   = flag.Int("scale.partitions", 2000, "partitions of TestScaleReplicas, three replicas each")
	scaleReport = flag.String("scale.profile", "", "write a CPU profile of the rounds of TestScaleSimulated to this file")
)

// scaleLimit bounds each wait of these tests.
const scaleLimit = 3 * time.Minute

func tellLoad(t *testing.T) {
	t.Helper()
	load, err := os.ReadFile("/proc/loadavg")
	if err == nil {
		t.Logf("%d processors, load average %s", runtime.NumCPU(), strings.TrimSpace(string(load)))
	}
}

// simBroker is a broker without logs and sockets: a session, a registration, the
// reader of the change log, and a controller, as package broker puts them together.
type simBroker struct {
	t    *testing.T
	id   kafka.BrokerID
	zk   *session.Client
	meta *metadata.Reader
	ctl  *control.Controller
	end  func() // ends it, once; the controller abdicates
}

func startSimulated(t *testing.T, connect string, id kafka.BrokerID) *simBroker {
	t.Helper()
	b := &simBroker{t: t, id: id}
	b.meta = metadata.New(metadata.Options{})
	b.ctl = control.New(control.Options{BrokerID: id, Metadata: b.meta})
	zk, err := session.Open(t.Context(), session.Options{Connect: connect, Timeout: 18 * time.Second,
		OnEvent: func(e session.Event) { b.meta.OnEvent(e); b.ctl.OnEvent(e) },
		OnState: func(s session.State) { b.meta.OnState(s); b.ctl.OnState(s) }})
	if err != nil {
		t.Fatal(err)
	}
	b.zk = zk
	b.meta.SetClient(zk)
	b.ctl.SetClient(zk)
	registerSimulated(t, zk, id)
	reading, stopReading := context.WithCancel(context.Background())
	reigning, stopReigning := context.WithCancel(context.Background())
	var reader, loop sync.WaitGroup
	reader.Go(func() { b.meta.Run(reading) })
	loop.Go(func() { b.ctl.Run(reigning) })
	b.end = sync.OnceFunc(func() { stopReigning(); loop.Wait(); stopReading(); reader.Wait(); zk.Close() })
	t.Cleanup(b.end)
	return b
}

// registerSimulated makes the start-up znodes and a registration.
func registerSimulated(t *testing.T, zk *session.Client, id kafka.BrokerID) {
	t.Helper()
	for _, p := range zkpaths.StartupPaths() {
		if _, err := zk.CreateAll(t.Context(), p, nil, session.Persistent); err != nil && !errors.Is(err, session.ErrNodeExists) {
			t.Fatal(err)
		}
	}
	reg := zkpaths.Registration{JMXPort: -1, Timestamp: 1, Marker: &zkpaths.Marker{Version: "simulated"},
		Endpoints: []zkpaths.Endpoint{{Listener: "PLAINTEXT", Host: "localhost", Port: 9000 + int32(id), Protocol: "PLAINTEXT"}}}
	if _, err := zk.Create(t.Context(), zkpaths.BrokerPath(id), reg.Encode(), session.Ephemeral); err != nil {
		t.Fatal(err)
	}
}

// know waits until the images of all fulfil a condition.
func know(t *testing.T, brokers []*simBroker, what string, until func(*cluster.Image) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), scaleLimit)
	defer cancel()
	for _, b := range brokers {
		if err := b.meta.WaitFor(ctx, until); err != nil {
			t.Fatalf("broker %d: %s: %v", b.id, what, err)
		}
	}
}

// reigns waits until one of them is ready as the controller.
func reigns(t *testing.T, brokers []*simBroker) (i int, epoch kafka.ControllerEpoch) {
	t.Helper()
	return reignsAfter(t, brokers, 0)
}

// reignsAfter waits until one of them is ready in a later epoch.
func reignsAfter(t *testing.T, brokers []*simBroker, last kafka.ControllerEpoch) (i int, epoch kafka.ControllerEpoch) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(scaleLimit)
	for {
		for i, b := range brokers {
			if e, ok := b.ctl.Epoch(); ok && e > last {
				return i, e
			}
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("nobody is ready as the controller")
		}
	}
}

// median is that of some durations, with all of them for the log.
func median(of []time.Duration) string {
	s := slices.Sorted(slices.Values(of))
	if len(s) == 0 {
		return "none"
	}
	var all []string
	for _, d := range of {
		all = append(all, d.Round(time.Millisecond).String())
	}
	return fmt.Sprintf("%v (%s)", s[len(s)/2].Round(time.Millisecond), strings.Join(all, ", "))
}

// ledBy counts the partitions that a broker leads.
func ledBy(im *cluster.Image, id kafka.BrokerID) int {
	n := 0
	for t := range im.Topics() {
		for _, p := range t.Partitions {
			if p != nil && p.Leader == id {
				n++
			}
		}
	}
	return n
}

// TestScaleSimulated has three simulated brokers and one that is a registration
// alone, the first replica of every partition, on a real ZooKeeper. It measures
// how long an image takes to load, how long a controller is not replaced when
// the one that reigns gives up, and how long three brokers take to know that
// every partition has another leader.
func TestScaleSimulated(t *testing.T) {
	tellLoad(t)
	own := zktest.NewOwn(t)
	connect := zktest.Chroot(t, own.Addr())
	var brokers []*simBroker
	for id := range kafka.BrokerID(3) {
		brokers = append(brokers, startSimulated(t, connect, id+1))
	}
	mortal := startMortal(t, connect, 4)
	i, _ := reigns(t, brokers)
	everybody := func(im *cluster.Image) bool { return len(im.Brokers()) == 4 }
	know(t, brokers, "four brokers", everybody)

	began := time.Now()
	const atOnce = 20 // topics of one request
	var wanted []cluster.NewTopic
	for n := 0; n < *simulated; n += *perTopic {
		nt := cluster.NewTopic{Name: fmt.Sprintf("topic-%04d", n / *perTopic)}
		for p := range *perTopic {
			nt.Assignment = append(nt.Assignment, []kafka.BrokerID{4, kafka.BrokerID(1 + p%3), kafka.BrokerID(1 + (p+1)%3)})
		}
		wanted = append(wanted, nt)
	}
	for some := range slices.Chunk(wanted, atOnce) {
		for _, r := range brokers[i].ctl.CreateTopics(t.Context(), some, false) {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
		}
	}
	total := (*simulated + *perTopic - 1) / *perTopic * *perTopic
	know(t, brokers, "all partitions led", func(im *cluster.Image) bool { return ledBy(im, 4) == total })
	t.Logf("%d partitions in topics of %d made in %v", total, *perTopic, time.Since(began).Round(time.Millisecond))

	measureLoad(t, connect, total)
	if *scaleReport != "" {
		f, err := os.Create(*scaleReport)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			t.Fatal(err)
		}
		defer pprof.StopCPUProfile()
	}
	measureTakeOver(t, brokers)
	measureDeath(t, brokers, mortal, total, own.PID())
}

// startMortal registers a broker of which there is nothing else.
func startMortal(t *testing.T, connect string, id kafka.BrokerID) *session.Client {
	t.Helper()
	zk, err := session.Open(t.Context(), session.Options{Connect: connect, Timeout: 18 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { zk.Close() })
	registerSimulated(t, zk, id)
	return zk
}

// measureLoad loads the image afresh, as a broker does when it starts.
func measureLoad(t *testing.T, connect string, total int) {
	t.Helper()
	zk, err := session.Open(t.Context(), session.Options{Connect: connect, Timeout: 18 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer zk.Close()
	var times []time.Duration
	var heap uint64
	for range min(*rounds, 3) {
		before := heapNow()
		r := metadata.New(metadata.Options{Client: zk})
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		var running sync.WaitGroup
		running.Go(func() { r.Run(ctx) })
		<-r.Loaded()
		times = append(times, time.Since(began))
		cancel()
		running.Wait()
		if n := r.Current().PartitionCount(); n != total {
			t.Fatalf("%d partitions loaded", n)
		}
		heap = heapNow() - min(before, heapNow())
		runtime.KeepAlive(r)
	}
	t.Logf("an image loaded in %s; it takes %d bytes a partition", median(times), heap/uint64(total))
}

func heapNow() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// measureTakeOver removes /controller, as Depose does when the controller's
// process is dead, and waits for the next one.
func measureTakeOver(t *testing.T, brokers []*simBroker) {
	t.Helper()
	var times []time.Duration
	for range *rounds {
		i, epoch := reigns(t, brokers)
		began := time.Now()
		other := brokers[(i+1)%len(brokers)].zk
		if err := other.Delete(t.Context(), zkpaths.ControllerPath, -1); err != nil {
			t.Fatal(err)
		}
		reignsAfter(t, brokers, epoch)
		times = append(times, time.Since(began))
		know(t, brokers, "the next epoch", func(im *cluster.Image) bool { return im.ControllerEpoch > epoch })
		awaitQuiet(t, brokers)
	}
	t.Logf("next controller ready, from the removal of /controller: %s", median(times))
}

// awaitQuiet waits until the controller's loop has nothing to do: it answers a
// call, and calls come after all that it has to look at.
func awaitQuiet(t *testing.T, brokers []*simBroker) {
	t.Helper()
	eventually(t, scaleLimit, "the controller is quiet", func() error {
		i, _ := reigns(t, brokers) // perhaps one that does not yet know that it reigns no more
		_, err := brokers[i].ctl.ElectLeaders(t.Context(), cluster.PreferredElection, nil)
		return err
	})
}

// measureDeath removes the registration of the broker that leads everything, and
// has it come back: each of the three steps changes every state. Beside the time it
// tells what the steps cost in processor time, which other work on the machine
// disturbs less: of the three brokers together, and of ZooKeeper, whose process is zoo.
func measureDeath(t *testing.T, brokers []*simBroker, mortal *session.Client, total, zoo int) {
	t.Helper()
	var deaths, births, admissions, elections, ours, theirs []time.Duration
	self := os.Getpid()
	for range *rounds {
		awaitQuiet(t, brokers)
		runtime.GC()
		began, we, it := time.Now(), cpuOf(t, self), cpuOf(t, zoo)
		if err := mortal.Delete(t.Context(), zkpaths.BrokerPath(4), -1); err != nil {
			t.Fatal(err)
		}
		know(t, brokers, "no partition led by the dead", func(im *cluster.Image) bool { return !im.Alive(4) && ledBy(im, 4) == 0 })
		deaths = append(deaths, time.Since(began))
		ours, theirs = append(ours, cpuOf(t, self)-we), append(theirs, cpuOf(t, zoo)-it)
		awaitQuiet(t, brokers)
		began = time.Now()
		registerSimulated(t, mortal, 4)
		know(t, brokers, "the fourth is back", func(im *cluster.Image) bool { return im.Alive(4) })
		awaitQuiet(t, brokers)
		births = append(births, time.Since(began))
		admitted, elected := comeBack(t, brokers, total)
		admissions, elections = append(admissions, admitted), append(elections, elected)
	}
	t.Logf("%d state changes known to %d brokers: death of a leader %s; into every ISR %s; preferred leaders %s",
		total, len(brokers), median(deaths), median(admissions), median(elections))
	t.Logf("processor time of a leader's death: %s of the brokers, %s of ZooKeeper", median(ours), median(theirs))
	t.Logf("birth of a broker that had nothing in sync: %s", median(births))
}

// comeBack takes broker 4 into every ISR, as the leaders propose it, and makes it
// the leader again.
func comeBack(t *testing.T, brokers []*simBroker, total int) (admitted, elected time.Duration) {
	t.Helper()
	i, _ := reigns(t, brokers)
	ctl, im := brokers[i].ctl, brokers[i].meta.Current()
	var tps []kafka.TopicPartition
	changes := map[kafka.BrokerID][]cluster.ISRChange{}
	for topic := range im.Topics() {
		for p, st := range topic.Partitions {
			tp := kafka.TopicPartition{Topic: topic.Name, Partition: int32(p)}
			tps = append(tps, tp)
			change := cluster.ISRChange{TopicID: topic.ID, TP: tp, LeaderEpoch: st.LeaderEpoch, PartitionEpoch: st.PartitionEpoch}
			for _, id := range st.Replicas {
				change.ISR = append(change.ISR, cluster.ISRMember{ID: id, Epoch: im.Broker(id).Epoch})
			}
			changes[st.Leader] = append(changes[st.Leader], change)
		}
	}
	began := time.Now()
	var asking sync.WaitGroup
	for leader, of := range changes {
		asking.Go(func() {
			results, err := ctl.AlterPartition(t.Context(), leader, im.Broker(leader).Epoch, of)
			for n := range results {
				err = errors.Join(err, results[n].Err)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	asking.Wait()
	know(t, brokers, "the fourth in sync", func(im *cluster.Image) bool { return inSync(im) == 3*total })
	admitted = time.Since(began)
	began = time.Now()
	if _, err := ctl.ElectLeaders(t.Context(), cluster.PreferredElection, tps); err != nil {
		t.Fatal(err)
	}
	know(t, brokers, "the fourth leads again", func(im *cluster.Image) bool { return ledBy(im, 4) == total })
	return admitted, time.Since(began)
}

// inSync counts the members of all ISRs.
func inSync(im *cluster.Image) int {
	n := 0
	for t := range im.Topics() {
		for _, p := range t.Partitions {
			n += len(p.ISR)
		}
	}
	return n
}

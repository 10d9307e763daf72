package controller_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"sync"
	"testing"
	"time"

	"barnabas/broker/metadata"
	"barnabas/cluster"
	"barnabas/controller"
	"barnabas/internal/kafka"
	"barnabas/internal/zktest"
	"barnabas/protocol"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// limit is how long something may take that a test waits for: far longer than it
// does, since only what hangs shall meet it.
const limit = time.Minute

// node is a broker without a log: a session, a registration, the reader of the
// change log, and a controller.
type node struct {
	t    *testing.T
	id   kafka.BrokerID
	zk   *session.Client
	meta *metadata.Reader
	ctl  *controller.Controller
	stop func() // ends everything, politely
	// crashed is what the next registration says of the machine.
	crashed bool
	cancel  context.CancelFunc
}

func startNode(t *testing.T, connect string, id kafka.BrokerID, with ...func(*controller.Options)) *node {
	t.Helper()
	return startNodeOver(t, nil, connect, id, with...)
}

// startNodeOver is startNode with connections of the caller's.
func startNodeOver(t *testing.T, dial func(ctx context.Context, network, addr string) (net.Conn, error), connect string, id kafka.BrokerID,
	with ...func(*controller.Options)) *node {
	t.Helper()
	n := &node{t: t, id: id}
	n.meta = metadata.New(metadata.Options{Interval: 100 * time.Millisecond})
	o := controller.Options{BrokerID: id, Metadata: n.meta, Interval: 100 * time.Millisecond, ScrubRest: time.Millisecond}
	for _, w := range with {
		w(&o)
	}
	n.ctl = controller.New(o)
	zk, err := session.Open(t.Context(), session.Options{Connect: connect, Timeout: 30 * time.Second, Dialer: dial,
		OnEvent: func(e session.Event) { n.meta.OnEvent(e); n.ctl.OnEvent(e) },
		OnState: func(s session.State) { n.meta.OnState(s); n.ctl.OnState(s) }})
	if err != nil {
		t.Fatal(err)
	}
	n.zk = zk
	n.meta.SetClient(zk)
	n.ctl.SetClient(zk)
	for _, p := range zkpaths.StartupPaths() {
		if _, err := zk.CreateAll(t.Context(), p, nil, session.Persistent); err != nil && !errors.Is(err, session.ErrNodeExists) {
			t.Fatal(err)
		}
	}
	n.register()
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	var wg sync.WaitGroup
	wg.Go(func() { n.ctl.Run(ctx) })
	metaCtx, metaCancel := context.WithCancel(context.Background())
	var mg sync.WaitGroup
	mg.Go(func() { n.meta.Run(metaCtx) })
	n.stop = sync.OnceFunc(func() { cancel(); wg.Wait(); metaCancel(); mg.Wait(); zk.Close() })
	t.Cleanup(n.stop)
	return n
}

func (n *node) register() {
	n.t.Helper()
	reg := zkpaths.Registration{Endpoints: []zkpaths.Endpoint{{Listener: "PLAINTEXT", Host: "localhost", Port: 9000 + int32(n.id), Protocol: "PLAINTEXT"}},
		JMXPort: -1, Timestamp: 1, Marker: &zkpaths.Marker{Version: "test", Crashed: n.crashed, Process: fmt.Sprint("process-", n.id)}}
	if _, err := n.zk.Create(n.t.Context(), zkpaths.BrokerPath(n.id), reg.Encode(), session.Ephemeral); err != nil {
		n.t.Fatal(err)
	}
}

// await waits until the node's image fulfils a condition.
func (n *node) await(what string, until func(*cluster.Image) bool) *cluster.Image {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), limit)
	defer cancel()
	if err := n.meta.WaitFor(ctx, until); err != nil {
		n.t.Fatalf("waiting for %s: %v", what, err)
	}
	return n.meta.Current()
}

// create makes a topic, as soon as the node reigns.
func (n *node) create(nt cluster.NewTopic) {
	n.t.Helper()
	n.awaitReign()
	if err := n.tryCreate(nt); err != nil {
		n.t.Fatalf("creating %s: %v", nt.Name, err)
	}
}

func (n *node) tryCreate(nt cluster.NewTopic) error {
	return n.ctl.CreateTopics(n.t.Context(), []cluster.NewTopic{nt}, false)[0].Err
}

// edit changes a znode as a hand does: what is read is written changed, and all of
// it again if somebody, such as the controller, wrote in between.
func (n *node) edit(path string, change func(old []byte) ([]byte, error)) {
	n.t.Helper()
	waitUntil(n.t, "an edit of "+path, func() bool {
		old, st, err := n.zk.Get(n.t.Context(), path)
		if err != nil {
			n.t.Fatal(err)
		}
		data, err := change(old)
		if err != nil {
			n.t.Fatal(err)
		}
		_, err = n.zk.Set(n.t.Context(), path, data, st.Version)
		if err != nil && !errors.Is(err, session.ErrBadVersion) {
			n.t.Fatal(err)
		}
		return err == nil
	})
}

// editAssignment writes into a topic's znode who shall hold a partition.
func (n *node) editAssignment(topic string, partition int32, to ...kafka.BrokerID) {
	n.t.Helper()
	n.edit(zkpaths.TopicPath(topic), func(old []byte) ([]byte, error) {
		a, err := zkpaths.DecodeAssignment(old)
		if err != nil {
			return nil, err
		}
		a.Partitions[partition] = to
		return a.Encode(), nil
	})
}

func (n *node) delete(topic string) {
	n.t.Helper()
	if err := n.ctl.DeleteTopics(n.t.Context(), []string{topic})[0]; err != nil {
		n.t.Fatalf("deleting %s: %v", topic, err)
	}
}

func (n *node) awaitReign() {
	n.t.Helper()
	waitUntil(n.t, "the reign", func() bool { _, ok := n.ctl.Epoch(); return ok })
}

// waitUntil polls a condition that nothing signals.
func waitUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(3 * time.Minute) // what failed once is tried again after a minute, at times
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// led tells whether all partitions of a topic have a leader.
func led(topic string, count int) func(*cluster.Image) bool {
	return func(im *cluster.Image) bool {
		t := im.Topic(topic)
		if t == nil || t.Count() != count {
			return false
		}
		for _, p := range t.Partitions {
			if !p.HasState || p.Leader == kafka.NoBroker {
				return false
			}
		}
		return true
	}
}

// sameAsLoaded compares an image that was read on with one loaded afresh.
func sameAsLoaded(t *testing.T, n *node) {
	t.Helper()
	fresh := metadata.New(metadata.Options{Client: n.zk})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { fresh.Run(ctx) })
	defer func() { cancel(); wg.Wait() }()
	<-fresh.Loaded()
	var differ []cluster.Change
	defer func() {
		if len(differ) > 0 {
			t.Logf("read on and loaded differ: %+v", differ)
		}
	}()
	// A registration is loaded before the controller has told of it, and either may read
	// an entry sooner than the other.
	waitUntil(t, "what is read on to be what is loaded", func() bool {
		im, err := n.meta.CatchUp(t.Context(), true)
		if err != nil {
			t.Fatal(err)
		}
		differ = cluster.Diff(im, fresh.Current())
		return len(differ) == 0
	})
}

func TestLifeOfTopics(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		n := startNode(t, connect, 1)
		n.create(cluster.NewTopic{Name: "a", Partitions: 3, ReplicationFactor: 1, Config: map[string]string{"retention.ms": "5"}})
		im := n.await("a", led("a", 3))
		if got := im.Topic("a"); got.ID.IsZero() || !maps.Equal(got.Config, map[string]string{"retention.ms": "5"}) {
			t.Errorf("topic a is %+v", got)
		}
		if b := im.Broker(1); b == nil || !im.Topic("a").Partition(0).UsableBy(b) || im.LiveController() != 1 {
			t.Errorf("broker %+v, controller %d", b, im.LiveController())
		}
		if err := n.tryCreate(cluster.NewTopic{Name: "a", Partitions: 1, ReplicationFactor: 1}); protocol.CodeOf(err) != protocol.TopicAlreadyExists {
			t.Errorf("creating a again: %v", err)
		}
		if err := n.ctl.AddPartitions(t.Context(), "a", 5, nil, false); err != nil {
			t.Fatal(err)
		}
		n.await("five partitions", led("a", 5))
		sameAsLoaded(t, n)
		first := im.Topic("a").ID
		n.delete("a")
		for _, p := range []string{zkpaths.TopicPath("a"), zkpaths.TopicConfigPath("a"), zkpaths.DeleteTopicPath("a")} {
			if _, ok, err := n.zk.Exists(t.Context(), p); ok || err != nil {
				t.Errorf("%s is there after deletion, %v", p, err)
			}
		}
		if n.meta.Current().Topic("a") != nil {
			t.Error("a is in the image after deletion")
		}
		n.create(cluster.NewTopic{Name: "a", Partitions: 1, ReplicationFactor: 1})
		if im := n.await("a again", led("a", 1)); im.Topic("a").ID == first {
			t.Error("the new topic has the old id")
		}
		sameAsLoaded(t, n)
	})
}

func TestOperatorAtZkCli(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		n := startNode(t, connect, 1)
		n.create(cluster.NewTopic{Name: "made", Partitions: 2, ReplicationFactor: 1})
		ctx := t.Context()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		// A topic by hand, without id.
		_, err := n.zk.Create(ctx, zkpaths.TopicPath("hand"), []byte(`{"version":1,"partitions":{"0":[1],"1":[1]}}`), session.Persistent)
		must(err)
		if im := n.await("hand", led("hand", 2)); im.Topic("hand").ID.IsZero() {
			t.Error("an adopted topic has no id")
		}
		// More partitions by hand.
		n.editAssignment("hand", 2, 1)
		n.await("a third partition", led("hand", 3))
		// A config, the way kafka-configs --zookeeper wrote it.
		_, err = n.zk.Create(ctx, zkpaths.TopicConfigPath("hand"), zkpaths.EncodeConfig(map[string]string{"segment.ms": "7"}), session.Persistent)
		must(err)
		_, err = n.zk.Create(ctx, zkpaths.ConfigChangePath, zkpaths.ConfigChange{Type: zkpaths.ConfigTopics, Entity: "hand"}.Encode(), session.PersistentSequential)
		must(err)
		n.await("the config", func(im *cluster.Image) bool { return im.Topic("hand").Config["segment.ms"] == "7" })
		sameAsLoaded(t, n)
		// Deletions by mark, of a topic and of nothing.
		for _, name := range []string{"hand", "nothing"} {
			_, err = n.zk.Create(ctx, zkpaths.DeleteTopicPath(name), nil, session.Persistent)
			must(err)
		}
		n.await("the deletion", func(im *cluster.Image) bool { return im.Topic("hand") == nil })
		waitUntil(t, "the marks to go", func() bool {
			names, _, err := n.zk.Children(ctx, zkpaths.DeleteTopics)
			return err == nil && len(names) == 0
		})
		// A new election.
		before, _ := n.ctl.Epoch()
		must(n.zk.Delete(ctx, zkpaths.ControllerPath, -1))
		waitUntil(t, "a new reign", func() bool { e, ok := n.ctl.Epoch(); return ok && e == before+1 })
		n.create(cluster.NewTopic{Name: "after", Partitions: 1, ReplicationFactor: 1})
		n.await("after", led("after", 1))
		sameAsLoaded(t, n)
	})
}

func TestDeathAndBirth(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		one := startNode(t, connect, 1)
		one.awaitReign()
		two := startNode(t, connect, 2)
		one.await("both", func(im *cluster.Image) bool { return im.Alive(1) && im.Alive(2) })
		one.create(cluster.NewTopic{Name: "r", Assignment: [][]kafka.BrokerID{{2, 1}, {1, 2}}})
		two.await("r", led("r", 2))
		two.stop()
		im := one.await("the death of 2", func(im *cluster.Image) bool {
			return !im.Alive(2) && im.Topic("r").Partition(0).Leader == 1 && len(im.Topic("r").Partition(1).ISR) == 1
		})
		if p := im.Topic("r").Partition(0); p.LeaderEpoch != 1 || len(p.ISR) != 1 {
			t.Errorf("partition 0 is %+v", p)
		}
		again := startNode(t, connect, 2)
		im = again.await("the birth", func(im *cluster.Image) bool { return im.Alive(2) })
		if p := im.Topic("r").Partition(0); p.LeaderEpoch != 1 { // 2 was in no ISR any more
			t.Errorf("partition 0 is %+v", p)
		}
		// The controller goes; the other takes over and elects.
		one.stop()
		again.awaitReign()
		again.await("the death of 1", func(im *cluster.Image) bool { return !im.Alive(1) && im.LiveController() == 2 })
		sameAsLoaded(t, again)
	})
}

// A controller that was replaced without noticing can't write, and resigns.
func TestStaleControllerIsFenced(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		n := startNode(t, connect, 1)
		n.awaitReign()
		if _, err := n.zk.Set(t.Context(), zkpaths.ControllerEpochPath, zkpaths.EncodeControllerEpoch(9), -1); err != nil {
			t.Fatal(err)
		}
		err := n.tryCreate(cluster.NewTopic{Name: "never", Partitions: 1, ReplicationFactor: 1})
		if protocol.CodeOf(err) != protocol.NotController {
			t.Errorf("a stale controller answered %v", err)
		}
		if _, ok, _ := n.zk.Exists(t.Context(), zkpaths.TopicPath("never")); ok {
			t.Error("a stale controller wrote")
		}
		waitUntil(t, "a reign in a newer epoch", func() bool { e, ok := n.ctl.Epoch(); return ok && e == 10 })
	})
}

func TestProducerIDBlocks(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		n := startNode(t, connect, 1)
		n.awaitReign()
		epoch := n.meta.Current().Broker(1).Epoch
		for want := int64(0); want < 3000; want += 1000 {
			first, count, err := n.ctl.AllocateProducerIDs(t.Context(), 1, epoch)
			if err != nil || first != want || count != 1000 {
				t.Errorf("got %d, %d, %v, want %d", first, count, err, want)
			}
		}
		if _, _, err := n.ctl.AllocateProducerIDs(t.Context(), 1, epoch-1); protocol.CodeOf(err) != protocol.StaleBrokerEpoch {
			t.Errorf("an old broker epoch got %v", err)
		}
		if _, _, err := n.ctl.AllocateProducerIDs(t.Context(), 7, 1); protocol.CodeOf(err) != protocol.BrokerIDNotRegistered {
			t.Errorf("an unknown broker got %v", err)
		}
		// Destroyed by hand: no id is given twice.
		given := int64(3000)
		if _, err := n.zk.CreateAll(t.Context(), zkpaths.ClusterIDPath, []byte("{}"), session.Persistent); err != nil && !errors.Is(err, session.ErrNodeExists) {
			t.Fatal(err)
		}
		for name, destroy := range map[string]func() error{
			"garbage": func() error {
				_, err := n.zk.Set(t.Context(), zkpaths.ProducerIDBlockPath, []byte("x"), -1)
				return err
			},
			"deleted": func() error { return n.zk.Delete(t.Context(), zkpaths.ProducerIDBlockPath, -1) },
			"made again": func() error {
				err := n.zk.Delete(t.Context(), zkpaths.ProducerIDBlockPath, -1)
				if err == nil {
					_, err = n.zk.Create(t.Context(), zkpaths.ProducerIDBlockPath, nil, session.Persistent)
				}
				return err
			},
		} {
			if err := destroy(); err != nil {
				t.Fatal(name, err)
			}
			first, count, err := n.ctl.AllocateProducerIDs(t.Context(), 1, epoch)
			if err != nil || first < given || count != 1000 {
				t.Errorf("%s: got %d, %d, %v; %d were given", name, first, count, err, given)
			}
			given = first + count
		}
	})
}

func TestTwoThousandPartitions(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		n := startNode(t, connect, 1)
		n.awaitReign()
		start := time.Now()
		n.create(cluster.NewTopic{Name: "wide", Partitions: 2000, ReplicationFactor: 1})
		n.await("wide", led("wide", 2000))
		made := time.Since(start)
		start = time.Now()
		sameAsLoaded(t, n)
		load := time.Since(start)
		start = time.Now()
		n.delete("wide")
		t.Logf("2,000 partitions: made in %v, loaded in %v, deleted in %v", made, load, time.Since(start))
	})
}

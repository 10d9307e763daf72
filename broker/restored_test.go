package broker_test

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"barnabas/brokertest"
	"barnabas/internal/testaddr"
	"barnabas/internal/vfs"
	"barnabas/zkpaths/devzk"
)

// ZooKeeper is restored from a backup while the brokers run: they go on with new
// sessions and load everything anew. What was made since is not known any more,
// what was there is served.
func TestZooKeeperRestoredFromABackup(t *testing.T) {
	mem := vfs.NewMem()
	startZK := func(fs vfs.FS, addr string) *devzk.Server {
		zk, err := devzk.Start(devzk.Options{Addr: addr, Dir: "/zk", FS: fs, Tick: 100 * time.Millisecond, MinSessionTimeout: 200 * time.Millisecond, MaxSessionTimeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { zk.Close() })
		return zk
	}
	addr := testaddr.Reserve(t) // of all three, one after the other
	zk := startZK(mem, addr)
	c := brokertest.Start(t, brokertest.Brokers(2), brokertest.ZooKeeper(addr), brokertest.Config("zookeeper.session.timeout.ms", "3000"),
		brokertest.Topics(brokertest.Topic{Name: "t", Partitions: 4, ReplicationFactor: 2}))
	cl := c.Client(kgo.RetryTimeout(time.Minute), kgo.UnknownTopicRetries(-1))
	awaitISR(c, "t", 2)
	sendAll(t, cl, "t", 0, 100)
	zk.Close()
	backup := mem.CrashClone(100)
	zk = startZK(mem, addr)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	admin := kadm.NewClient(cl)
	for { // until the brokers have their sessions back
		if r, err := admin.CreateTopic(ctx, 1, 2, nil, "since"); err == nil && r.Err == nil || ctx.Err() != nil {
			break
		}
	}
	awaitISR(c, "since", 2)
	sendAll(t, cl, "t", 100, 200)
	zk.Close()
	startZK(backup, addr)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for gone := false; !gone; {
		if topics, err := admin.ListTopics(ctx); err == nil {
			gone = !topics.Has("since")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the brokers still know what ZooKeeper does not")
		}
	}
	awaitISR(c, "t", 2)
	sendAll(t, cl, "t", 200, 300)
	if got := len(consumeAll(t, c, "t", 300)); got != 300 {
		t.Errorf("%d records of 300", got)
	}
}

//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/zktest"
)

// startBrokers starts brokers 1, 2, … each with a connect string of its own.
func startBrokers(t *testing.T, connects []string, lines ...string) []*broker {
	t.Helper()
	var brokers []*broker
	for i, connect := range connects {
		b := prepareBroker(t, connect, append([]string{fmt.Sprint("broker.id=", i+1)}, lines...)...)
		b.start()
		brokers = append(brokers, b)
	}
	for _, b := range brokers {
		b.awaitReady(patience)
	}
	awaitEachOther(t, brokers)
	return brokers
}

// awaitEachOther waits until each broker knows all of them.
func awaitEachOther(t *testing.T, brokers []*broker) {
	t.Helper()
	for _, b := range brokers {
		c := b.client()
		eventually(t, patience, "all brokers know each other", func() error {
			req := kmsg.NewPtrMetadataRequest()
			req.Topics = []kmsg.MetadataRequestTopic{} // none
			resp, err := req.RequestWith(t.Context(), c.SeedBrokers()[0])
			if err == nil && len(resp.Brokers) != len(brokers) {
				err = fmt.Errorf("%d brokers", len(resp.Brokers))
			}
			return err
		})
		c.Close()
	}
}

// leads asks one broker itself which partitions of a topic it would serve.
func leads(t *testing.T, b *broker, id int32, topic string, partitions int32) (led []int32) {
	t.Helper()
	c := b.client(kgo.RequestRetries(0))
	defer c.Close()
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = topic
	for p := range partitions {
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.Timestamp, rp.CurrentLeaderEpoch = p, -2, -1
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Ping(ctx); err != nil { // it learns the ids
		t.Fatal(err)
	}
	resp, err := c.Broker(int(id)).Request(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions {
		switch err := kerr.ErrorForCode(p.ErrorCode); {
		case err == nil:
			led = append(led, p.Partition)
		case !errors.Is(err, kerr.NotLeaderForPartition):
			t.Errorf("partition %d: %v", p.Partition, err)
		}
	}
	return led
}

// TestABrokerAloneWithoutZooKeeper: a broker whose way to ZooKeeper is cut, while
// the others have theirs, hears from them that the cluster has moved on, and
// stops serving what it led.
func TestABrokerAloneWithoutZooKeeper(t *testing.T) {
	p := newProxy(t, zktest.Real(t))
	direct := zktest.Chroot(t, zktest.Real(t))
	_, root, _ := strings.Cut(direct, "/")
	brokers := startBrokers(t, []string{p.addr() + "/" + root, direct, direct}, "zookeeper.session.timeout.ms=2000", "min.insync.replicas=2")
	const topic, partitions = "alone", 6
	l := replicated(t, brokers, topic, partitions)
	l.progress(t, 300, patience, "by all three")
	if led := leads(t, brokers[0], 1, topic, partitions); len(led) == 0 {
		t.Fatal("broker 1 leads nothing at first")
	}
	l.lap()
	p.set(false, false)
	began := time.Now()
	eventually(t, patience, "broker 1 leads nothing", func() error {
		if led := leads(t, brokers[0], 1, topic, partitions); len(led) > 0 {
			return fmt.Errorf("it leads %v", led)
		}
		return nil
	})
	t.Logf("broker 1 serves nothing any more %v after the cut", time.Since(began).Round(time.Millisecond))
	if out := brokers[0].proc.Output(); !strings.Contains(out, "leading nothing until this one has") {
		t.Errorf("the broker does not say so:\n%s", out)
	}
	l.progress(t, 500, patience, "while broker 1 is cut off")
	p.set(true, true)
	awaitInSync(t, brokers[1], topic, 3)
	l.progress(t, 300, patience, "after the network is whole")
	t.Logf("longest gap %v", l.lap().Round(time.Millisecond))
	l.end(t, brokers[1], topic, partitions)
}

// TestZooKeeperAway: all of ZooKeeper is paused, then dead, for longer than
// sessions last. Brokers lead on, and register again when it is back.
// BARNABAS_AWAY sets how long.
func TestZooKeeperAway(t *testing.T) {
	away := 6 * time.Second
	if d, err := time.ParseDuration(os.Getenv("BARNABAS_AWAY")); err == nil {
		away = d
	}
	own := zktest.NewOwn(t)
	connect := zktest.Chroot(t, own.Addr())
	brokers := startBrokers(t, []string{connect, connect, connect}, "zookeeper.session.timeout.ms=2000", "min.insync.replicas=2")
	const topic, partitions = "away", 6
	l := replicated(t, brokers, topic, partitions)
	l.progress(t, 300, patience, "by all three")
	l.lap()
	for _, c := range []struct {
		name       string
		take, give func()
	}{{"paused", own.Pause, own.Resume}, {"dead", own.Kill, own.Restart}} {
		c.take()
		for began := time.Now(); time.Since(began) < away; {
			l.progress(t, 100, patience, "while ZooKeeper is "+c.name)
		}
		down := l.lap()
		c.give()
		began := time.Now()
		createTopic(t, brokers[1], "after-"+c.name, 2)
		made := time.Since(began)
		awaitInSync(t, brokers[0], topic, 3)
		l.progress(t, 500, patience, "after ZooKeeper was "+c.name)
		t.Logf("ZooKeeper %s for %v: longest gap %v; back: a topic made after %v, longest gap %v", c.name, away,
			down.Round(time.Millisecond), made.Round(time.Millisecond), l.lap().Round(time.Millisecond))
	}
	l.end(t, brokers[0], topic, partitions)
	t.Logf("%d records acknowledged", l.count())
}

// TestEnsembleLeaderChanges kills the leader of an ensemble of three, again and
// again: brokers lead on, keep their sessions, and topics can be made.
func TestEnsembleLeaderChanges(t *testing.T) {
	e := zktest.NewEnsemble(t, 3)
	connect := e.Addr() + "/ensemble"
	brokers := startBrokers(t, []string{connect, connect, connect}, "zookeeper.session.timeout.ms=6000", "min.insync.replicas=2")
	const topic, partitions = "ensemble", 6
	l := replicated(t, brokers, topic, partitions)
	l.progress(t, 300, patience, "by all three")
	l.lap()
	for i := range 4 {
		leader := -1
		eventually(t, patience, "the ensemble has a leader", func() error {
			if leader = e.Leader(); leader < 0 {
				return errors.New("it has none")
			}
			return nil
		})
		e.Kill(leader)
		began := time.Now()
		createTopic(t, brokers[i%3], fmt.Sprint("made-", i), 2)
		made := time.Since(began)
		l.progress(t, 500, patience, "with another leader of the ensemble")
		e.Restart(leader)
		awaitInSync(t, brokers[0], topic, 3)
		t.Logf("server %d led and was killed: a topic made after %v, longest gap %v", leader, made.Round(time.Millisecond), l.lap().Round(time.Millisecond))
	}
	l.end(t, brokers[0], topic, partitions)
	t.Logf("%d records acknowledged", l.count())
}

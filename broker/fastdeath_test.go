package broker_test

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"barnabas/brokertest"
	"barnabas/zkpaths"
	"barnabas/zkpaths/devzk"
	"barnabas/zkpaths/session"
)

// longSessions starts a cluster of three whose sessions do not end before the
// test does: what is noticed of a death is noticed by evidence.
func longSessions(t *testing.T, opts ...brokertest.Option) *brokertest.Cluster {
	t.Helper()
	zk, err := devzk.Start(devzk.Options{Tick: 200 * time.Millisecond, MinSessionTimeout: 400 * time.Millisecond, MaxSessionTimeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { zk.Close() })
	return brokertest.Start(t, append([]brokertest.Option{brokertest.Brokers(3), brokertest.ZooKeeper(zk.Addr()), brokertest.Config("zookeeper.session.timeout.ms", "3600000"),
		brokertest.Topics(brokertest.Topic{Name: "t", Partitions: 6, ReplicationFactor: 3})}, opts...)...)
}

// controllerOf asks until a broker names a controller that is not the given one.
func controllerOf(t *testing.T, cl *kgo.Client, not int32) int32 {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(2 * time.Minute)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		m, err := kadm.NewClient(cl).BrokerMetadata(ctx)
		cancel()
		if err == nil && m.Controller >= 0 && m.Controller != not {
			return m.Controller
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("no controller but %d: %+v, %v", not, m, err)
		}
	}
}

// A process that was killed is declared dead by broken connections and refused
// dials, be it the controller or not, and nothing acknowledged is lost.
func TestADeadProcessIsNoticedBeforeItsSessionEnds(t *testing.T) {
	for _, what := range []string{"the controller", "another"} {
		t.Run(what, func(t *testing.T) {
			c := longSessions(t)
			cl := c.Client(kgo.RetryTimeout(time.Minute), kgo.MaxProduceRequestsInflightPerBroker(1))
			awaitISR(c, "t", 3)
			sendAll(t, cl, "t", 0, 300)
			victim := controllerOf(t, cl, -1)
			if what == "another" {
				victim = (victim + 1) % 3
			}
			c.Broker(int(victim)).Kill()
			sendAll(t, cl, "t", 300, 600) // to all partitions: they have leaders again
			if what == "the controller" {
				controllerOf(t, cl, victim)
			}
			awaitISR(c, "t", 2)
			c.Broker(int(victim)).Restart()
			awaitISR(c, "t", 3)
			if got := len(consumeAll(t, c, "t", 600)); got != 600 {
				t.Errorf("%d records of 600", got)
			}
		})
	}
}

// consumeAll reads a topic from its beginning until it has had that many
// different values.
func consumeAll(t *testing.T, c *brokertest.Cluster, topic string, want int) map[string]bool {
	t.Helper()
	cl := c.Client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	got := map[string]bool{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for len(got) < want && ctx.Err() == nil {
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) { got[string(r.Value)] = true })
	}
	return got
}

// The registration tells whether others may act on evidence.
func TestTheSwitchOfFastDeath(t *testing.T) {
	for value, want := range map[string]bool{"auto": true, "on": true, "off": false} {
		t.Run(value, func(t *testing.T) {
			c := brokertest.Start(t, brokertest.Config("barnabas.fast.death", value))
			zk, err := session.Open(t.Context(), session.Options{Connect: c.ZooKeeper(), Timeout: 30 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			defer zk.Close()
			data, _, err := zk.Get(t.Context(), zkpaths.BrokerPath(0))
			if err != nil {
				t.Fatal(err)
			}
			reg, err := zkpaths.DecodeRegistration(data)
			if err != nil || reg.Marker == nil || reg.Marker.FastDeath != want {
				t.Errorf("registered %s, %v", data, err)
			}
		})
	}
}

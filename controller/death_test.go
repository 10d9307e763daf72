package controller_test

import (
	"errors"
	"testing"

	"barnabas/cluster"
	"barnabas/controller"
	"barnabas/internal/kafka"
	"barnabas/internal/zktest"
	"barnabas/zkpaths"
	"barnabas/zkpaths/devzk"
	"barnabas/zkpaths/session"
)

func (n *node) epochOf(id kafka.BrokerID) kafka.BrokerEpoch {
	n.t.Helper()
	im := n.await("the registration", func(im *cluster.Image) bool { return im.Alive(id) })
	return im.Broker(id).Epoch
}

func TestDeclareDead(t *testing.T) {
	connect := zktest.DevZK(t, devzk.Options{}).Addr()
	n1 := startNode(t, connect, 1)
	n1.awaitReign()
	n2 := startNode(t, connect, 2)
	epoch := n1.epochOf(2)
	n1.create(cluster.NewTopic{Name: "t", Assignment: [][]kafka.BrokerID{{2, 1}}})
	n1.create(cluster.NewTopic{Name: "u", Assignment: [][]kafka.BrokerID{{2}}})

	if err := n2.ctl.DeclareDead(t.Context(), 2, epoch); !errors.Is(err, controller.ErrNotController) {
		t.Errorf("a standby declared: %v", err)
	}
	if err := n1.ctl.DeclareDead(t.Context(), 2, epoch-1); !errors.Is(err, controller.ErrNoDeath) {
		t.Errorf("an earlier registration: %v", err)
	}
	if _, ok, _ := n1.zk.Exists(t.Context(), zkpaths.BrokerPath(2)); !ok {
		t.Fatal("the registration is gone")
	}
	if err := n1.ctl.DeclareDead(t.Context(), 2, epoch); err != nil {
		t.Fatal(err)
	}
	im := n1.meta.Current()
	if im.Alive(2) || im.Alarms()[2] != (cluster.Alarm{Epoch: epoch, Process: "process-2"}) {
		t.Errorf("alive %v, alarms %v", im.Alive(2), im.Alarms())
	}
	// 1 leads what both have; nobody is elected for what only 2 has, and 2 stays its
	// member.
	t0, u0 := im.Topic("t").Partition(0), im.Topic("u").Partition(0)
	if t0.Leader != 1 || len(t0.ISR) != 1 || u0.Leader != kafka.NoBroker || len(u0.ISR) != 1 || u0.ISR[0] != 2 {
		t.Errorf("t-0 %+v, u-0 %+v", t0, u0)
	}
	if _, ok, err := n1.zk.Exists(t.Context(), zkpaths.BrokerPath(2)); ok || err != nil {
		t.Errorf("registered %v, %v", ok, err)
	}
	n2.await("the death", func(im *cluster.Image) bool { return im.Alarms()[2].Epoch == epoch })
	// It lived, and comes back under another registration.
	n2.register()
	n1.await("its return", func(im *cluster.Image) bool {
		return im.Alive(2) && im.Broker(2).Epoch > epoch && im.Topic("u").Partition(0).Leader == 2
	})
	if err := n1.ctl.DeclareDead(t.Context(), 2, epoch); !errors.Is(err, controller.ErrNoDeath) {
		t.Errorf("the same death again: %v", err)
	}
}

func TestDepose(t *testing.T) {
	connect := zktest.DevZK(t, devzk.Options{}).Addr()
	n1 := startNode(t, connect, 1)
	n1.awaitReign()
	n2 := startNode(t, connect, 2)
	first, second := n2.epochOf(1), n2.epochOf(2)
	for _, c := range []struct {
		name  string
		id    kafka.BrokerID
		epoch kafka.BrokerEpoch
	}{{"an earlier registration", 1, first - 1}, {"a broker that does not reign", 2, second}, {"nobody", 3, 1}} {
		if err := n2.ctl.Depose(t.Context(), c.id, c.epoch); !errors.Is(err, controller.ErrNoDeath) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	before, ok := n1.ctl.Epoch()
	if !ok {
		t.Fatal("1 was deposed")
	}
	if err := n2.ctl.Depose(t.Context(), 1, first); err != nil {
		t.Fatal(err)
	}
	// Both live: one of them is elected, in a new epoch.
	waitUntil(t, "another reign", func() bool {
		a, ok1 := n1.ctl.Epoch()
		b, ok2 := n2.ctl.Epoch()
		return ok1 && a > before || ok2 && b > before
	})
	if err := n1.zk.Delete(t.Context(), zkpaths.BrokerPath(1), -1); err != nil && !errors.Is(err, session.ErrNoNode) {
		t.Fatal(err)
	}
	if err := n2.ctl.Depose(t.Context(), 1, first); !errors.Is(err, controller.ErrNoDeath) {
		t.Errorf("one that is not registered any more: %v", err)
	}
}

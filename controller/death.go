package controller

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// ErrNoDeath says that there is nothing to declare any more: the registration or
// the reign is gone, or another's.
var ErrNoDeath = errors.New("controller: it is not registered so any more")

// DeclareDead removes the registration of a broker whose process is dead, by
// controller/detector's evidence, and elects. Only the reigning controller can:
// others answer ErrNotController.
func (c *Controller) DeclareDead(ctx context.Context, id kafka.BrokerID, epoch kafka.BrokerEpoch) error {
	_, err := call(ctx, c, "declare-dead", func(ctx context.Context) (struct{}, error) {
		return struct{}{}, c.declareDead(ctx, id, epoch)
	})
	return err
}

func (c *Controller) declareDead(ctx context.Context, id kafka.BrokerID, epoch kafka.BrokerEpoch) error {
	path := zkpaths.BrokerPath(id)
	st, ok, err := c.zk.Exists(ctx, path)
	if err != nil {
		return err
	}
	// Every registration has version 1, so one that is made from here on would be
	// deleted in its place. Its broker then finds it gone, and registers again.
	if !ok || kafka.BrokerEpoch(st.Czxid) != epoch {
		c.queue.put(zkpaths.BrokerIDs, evBrokers)
		return ErrNoDeath
	}
	c.log.Warn("declaring a broker dead: its process is gone, its session is not", "broker", id, "broker_epoch", int64(epoch))
	dead := cluster.EntryBroker{ID: id, Epoch: epoch, State: cluster.Down, Alarm: true}
	if b := c.meta.Current().Broker(id); b != nil && b.Epoch == epoch {
		dead.Process = b.Process
	}
	entry := &cluster.Entry{
		Reason:  cluster.Reason{Code: "process-dead", Args: map[string]string{"broker": strconv.Itoa(int(id))}},
		Brokers: []cluster.EntryBroker{dead},
	}
	if _, err := c.commit(ctx, []session.Op{session.DeleteOp(path, st.Version)}, entry); err != nil {
		var x *conflict
		if errors.As(err, &x) { // it has come back, or left by itself
			c.queue.put(zkpaths.BrokerIDs, evBrokers)
			return fmt.Errorf("%w: %w", ErrNoDeath, err)
		}
		return err
	}
	return c.settle(ctx)
}

// Depose removes /controller if the broker that has it is registered under epoch,
// by the session that owns both: its process is dead. Any broker may; the next
// one is elected by everybody's watch.
func (c *Controller) Depose(ctx context.Context, id kafka.BrokerID, epoch kafka.BrokerEpoch) error {
	// The epoch first: if it is raised before the rest is read, the check fails.
	_, version, err := c.readEpoch(ctx)
	if err != nil {
		return err
	}
	data, throne, err := c.zk.Get(ctx, zkpaths.ControllerPath)
	if errors.Is(err, session.ErrNoNode) {
		return ErrNoDeath
	}
	if err != nil {
		return err
	}
	reigns, err := zkpaths.DecodeController(data)
	if err != nil {
		return err
	}
	reg, ok, err := c.zk.Exists(ctx, zkpaths.BrokerPath(id))
	if err != nil {
		return err
	}
	if reigns.BrokerID != id || !ok || kafka.BrokerEpoch(reg.Czxid) != epoch || reg.EphemeralOwner != throne.EphemeralOwner {
		return ErrNoDeath
	}
	c.log.Warn("deposing the controller: its process is gone, its session is not", "broker", id, "broker_epoch", int64(epoch))
	_, err = c.zk.Multi(ctx, session.CheckOp(zkpaths.ControllerEpochPath, version), session.DeleteOp(zkpaths.ControllerPath, throne.Version))
	if isConflict(err) {
		return ErrNoDeath
	}
	return err
}

// Reconsider elects anew, because something that elections depend on has changed
// outside ZooKeeper.
func (c *Controller) Reconsider() { c.queue.put(zkpaths.BrokerIDs, evBrokers) }

// alarmed are the brokers that were declared dead by evidence and whose sessions
// may not have ended yet: on their account nothing unclean is elected.
func (c *Controller) alarmed() map[kafka.BrokerID]bool {
	out := map[kafka.BrokerID]bool{}
	for id := range c.meta.Current().Alarms() {
		out[id] = c.opts.Alarmed(id)
	}
	return out
}

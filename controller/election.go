package controller

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"barnabas/cluster"
	"barnabas/cluster/registered"
	"barnabas/controller/plan"
	"barnabas/internal/kafka"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// lookAtThrone reads /controller, leaving a watch: resigns if it is another's,
// stands for election if it is empty.
func (c *Controller) lookAtThrone(ctx context.Context) error {
	st, taken, err := c.zk.ExistsW(ctx, zkpaths.ControllerPath)
	if err != nil {
		return err
	}
	if c.reign != nil {
		if taken && st.EphemeralOwner == c.reign.session && c.reign.session == c.zk.SessionID() {
			return nil
		}
		c.resign("/controller is not ours any more")
	}
	if taken && st.EphemeralOwner != c.zk.SessionID() {
		return nil
	}
	if taken { // a reign of ours that ended without leaving the throne
		_, version, err := c.readEpoch(ctx)
		if err != nil && !errors.Is(err, zkpaths.ErrData) {
			return err
		}
		c.abdicate(ctx, &reign{zkVersion: version})
	}
	return c.stand(ctx)
}

// stand tries to win the election. Losing it is no error.
func (c *Controller) stand(ctx context.Context) error {
	mine, registered, err := c.zk.Exists(ctx, zkpaths.BrokerPath(c.opts.BrokerID))
	id := c.zk.SessionID()
	if err != nil || !registered || mine.EphemeralOwner != id {
		return err
	}
	if ok, err := c.allMarked(ctx); !ok {
		return err
	}
	epoch, version, err := c.readEpoch(ctx)
	if known := c.meta.Current().ControllerEpoch; epoch < known && (err == nil || errors.Is(err, zkpaths.ErrData)) {
		c.log.Error("the controller's epoch was rolled back or destroyed by hand; going on above the last one that the change log tells of",
			"path", zkpaths.ControllerEpochPath, "found", epoch, "known", known, "err", err)
		epoch, err = known, nil
	}
	if err != nil {
		return err
	}
	throne := zkpaths.Controller{BrokerID: c.opts.BrokerID, Timestamp: time.Now().UnixMilli(), KRaftEpoch: -1}
	res, err := c.zk.Multi(ctx,
		session.CreateOp(zkpaths.ControllerPath, throne.Encode(), session.Ephemeral),
		session.SetOp(zkpaths.ControllerEpochPath, zkpaths.EncodeControllerEpoch(epoch+1), version))
	switch {
	case err == nil:
		version = res[1].Stat.Version
	case isConflict(err) || isUnknown(err):
		won, v, cerr := c.wonAfterAll(ctx, epoch+1)
		if cerr != nil || !won {
			return cerr
		}
		version = v
	default:
		return err
	}
	c.reign = &reign{epoch: epoch + 1, zkVersion: version, session: id, lastNote: -1, born: map[kafka.BrokerID]int64{}, reports: map[kafka.BrokerID]*plan.Report{},
		configs: map[string]bool{}, trouble: map[string]string{}, awaited: map[kafka.BrokerID]bool{}, rebalanceAt: time.Now().Add(firstRebalance)}
	c.log.Info("elected as the controller", "epoch", epoch+1)
	if err := c.takeOver(ctx); err != nil {
		if r := c.reign; r != nil {
			c.resign("taking over failed")
			c.abdicate(ctx, r)
		}
		return fmt.Errorf("taking over: %w", err)
	}
	return nil
}

// allMarked refuses to reign beside brokers of another make, which know nothing
// of the change log. Whom the image names as one is looked at: where no controller
// reigns nobody tells that it went, or that this very broker registered in its place.
func (c *Controller) allMarked(ctx context.Context) (bool, error) {
	for _, b := range c.meta.Current().Brokers() {
		if b.Version != "" {
			continue
		}
		data, _, err := c.zk.Get(ctx, zkpaths.BrokerPath(b.ID))
		if errors.Is(err, session.ErrNoNode) {
			continue
		}
		if err != nil {
			return false, err
		}
		if reg, err := zkpaths.DecodeRegistration(data); err == nil && reg.Marker != nil {
			continue
		}
		if c.complained != b.ID {
			c.complained = b.ID
			c.log.Error("not standing for controller: a broker of another make is registered", "broker", b.ID)
		}
		return false, nil
	}
	c.complained = kafka.NoBroker
	return true, nil
}

// readEpoch reads /controller_epoch and makes it if it is not there.
func (c *Controller) readEpoch(ctx context.Context) (kafka.ControllerEpoch, int32, error) {
	for {
		data, st, err := c.zk.Get(ctx, zkpaths.ControllerEpochPath)
		if err == nil {
			e, err := zkpaths.DecodeControllerEpoch(data)
			return e, st.Version, err // the version also of what can't be read
		}
		if !errors.Is(err, session.ErrNoNode) {
			return 0, 0, err
		}
		_, err = c.zk.Create(ctx, zkpaths.ControllerEpochPath, zkpaths.EncodeControllerEpoch(zkpaths.InitialControllerEpoch), session.Persistent)
		if err != nil && !errors.Is(err, session.ErrNodeExists) {
			return 0, 0, err
		}
	}
}

// wonAfterAll looks whether an election whose answer was lost, or which seemed
// to fail because of our own first try, made us the controller of epoch.
func (c *Controller) wonAfterAll(ctx context.Context, epoch kafka.ControllerEpoch) (bool, int32, error) {
	if err := c.zk.Sync(ctx); err != nil {
		return false, 0, err
	}
	st, ok, err := c.zk.ExistsW(ctx, zkpaths.ControllerPath)
	if err != nil || !ok || st.EphemeralOwner != c.zk.SessionID() {
		return false, 0, err
	}
	e, version, err := c.readEpoch(ctx)
	return err == nil && e == epoch, version, err
}

// abdicate deletes /controller, fenced by the epoch that it was won with.
func (c *Controller) abdicate(ctx context.Context, r *reign) {
	_, err := c.zk.Multi(ctx, session.CheckOp(zkpaths.ControllerEpochPath, r.zkVersion), session.DeleteOp(zkpaths.ControllerPath, -1))
	if err != nil && !errors.Is(err, session.ErrNoNode) && !errors.Is(err, session.ErrBadVersion) {
		c.log.Warn("could not delete /controller, it ends with the session", "err", err)
	}
}

// takeOver makes the elected broker ready, in the order of docs/coordination.md §6: the
// rest of the log, the beginning of the epoch, who is alive, leaders for what
// follows from it. Everything else is looked at afterwards, as events.
func (c *Controller) takeOver(ctx context.Context) error {
	im, err := c.meta.CatchUp(ctx, true)
	if err != nil {
		return err
	}
	horizon := im.Zxid
	found := horizon
	if im.Untold != 0 && im.Untold != c.announced { // a load's findings, which a reign that ended early, or nobody, has told
		found = min(found, im.Untold)
	}
	begin := &cluster.Entry{Begins: true, Reason: cluster.Reason{Code: "epoch-begins"}}
	if _, err := c.commit(ctx, nil, begin); err != nil {
		return err
	}
	if err := c.announce(ctx, horizon, found); err != nil {
		return err
	}
	c.announced = im.Untold
	if err := c.lookAtBrokersAnd(ctx, true); err != nil {
		return err
	}
	c.reign.ready = true
	c.epoch.Store(int32(c.reign.epoch))
	c.log.Info("ready as the controller", "epoch", c.reign.epoch, "topics", c.meta.Current().TopicCount())
	if _, err := c.zk.Create(ctx, zkpaths.FeaturePath, zkpaths.Features{Version: 2, Enabled: true}.Encode(), session.Persistent); err != nil && !errors.Is(err, session.ErrNodeExists) {
		return err
	}
	c.queue.put(zkpaths.Topics, evTopics)
	c.queue.put(zkpaths.DeleteTopics, evDeletions)
	c.queue.put(zkpaths.ConfigChanges, evConfigs)
	c.queue.put(zkpaths.LogDirEvents, evDirs)
	c.queue.put(zkpaths.ReassignPath, evReassign)
	c.queue.put(zkpaths.PreferredElectionPath, evPreferred)
	return nil
}

// announce tells the log what was written since its last entry. What is edited
// meanwhile is found and taken by the events that follow.
func (c *Controller) announce(ctx context.Context, horizon, found int64) error {
	told := map[string]bool{} // otherwise, or not at all
	for {
		steps := plan.Announce(c.meta.Current(), horizon, found, func(t string) bool { return told[t] })
		err := c.write(ctx, cluster.Reason{Code: "found-at-takeover"}, steps)
		var x *conflict
		var l *tooLarge
		switch {
		case errors.As(err, &l):
			told[l.topic] = true
			c.setAside(l.topic, err)
		case errors.As(err, &x) && x.topic != "" && !told[x.topic]:
			told[x.topic] = true
			if err := c.repair(ctx, x.topic); err != nil && !c.setAside(x.topic, err) {
				return err
			}
		default:
			return err
		}
	}
}

func (c *Controller) lookAtBrokers(ctx context.Context) error { return c.lookAtBrokersAnd(ctx, false) }

// lookAtBrokersAnd reads all registrations, with watches, tells the log what is
// new (with all: all of them), and then elects.
func (c *Controller) lookAtBrokersAnd(ctx context.Context, all bool) error {
	names, _, err := c.zk.ChildrenW(ctx, zkpaths.BrokerIDs)
	if err != nil {
		return err
	}
	var ids []kafka.BrokerID
	var paths []string
	for _, name := range names {
		if id, ok := zkpaths.ParseBrokerID(name); ok {
			ids, paths = append(ids, id), append(paths, zkpaths.BrokerPath(id))
		}
	}
	found := map[kafka.BrokerID]*cluster.Broker{}
	err = c.readAllW(ctx, paths, func(i int, data []byte, st session.Stat) {
		reg, err := zkpaths.DecodeRegistration(data)
		if err != nil {
			c.log.Warn("a registration that can't be read is ignored", "broker", ids[i], "err", err)
			return
		}
		found[ids[i]] = registered.Broker(ids[i], reg, st.Czxid, st.Mzxid)
	})
	if err != nil {
		return err
	}
	steps, born := plan.Brokers(c.meta.Current(), found, all)
	if err := c.write(ctx, brokersReason(steps), steps); err != nil {
		return err
	}
	for _, id := range born {
		if b := c.meta.Current().Broker(id); b != nil {
			c.reign.born[id] = b.Zxid
		}
	}
	// Read after the registrations: one that came with a report is seen with it.
	if _, err := c.readReports(ctx); err != nil && !errors.Is(err, session.ErrNoNode) {
		return err
	}
	return c.settle(ctx)
}

func brokersReason(steps []plan.Step) cluster.Reason {
	args := map[string]string{}
	for _, s := range steps {
		for _, b := range s.Brokers {
			args[strconv.Itoa(int(b.ID))] = string(b.State)
		}
	}
	return cluster.Reason{Code: "brokers", Args: args}
}

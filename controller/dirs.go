package controller

import (
	"context"
	"errors"

	"barnabas/controller/plan"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// lookAtReports takes what brokers tell of replicas that they can't serve, elects
// for it, and then removes their znodes. What a lost reign removed before, each
// broker reports again when it sees the next one begin.
func (c *Controller) lookAtReports(ctx context.Context) error {
	paths, err := c.readReports(ctx)
	if err != nil || len(paths) == 0 {
		return err
	}
	if err := c.settle(ctx); err != nil {
		return err
	}
	for _, p := range paths {
		if c.reign == nil {
			return ErrNotController
		}
		_, err := c.zk.Multi(ctx, session.CheckOp(zkpaths.ControllerEpochPath, c.reign.zkVersion), session.DeleteOp(p, -1))
		if err != nil && !errors.Is(err, session.ErrNoNode) { // its broker has put a newer one in its place
			return err
		}
	}
	return nil
}

// readReports reads the reports that wait, leaving a watch, and returns their
// paths. The newest of each broker counts.
func (c *Controller) readReports(ctx context.Context) ([]string, error) {
	names, _, err := c.zk.ChildrenW(ctx, zkpaths.LogDirEvents)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, name := range names {
		if _, ok := zkpaths.ParseLogDirEvent(name); ok {
			paths = append(paths, zkpaths.LogDirEvents+"/"+name)
		}
	}
	var failed error
	c.zk.GetAll(ctx, paths, func(i int, data []byte, st session.Stat, err error) {
		switch {
		case errors.Is(err, session.ErrNoNode):
		case err != nil:
			failed = err
		default:
			c.takeReport(paths[i], data, st.Czxid)
		}
	})
	return paths, failed
}

func (c *Controller) takeReport(path string, data []byte, zxid int64) {
	e, err := zkpaths.DecodeLogDirEvent(data)
	switch {
	case err != nil:
		c.log.Warn("a report of a log directory that can't be read is dropped", "path", path, "err", err)
		return
	case !e.Complete:
		c.log.Warn("a report of a log directory that does not say which replicas it is about is dropped", "path", path, "broker", e.Broker)
		return
	}
	if old := c.reign.reports[e.Broker]; old != nil && old.Zxid >= zxid {
		return
	}
	n := 0
	for _, t := range e.Offline {
		n += len(t.Partitions)
	}
	c.log.Info("a broker reports replicas that it can't serve", "broker", e.Broker, "replicas", n)
	c.reign.reports[e.Broker] = plan.NewReport(zxid, e.Offline)
}

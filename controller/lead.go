package controller

import (
	"context"
	"errors"
	"slices"
	"time"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/protocol"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// Rebalance says when leaders go back to the first replicas by themselves.
type Rebalance struct {
	Enabled    bool          // auto.leader.rebalance.enable
	Interval   time.Duration // leader.imbalance.check.interval.seconds
	Percentage int           // leader.imbalance.per.broker.percentage
}

// firstRebalance is how long after its election a controller looks for the first
// time, as in Kafka.
const firstRebalance = 5 * time.Second

// ElectLeaders holds an election for partitions and tells what became of each;
// the states arrive by the log. An error is about all of them.
func (c *Controller) ElectLeaders(ctx context.Context, kind cluster.ElectionKind, tps []kafka.TopicPartition) ([]cluster.ElectionResult, error) {
	if kind == cluster.UncleanElection {
		return c.electUnclean(ctx, tps)
	}
	return call(ctx, c, "elect-leaders", func(ctx context.Context) ([]cluster.ElectionResult, error) {
		return c.elect(ctx, cluster.Reason{Code: "election-preferred", Args: map[string]string{"by": "request"}}, tps)
	})
}

// elect carries out a preferred election, on the loop. A topic that was edited by
// hand is read again and planned anew.
func (c *Controller) elect(ctx context.Context, reason cluster.Reason, tps []kafka.TopicPartition) ([]cluster.ElectionResult, error) {
	const rounds = 5
	won := map[kafka.TopicPartition]kafka.BrokerID{}
	for round := 1; ; round++ {
		if c.reign == nil {
			return nil, ErrNotController
		}
		deleted, err := c.markedForDeletion(ctx)
		if err != nil {
			return nil, err
		}
		steps, results := c.planner().Prefer(c.meta.Current(), tps, func(t string) bool { return deleted[t] })
		for i := range results { // a round before this one may have done it
			r := &results[i]
			if leader, ok := won[r.TP]; ok && errors.Is(r.Err, protocol.ElectionNotNeeded) {
				r.Leader, r.Err = leader, nil
			} else if r.Err == nil {
				won[r.TP] = r.Leader
			}
		}
		err = c.write(ctx, reason, steps)
		var x *conflict
		if !errors.As(err, &x) || x.topic == "" || round == rounds {
			return results, err
		}
		if err := c.repair(ctx, x.topic); err != nil {
			return nil, err
		}
	}
}

// lookAtPreferred does what /admin/preferred_replica_election asks for, and
// removes it whatever came of it.
func (c *Controller) lookAtPreferred(ctx context.Context) error {
	const path = zkpaths.PreferredElectionPath
	data, st, err := c.zk.GetW(ctx, path)
	if errors.Is(err, session.ErrNoNode) {
		_, there, err := c.zk.ExistsW(ctx, path) // a watch for the next one
		if err == nil && there {
			c.queue.put(path, evPreferred)
		}
		return err
	}
	if err != nil {
		return err
	}
	tps, err := zkpaths.DecodePartitions(data)
	if err != nil {
		c.log.Error("a preferred election that can't be read is removed", "path", path, "err", err)
	} else {
		results, err := c.elect(ctx, cluster.Reason{Code: "election-preferred", Args: map[string]string{"by": path}}, tps)
		if err != nil {
			return err
		}
		for _, r := range results {
			if r.Err != nil && !errors.Is(r.Err, protocol.ElectionNotNeeded) {
				c.log.Warn("no preferred election", "partition", r.TP.String(), "err", r.Err)
			}
		}
	}
	_, err = c.commit(ctx, []session.Op{session.DeleteOp(path, st.Version)}, nil)
	var x *conflict
	if err != nil && !errors.As(err, &x) {
		return err
	}
	c.queue.put(path, evPreferred) // look for the next one, with a watch
	return nil
}

// rebalance gives leaders back to first replicas when it is time for it.
func (c *Controller) rebalance(ctx context.Context) error {
	r, o := c.reign, c.opts.Rebalance()
	if !o.Enabled || time.Now().Before(r.rebalanceAt) {
		return nil
	}
	r.rebalanceAt = time.Now().Add(o.Interval)
	deleted, err := c.markedForDeletion(ctx)
	if err != nil {
		return err
	}
	im := c.meta.Current()
	all := c.planner().Imbalanced(im, o.Percentage, func(t string) bool { return deleted[t] })
	tps := slices.DeleteFunc(slices.Clone(all), func(tp kafka.TopicPartition) bool { return c.unreachableFirst(im, tp) })
	if len(tps) < len(all) { // they need not wait for a whole interval
		r.rebalanceAt = time.Now().Add(min(o.Interval, firstRebalance))
	}
	if len(tps) == 0 {
		return nil
	}
	c.log.Info("giving leaders back to first replicas", "partitions", len(tps))
	_, err = c.elect(ctx, cluster.Reason{Code: "election-preferred", Args: map[string]string{"by": "auto.leader.rebalance.enable"}}, tps)
	return err
}

// unreachableFirst reports whether a partition's first replica is on a broker that
// can't be reached: behind a firewall that rejects connections to it, a broker
// keeps its session and its place in the ISR, but nobody could use it as leader.
func (c *Controller) unreachableFirst(im *cluster.Image, tp kafka.TopicPartition) bool {
	p := im.Partition(tp)
	return p != nil && len(p.Replicas) > 0 && p.Replicas[0] != c.opts.BrokerID && c.opts.Unreachable(p.Replicas[0])
}

// ControlledShutdown makes a broker ready to stop and tells what it still leads
// afterwards. epoch is of its registration; -1: it does not say.
func (c *Controller) ControlledShutdown(ctx context.Context, id kafka.BrokerID, epoch kafka.BrokerEpoch) ([]kafka.TopicPartition, error) {
	return call(ctx, c, "controlled-shutdown", func(ctx context.Context) ([]kafka.TopicPartition, error) {
		const rounds = 5
		for round := 1; ; round++ {
			if c.reign == nil {
				return nil, ErrNotController
			}
			switch b := c.meta.Current().Broker(id); {
			case b == nil:
				return nil, protocol.Fail(protocol.BrokerNotAvailable, "")
			case epoch >= 0 && epoch < b.Epoch:
				return nil, protocol.Fail(protocol.StaleBrokerEpoch, "")
			case round == 1:
				c.log.Info("a broker is about to stop", "broker", id)
			}
			deleted, err := c.markedForDeletion(ctx)
			if err != nil {
				return nil, err
			}
			steps, remaining := c.planner().Stop(c.meta.Current(), id, func(t string) bool { return deleted[t] })
			err = c.write(ctx, cluster.Reason{Code: "stopping", Args: map[string]string{"broker": listed([]kafka.BrokerID{id})}}, steps)
			var x *conflict
			if !errors.As(err, &x) || x.topic == "" || round == rounds {
				return remaining, err
			}
			if err := c.repair(ctx, x.topic); err != nil && !c.setAside(x.topic, err) {
				return nil, err
			}
		}
	})
}

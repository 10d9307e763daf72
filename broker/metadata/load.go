package metadata

import (
	"context"
	"errors"
	"fmt"

	"barnabas/cluster"
	"barnabas/cluster/registered"
	"barnabas/internal/kafka"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// window bounds the entries that are asked for at once.
const window = 32

// apply applies the entries from next on, until one is absent, where it leaves a
// watch. It returns the number of the absent one.
func (r *Reader) apply(ctx context.Context, e *cluster.Edit, log, next int64) (int64, error) {
	type got struct {
		data []byte
		st   session.Stat
		err  error
	}
	for ask := 1; ; ask = min(2*ask, window) {
		paths := make([]string, ask)
		for i := range paths {
			paths[i] = zkpaths.MetadataChangePath(next + int64(i))
		}
		answers := make([]got, ask)
		r.zk.GetAll(ctx, paths, func(i int, data []byte, st session.Stat, err error) { answers[i] = got{data, st, err} })
		for _, a := range answers {
			switch {
			case errors.Is(a.err, session.ErrNoNode):
				_, ok, err := r.zk.ExistsW(ctx, zkpaths.MetadataChangePath(next))
				if err != nil || !ok {
					return next, err
				}
			case a.err != nil:
				return next, a.err
			}
			if a.err != nil {
				break // it came after all
			}
			en, err := cluster.DecodeEntry(a.data)
			if err != nil {
				return next, fmt.Errorf("%w: entry %d: %w", errReload, next, err)
			}
			e.Apply(next, en, a.st.Czxid)
			r.note(en.Token, next)
			if r.opts.OnEntry != nil {
				r.opts.OnEntry(log, next, a.st.Ctime, en)
			}
			next++
		}
	}
}

// end is the number after the log's last entry, the log's identity, and the zxid
// of the last entry or a little more. Both creations and deletions of children
// count in cversion.
func (r *Reader) end(ctx context.Context) (next, log, zxid int64, err error) {
	st, ok, err := r.zk.Exists(ctx, zkpaths.MetadataChanges)
	if err != nil {
		return 0, 0, 0, err
	}
	if !ok {
		return 0, 0, 0, errReload
	}
	return (int64(st.Cversion) + int64(st.NumChildren)) / 2, st.Czxid, st.Pzxid, nil
}

// checkCluster refuses to load another cluster's state, or none, in place of the
// one that was loaded before: an emptied ZooKeeper is not the news that all
// topics are gone.
func (r *Reader) checkCluster(ctx context.Context) error {
	ours := r.Current().ClusterID
	if ours == "" {
		return nil
	}
	data, _, err := r.zk.Get(ctx, zkpaths.ClusterIDPath)
	if errors.Is(err, session.ErrNoNode) {
		return fmt.Errorf("metadata: ZooKeeper has lost %s, which was %s: serving on with what is known until it is restored", zkpaths.ClusterIDPath, ours)
	}
	if err != nil {
		return err
	}
	if id, err := zkpaths.DecodeClusterID(data); err != nil || id != ours {
		return fmt.Errorf("metadata: ZooKeeper's %s is %q, and was %s: serving on with what is known until it is restored", zkpaths.ClusterIDPath, data, ours)
	}
	return nil
}

// reload reads everything: what is there, then the entries that were written
// meanwhile, then publishes.
func (r *Reader) reload(ctx context.Context) error {
	if err := r.zk.Sync(ctx); err != nil {
		return err
	}
	if err := r.checkCluster(ctx); err != nil {
		return err
	}
	if _, err := r.zk.Create(ctx, zkpaths.MetadataChanges, nil, session.Persistent); err != nil && !errors.Is(err, session.ErrNodeExists) {
		return err
	}
	next, log, zxid, err := r.end(ctx)
	if err != nil {
		return err
	}
	told := r.lookBack(ctx, log, next)
	e := cluster.NewEdit(cluster.Empty())
	e.SetLog(log, next, zxid)
	e.Tell(told)
	l := &loader{r: r, ctx: ctx, edit: e}
	if err := l.all(); err != nil {
		return err
	}
	if err := r.findTold(ctx, e, log, next); err != nil {
		return err
	}
	e.NoteUntold()
	if _, err := r.apply(ctx, e, log, next); err != nil {
		return err
	}
	if _, now, _, err := r.end(ctx); err != nil || now != log {
		return errors.Join(err, errReload)
	}
	e.MarkByHand()
	im, _ := e.Publish()
	r.publish(im, cluster.Diff(r.Current(), im))
	select {
	case <-r.loaded:
	default:
		close(r.loaded)
	}
	r.log.Info("cluster state loaded", "brokers", len(im.Brokers()), "topics", im.TopicCount(), "partitions", im.PartitionCount(), "next_entry", im.Next)
	return nil
}

// lookedBack bounds the entries before a load that are looked at.
const lookedBack = 100

// lookBack reads the entries that a load makes needless, and tells their
// transactions: by these it knows what somebody else wrote. They are handed to
// OnEntry, for who wants to know how the cluster became what it is. What can't be read
// is left out.
func (r *Reader) lookBack(ctx context.Context, log, next int64) (told []int64) {
	first := max(next-lookedBack, 0)
	paths := make([]string, next-first)
	for i := range paths {
		paths[i] = zkpaths.MetadataChangePath(first + int64(i))
	}
	entries, made := make([]*cluster.Entry, len(paths)), make([]int64, len(paths))
	r.zk.GetAll(ctx, paths, func(i int, data []byte, st session.Stat, err error) {
		if err == nil {
			entries[i], _ = cluster.DecodeEntry(data)
			made[i] = st.Ctime
			told = append(told, st.Czxid)
		}
	})
	for i, en := range entries {
		if en == nil {
			continue
		}
		r.note(en.Token, first+int64(i)) // its writer may not know yet that it is done
		if r.opts.OnEntry != nil {
			r.opts.OnEntry(log, first+int64(i), made[i], en)
		}
	}
	return told
}

// loader reads all znodes into an edit.
type loader struct {
	r    *Reader
	ctx  context.Context
	edit *cluster.Edit
}

func (l *loader) all() error {
	for _, step := range []func() error{l.cluster, l.brokers, l.topics} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (l *loader) cluster() error {
	data, _, err := l.r.zk.Get(l.ctx, zkpaths.ClusterIDPath)
	if err == nil {
		id, derr := zkpaths.DecodeClusterID(data)
		if derr != nil {
			return derr
		}
		l.edit.SetCluster(id)
	} else if !errors.Is(err, session.ErrNoNode) {
		return err
	}
	id, epoch := kafka.NoBroker, kafka.ControllerEpoch(0)
	if data, _, err = l.r.zk.Get(l.ctx, zkpaths.ControllerEpochPath); err == nil {
		if epoch, err = zkpaths.DecodeControllerEpoch(data); err != nil { // the log will tell
			l.r.log.Warn("the controller's epoch can't be read and is passed over", "path", zkpaths.ControllerEpochPath, "err", err)
		}
	} else if !errors.Is(err, session.ErrNoNode) {
		return err
	}
	if data, _, err = l.r.zk.Get(l.ctx, zkpaths.ControllerPath); err == nil {
		c, derr := zkpaths.DecodeController(data)
		if id = c.BrokerID; derr != nil {
			id = kafka.NoBroker
			l.r.log.Warn("who the controller is can't be read and is passed over", "path", zkpaths.ControllerPath, "err", derr)
		}
	} else if !errors.Is(err, session.ErrNoNode) {
		return err
	}
	l.edit.ReadController(id, epoch)
	return nil
}

func (l *loader) brokers() error {
	names, _, err := l.r.zk.Children(l.ctx, zkpaths.BrokerIDs)
	if errors.Is(err, session.ErrNoNode) {
		return nil
	}
	if err != nil {
		return err
	}
	var paths []string
	var ids []kafka.BrokerID
	for _, name := range names {
		if id, ok := zkpaths.ParseBrokerID(name); ok {
			ids, paths = append(ids, id), append(paths, zkpaths.BrokerPath(id))
		}
	}
	return l.each(paths, func(i int, data []byte, st session.Stat) {
		reg, err := zkpaths.DecodeRegistration(data)
		if err != nil {
			l.r.log.Warn("a registration that can't be read is ignored", "broker", ids[i], "err", err)
			return
		}
		l.edit.ReadBroker(registered.Broker(ids[i], reg, st.Czxid, st.Mzxid))
	})
}

func (l *loader) topics() error {
	names, _, err := l.r.zk.Children(l.ctx, zkpaths.Topics)
	if errors.Is(err, session.ErrNoNode) {
		return nil
	}
	if err != nil {
		return err
	}
	var paths, configs, states []string
	var kept []string
	for _, name := range names {
		if kafka.ValidateTopicName(name) == nil {
			kept, paths = append(kept, name), append(paths, zkpaths.TopicPath(name))
		}
	}
	var configured []string
	var tps []kafka.TopicPartition
	err = l.each(paths, func(i int, data []byte, st session.Stat) {
		a, err := zkpaths.DecodeAssignment(data)
		if err != nil {
			l.r.log.Warn("a topic that can't be read is ignored", "topic", kept[i], "err", err)
			return
		}
		l.edit.ReadTopic(topicRead(kept[i], a, st))
		configured, configs = append(configured, kept[i]), append(configs, zkpaths.TopicConfigPath(kept[i]))
		for p := range a.Partitions {
			tp := kafka.TopicPartition{Topic: kept[i], Partition: p}
			tps, states = append(tps, tp), append(states, zkpaths.StatePath(tp))
		}
	})
	if err != nil {
		return err
	}
	err = l.each(configs, func(i int, data []byte, st session.Stat) {
		if values, err := zkpaths.DecodeConfig(data); err == nil {
			l.edit.ReadConfig(configured[i], values, st.Mzxid, st.Version)
		}
	})
	if err != nil {
		return err
	}
	return l.each(states, func(i int, data []byte, st session.Stat) {
		s, err := zkpaths.DecodeState(data)
		if err != nil {
			l.r.log.Warn("a partition state that can't be read is ignored", "partition", tps[i], "err", err)
			return
		}
		l.edit.ReadState(tps[i], cluster.EntryState{
			Partition: tps[i].Partition, Leader: s.Leader, LeaderEpoch: s.LeaderEpoch, ISR: s.ISR,
			ControllerEpoch: s.ControllerEpoch, Recovering: s.Recovering, ZnodeVersion: st.Version,
		}, st.Czxid, st.Mzxid)
	})
}

func topicRead(name string, a *zkpaths.Assignment, st session.Stat) cluster.TopicRead {
	t := cluster.TopicRead{Name: name, ID: a.ID, Zxid: st.Mzxid, Version: st.Version,
		Assignment: make(map[int32]cluster.Assignment, len(a.Partitions))}
	for p, replicas := range a.Partitions {
		t.Assignment[p] = cluster.Assignment{Replicas: replicas, Adding: a.Adding[p], Removing: a.Removing[p]}
	}
	return t
}

// each reads paths, pipelined, and hands over those that exist, in their order.
func (l *loader) each(paths []string, fn func(i int, data []byte, st session.Stat)) error {
	const batch = 4096 // bounds the replies that wait in memory
	type got struct {
		data []byte
		st   session.Stat
		err  error
	}
	for from := 0; from < len(paths); from += batch {
		part := paths[from:min(from+batch, len(paths))]
		answers := make([]got, len(part))
		l.r.zk.GetAll(l.ctx, part, func(i int, data []byte, st session.Stat, err error) { answers[i] = got{data, st, err} })
		for i, a := range answers {
			switch {
			case a.err == nil:
				fn(from+i, a.data, a.st)
			case !errors.Is(a.err, session.ErrNoNode):
				return a.err
			}
		}
	}
	return nil
}

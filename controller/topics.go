package controller

import (
	"context"
	"errors"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"barnabas/cluster"
	"barnabas/controller/plan"
	"barnabas/internal/kafka"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// lookAtTopics compares the topics that exist with the image, leaving watches on
// the list and on each topic: made by hand ones are adopted, vanished ones
// forgotten, edited ones taken.
func (c *Controller) lookAtTopics(ctx context.Context) error {
	names, _, err := c.zk.ChildrenW(ctx, zkpaths.Topics)
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(n string) bool { return kafka.ValidateTopicName(n) != nil })
	deleted, err := c.markedForDeletion(ctx)
	if err != nil {
		return err
	}
	paths := make([]string, len(names))
	for i, n := range names {
		paths[i] = zkpaths.TopicPath(n)
	}
	there := map[string]bool{}
	var differ []string
	im := c.meta.Current()
	err = c.readAllW(ctx, paths, func(i int, _ []byte, st session.Stat) {
		there[names[i]] = true
		if !asItIs(im.Topic(names[i]), st) && !deleted[names[i]] {
			differ = append(differ, names[i])
		}
	})
	if err != nil {
		return err
	}
	slices.Sort(differ)
	for _, name := range differ {
		if err := c.adopt(ctx, name, false); err != nil && !c.setAside(name, err) {
			return err
		}
	}
	for t := range im.Topics() {
		if !there[t.Name] {
			if err := c.forget(ctx, t.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// lookAtTopic reads one topic again.
func (c *Controller) lookAtTopic(ctx context.Context, name string) error {
	if kafka.ValidateTopicName(name) != nil {
		return nil
	}
	deleted, err := c.markedForDeletion(ctx)
	if err != nil || deleted[name] {
		return err
	}
	_, st, err := c.zk.GetW(ctx, zkpaths.TopicPath(name))
	if errors.Is(err, session.ErrNoNode) {
		return c.forget(ctx, name)
	}
	if err != nil {
		return err
	}
	if asItIs(c.meta.Current().Topic(name), st) {
		return nil
	}
	err = c.adopt(ctx, name, false)
	if errors.Is(err, zkpaths.ErrData) && c.setAside(name, err) { // a watch tells when it is mended
		return nil
	}
	return err
}

// asItIs reports whether the image has a topic's znode as it is. A znode that was
// deleted and made again may have the version of old, so its zxid counts, too.
func asItIs(t *cluster.Topic, st session.Stat) bool {
	return t != nil && t.Version == st.Version && t.Zxid >= st.Mzxid && !t.ID.IsZero()
}

// repair takes a topic as it is after a conflict.
func (c *Controller) repair(ctx context.Context, name string) error {
	c.log.Warn("znodes were changed by somebody else, reading them again", "topic", name)
	return c.adopt(ctx, name, true)
}

// adopt reads what a topic's znodes say, takes it into the log, and elects
// leaders.
func (c *Controller) adopt(ctx context.Context, name string, repair bool) error {
	const rounds = 5
	reason := cluster.Reason{Code: "topic-adopted", Args: map[string]string{"topic": name}}
	if repair {
		reason.Code = "repair"
	}
	var last error
	for range rounds {
		if c.reign == nil {
			return ErrNotController
		}
		found, ok, err := c.find(ctx, name)
		if err != nil {
			return err
		}
		if !ok {
			return c.forget(ctx, name)
		}
		err = c.write(ctx, reason, c.planner().Adopt(c.meta.Current(), found, repair))
		if err == nil {
			if t := c.meta.Current().Topic(name); t != nil {
				err = c.write(ctx, cluster.Reason{Code: "election", Args: reason.Args}, c.planner().SettleTopic(c.meta.Current(), t))
			}
		}
		var x *conflict
		if !errors.As(err, &x) {
			return err
		}
		repair, last = true, err
	}
	return last
}

// setAside reports whether err concerns one topic only, whose trouble must not
// hold up the others, and logs it once.
func (c *Controller) setAside(name string, err error) bool {
	var x *conflict
	var l *tooLarge
	if !errors.As(err, &x) && !errors.As(err, &l) && !errors.Is(err, zkpaths.ErrData) {
		return false
	}
	if r := c.reign; r != nil && r.trouble[name] != err.Error() {
		r.trouble[name] = err.Error()
		c.log.Error("a topic can't be dealt with as its znodes are", "topic", name, "err", err)
	}
	return true
}

// find reads all znodes of a topic; ok is false if it does not exist.
func (c *Controller) find(ctx context.Context, name string) (f plan.FoundTopic, ok bool, err error) {
	data, st, err := c.zk.GetW(ctx, zkpaths.TopicPath(name))
	if errors.Is(err, session.ErrNoNode) {
		return f, false, nil
	}
	if err != nil {
		return f, false, err
	}
	f = plan.FoundTopic{Name: name, Version: st.Version, Zxid: st.Mzxid, NewID: kafka.NewTopicID(), States: map[int32]plan.FoundState{}}
	f.Assignment, err = zkpaths.DecodeAssignment(data)
	if err != nil {
		t := c.meta.Current().Topic(name)
		if t == nil {
			return f, false, err
		}
		c.log.Error("a topic's znode was overwritten with what can't be read; putting back what it was", "topic", name, "err", err)
		f.Unreadable, f.Assignment = true, plan.FromImage(t)
	}
	if f.Config, f.ConfigVersion, f.ConfigZxid, err = c.findConfig(ctx, name); errors.Is(err, zkpaths.ErrData) {
		c.setAside(name, err) // it stays what it was, and holds up nothing else
		if t := c.meta.Current().Topic(name); t != nil {
			f.Config, f.ConfigVersion, f.ConfigZxid, err = t.Config, t.ConfigVersion, t.ConfigZxid, nil
		}
	}
	if err != nil {
		return f, false, err
	}
	var numbers []int32
	var paths []string
	for p := range f.Assignment.Partitions {
		numbers, paths = append(numbers, p), append(paths, zkpaths.StatePath(kafkaTP(name, p)))
	}
	c.zk.GetAll(ctx, paths, func(i int, data []byte, st session.Stat, rerr error) {
		if rerr != nil {
			if !errors.Is(rerr, session.ErrNoNode) {
				err = rerr
			}
			return
		}
		s, derr := zkpaths.DecodeState(data)
		if derr != nil {
			c.log.Error("a partition's state can't be read; it is written anew where that is safe, else it must be written by hand",
				"path", paths[i], "err", derr)
		}
		f.States[numbers[i]] = plan.FoundState{State: s, Version: st.Version, Zxid: st.Mzxid, Unreadable: derr != nil}
	})
	return f, err == nil, err
}

// findConfig reads a topic's overrides; version -1 means that there are none.
func (c *Controller) findConfig(ctx context.Context, name string) (values map[string]string, version int32, zxid int64, err error) {
	data, st, err := c.zk.Get(ctx, zkpaths.TopicConfigPath(name))
	if errors.Is(err, session.ErrNoNode) {
		return nil, -1, 0, nil
	}
	if err != nil {
		return nil, -1, 0, err
	}
	values, err = zkpaths.DecodeConfig(data)
	return values, st.Version, st.Mzxid, err
}

// forget tells that a topic is gone that nobody asked us to delete.
func (c *Controller) forget(ctx context.Context, name string) error {
	t := c.meta.Current().Topic(name)
	if t == nil {
		return nil
	}
	c.log.Warn("a topic's znode was deleted by somebody else; its records are set aside", "topic", name)
	c.queue.put(zkpaths.ReassignPath, evReassign) // which may name it
	return c.write(ctx, cluster.Reason{Code: "topic-vanished", Args: map[string]string{"topic": name}}, plan.Forget(t, cluster.Vanished))
}

func (c *Controller) markedForDeletion(ctx context.Context) (map[string]bool, error) {
	names, _, err := c.zk.Children(ctx, zkpaths.DeleteTopics)
	if errors.Is(err, session.ErrNoNode) {
		err = nil
	}
	out := make(map[string]bool, len(names))
	for _, n := range names {
		out[n] = true
	}
	return out, err
}

// lookAtDeletions deletes the topics that are marked, leaving a watch.
func (c *Controller) lookAtDeletions(ctx context.Context) error {
	names, _, err := c.zk.ChildrenW(ctx, zkpaths.DeleteTopics)
	if errors.Is(err, session.ErrNoNode) {
		return nil
	}
	if err != nil {
		return err
	}
	slices.Sort(names)
	deleted := c.stats.deleting(c.meta.Current(), names)
	var failed error
	for _, name := range names {
		if err := c.deleteTopic(ctx, name); err != nil && (c.reign == nil || ctx.Err() != nil || !isConflict(err)) {
			return err
		} else if err != nil { // somebody else's doing: it holds up no other
			failed = err
		} else {
			deleted(name)
		}
	}
	return failed
}

// deleteTopic removes a topic's znodes: what lies below it first, in slices;
// then, in one transaction with the entry, the topic, its config and the mark.
// A controller that dies in between leaves the mark, and the next one goes on.
func (c *Controller) deleteTopic(ctx context.Context, name string) error {
	if !c.opts.KeepTopics {
		tree, err := c.below(ctx, zkpaths.TopicPath(name))
		if err != nil {
			return err
		}
		for part := range slices.Chunk(tree, maxOps-2) {
			if _, err := c.commit(ctx, part, nil); err != nil {
				return err
			}
		}
	}
	roots := []string{zkpaths.DeleteTopicPath(name)}
	if !c.opts.KeepTopics {
		roots = []string{zkpaths.TopicPath(name), zkpaths.TopicConfigPath(name), zkpaths.DeleteTopicPath(name)}
	}
	var ops []session.Op
	for _, path := range roots {
		st, ok, err := c.zk.Exists(ctx, path)
		if err != nil {
			return err
		}
		if ok {
			ops = append(ops, session.DeleteOp(path, st.Version))
		}
	}
	var entry *cluster.Entry
	if t := c.meta.Current().Topic(name); t != nil && !c.opts.KeepTopics {
		entry = &cluster.Entry{Reason: cluster.Reason{Code: "topic-deleted", Args: map[string]string{"topic": name}}}
		addToEntry(entry, &plan.Forget(t, cluster.Deleted)[0])
	}
	if len(ops) == 0 && entry == nil {
		return nil
	}
	_, err := c.commit(ctx, ops, entry)
	if err == nil {
		c.queue.put(zkpaths.ReassignPath, evReassign) // which may name it
	}
	return err
}

// below lists deletions of all znodes below path, children first. They go in
// transactions without an entry, so any version will do.
func (c *Controller) below(ctx context.Context, path string) ([]session.Op, error) {
	level := []string{path}
	var all []string
	for len(level) > 0 {
		next, err := c.childrenOf(ctx, level)
		if err != nil {
			return nil, err
		}
		all = append(all, next...)
		level = next
	}
	slices.Reverse(all) // deeper levels were found later
	ops := make([]session.Op, len(all))
	for i, p := range all {
		ops[i] = session.DeleteOp(p, -1)
	}
	return ops, nil
}

// childrenOf lists the children of many znodes. Only those that have children
// are asked for them.
func (c *Controller) childrenOf(ctx context.Context, parents []string) ([]string, error) {
	var with []string
	var failed error
	c.zk.GetAll(ctx, parents, func(i int, _ []byte, st session.Stat, err error) {
		switch {
		case err == nil && st.NumChildren > 0:
			with = append(with, parents[i])
		case err != nil && !errors.Is(err, session.ErrNoNode):
			failed = err
		}
	})
	if failed != nil {
		return nil, failed
	}
	slices.Sort(with)
	lists := make([][]string, len(with))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(32)
	for i, p := range with {
		g.Go(func() error {
			names, _, err := c.zk.Children(gctx, p)
			if err != nil && !errors.Is(err, session.ErrNoNode) {
				return err
			}
			for _, n := range names {
				lists[i] = append(lists[i], p+"/"+n)
			}
			return nil
		})
	}
	err := g.Wait()
	return slices.Concat(lists...), err
}

// lookAtConfigs takes new notifications of config changes, leaving a watch, and
// puts the topics' overrides into the log. The first look of a reign compares
// all topics, since nobody read the notifications of the time before; so does a
// look at a znode that a hand has deleted and somebody made again, where numbers
// begin anew.
func (c *Controller) lookAtConfigs(ctx context.Context) error {
	names, st, err := c.zk.ChildrenW(ctx, zkpaths.ConfigChanges)
	if err != nil {
		return err
	}
	r := c.reign
	first := r.lastNote < 0 || r.notes != st.Czxid
	if first {
		r.lastNote, r.notes = 0, st.Czxid
		for t := range c.meta.Current().Topics() {
			r.configs[t.Name] = true
		}
	}
	last := r.lastNote
	var paths []string
	for _, name := range names {
		n, ok := zkpaths.ParseConfigChange(name)
		if !ok || n < r.lastNote {
			continue
		}
		last = max(last, n+1)
		if !first {
			paths = append(paths, zkpaths.ConfigChanges+"/"+name)
		}
	}
	c.zk.GetAll(ctx, paths, func(_ int, data []byte, _ session.Stat, gerr error) {
		if gerr != nil && !errors.Is(gerr, session.ErrNoNode) {
			err = gerr
		}
		if change, derr := zkpaths.DecodeConfigChange(data); gerr == nil && derr == nil && change.Type == zkpaths.ConfigTopics {
			r.configs[change.Entity] = true
		}
	})
	if err != nil {
		return err
	}
	r.lastNote = last
	return c.takeConfigs(ctx)
}

// takeConfigs takes the overrides of all topics that notifications named. One that
// fails stays to be taken, and holds up no other; one that can't be read is named
// again when it is mended.
func (c *Controller) takeConfigs(ctx context.Context) error {
	r := c.reign
	c.passOver(ctx, r.configs)
	var failed error
	for _, t := range slices.Sorted(maps.Keys(r.configs)) {
		err := c.takeConfig(ctx, t)
		if c.reign != r || ctx.Err() != nil {
			return errors.Join(err, ErrNotController)
		}
		if err != nil && (!c.setAside(t, err) || isConflict(err)) {
			failed = err
			continue
		}
		delete(r.configs, t)
	}
	return failed
}

// passOver removes the topics whose overrides are in the image as they are: nearly
// all of them at the first look of a reign, and so read pipelined.
func (c *Controller) passOver(ctx context.Context, configs map[string]bool) {
	im := c.meta.Current()
	names := slices.Collect(maps.Keys(configs))
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = zkpaths.TopicConfigPath(name)
	}
	c.zk.GetAll(ctx, paths, func(i int, _ []byte, st session.Stat, err error) {
		if errors.Is(err, session.ErrNoNode) {
			st.Version, st.Mzxid, err = -1, 0, nil
		}
		if t := im.Topic(names[i]); err == nil && (t == nil || sameConfig(t, st.Version, st.Mzxid)) {
			delete(configs, names[i])
		}
	})
}

// sameConfig reports whether the image has a topic's overrides as they were written
// at zxid; version -1 means that there are none.
func sameConfig(t *cluster.Topic, version int32, zxid int64) bool {
	return version == t.ConfigVersion && zxid <= t.ConfigZxid
}

// takeConfig puts a topic's overrides into the log if they were written since.
func (c *Controller) takeConfig(ctx context.Context, name string) error {
	t := c.meta.Current().Topic(name)
	if t == nil {
		return nil
	}
	values, version, zxid, err := c.findConfig(ctx, name)
	if err != nil || sameConfig(t, version, zxid) {
		return err
	}
	step := plan.Step{Topics: []cluster.EntryTopic{{Name: name, ID: cluster.TopicIDText(t.ID), Change: cluster.Changed,
		Config: &cluster.EntryConfig{ZnodeVersion: version, Values: values}}}}
	if version >= 0 {
		step.Ops = []plan.Op{{Kind: plan.Check, Path: zkpaths.TopicConfigPath(name), Version: version}}
	}
	if err := c.write(ctx, cluster.Reason{Code: "config", Args: map[string]string{"topic": name}}, []plan.Step{step}); err != nil {
		return err
	}
	c.queue.put("elect", evElect) // an unclean election may be allowed now
	return nil
}

package controller

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"

	"barnabas/cluster"
	"barnabas/controller/plan"
	"barnabas/internal/kafka"
	"barnabas/protocol"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// Reassignments live in the topics' znodes alone: a controller that takes over
// goes on with what it finds there. They come by AlterPartitionReassignments or,
// from old tools, by /admin/reassign_partitions, and are completed when a change
// of the ISR has let the last of the target in; once a second all are looked at,
// whatever happened.

// Reassign begins, replaces and cancels reassignments: one error, or none, for
// each, once ZooKeeper and this broker's image have them. Codes and texts are
// those of Kafka's controller.
func (c *Controller) Reassign(ctx context.Context, moves []cluster.Move) ([]error, error) {
	return call(ctx, c, "alter-partition-reassignments", func(ctx context.Context) ([]error, error) {
		// The latest counts, so what the znode of old tools wants of the same ones
		// is taken out first.
		deleted, err := c.markedForDeletion(ctx)
		if err != nil {
			return nil, err
		}
		_, errs := c.planner().Reassign(c.meta.Current(), moves, false, func(t string) bool { return deleted[t] })
		named := map[kafka.TopicPartition]bool{}
		for i := range moves {
			named[moves[i].TP] = errs[i] == nil
		}
		err = c.trimReassignments(ctx, func(r *zkpaths.Reassignment) bool { return !named[r.TopicPartition] })
		if err != nil {
			return nil, err
		}
		errs, err = c.reassign(ctx, moves, false)
		if err == nil {
			err = c.finishMoves(ctx, topicsOf(moves))
		}
		return errs, err
	})
}

// Reassignments lists those under way, of the named partitions or, if of is nil,
// all.
func (c *Controller) Reassignments(ctx context.Context, of []kafka.TopicPartition) ([]cluster.Moving, error) {
	return call(ctx, c, "list-partition-reassignments", func(context.Context) ([]cluster.Moving, error) {
		return plan.Moving(c.meta.Current(), of), nil
	})
}

func topicsOf(moves []cluster.Move) []string {
	names := map[string]bool{}
	for i := range moves {
		names[moves[i].TP.Topic] = true
	}
	return append([]string{}, slices.Sorted(maps.Keys(names))...) // never nil
}

// reassign plans and writes until no hand interferes any more. What was written
// before a conflict is planned again: a reassignment only raises the leader epoch
// once more, and a cancellation finds that nothing runs, which it wanted.
func (c *Controller) reassign(ctx context.Context, moves []cluster.Move, anyBroker bool) ([]error, error) {
	deleted, err := c.markedForDeletion(ctx)
	if err != nil {
		return nil, err
	}
	skip := func(t string) bool { return deleted[t] }
	var first []error
	for round := 1; ; round++ {
		if c.reign == nil {
			return nil, ErrNotController
		}
		steps, errs := c.planner().Reassign(c.meta.Current(), moves, anyBroker, skip)
		if first == nil {
			first = errs
		}
		for i := range errs {
			if first[i] == nil && errs[i] != nil && protocol.CodeOf(errs[i]) == protocol.NoReassignmentInProgress {
				errs[i] = nil
			}
		}
		if len(steps) > 0 {
			c.log.Info("reassigning partitions", "partitions", partitionsOf(steps), "example", moves[0].TP.String())
		}
		err := c.write(ctx, movesReason("reassignment", steps), steps)
		var x *conflict
		if !errors.As(err, &x) || x.topic == "" || round == 5 {
			return errs, err
		}
		if err := c.repair(ctx, x.topic); err != nil {
			return nil, err
		}
	}
}

// partitionsOf counts the partitions that steps write.
func partitionsOf(steps []plan.Step) int {
	n := 0
	for i := range steps {
		states, moved := len(steps[i].States), 0
		for j := range steps[i].Topics {
			moved += len(steps[i].Topics[j].Partitions)
		}
		n += max(states, moved)
	}
	return n
}

func movesReason(code string, steps []plan.Step) cluster.Reason {
	return cluster.Reason{Code: code, Args: map[string]string{"partitions": strconv.Itoa(partitionsOf(steps))}}
}

// finishMoves completes the reassignments of topics, nil: all, whose targets are
// in sync. A topic that was edited by hand is read again; one that resists is
// left to the next tick.
func (c *Controller) finishMoves(ctx context.Context, topics []string) error {
	const rounds = 5
	if c.reign == nil {
		return ErrNotController
	}
	none := func(string) bool { return false }
	if len(c.planner().FinishMoves(c.meta.Current(), topics, none)) == 0 {
		return nil // as nearly always, and for nothing
	}
	deleted, err := c.markedForDeletion(ctx)
	if err != nil {
		return err
	}
	conflicts := map[string]int{}
	for {
		if c.reign == nil {
			return ErrNotController
		}
		steps := c.planner().FinishMoves(c.meta.Current(), topics, func(t string) bool { return deleted[t] || conflicts[t] >= rounds })
		err := c.write(ctx, movesReason("reassignment-done", steps), steps)
		var x *conflict
		if !errors.As(err, &x) || x.topic == "" {
			if err == nil && len(steps) > 0 {
				c.log.Info("reassigned partitions", "partitions", partitionsOf(steps), "topic", firstTopic(steps))
				c.queue.put(zkpaths.ReassignPath, evReassign) // which may name them
			}
			return err
		}
		conflicts[x.topic]++
		if err := c.repair(ctx, x.topic); err != nil {
			if !c.setAside(x.topic, err) {
				return err
			}
			conflicts[x.topic] = rounds
		}
	}
}

func firstTopic(steps []plan.Step) string {
	for i := range steps {
		if len(steps[i].Topics) > 0 {
			return steps[i].Topics[0].Name
		}
	}
	return ""
}

// finishAfter completes what changes of ISRs have brought to its end.
func (c *Controller) finishAfter(ctx context.Context, asks []plan.ISRAsk) {
	im := c.meta.Current()
	var topics []string
	for i := range asks {
		for j := range asks[i].Changes {
			ch := &asks[i].Changes[j]
			t := im.TopicByID(ch.TopicID)
			if ch.TopicID.IsZero() {
				t = im.Topic(ch.TP.Topic)
			}
			if t == nil {
				continue
			}
			if p := t.Partition(ch.TP.Partition); p != nil && p.Moving() && !slices.Contains(topics, t.Name) {
				topics = append(topics, t.Name)
			}
		}
	}
	if len(topics) == 0 || c.reign == nil {
		return
	}
	if err := c.finishMoves(ctx, topics); err != nil && ctx.Err() == nil && !errors.Is(err, ErrNotController) {
		c.log.Warn("completing reassignments failed, will try again", "err", err)
	}
}

// tendMoves completes what no event told of, and names dead targets once.
func (c *Controller) tendMoves(ctx context.Context) {
	r := c.reign
	if r == nil || !r.ready {
		return
	}
	if err := c.finishMoves(ctx, nil); err != nil && ctx.Err() == nil && !errors.Is(err, ErrNotController) {
		c.log.Warn("completing reassignments failed, will try again", "err", err)
	}
	awaited := plan.Awaited(c.meta.Current())
	for id, tps := range awaited {
		if !r.awaited[id] {
			c.log.Warn("reassignments wait for a broker that is not registered: start it, or cancel them",
				"broker", int32(id), "partitions", len(tps), "example", tps[0].String())
		}
	}
	clear(r.awaited)
	for id := range awaited {
		r.awaited[id] = true
	}
}

// lookAtReassignments takes what old tools wrote to /admin/reassign_partitions,
// leaving a watch, and takes out of it what is done or can't be.
func (c *Controller) lookAtReassignments(ctx context.Context) error {
	list, _, err := c.readReassignments(ctx, true)
	if err != nil {
		return err
	}
	im := c.meta.Current()
	var moves []cluster.Move
	for i := range list {
		p := im.Partition(list[i].TopicPartition)
		if p == nil || !slices.Equal(p.Target(), list[i].Replicas) { // else it runs, or is done
			moves = append(moves, cluster.Move{TP: list[i].TopicPartition, Replicas: list[i].Replicas})
		}
	}
	if len(moves) > 0 {
		if err := c.takeReassignments(ctx, moves); err != nil {
			return err
		}
	}
	if err := c.finishMoves(ctx, nil); err != nil || len(list) == 0 {
		return err
	}
	im = c.meta.Current()
	return c.trimReassignments(ctx, func(r *zkpaths.Reassignment) bool {
		p := im.Partition(r.TopicPartition)
		return p != nil && p.Moving() && slices.Equal(p.Target(), r.Replicas)
	})
}

// takeReassignments begins what the znode wants. What can't be is named in the
// log: nobody waits for an answer.
func (c *Controller) takeReassignments(ctx context.Context, moves []cluster.Move) error {
	errs, err := c.reassign(ctx, moves, true)
	for i, refused := range errs {
		if refused != nil {
			c.log.Warn("a reassignment asked for by znode is refused", "path", zkpaths.ReassignPath, "partition", moves[i].TP.String(), "err", refused)
		}
	}
	return err
}

// readReassignments reads the znode of old tools; the list is empty if there is
// none, or none that can be read.
func (c *Controller) readReassignments(ctx context.Context, watch bool) ([]zkpaths.Reassignment, session.Stat, error) {
	look, read := c.zk.Exists, c.zk.Get
	if watch {
		look, read = c.zk.ExistsW, c.zk.GetW
	}
	st, there, err := look(ctx, zkpaths.ReassignPath)
	if err != nil || !there {
		return nil, st, err
	}
	data, st, err := read(ctx, zkpaths.ReassignPath)
	if errors.Is(err, session.ErrNoNode) {
		return nil, st, nil
	}
	if err != nil {
		return nil, st, err
	}
	list, err := zkpaths.DecodeReassignments(data)
	if err != nil && watch {
		c.log.Warn("reassignments asked for by znode can't be read, and are left as they are", "path", zkpaths.ReassignPath, "err", err)
	}
	return list, st, nil
}

// trimReassignments keeps only some in the znode of old tools, and deletes it
// with the last. Old tools wait for that.
func (c *Controller) trimReassignments(ctx context.Context, keep func(*zkpaths.Reassignment) bool) error {
	list, st, err := c.readReassignments(ctx, false)
	if err != nil || len(list) == 0 {
		return err
	}
	left := slices.DeleteFunc(slices.Clone(list), func(r zkpaths.Reassignment) bool { return !keep(&r) })
	var op session.Op
	switch {
	case len(left) == len(list):
		return nil
	case len(left) == 0:
		op = session.DeleteOp(zkpaths.ReassignPath, st.Version)
	default:
		op = session.SetOp(zkpaths.ReassignPath, zkpaths.EncodeReassignments(left), st.Version)
	}
	_, err = c.commit(ctx, []session.Op{op}, nil)
	var x *conflict
	if errors.As(err, &x) { // a tool has just written or deleted it
		c.queue.put(zkpaths.ReassignPath, evReassign)
		return nil
	}
	return err
}

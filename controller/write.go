package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"barnabas/cluster"
	"barnabas/controller/plan"
	"barnabas/internal/kafka"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// Limits of one transaction: enough to be quick, far from ZooKeeper's own.
const (
	maxBytes = 256 << 10
	maxOps   = 1000
)

// conflict is a transaction that failed because somebody else wrote. Topic is
// whose znode it was.
type conflict struct {
	topic string
	err   error
}

func (e *conflict) Error() string {
	return "controller: " + e.topic + " was changed under us: " + e.err.Error()
}
func (e *conflict) Unwrap() error { return e.err }

// tooLarge is a step of a topic that does not fit into a transaction.
type tooLarge struct {
	topic string
	err   error
}

func (e *tooLarge) Error() string { return "controller: " + e.topic + ": " + e.err.Error() }
func (e *tooLarge) Unwrap() error { return e.err }

func isConflict(err error) bool {
	return errors.Is(err, session.ErrBadVersion) || errors.Is(err, session.ErrNoNode) || errors.Is(err, session.ErrNodeExists) || errors.Is(err, session.ErrNotEmpty)
}

func isLarge(err error) bool {
	return errors.Is(err, session.ErrPoison) || errors.Is(err, session.ErrTooLarge)
}

func isUnknown(err error) bool {
	return errors.Is(err, session.ErrConnectionLost) || errors.Is(err, session.ErrExpired)
}

// write carries steps out, as many to a transaction as fit. After an error some are
// done, which the image tells, and the others are not. Steps that need each other
// are done in order, so that what is done is a prefix.
func (c *Controller) write(ctx context.Context, reason cluster.Reason, steps []plan.Step) error {
	if independent(steps) {
		return c.writeAhead(ctx, reason, steps)
	}
	return c.writeInOrder(ctx, reason, steps)
}

func (c *Controller) writeInOrder(ctx context.Context, reason cluster.Reason, steps []plan.Step) error {
	present, err := c.presentContainers(ctx, steps)
	if err != nil {
		return err
	}
	limit := len(steps)
	for len(steps) > 0 {
		ops, entry, n := c.pack(steps[:min(limit, len(steps))], reason, present)
		_, err := c.commit(ctx, ops, entry)
		if isLarge(err) && n > 1 {
			c.log.Warn("a transaction was too large, sending half of it", "steps", n, "ops", len(ops), "err", err)
			limit = n / 2
			continue
		}
		if topic := topicOfStep(&steps[0]); isLarge(err) && topic != "" {
			return &tooLarge{topic, err}
		}
		if err != nil {
			return err
		}
		for i := range ops {
			if ops[i].Kind == session.OpCreate {
				present[ops[i].Path] = true
			}
		}
		steps, limit = steps[n:], len(steps)
	}
	return nil
}

// presentContainers finds which of the containers that steps need exist.
func (c *Controller) presentContainers(ctx context.Context, steps []plan.Step) (map[string]bool, error) {
	seen := map[string]bool{}
	var paths []string
	for _, s := range steps {
		for _, op := range s.Ops {
			if op.Kind == plan.Ensure && !seen[op.Path] {
				seen[op.Path] = true
				paths = append(paths, op.Path)
			}
		}
	}
	present := map[string]bool{}
	var failed error
	c.zk.GetAll(ctx, paths, func(i int, _ []byte, _ session.Stat, err error) {
		switch {
		case err == nil:
			present[paths[i]] = true
		case !errors.Is(err, session.ErrNoNode):
			failed = err
		}
	})
	return present, failed
}

// pack takes steps, at least one, until a transaction is full.
func (c *Controller) pack(steps []plan.Step, reason cluster.Reason, present map[string]bool) ([]session.Op, *cluster.Entry, int) {
	entry := &cluster.Entry{Reason: reason}
	var ops []session.Op
	bytes, n := 0, 0
	added := map[string]bool{}
	for _, s := range steps {
		var more []session.Op
		size := 0
		for _, op := range s.Ops {
			if op.Kind == plan.Ensure && (present[op.Path] || added[op.Path]) {
				continue
			}
			o := sessionOp(op)
			size += c.zk.OpSize(o)
			more = append(more, o)
		}
		size += entrySize(&s)
		if n > 0 && (bytes+size > maxBytes || len(ops)+len(more) > maxOps-2 || tellsAgain(entry, &s)) {
			break
		}
		for _, o := range more {
			added[o.Path] = true
		}
		ops, bytes, n = append(ops, more...), bytes+size, n+1
		addToEntry(entry, &s)
	}
	return ops, entry, n
}

// tellsAgain reports whether a step is about the topic that the entry was last
// about: an entry applies to a topic's assignment once. Steps of one topic follow
// each other.
func tellsAgain(e *cluster.Entry, s *plan.Step) bool {
	n := len(e.Topics)
	return n > 0 && len(s.Topics) > 0 && s.Topics[0].Name == e.Topics[n-1].Name
}

// entrySize is about what a step adds to the entry, in bytes, rather too much.
func entrySize(s *plan.Step) int {
	n := 0
	for i := range s.Brokers {
		n += 200 + 120*len(s.Brokers[i].Endpoints)
	}
	for i := range s.Topics {
		t := &s.Topics[i]
		n += 200 + len(t.Name)
		for _, of := range []map[int32][]kafka.BrokerID{t.Partitions, t.Adding, t.Removing} {
			for _, r := range of {
				n += 12 + 7*len(r)
			}
		}
		if t.Config != nil {
			for k, v := range t.Config.Values {
				n += 8 + len(k) + len(v)
			}
		}
	}
	for i := range s.States {
		n += 200 + len(s.States[i].Topic) + 7*(len(s.States[i].ISR)+len(s.States[i].Offline))
	}
	return n
}

func addToEntry(e *cluster.Entry, s *plan.Step) {
	e.Brokers = append(e.Brokers, s.Brokers...)
	e.AllBrokers = e.AllBrokers || s.AllBrokers
	e.Topics = append(e.Topics, s.Topics...)
	for _, st := range s.States {
		id := cluster.TopicIDText(st.ID)
		if n := len(e.States); n == 0 || e.States[n-1].Topic != st.Topic || e.States[n-1].ID != id {
			e.States = append(e.States, cluster.EntryStates{Topic: st.Topic, ID: id})
		}
		last := &e.States[len(e.States)-1]
		last.Partitions = append(last.Partitions, st.EntryState)
	}
}

// topicOfStep is the topic that a step is about, or "".
func topicOfStep(s *plan.Step) string {
	switch {
	case len(s.Topics) > 0:
		return s.Topics[0].Name
	case len(s.States) > 0:
		return s.States[0].Topic
	}
	return ""
}

func sessionOp(op plan.Op) session.Op {
	switch op.Kind {
	case plan.Set:
		return session.SetOp(op.Path, op.Data, op.Version)
	case plan.Delete:
		return session.DeleteOp(op.Path, op.Version)
	case plan.Check:
		return session.CheckOp(op.Path, op.Version)
	}
	return session.CreateOp(op.Path, op.Data, session.Persistent)
}

// commit does one transaction: the fence, ops, and the entry if there is one. It
// returns when the entry has been read back, so the image is as new. The outcome
// of a lost connection is found out before anything else is tried.
func (c *Controller) commit(ctx context.Context, ops []session.Op, entry *cluster.Entry) (*cluster.Image, error) {
	if c.reign == nil {
		return nil, ErrNotController
	}
	all := c.seal(ops, entry)
	_, err := c.zk.Multi(ctx, all...)
	if err = c.outcome(ctx, all, entry, err); err != nil {
		return nil, err
	}
	if entry == nil {
		return c.meta.Current(), nil
	}
	return c.meta.CatchUp(ctx, false)
}

// seal makes a transaction of this reign: the fence, ops, and the entry if there is
// one, which gets its token.
func (c *Controller) seal(ops []session.Op, entry *cluster.Entry) []session.Op {
	r := c.reign
	all := append([]session.Op{session.CheckOp(zkpaths.ControllerEpochPath, r.zkVersion)}, ops...)
	if entry == nil {
		return all
	}
	c.counter++
	entry.Version, entry.Controller, entry.Epoch = cluster.EntryVersion, c.opts.BrokerID, r.epoch
	entry.Token = cluster.Token{Broker: c.opts.BrokerID, Session: r.session, Counter: c.counter}
	return append(all, session.CreateOp(zkpaths.NewMetadataChange, entry.Encode(), session.PersistentSequential))
}

// outcome finds out what became of a sealed transaction that was answered with err:
// nil if it is done. One that a lost connection has left open is looked for in the
// log, and sent again as it was if it is not there.
func (c *Controller) outcome(ctx context.Context, all []session.Op, entry *cluster.Entry, err error) error {
	r := c.reign
	if r == nil {
		return ErrNotController
	}
	for try := 1; err != nil; try++ {
		if !isUnknown(err) {
			return c.refused(err)
		}
		if _, cerr := c.meta.CatchUp(ctx, true); cerr != nil {
			return errors.Join(err, cerr)
		}
		if entry != nil {
			if _, done := c.meta.Seen(entry.Token); done {
				return nil
			}
		}
		if c.zk.SessionID() != r.session {
			c.resign("the ZooKeeper session expired")
			return fmt.Errorf("%w: %w", ErrNotController, err)
		}
		if errors.Is(err, session.ErrPoison) || try == 3 {
			return err
		}
		_, err = c.zk.Multi(ctx, all...)
	}
	return nil
}

// refused says what a failed transaction means.
func (c *Controller) refused(err error) error {
	var m *session.MultiError
	if !errors.As(err, &m) || !isConflict(err) {
		return err
	}
	if m.Index == 0 {
		c.resign("another controller was elected")
		c.queue.put(zkpaths.ControllerPath, evController)
		return fmt.Errorf("%w: %w", ErrNotController, err)
	}
	return &conflict{topicOf(m.Op.Path), err}
}

// topicOf is the topic that a path belongs to, or "".
func topicOf(path string) string {
	for _, root := range []string{zkpaths.Topics + "/", zkpaths.ConfigRoot(zkpaths.ConfigTopics) + "/", zkpaths.DeleteTopics + "/"} {
		if rest, ok := strings.CutPrefix(path, root); ok {
			name, _, _ := strings.Cut(rest, "/")
			return name
		}
	}
	return ""
}

// readAllW reads znodes, leaving watches, and hands over those that exist.
func (c *Controller) readAllW(ctx context.Context, paths []string, fn func(i int, data []byte, st session.Stat)) error {
	var failed error
	c.zk.GetAllW(ctx, paths, func(i int, data []byte, st session.Stat, err error) {
		switch {
		case err == nil:
			fn(i, data, st)
		case !errors.Is(err, session.ErrNoNode):
			failed = err
		}
	})
	return failed
}

// planner is the rule book of this reign.
func (c *Controller) planner() plan.Controller {
	return plan.Controller{ID: c.opts.BrokerID, Epoch: c.reign.epoch, Unclean: c.opts.Unclean(), Born: c.reign.born, Reports: c.reign.reports, Alarmed: c.alarmed()}
}

// settle writes every state that must change with who is alive now. A topic that
// was edited by hand is read again and planned anew; each such round is
// somebody's progress. One that still resists is left for the next tick, so that
// all others get their leaders.
func (c *Controller) settle(ctx context.Context) error {
	const rounds = 5
	conflicts := map[string]int{}
	for {
		if c.reign == nil {
			return ErrNotController
		}
		deleted, err := c.markedForDeletion(ctx)
		if err != nil {
			return err
		}
		steps := c.planner().Settle(c.meta.Current(), func(t string) bool { return deleted[t] || conflicts[t] >= rounds })
		err = c.write(ctx, cluster.Reason{Code: "election"}, steps)
		var x *conflict
		if !errors.As(err, &x) || x.topic == "" {
			if err == nil {
				c.canvass(ctx, func(t string) bool { return deleted[t] })
			}
			return err
		}
		conflicts[x.topic]++
		err = c.repair(ctx, x.topic)
		if err == nil && conflicts[x.topic] == rounds {
			err = x
		}
		if err == nil {
			continue
		}
		if !c.setAside(x.topic, err) {
			return err
		}
		conflicts[x.topic] = rounds
		c.again[zkpaths.BrokerIDs] = evBrokers
	}
}

func kafkaTP(topic string, p int32) kafka.TopicPartition {
	return kafka.TopicPartition{Topic: topic, Partition: p}
}

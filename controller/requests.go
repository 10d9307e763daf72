package controller

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"barnabas/cluster"
	"barnabas/controller/plan"
	"barnabas/internal/kafka"
	"barnabas/protocol"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// call runs f on the loop and waits for it. A broker that does not reign answers
// ErrNotController. If ctx ends first, f may still run.
func call[T any](ctx context.Context, c *Controller, name string, f func(ctx context.Context) (T, error)) (T, error) {
	type answer struct {
		v   T
		err error
	}
	done := make(chan answer, 1)
	var none T
	ok := c.queue.call(command{
		name: name, at: time.Now(),
		run: func(loop context.Context) {
			v, err := f(loop)
			if err != nil && loop.Err() != nil {
				err = ErrNotController
			}
			done <- answer{v, err}
		},
		preempt: func() { done <- answer{none, ErrNotController} },
	})
	if !ok {
		return none, protocol.Fail(protocol.ThrottlingQuotaExceeded, "The controller has too many requests waiting.")
	}
	select {
	case a := <-done:
		return a.v, a.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// Active reports whether this broker is the controller now.
func (c *Controller) Active() bool { _, ok := c.Epoch(); return ok }

// Registered tells that this broker has registered, so that it stands for
// election at once.
func (c *Controller) Registered(kafka.BrokerEpoch) { c.queue.put(zkpaths.ControllerPath, evController) }

// CreateTopics makes topics, or only looks whether it could, and returns when
// ZooKeeper and this broker's image have them. Errors have the codes and texts
// of Kafka's ZkAdminManager.
func (c *Controller) CreateTopics(ctx context.Context, topics []cluster.NewTopic, validateOnly bool) []cluster.CreatedTopic {
	out, err := call(ctx, c, "create-topics", func(ctx context.Context) ([]cluster.CreatedTopic, error) {
		out := make([]cluster.CreatedTopic, len(topics))
		for i := range topics {
			out[i] = c.createTopic(ctx, topics[i], validateOnly)
		}
		return out, nil
	})
	if err != nil {
		out = make([]cluster.CreatedTopic, len(topics))
		for i := range out {
			out[i].Err = err
		}
	}
	return out
}

func (c *Controller) createTopic(ctx context.Context, n cluster.NewTopic, validateOnly bool) cluster.CreatedTopic {
	if c.reign == nil {
		return cluster.CreatedTopic{Err: ErrNotController}
	}
	made, nt, err := c.place(ctx, n)
	if made.Err = err; err != nil || validateOnly {
		return made
	}
	err = c.write(ctx, cluster.Reason{Code: "topic-created", Args: map[string]string{"topic": n.Name}}, c.planner().CreateTopic(c.meta.Current(), nt))
	var x *conflict
	switch {
	case errors.As(err, &x) && c.meta.Current().TopicByID(nt.ID) != nil: // only its states met somebody else's
		err = c.adopt(ctx, n.Name, true)
	case errors.As(err, &x):
		if err = c.adopt(ctx, n.Name, true); err == nil {
			err = exists(n.Name)
		}
	case errors.Is(err, session.ErrTooLarge):
		err = protocol.Fail(protocol.InvalidPartitions, fmt.Sprintf("Topic '%s' with %d partitions does not fit into ZooKeeper's largest request.", n.Name, made.Partitions))
	}
	if made.Err = err; err == nil {
		c.watchTopic(ctx, n.Name)
	}
	return made
}

// watchTopic arms the watch for edits by hand; without it the next reign would.
func (c *Controller) watchTopic(ctx context.Context, name string) {
	if _, _, err := c.zk.GetW(ctx, zkpaths.TopicPath(name)); err != nil {
		c.queue.put(zkpaths.TopicPath(name), evTopic)
	}
}

func exists(name string) error {
	return protocol.Fail(protocol.TopicAlreadyExists, fmt.Sprintf("Topic '%s' already exists.", name))
}

// place checks a new topic against the cluster and decides where its replicas
// are.
func (c *Controller) place(ctx context.Context, n cluster.NewTopic) (made cluster.CreatedTopic, nt plan.NewTopic, err error) {
	im := c.meta.Current()
	if im.Topic(n.Name) != nil {
		return made, nt, exists(n.Name)
	}
	if err := collision(im, n.Name); err != nil {
		return made, nt, err
	}
	if err := c.roomForName(im, n.Name); err != nil {
		return made, nt, err
	}
	marked, err := c.markedForDeletion(ctx)
	if err != nil {
		return made, nt, err
	}
	if marked[n.Name] {
		return made, nt, protocol.Fail(protocol.TopicAlreadyExists, fmt.Sprintf("Topic '%s' is marked for deletion.", n.Name))
	}
	nt = plan.NewTopic{Name: n.Name, ID: kafka.NewTopicID(), Config: n.Config, Assignment: numbered(0, n.Assignment)}
	if nt.Config == nil {
		nt.Config = map[string]string{}
	}
	if n.Assignment == nil {
		if nt.Assignment, err = placed(im, 0, n.Partitions, n.ReplicationFactor); err != nil {
			return made, nt, err
		}
	}
	if _, nt.ConfigVersion, _, err = c.findConfig(ctx, n.Name); err != nil {
		return made, nt, err
	}
	made = cluster.CreatedTopic{ID: nt.ID, Partitions: int32(len(nt.Assignment)), ReplicationFactor: len(nt.Assignment[0])}
	return made, nt, nil
}

// numbered is a list of replicas by partition number, from the first on.
func numbered(first int32, of [][]kafka.BrokerID) map[int32][]kafka.BrokerID {
	out := make(map[int32][]kafka.BrokerID, len(of))
	for i, replicas := range of {
		if replicas == nil {
			replicas = []kafka.BrokerID{}
		}
		out[first+int32(i)] = replicas
	}
	return out
}

// collision refuses names that differ only in dots and underscores.
func collision(im *cluster.Image, name string) error {
	key := kafka.CollisionKey(name)
	var same []string
	for t := range im.Topics() {
		if kafka.CollisionKey(t.Name) == key {
			same = append(same, t.Name)
		}
	}
	if len(same) == 0 {
		return nil
	}
	slices.Sort(same)
	return protocol.Fail(protocol.InvalidTopic, fmt.Sprintf("Topic '%s' collides with existing topics: %s", name, strings.Join(same, ", ")))
}

// roomForName refuses names for which the list of topics has no room, and warns long
// before.
func (c *Controller) roomForName(im *cluster.Image, name string) error {
	const lengthPrefix = 4
	sum := lengthPrefix + len(name)
	for t := range im.Topics() {
		sum += lengthPrefix + len(t.Name)
	}
	limit := c.opts.NameBytes
	if sum > limit/10*9 {
		return protocol.Fail(protocol.PolicyViolation, fmt.Sprintf("The names of all topics together would take %d bytes, of %d that ZooKeeper lists in one reply. Delete topics, or use shorter names.", sum, limit))
	}
	if sum > limit/2 && !c.reign.warnedOfNames {
		c.reign.warnedOfNames = true
		c.log.Warn("the names of all topics together take more than half of what ZooKeeper lists in one reply; at nine tenths no topic can be made any more",
			"bytes", sum, "limit", limit, "topics", im.TopicCount())
	}
	return nil
}

// placed spreads partitions over the live brokers.
func placed(im *cluster.Image, from, count int32, rf int) (map[int32][]kafka.BrokerID, error) {
	if count <= 0 || from+count > cluster.MaxPartitions {
		return nil, protocol.Fail(protocol.InvalidPartitions, "Number of partitions must be larger than 0.")
	}
	if rf <= 0 {
		return nil, protocol.Fail(protocol.InvalidReplicationFactor, "Replication factor must be larger than 0.")
	}
	nodes, err := cluster.Nodes(im, true)
	if err != nil {
		return nil, protocol.Fail(protocol.UnknownServerError, err.Error())
	}
	if rf > len(nodes) {
		return nil, protocol.Fail(protocol.InvalidReplicationFactor, fmt.Sprintf("Replication factor: %d larger than available brokers: %d.", rf, len(nodes)))
	}
	return cluster.Place(nodes, from, count, rf, rand.IntN(len(nodes)), rand.IntN(len(nodes))), nil
}

// DeleteTopics deletes topics and returns when they are gone from ZooKeeper and
// this broker's image; one error for each. The mark in /admin/delete_topics
// comes first, so that a controller that dies leaves the work to the next.
func (c *Controller) DeleteTopics(ctx context.Context, names []string) []error {
	errs, err := call(ctx, c, "delete-topics", func(ctx context.Context) ([]error, error) {
		errs := make([]error, len(names))
		for i, name := range names {
			errs[i] = c.markAndDelete(ctx, name)
		}
		return errs, nil
	})
	if err != nil {
		errs = make([]error, len(names))
		for i := range errs {
			errs[i] = err
		}
	}
	return errs
}

func (c *Controller) markAndDelete(ctx context.Context, name string) error {
	if c.meta.Current().Topic(name) == nil {
		return protocol.Fail(protocol.UnknownTopicOrPartition, "")
	}
	if c.opts.KeepTopics {
		return protocol.Fail(protocol.TopicDeletionDisabled, "")
	}
	_, err := c.commit(ctx, []session.Op{session.CreateOp(zkpaths.DeleteTopicPath(name), nil, session.Persistent)}, nil)
	var x *conflict
	if err != nil && !errors.As(err, &x) {
		return err
	}
	for range 3 { // somebody may write below it meanwhile
		if err = c.deleteTopic(ctx, name); !errors.As(err, &x) {
			break
		}
	}
	return err
}

// AddPartitions extends a topic to total partitions, or only looks whether it
// could. assignment is that of the new ones, in order; nil: they are placed.
func (c *Controller) AddPartitions(ctx context.Context, topic string, total int32, assignment [][]kafka.BrokerID, validateOnly bool) error {
	_, err := call(ctx, c, "create-partitions", func(ctx context.Context) (struct{}, error) {
		var none struct{}
		t, added, err := c.extension(ctx, topic, total, assignment)
		if err != nil || validateOnly {
			return none, err
		}
		reason := cluster.Reason{Code: "partitions-added", Args: map[string]string{"topic": topic}}
		err = c.write(ctx, reason, c.planner().AddPartitions(c.meta.Current(), t, added))
		var x *conflict
		if !errors.As(err, &x) {
			return none, err
		}
		if err := c.adopt(ctx, topic, true); err != nil {
			return none, err
		}
		if t := c.meta.Current().Topic(topic); t != nil && int32(len(t.Partitions)) == total { // only the states met somebody else's
			return none, nil
		}
		if t, added, err = c.extension(ctx, topic, total, assignment); err != nil {
			return none, err
		}
		return none, c.write(ctx, reason, c.planner().AddPartitions(c.meta.Current(), t, added))
	})
	return err
}

// extension checks a request for more partitions against the newest image and
// places them. What needs no controller was checked before.
func (c *Controller) extension(ctx context.Context, topic string, total int32, assignment [][]kafka.BrokerID) (*cluster.Topic, map[int32][]kafka.BrokerID, error) {
	im := c.meta.Current()
	t := im.Topic(topic)
	if t == nil {
		return nil, nil, protocol.Fail(protocol.UnknownTopicOrPartition, fmt.Sprintf("The topic '%s' does not exist.", topic))
	}
	marked, err := c.markedForDeletion(ctx)
	if err != nil {
		return nil, nil, err
	}
	if marked[topic] {
		return nil, nil, protocol.Fail(protocol.InvalidTopic, fmt.Sprintf("The topic '%s' is being deleted.", topic))
	}
	have := int32(len(t.Partitions))
	switch {
	case slices.ContainsFunc(t.Partitions, func(p *cluster.Partition) bool { return p != nil && p.Moving() }):
		return nil, nil, protocol.Fail(protocol.ReassignmentInProgress, fmt.Sprintf("A partition reassignment is in progress for the topic '%s'.", topic))
	case total < have:
		return nil, nil, protocol.Fail(protocol.InvalidPartitions, fmt.Sprintf("Topic currently has %d partitions, which is higher than the requested %d.", have, total))
	case total == have:
		return nil, nil, protocol.Fail(protocol.InvalidPartitions, fmt.Sprintf("Topic already has %d partitions.", have))
	case assignment == nil:
		rf := 1
		if p := t.Partition(0); p != nil {
			rf = len(p.Replicas)
		}
		added, err := placed(im, have, total-have, rf)
		return t, added, err
	case int32(len(assignment)) != total-have:
		return nil, nil, protocol.Fail(protocol.InvalidReplicaAssignment, fmt.Sprintf("Increasing the number of partitions by %d but %d assignments provided.", total-have, len(assignment)))
	}
	return t, numbered(have, assignment), checkExtension(im, t, have, assignment)
}

// checkExtension checks a manual placement of further partitions, with the
// texts of Kafka's ZkAdminManager and AdminZkClient.
func checkExtension(im *cluster.Image, t *cluster.Topic, have int32, assignment [][]kafka.BrokerID) error {
	refuse := func(format string, args ...any) error {
		return protocol.Fail(protocol.InvalidReplicaAssignment, fmt.Sprintf(format, args...))
	}
	var unknown []kafka.BrokerID
	for _, replicas := range assignment {
		for _, id := range replicas {
			if im.Broker(id) == nil && !slices.Contains(unknown, id) {
				unknown = append(unknown, id)
			}
		}
	}
	if len(unknown) > 0 {
		return refuse("Unknown broker(s) in replica assignment: %s.", listed(unknown))
	}
	rf := 0
	if p := t.Partition(0); p != nil {
		rf = len(p.Replicas)
	}
	for i, replicas := range assignment {
		partition := have + int32(i)
		switch sorted := slices.Sorted(slices.Values(replicas)); {
		case len(replicas) == 0:
			return refuse("Cannot have replication factor of 0 for partition id %d.", partition)
		case len(slices.Compact(sorted)) != len(replicas):
			return refuse("Duplicate brokers not allowed in replica assignment: %s for partition id %d.", listed(replicas), partition)
		case rf > 0 && len(replicas) != rf:
			return refuse("Inconsistent replication factor between partitions, partition 0 has %d while partitions [%d] have replication factors [%d], respectively.", rf, partition, len(replicas))
		}
	}
	return nil
}

// listed shows broker ids as Kafka's messages do.
func listed(ids []kafka.BrokerID) string {
	var b strings.Builder
	for i, id := range ids {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprint(&b, int32(id))
	}
	return b.String()
}

// AllocateProducerIDs reserves the next block of producer ids for a broker.
func (c *Controller) AllocateProducerIDs(ctx context.Context, broker kafka.BrokerID, epoch kafka.BrokerEpoch) (first, count int64, err error) {
	b, err := call(ctx, c, "allocate-producer-ids", func(ctx context.Context) (zkpaths.ProducerIDBlock, error) {
		var none zkpaths.ProducerIDBlock
		switch known := c.meta.Current().Broker(broker); {
		case known == nil:
			return none, protocol.Fail(protocol.BrokerIDNotRegistered, "")
		case known.Epoch != epoch:
			return none, protocol.Fail(protocol.StaleBrokerEpoch, "")
		}
		for {
			next, op, err := c.nextBlock(ctx, broker)
			if err != nil {
				return none, err
			}
			_, err = c.commit(ctx, []session.Op{op}, nil)
			var x *conflict
			if !errors.As(err, &x) { // a conflict is somebody's progress, or our own lost answer: take the next block
				return next, err
			}
		}
	})
	return b.First, b.Last - b.First + 1, err
}

// nextBlock is a block of producer ids that nobody had, and the write that takes
// it. A producer id given twice would make one producer's records look like the
// repetitions of another's, so where the znode was destroyed, or deleted and
// made again since the cluster was, ids begin anew far above all that were given.
func (c *Controller) nextBlock(ctx context.Context, broker kafka.BrokerID) (zkpaths.ProducerIDBlock, session.Op, error) {
	const path = zkpaths.ProducerIDBlockPath
	var none zkpaths.ProducerIDBlock
	data, st, err := c.zk.Get(ctx, path)
	if errors.Is(err, session.ErrNoNode) {
		if _, err := c.zk.Create(ctx, path, nil, session.Persistent); err != nil && !errors.Is(err, session.ErrNodeExists) {
			return none, session.Op{}, err
		}
		data, st, err = c.zk.Get(ctx, path)
	}
	if err != nil {
		return none, session.Op{}, err
	}
	if len(data) == 0 {
		made, ok, err := c.zk.Exists(ctx, zkpaths.ClusterIDPath)
		if err != nil {
			return none, session.Op{}, err
		}
		if ok && st.Czxid > made.Czxid { // else it is from the cluster's first start
			b, err := zkpaths.RescueProducerIDBlock(st.Mzxid, broker)
			return b, session.SetOp(path, b.Encode(), st.Version), err
		}
	}
	b, err := zkpaths.NextProducerIDBlock(data, broker)
	if errors.Is(err, zkpaths.ErrData) {
		c.log.Error("the znode of producer ids was destroyed; going on far above those that were given", "path", path, "err", err)
		b, err = zkpaths.RescueProducerIDBlock(st.Mzxid, broker)
	}
	return b, session.SetOp(path, b.Encode(), st.Version), err
}

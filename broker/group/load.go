package group

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"barnabas/internal/kafka"
	"barnabas/log/batch"
	"barnabas/protocol/grouplog"
)

// loadRetry is the pause after a load that failed.
const loadRetry = time.Second

// load reads a partition until it succeeds or ctx ends, and makes its groups
// available: not before all in-sync replicas have what was read. The last records
// may have reached this broker alone; who acted on one, answering a member with the
// assignment in it, say, might be followed by a coordinator that never had it and
// begins the same generation again. (Apache Kafka's GroupMetadataManager does not
// wait.)
func (c *Coordinator) load(ctx context.Context, p *partition, t *tenure) {
	defer c.loadEnded()
	for {
		began := time.Now()
		l := newLoader(c.opt.Codecs)
		err := c.read(ctx, p, l)
		if err == nil {
			err = c.opt.Store.Settled(ctx, p.index)
		}
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			c.publish(ctx, p, t, l, began)
			return
		}
		c.log.Error("could not load consumer groups; trying again", "partition", p.index, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(loadRetry):
		}
	}
}

// read replays a partition. It holds one of the slots for loads, which the wait
// for replicas that follows must not.
func (c *Coordinator) read(ctx context.Context, p *partition, l *loader) error {
	select {
	case c.loads <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-c.loads }()
	return c.opt.Store.Read(ctx, p.index, l.batch)
}

// publish makes the loaded groups known.
func (c *Coordinator) publish(ctx context.Context, p *partition, t *tenure, l *loader, began time.Time) {
	now := time.Now()
	machines := l.machines(c.limits, now)
	offsets := l.offsets() // counted now: later they belong to the groups
	groups := make(map[string]*instance, len(machines))
	effects := make(map[*instance]Effects, len(machines))
	for id, m := range machines {
		g := newInstance(c, p, t, m)
		groups[id] = g
		// Sessions begin before anybody can meet the group.
		effects[g] = m.Loaded(now)
	}
	count := len(groups) // the table belongs to the partition from now on
	if !p.activate(ctx, groups) {
		return
	}
	for g, e := range effects {
		g.step(func(time.Time) Effects { return e })
	}
	if doomed := p.takeDoomed(); len(doomed) > 0 {
		c.dropTopics(p.appendAll(nil), doomed)
	}
	if l.bad > 0 {
		c.log.Error("skipped unreadable records of consumer groups", "partition", p.index, "records", l.bad, "error", l.badErr)
	}
	c.loaded.add(count, offsets)
	c.log.Debug("loaded consumer groups of a partition", "partition", p.index, "epoch", t.epoch.Load(), "groups", count,
		"offsets", offsets, "took", time.Since(began))
}

// loaded sums up what was loaded since no partition was being loaded, so that a
// broker's start leaves one line and not one per partition.
type loaded struct {
	mu         sync.Mutex // guards what follows
	running    int
	began      time.Time
	partitions int
	groups     int
	offsets    int
}

func (l *loaded) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running == 0 {
		l.began, l.partitions, l.groups, l.offsets = time.Now(), 0, 0, 0
	}
	l.running++
}

func (l *loaded) add(groups, offsets int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partitions, l.groups, l.offsets = l.partitions+1, l.groups+groups, l.offsets+offsets
}

// loadEnded follows each begin; the last one of them tells what was loaded.
func (c *Coordinator) loadEnded() {
	l := &c.loaded
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running--; l.running == 0 && l.partitions > 0 {
		c.log.Info("loaded consumer groups", "partitions", l.partitions, "groups", l.groups, "offsets", l.offsets, "took", time.Since(l.began))
	}
}

// loader replays a partition of __consumer_offsets.
type loader struct {
	codecs *batch.Codecs
	// interned lets groups and topics, which repeat in every key, share bytes.
	interned map[string]string
	// values holds the last group record of each group; nil after a tombstone.
	values map[string][]byte
	groups map[string]*offsets
	// open are the groups that an open transaction has committed for; a marker
	// looks at those alone.
	open map[kafka.ProducerID]map[*offsets]struct{}
	// bad counts records that don't decode, and batches that can't be read; badErr
	// is the first reason.
	bad    int
	badErr error
}

func newLoader(codecs *batch.Codecs) *loader {
	return &loader{codecs: codecs, interned: map[string]string{}, values: map[string][]byte{}, groups: map[string]*offsets{},
		open: map[kafka.ProducerID]map[*offsets]struct{}{}}
}

// batch replays one batch. A record that does not decode is skipped, and so is a
// batch that is damaged or can't be read: one of them must cost its own offsets, and
// not the groups of the whole partition, which would be loaded again without an end.
func (l *loader) batch(b []byte) error {
	h, err := batch.ParseHeader(b)
	if err != nil {
		return err
	}
	if !batch.CheckCRC(b) {
		l.skip(fmt.Errorf("group: wrong checksum of the batch at offset %d", h.BaseOffset))
		return nil
	}
	for r, err := range batch.Records(b, l.codecs) {
		if err != nil {
			l.skip(fmt.Errorf("group: the batch at offset %d: %w", h.BaseOffset, err))
			return nil
		}
		switch {
		case h.Control():
			err = l.marker(&h, &r)
		default:
			err = l.record(&h, &r)
		}
		if err != nil {
			l.skip(err)
		}
	}
	return nil
}

// skip counts what could not be read.
func (l *loader) skip(err error) {
	l.bad++
	if l.badErr == nil {
		l.badErr = err
	}
}

func (l *loader) marker(h *batch.Header, r *batch.Record) error {
	commit, _, is, err := batch.ParseMarker(r)
	if err != nil || !is {
		return err
	}
	p := kafka.ProducerID(h.ProducerID)
	for o := range l.open[p] {
		o.end(p, commit)
	}
	delete(l.open, p)
	return nil
}

func (l *loader) record(h *batch.Header, r *batch.Record) error {
	k, err := grouplog.DecodeKeyWith(r.Key, l.interned)
	if err != nil {
		return err
	}
	switch k.Kind {
	case grouplog.KeyGroup:
		if r.Value == nil {
			delete(l.values, k.Group)
		} else {
			l.values[k.Group] = bytes.Clone(r.Value)
		}
		return nil
	case grouplog.KeyOffset:
		return l.offset(h, r, k)
	}
	return nil
}

func (l *loader) offset(h *batch.Header, r *batch.Record, k grouplog.Key) error {
	o := l.groups[k.Group]
	if o == nil {
		o = &offsets{}
		l.groups[k.Group] = o
	}
	tp := kafka.TopicPartition{Topic: k.Topic, Partition: k.Partition}
	if r.Value == nil {
		delete(o.stable, tp)
		return nil
	}
	v, err := grouplog.DecodeOffsetValue(r.Value)
	if err != nil {
		return err
	}
	c := committed{v.Offset, v.LeaderEpoch, v.Metadata, v.CommitTimestamp, v.ExpireTimestamp, h.BaseOffset}
	if h.Transactional() {
		p := kafka.ProducerID(h.ProducerID)
		o.begin(p, tp, c)
		if l.open[p] == nil {
			l.open[p] = map[*offsets]struct{}{}
		}
		l.open[p][o] = struct{}{}
	} else {
		o.put(tp, c)
	}
	return nil
}

// machines makes the groups. Those with members are stable, others empty; a
// group without a record but with offsets is one of simple consumers.
func (l *loader) machines(limits Limits, now time.Time) map[string]*Machine {
	out := make(map[string]*Machine, len(l.groups)+len(l.values))
	for id, b := range l.values {
		v, err := grouplog.DecodeGroupValue(b)
		if err != nil {
			l.skip(err)
			continue
		}
		out[id] = Restore(id, limits, &v, now)
	}
	for id, o := range l.groups {
		if o.empty() {
			continue
		}
		if out[id] == nil {
			out[id] = Restore(id, limits, nil, now)
		}
		out[id].offsets = *o
	}
	return out
}

func (l *loader) offsets() int {
	n := 0
	for _, o := range l.groups {
		n += len(o.stable)
	}
	return n
}

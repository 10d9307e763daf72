package group

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"barnabas/internal/kafka"
	"barnabas/internal/metrics"
	"barnabas/protocol/groupstory"
)

// Lags asks the partitions that groups read from. Either part may answer for
// fewer than it was asked for.
type Lags interface {
	// Ends returns the ends that consumers see.
	Ends(ctx context.Context, of []kafka.TopicPartition) map[kafka.TopicPartition]int64
	// Times returns about when the records at these offsets were written.
	Times(ctx context.Context, of map[kafka.TopicPartition]int64) map[kafka.TopicPartition]time.Time
}

const (
	// lagInterval is the time between two looks at all partitions, if they are
	// not so many that a look takes more than a lagShare of it: then it is longer.
	lagInterval = 3 * time.Second
	lagShare    = 50
	// trailLength is how many ends of a partition are remembered. When they are
	// full every other one is forgotten: the past becomes coarse.
	trailLength = 16
	// maxTimes bounds how many records are looked up in one round.
	maxTimes = 256
)

// stretch is a time in which a partition ended at one offset.
type stretch struct {
	end         int64
	first, last int64 // when it was seen so, in milliseconds
}

// trail is how the end of a partition moved. The time of a record is taken from
// it: it came between the last time that the end was not above it and the first
// time that it was.
type trail struct {
	stretches []stretch
	// The record at offset known was written at time knownAt, in milliseconds; for
	// groups that are further behind than the trail.
	known, knownAt int64
}

// saw notes the end at a time.
func (t *trail) saw(end, now int64) {
	if n := len(t.stretches); n > 0 && t.stretches[n-1].end >= end {
		if t.stretches[n-1].end > end { // records were lost or deleted
			t.stretches = append(t.stretches[:0], stretch{end, now, now})
			return
		}
		t.stretches[n-1].last = now
		return
	}
	if len(t.stretches) == trailLength {
		kept := t.stretches[:0]
		for i := 0; i < trailLength; i += 2 {
			kept = append(kept, t.stretches[i])
		}
		t.stretches = kept
	}
	t.stretches = append(t.stretches, stretch{end, now, now})
}

func (t *trail) end() int64 { return t.stretches[len(t.stretches)-1].end }

// age is how old the record at offset is, in milliseconds; false if the trail
// does not reach back so far. Who has read everything is not behind.
func (t *trail) age(offset, now int64) (int64, bool) {
	i := slices.IndexFunc(t.stretches, func(s stretch) bool { return s.end > offset })
	switch {
	case i < 0:
		return 0, true
	case i > 0:
		a, b := t.stretches[i-1], t.stretches[i]
		at := a.last + (b.first-a.last)*(offset-a.end+1)/(b.end-a.end)
		return max(now-at, 0), true
	case t.knownAt != 0 && t.known == offset:
		return max(now-t.knownAt, 0), true
	}
	return 0, false
}

// lags is what is known of the partitions that groups have committed for.
type lags struct {
	mu     sync.Mutex // guards trails
	trails map[kafka.TopicPartition]*trail
}

// watchLag looks at the partitions now and then, until ctx ends.
func (c *Coordinator) watchLag(ctx context.Context) {
	t := time.NewTimer(lagInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.ctx.Done():
			return
		case now := <-t.C:
			c.lookAtLag(ctx, now)
			t.Reset(max(lagInterval, lagShare*time.Since(now)))
		}
	}
}

// lookAtLag asks where the partitions end, and for the time of records that
// groups stopped at long ago.
func (c *Coordinator) lookAtLag(ctx context.Context, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, lagInterval)
	defer cancel()
	committed := c.committedOffsets()
	of := make([]kafka.TopicPartition, 0, len(committed))
	for tp := range committed {
		of = append(of, tp)
	}
	ends := c.opt.Lags.Ends(ctx, of)
	old := map[kafka.TopicPartition]int64{}
	ms := now.UnixMilli()
	c.lags.mu.Lock()
	for tp := range c.lags.trails {
		if _, still := committed[tp]; !still {
			delete(c.lags.trails, tp)
		}
	}
	for tp, end := range ends {
		t := c.lags.trails[tp]
		if t == nil {
			if c.lags.trails == nil {
				c.lags.trails = map[kafka.TopicPartition]*trail{}
			}
			t = &trail{}
			c.lags.trails[tp] = t
		}
		t.saw(end, ms)
		if _, known := t.age(committed[tp], ms); !known && len(old) < maxTimes {
			old[tp] = committed[tp]
		}
	}
	c.lags.mu.Unlock()
	if len(old) == 0 {
		return
	}
	times := c.opt.Lags.Times(ctx, old)
	c.lags.mu.Lock()
	defer c.lags.mu.Unlock()
	for tp, at := range times {
		if t := c.lags.trails[tp]; t != nil {
			t.known, t.knownAt = old[tp], at.UnixMilli()
		}
	}
}

// committedOffsets is, for each partition that a group here has committed, the
// smallest offset.
func (c *Coordinator) committedOffsets() map[kafka.TopicPartition]int64 {
	all := map[kafka.TopicPartition]int64{}
	for _, g := range c.instances() {
		g.mu.Lock()
		for tp, o := range g.m.offsets.stable {
			if least, found := all[tp]; !found || o.offset < least {
				all[tp] = o.offset
			}
		}
		g.mu.Unlock()
	}
	return all
}

// lag is how far a group is behind, by topic and partition. g.mu is not held.
func (c *Coordinator) lag(g *instance, now int64) []groupstory.Lag {
	g.mu.Lock()
	topics := g.m.offsets.topics()
	var out []groupstory.Lag
	for _, t := range topics {
		for _, p := range t.Partitions {
			at := g.m.offsets.stable[kafka.TopicPartition{Topic: t.Topic, Partition: p}].offset
			out = append(out, groupstory.Lag{Topic: t.Topic, Partition: p, Records: at, Millis: -1})
		}
	}
	g.mu.Unlock()
	c.lags.mu.Lock()
	defer c.lags.mu.Unlock()
	known := out[:0]
	for _, l := range out {
		t := c.lags.trails[kafka.TopicPartition{Topic: l.Topic, Partition: l.Partition}]
		if t == nil {
			continue
		}
		committed := l.Records
		l.Records = max(t.end()-committed, 0)
		if age, found := t.age(committed, now); found {
			l.Millis = age
		}
		known = append(known, l)
	}
	return known
}

// groupLag is a line of the metrics.
type groupLag struct {
	group      string
	partitions []groupstory.Lag
}

// collectLag writes the lag of each group and, if the page asks for partitions,
// of each of its partitions.
func (c *Coordinator) collectLag(p *metrics.Page) {
	now := p.Now.UnixMilli()
	var all []groupLag
	for _, g := range c.instances() {
		if l := c.lag(g, now); len(l) > 0 {
			all = append(all, groupLag{g.m.id, l})
		}
	}
	p.Family("barnabas_group_lag_records", metrics.GaugeKind, "Records that a group has not committed yet, of all its partitions.")
	for _, g := range all {
		var sum int64
		for _, l := range g.partitions {
			sum += l.Records
		}
		p.Int(sum, "group", g.group)
	}
	p.Family("barnabas_group_lag_seconds", metrics.GaugeKind, "Age of the oldest record that a group has not committed yet.")
	for _, g := range all {
		oldest := int64(-1)
		for _, l := range g.partitions {
			oldest = max(oldest, l.Millis)
		}
		if oldest >= 0 {
			p.Float(float64(oldest)/1000, "group", g.group)
		}
	}
	if p.Partitions {
		collectPartitionLag(p, all)
	}
}

func collectPartitionLag(p *metrics.Page, all []groupLag) {
	each := func(f func(l *groupstory.Lag, labels ...string)) {
		for _, g := range all {
			for i := range g.partitions {
				l := &g.partitions[i]
				f(l, "group", g.group, "topic", l.Topic, "partition", strconv.Itoa(int(l.Partition)))
			}
		}
	}
	p.Family("barnabas_group_partition_lag_records", metrics.GaugeKind, "Records of a partition that a group has not committed yet.")
	each(func(l *groupstory.Lag, labels ...string) { p.Int(l.Records, labels...) })
	p.Family("barnabas_group_partition_lag_seconds", metrics.GaugeKind, "Age of the first record of a partition that a group has not committed yet.")
	each(func(l *groupstory.Lag, labels ...string) {
		if l.Millis >= 0 {
			p.Float(float64(l.Millis)/1000, labels...)
		}
	})
}

package tools

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"barnabas/protocol/groupstory"
)

func (t *tool) describeGroups(ctx context.Context, cl *kgo.Client, f *groupsFlags) error {
	admin := kadm.NewClient(cl)
	names, err := f.scope(ctx, admin)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return nil
	}
	described, err := admin.DescribeGroups(ctx, names...)
	if err != nil {
		return explain(err)
	}
	missing := false
	for _, g := range described.Sorted() {
		if g.Err != nil {
			return fmt.Errorf("group %s: %w", g.Group, explain(g.Err))
		}
		if g.State == "Dead" {
			fmt.Fprintf(t.err, "\nError: Consumer group '%s' does not exist.\n", g.Group)
			missing = true
			continue
		}
		if err := t.describeGroup(ctx, cl, g, f); err != nil {
			return fmt.Errorf("group %s: %w", g.Group, err)
		}
	}
	if missing {
		return reportedError{fmt.Errorf("a group does not exist")}
	}
	return nil
}

func (t *tool) describeGroup(ctx context.Context, cl *kgo.Client, g kadm.DescribedGroup, f *groupsFlags) error {
	switch g.State {
	case "Empty":
		fmt.Fprintf(t.err, "\nConsumer group '%s' has no active members.\n", g.Group)
	case "PreparingRebalance", "CompletingRebalance":
		fmt.Fprintf(t.err, "\nWarning: Consumer group '%s' is rebalancing.\n", g.Group)
	}
	switch {
	case f.hasState:
		formatGroupState(t.out, g)
	case f.members:
		formatMembers(t.out, g, f.verbose)
	default:
		rows, err := offsetRows(ctx, kadm.NewClient(cl), g)
		if err != nil || len(rows) == 0 {
			return err
		}
		ages := f.lagTime
		if f.lagTime {
			err = t.addAges(ctx, f, rows)
		} else if story, serr := groupStory(ctx, cl, g); serr == nil { // else there is no such column
			takeAges(rows, story.Lag)
			ages = true
		}
		if err != nil {
			return err
		}
		formatOffsets(t.out, g.Group, rows, ages)
	}
	return nil
}

const noAge = time.Duration(-1)

// offsetRow is one partition that a group committed for or was given; -1 where
// there is no number.
type offsetRow struct {
	topic          string
	partition      int32
	committed, end int64
	// age is that of the first record that is not committed; noAge if that is not
	// known.
	age                      time.Duration
	consumerID, host, client string
}

// offsetRows lists the partitions by member, those with the most first, then
// what was committed and is nobody's.
func offsetRows(ctx context.Context, admin *kadm.Client, g kadm.DescribedGroup) ([]offsetRow, error) {
	committed, err := admin.FetchOffsets(ctx, g.Group)
	if err != nil {
		return nil, explain(err)
	}
	var rows []offsetRow
	owned := kadm.TopicsSet{}
	members := slices.Clone(g.Members)
	slices.SortStableFunc(members, func(a, b kadm.DescribedGroupMember) int {
		return cmp.Compare(len(assignedTo(b)), len(assignedTo(a)))
	})
	for _, m := range members {
		assigned := assignedTo(m)
		for _, r := range assigned {
			owned.Add(r.topic, r.partition)
			r.consumerID, r.host, r.client = m.MemberID, m.ClientHost, m.ClientID
			rows = append(rows, r)
		}
	}
	topics := map[string]bool{}
	for _, o := range committed.Sorted() {
		if !owned.Lookup(o.Topic, o.Partition) {
			rows = append(rows, offsetRow{topic: o.Topic, partition: o.Partition})
		}
	}
	for _, r := range rows {
		topics[r.topic] = true
	}
	ends := kadm.ListedOffsets{}
	if len(topics) > 0 {
		if ends, err = admin.ListEndOffsets(ctx, sortedKeys(topics)...); err != nil {
			return nil, explain(err)
		}
	}
	for i := range rows {
		r := &rows[i]
		r.committed, r.end = -1, -1
		if o, ok := committed.Lookup(r.topic, r.partition); ok && o.Err == nil {
			r.committed = o.At
		}
		if e, ok := ends.Lookup(r.topic, r.partition); ok && e.Err == nil {
			r.end = e.Offset
		}
	}
	return rows, nil
}

// assignedTo lists a member's partitions, sorted.
func assignedTo(m kadm.DescribedGroupMember) []offsetRow {
	c, ok := m.Assigned.AsConsumer()
	if !ok {
		return nil
	}
	var out []offsetRow
	for _, topic := range c.Topics {
		for _, p := range topic.Partitions {
			out = append(out, offsetRow{topic: topic.Topic, partition: p})
		}
	}
	slices.SortFunc(out, func(a, b offsetRow) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
	})
	return out
}

// takeAges notes how old the first record behind each committed offset is, as the
// group's coordinator knows.
func takeAges(rows []offsetRow, lags []groupstory.Lag) {
	type partition struct {
		topic string
		n     int32
	}
	known := map[partition]int64{}
	for _, l := range lags {
		known[partition{l.Topic, l.Partition}] = l.Millis
	}
	for i := range rows {
		r := &rows[i]
		r.age = noAge
		millis, ok := known[partition{r.topic, r.partition}]
		switch {
		case r.committed < 0 || r.end < 0:
		case r.committed >= r.end:
			r.age = 0
		case ok && millis >= 0:
			r.age = time.Duration(millis) * time.Millisecond
		}
	}
}

// ageWait bounds the search for the records whose age is asked for.
const ageWait = 10 * time.Second

// addAges reads the first record behind each committed offset, and notes how old
// it is. A group that has read everything is not behind.
func (t *tool) addAges(ctx context.Context, f *groupsFlags, rows []offsetRow) error {
	from := map[string]map[int32]kgo.Offset{}
	at := map[string]map[int32]*offsetRow{}
	left := 0
	for i := range rows {
		r := &rows[i]
		r.age = noAge
		switch {
		case r.committed < 0 || r.end < 0:
		case r.committed >= r.end:
			r.age = 0
		default:
			if from[r.topic] == nil {
				from[r.topic], at[r.topic] = map[int32]kgo.Offset{}, map[int32]*offsetRow{}
			}
			from[r.topic][r.partition], at[r.topic][r.partition] = kgo.NewOffset().At(r.committed), r
			left++
		}
	}
	if left == 0 {
		return nil
	}
	props, err := f.load()
	if err != nil {
		return err
	}
	delete(props, "group.id")
	// A broker answers with one batch, however small the limit.
	cl, err := t.connect(ctx, &f.clientFlags, props, kgo.ConsumePartitions(from), kgo.FetchMaxPartitionBytes(1))
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, ageWait)
	defer cancel()
	for left > 0 {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil // the others stay unknown: what is left may be control records only
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if r := at[p.Topic][p.Partition]; r != nil && r.age == noAge && len(p.Records) > 0 {
				r.age = max(time.Since(p.Records[0].Timestamp), 0)
				cl.PauseFetchPartitions(map[string][]int32{p.Topic: {p.Partition}})
				left--
			}
		})
	}
	return nil
}

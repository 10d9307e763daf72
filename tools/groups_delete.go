package tools

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// deleteGroups deletes groups, and says which could not be.
func (t *tool) deleteGroups(ctx context.Context, cl *kgo.Client, f *groupsFlags) error {
	admin := kadm.NewClient(cl)
	names, err := f.scope(ctx, admin)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		fmt.Fprintln(t.err, "There are no groups.")
		return nil
	}
	deleted, err := admin.DeleteGroups(ctx, names...)
	if err != nil && len(deleted) == 0 {
		return explain(err)
	}
	var done, failed []string
	for _, name := range names {
		d, answered := deleted[name]
		switch {
		case !answered:
			failed = append(failed, fmt.Sprintf("* Group '%s' could not be deleted due to: %v", name, explain(cmp.Or(err, errNoAnswer))))
		case d.Err != nil:
			failed = append(failed, fmt.Sprintf("* Group '%s' could not be deleted due to: %v", name, explain(d.Err)))
		default:
			done = append(done, "'"+name+"'")
		}
	}
	list := strings.Join(done, ", ")
	if len(failed) == 0 {
		fmt.Fprintf(t.out, "Deletion of requested consumer groups (%s) was successful.\n", list)
		return nil
	}
	fmt.Fprintf(t.err, "\nError: Deletion of some consumer groups failed:\n%s\n", strings.Join(failed, "\n"))
	if len(done) > 0 {
		fmt.Fprintf(t.out, "\nThese consumer groups were deleted successfully: %s\n", list)
	}
	return reportedError{errors.New("some groups could not be deleted")}
}

var errNoAnswer = errors.New("no broker answered for it")

// deleteGroupOffsets deletes what a group has committed for topics.
func (t *tool) deleteGroupOffsets(ctx context.Context, cl *kgo.Client, f *groupsFlags) error {
	admin := kadm.NewClient(cl)
	set, unknown, err := partitionsNamed(ctx, admin, f.topics)
	if err != nil {
		return err
	}
	deleted := kadm.DeleteOffsetsResponses{}
	if len(set) > 0 {
		if err := f.awaitCoordinators(ctx, admin, f.groups[:1]); err != nil {
			return err
		}
		if deleted, err = admin.DeleteOffsets(ctx, f.groups[0], set); err != nil {
			return explain(err)
		}
	}
	rows := make([]deletedOffset, 0, len(unknown))
	for _, topic := range unknown {
		rows = append(rows, deletedOffset{topic, -1, kerr.UnknownTopicOrPartition})
	}
	for topic, ps := range deleted {
		for p, err := range ps {
			rows = append(rows, deletedOffset{topic, p, err})
		}
	}
	slices.SortFunc(rows, func(a, b deletedOffset) int {
		return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
	})
	failed := slices.ContainsFunc(rows, func(r deletedOffset) bool { return r.err != nil })
	if failed {
		fmt.Fprintln(t.err, "\nError: Encountered some partition-level error, see the follow-up details.")
	} else {
		fmt.Fprintf(t.out, "Request succeed for deleting offsets with topic %s group %s\n", strings.Join(f.topics, ", "), f.groups[0])
	}
	formatDeletedOffsets(t.out, rows)
	if failed {
		return reportedError{errors.New("some offsets could not be deleted")}
	}
	return nil
}

// deletedOffset is the outcome for one partition; -1 stands for a topic that
// does not exist.
type deletedOffset struct {
	topic     string
	partition int32
	err       error
}

// partitionsNamed reads topics, each with all its partitions or with those behind
// a colon. Topics without partitions that do not exist are unknown.
func partitionsNamed(ctx context.Context, admin *kadm.Client, args []string) (set kadm.TopicsSet, unknown []string, err error) {
	set = kadm.TopicsSet{}
	var whole []string
	for _, arg := range args {
		topic, list, some := strings.Cut(arg, ":")
		if topic == "" || some && list == "" {
			return nil, nil, usagef("invalid topic arg %q, expected format: topic or topic:partition,partition", arg)
		}
		if !some {
			whole = append(whole, topic)
			continue
		}
		for p := range strings.SplitSeq(list, ",") {
			n, err := parsePartition(p)
			if err != nil {
				return nil, nil, usagef("invalid partition %q in %q", p, arg)
			}
			set.Add(topic, n)
		}
	}
	if len(whole) == 0 {
		return set, nil, nil
	}
	details, err := admin.ListTopicsWithInternal(ctx, whole...)
	if err != nil {
		return nil, nil, explain(err)
	}
	for _, topic := range whole {
		d := details[topic]
		switch {
		case errors.Is(d.Err, kerr.UnknownTopicOrPartition) || len(d.Partitions) == 0:
			unknown = append(unknown, topic)
		case d.Err != nil:
			return nil, nil, fmt.Errorf("topic %s: %w", topic, explain(d.Err))
		default:
			set.Add(topic, d.Partitions.Numbers()...)
		}
	}
	return set, unknown, nil
}

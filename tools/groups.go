package tools

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// groupsFlags are those of kafka-consumer-groups.sh that are built.
type groupsFlags struct {
	clientFlags
	list, describe           bool
	groups                   []string
	allGroups                bool
	offsets, members         bool
	state                    string
	hasState, verbose, types bool
}

func (t *tool) groupsCommand() *cobra.Command {
	f := &groupsFlags{}
	cmd := &cobra.Command{
		Use:   "consumer-groups",
		Short: "List and describe consumer groups, with their lag",
		Long:  "List and describe consumer groups, with their lag.\nFlags and output are those of kafka-consumer-groups.sh.",
		Example: `  barnabas consumer-groups --list
  barnabas consumer-groups --describe --group audit
  barnabas consumer-groups --describe --group audit --members --verbose
  barnabas consumer-groups --describe --all-groups --state`,
		Args: func(_ *cobra.Command, args []string) error {
			// Kafka's --state takes a value behind a blank, or none.
			if len(args) == 1 && f.state != "" {
				f.state = args[0]
				return nil
			}
			return noArgs(nil, args)
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.hasState, f.types = cmd.Flags().Changed("state"), cmd.Flags().Changed("type")
			return t.consumerGroups(cmd.Context(), f)
		},
	}
	f.register(cmd, "command-config")
	p := cmd.Flags()
	p.BoolVar(&f.list, "list", false, "list the groups")
	p.BoolVar(&f.describe, "describe", false, "print offsets and lag, members, or the state of groups")
	p.StringArrayVar(&f.groups, "group", nil, "the group; may be repeated")
	p.BoolVar(&f.allGroups, "all-groups", false, "all groups")
	p.BoolVar(&f.offsets, "offsets", false, "with --describe: offsets and lag (what is printed anyway)")
	p.BoolVar(&f.members, "members", false, "with --describe: the members")
	p.StringVar(&f.state, "state", "", "with --describe: the state; with --list: the states too, or only groups in these states")
	p.Lookup("state").NoOptDefVal = "any"
	p.String("type", "", "with --list: the types too")
	p.Lookup("type").NoOptDefVal = "any"
	p.BoolVar(&f.verbose, "verbose", false, "with --members: their partitions too")
	p.Int64("timeout", 5000, "accepted and not needed")
	return cmd
}

func (t *tool) consumerGroups(ctx context.Context, f *groupsFlags) error {
	views := 0
	for _, on := range []bool{f.offsets, f.members, f.describe && f.hasState} {
		if on {
			views++
		}
	}
	switch {
	case f.list == f.describe:
		return usagef("Command must include exactly one action: --list, --describe")
	case f.describe && len(f.groups) == 0 && !f.allGroups:
		return usagef("Option [describe] takes one of these options: [all-groups], [group]")
	case views > 1:
		return usagef("Option [describe] takes at most one of these options: [members], [offsets], [state]")
	}
	ctx, stop := interruptible(ctx)
	defer stop()
	props, err := f.load()
	if err != nil {
		return err
	}
	cl, err := t.connect(ctx, &f.clientFlags, props)
	if err != nil {
		return err
	}
	defer cl.Close()
	if f.list {
		return t.listGroups(ctx, cl, f)
	}
	return t.describeGroups(ctx, cl, f)
}

func (t *tool) listGroups(ctx context.Context, cl *kgo.Client, f *groupsFlags) error {
	var states []string
	if f.hasState && f.state != "any" {
		for s := range strings.SplitSeq(f.state, ",") {
			states = append(states, strings.TrimSpace(s))
		}
	}
	listed, err := kadm.NewClient(cl).ListGroups(ctx, states...)
	if err != nil {
		return explain(err)
	}
	formatGroupList(t.out, listed.Sorted(), f.hasState, f.types)
	return nil
}

func (t *tool) describeGroups(ctx context.Context, cl *kgo.Client, f *groupsFlags) error {
	admin := kadm.NewClient(cl)
	names := f.groups
	if f.allGroups {
		listed, err := admin.ListGroups(ctx)
		if err != nil {
			return explain(err)
		}
		names = listed.Groups()
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
		if err := t.describeGroup(ctx, admin, g, f); err != nil {
			return fmt.Errorf("group %s: %w", g.Group, err)
		}
	}
	if missing {
		return reportedError{fmt.Errorf("a group does not exist")}
	}
	return nil
}

func (t *tool) describeGroup(ctx context.Context, admin *kadm.Client, g kadm.DescribedGroup, f *groupsFlags) error {
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
		rows, err := offsetRows(ctx, admin, g)
		if err != nil {
			return err
		}
		if len(rows) > 0 {
			formatOffsets(t.out, g.Group, rows)
		}
	}
	return nil
}

// offsetRow is one partition that a group committed for or was given; -1 where
// there is no number.
type offsetRow struct {
	topic                    string
	partition                int32
	committed, end           int64
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
		if len(assigned) == 0 {
			rows = append(rows, offsetRow{partition: -1, committed: -1, end: -1, consumerID: m.MemberID, host: m.ClientHost, client: m.ClientID})
		}
	}
	topics := map[string]bool{}
	for _, o := range committed.Sorted() {
		if !owned.Lookup(o.Topic, o.Partition) {
			rows = append(rows, offsetRow{topic: o.Topic, partition: o.Partition})
		}
	}
	for _, r := range rows {
		if r.topic != "" {
			topics[r.topic] = true
		}
	}
	ends := kadm.ListedOffsets{}
	if len(topics) > 0 {
		if ends, err = admin.ListEndOffsets(ctx, sortedKeys(topics)...); err != nil {
			return nil, explain(err)
		}
	}
	for i := range rows {
		r := &rows[i]
		if r.topic == "" {
			continue
		}
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

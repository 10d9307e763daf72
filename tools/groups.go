package tools

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// groupsFlags are those of kafka-consumer-groups.sh.
type groupsFlags struct {
	clientFlags
	list, describe, reset, del, delOffsets bool

	groups, topics       []string
	allGroups, allTopics bool
	timeoutMs            int64

	// For --list and --describe.
	offsets, members   bool
	state, kinds       string
	hasState, hasKinds bool
	verbose, lagTime   bool

	// For --reset-offsets.
	plan                    resetFlags
	dryRun, execute, export bool
}

func (t *tool) groupsCommand() *cobra.Command {
	f := &groupsFlags{}
	cmd := &cobra.Command{
		Use:   "consumer-groups",
		Short: "List, describe, delete and reset consumer groups",
		Long: `List, describe and delete consumer groups, show their lag, and set their offsets.
Flags and output are those of kafka-consumer-groups.sh, but for a last column of --describe:
for how long the group has been behind, as its coordinator knows.`,
		Example: `  barnabas consumer-groups --list --state
  barnabas consumer-groups --describe --group audit
  barnabas consumer-groups --describe --group audit --members --verbose
  barnabas consumer-groups --describe --all-groups --state
  barnabas consumer-groups --reset-offsets --group audit --topic orders --to-earliest --dry-run
  barnabas consumer-groups --reset-offsets --group audit --topic orders:0,2 --to-datetime 2026-01-31T08:00:00.000 --execute
  barnabas consumer-groups --reset-offsets --group audit --all-topics --to-current --export > plan.csv
  barnabas consumer-groups --reset-offsets --group audit --from-file plan.csv --execute
  barnabas consumer-groups --delete-offsets --group audit --topic orders
  barnabas consumer-groups --delete --group audit`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.hasState, f.hasKinds = cmd.Flags().Changed("state"), cmd.Flags().Changed("type")
			f.plan.changed = cmd.Flags().Changed
			return t.consumerGroups(cmd.Context(), f)
		},
	}
	f.register(cmd, "command-config")
	p := cmd.Flags()
	p.BoolVar(&f.list, "list", false, "list the groups")
	p.BoolVar(&f.describe, "describe", false, "print offsets and lag, members, or the state of groups")
	p.BoolVar(&f.del, "delete", false, "delete groups without members, with what they have committed")
	p.BoolVar(&f.reset, "reset-offsets", false, "set the offsets of groups without members; needs a plan (--to-earliest and the like) and topics")
	p.BoolVar(&f.delOffsets, "delete-offsets", false, "delete what a group has committed for topics that it does not read now")
	p.StringArrayVar(&f.groups, "group", nil, "the group; may be repeated")
	p.BoolVar(&f.allGroups, "all-groups", false, "all groups")
	p.StringArrayVar(&f.topics, "topic", nil, "with --reset-offsets, --delete-offsets: a topic, or some of its partitions as topic:0,1,2; may be repeated")
	p.BoolVar(&f.allTopics, "all-topics", false, "with --reset-offsets: all partitions that the group has committed")
	p.BoolVar(&f.offsets, "offsets", false, "with --describe: offsets and lag (what is printed anyway)")
	p.BoolVar(&f.members, "members", false, "with --describe: the members")
	p.StringVar(&f.state, "state", "", "with --describe: the state; with --list: the states too, or only groups in these states")
	p.Lookup("state").NoOptDefVal = anyValue
	p.StringVar(&f.kinds, "type", "", "with --list: the types too, or only groups of these types")
	p.Lookup("type").NoOptDefVal = anyValue
	p.BoolVar(&f.verbose, "verbose", false, "with --members: their partitions too")
	p.BoolVar(&f.lagTime, "lag-seconds", false, "with --describe: read the first record that is not committed for its age, be the coordinator Apache Kafka's")
	p.Int64Var(&f.timeoutMs, "timeout", 5000, "for how many milliseconds a coordinator that is not ready is asked again")
	f.plan.register(p)
	p.BoolVar(&f.dryRun, "dry-run", false, "with --reset-offsets: only show what would be set (as without --execute)")
	p.BoolVar(&f.execute, "execute", false, "with --reset-offsets: set the offsets")
	p.BoolVar(&f.export, "export", false, "with --reset-offsets: print as CSV, for --from-file")
	return cmd
}

// anyValue is what --state and --type have without a value.
const anyValue = "any"

// joinOptionalValues gives flags that may have a value, such as --state, --type and
// --compression-codec, what stands behind them after a blank, as Kafka's tools take it.
func joinOptionalValues(root *cobra.Command, args []string) []string {
	cmd, _, err := root.Find(args)
	if err != nil {
		return args // which is told of when the command is carried out
	}
	var out []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if name, ok := strings.CutPrefix(arg, "--"); ok && i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
			if f := cmd.Flags().Lookup(name); f != nil && f.NoOptDefVal != "" && f.Value.Type() != "bool" {
				i++
				arg += "=" + args[i]
			}
		}
		out = append(out, arg)
	}
	return out
}

// check refuses what can't be carried out, in Kafka's words.
func (f *groupsFlags) check() error {
	actions, views := 0, 0
	for _, on := range []bool{f.list, f.describe, f.reset, f.del, f.delOffsets} {
		if on {
			actions++
		}
	}
	for _, on := range []bool{f.offsets, f.members, f.describe && f.hasState} {
		if on {
			views++
		}
	}
	scoped := len(f.groups) > 0 || f.allGroups
	switch {
	case actions != 1:
		return usagef("Command must include exactly one action: --list, --describe, --delete, --reset-offsets, --delete-offsets")
	case f.describe && !scoped:
		return usagef("Option [describe] takes one of these options: [all-groups], [group]")
	case views > 1:
		return usagef("Option [describe] takes at most one of these options: [members], [offsets], [state]")
	case f.del && !scoped:
		return usagef("Option [delete] takes one of these options: [all-groups], [group]")
	case f.del && len(f.topics) > 0:
		return usagef("The consumer does not support topic-specific offset deletion from a consumer group; --delete-offsets does")
	case f.delOffsets && (len(f.groups) != 1 || len(f.topics) == 0):
		return usagef("Option [delete-offsets] takes the following options: [group], [topic]")
	case f.reset && !scoped:
		return usagef("Option [reset-offsets] takes one of these options: [all-groups], [group]")
	}
	switch {
	case f.list:
		return f.checkList()
	case f.reset:
		return f.checkReset()
	}
	return nil
}

// checkList refuses states and types that there are not.
func (f *groupsFlags) checkList() error {
	has := func(list []string, s string) bool {
		return slices.ContainsFunc(list, func(x string) bool { return strings.EqualFold(x, s) })
	}
	for _, s := range parts(f.state) {
		if !has(validStates, s) {
			return usagef("Invalid state list '%s'. Valid states are: %s", f.state, strings.Join(validStates, ", "))
		}
	}
	for _, k := range parts(f.kinds) {
		if !has([]string{"Classic", "Consumer"}, k) {
			return usagef("Invalid types list '%s'. Valid types are: Classic, Consumer", f.kinds)
		}
	}
	return nil
}

func (t *tool) consumerGroups(ctx context.Context, f *groupsFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	ctx, cl, done, err := t.dial(ctx, &f.clientFlags, kgo.RetryTimeout(time.Duration(max(f.timeoutMs, 1))*time.Millisecond))
	if err != nil {
		return err
	}
	defer done()
	switch {
	case f.list:
		return t.listGroups(ctx, cl, f)
	case f.describe:
		return t.describeGroups(ctx, cl, f)
	case f.del:
		return t.deleteGroups(ctx, cl, f)
	case f.delOffsets:
		return t.deleteGroupOffsets(ctx, cl, f)
	default:
		return t.resetOffsets(ctx, cl, f)
	}
}

// validStates are what --list --state takes, in Kafka's spelling.
var validStates = []string{"PreparingRebalance", "CompletingRebalance", "Stable", "Dead", "Empty", "Assigning", "Reconciling"}

// parts splits a list behind commas; nil for none given.
func parts(list string) []string {
	if list == "" || list == anyValue {
		return nil
	}
	var out []string
	for s := range strings.SplitSeq(list, ",") {
		out = append(out, strings.TrimSpace(s))
	}
	return out
}

func (t *tool) listGroups(ctx context.Context, cl *kgo.Client, f *groupsFlags) error {
	listed, err := kadm.NewClient(cl).ListGroupsByType(ctx, parts(f.kinds), parts(f.state)...)
	if err != nil {
		return explain(err)
	}
	formatGroupList(t.out, listed.Sorted(), f.hasState, f.hasKinds)
	return nil
}

// scope lists the groups that the flags name. They have their coordinators then.
func (f *groupsFlags) scope(ctx context.Context, admin *kadm.Client) ([]string, error) {
	if !f.allGroups {
		names := slices.Compact(slices.Sorted(slices.Values(f.groups)))
		return names, f.awaitCoordinators(ctx, admin, names)
	}
	listed, err := admin.ListGroups(ctx)
	if err != nil {
		return nil, explain(err)
	}
	return listed.Groups(), nil
}

// awaitCoordinators asks for the groups' coordinators until none says any more that it
// is not there yet, or --timeout is over. The first question that a cluster is ever
// asked of a group makes it create the topic of the offsets.
func (f *groupsFlags) awaitCoordinators(ctx context.Context, admin *kadm.Client, groups []string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(max(f.timeoutMs, 1))*time.Millisecond)
	defer cancel()
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := admin.FindGroupCoordinators(ctx, groups...).Error()
		if !errors.Is(err, kerr.CoordinatorNotAvailable) {
			return explain(err)
		}
		select {
		case <-ctx.Done():
			return explain(err)
		case <-time.After(pause):
		}
	}
}

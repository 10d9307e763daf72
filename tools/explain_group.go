package tools

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/protocol/groupstory"
)

func (t *tool) explainGroupCommand() *cobra.Command {
	f := &clientFlags{}
	cmd := &cobra.Command{
		Use:   "group GROUP",
		Short: "Tell why a consumer group was rebalanced, who was late, and how far it is behind",
		Long: `Tell of the last rebalances of a consumer group: who or what began each, how long
its members needed to join and to get their assignment, who came last and who did
not come; and how far the group is behind. Its coordinator remembers that since it
became the group's coordinator.`,
		Example: `  barnabas explain group audit`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("name one group, as in: barnabas explain group audit")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return t.explainGroup(cmd.Context(), f, args[0]) },
	}
	f.register(cmd, "command-config")
	return cmd
}

func (t *tool) explainGroup(ctx context.Context, f *clientFlags, group string) error {
	ctx, cl, done, err := t.dial(ctx, f)
	if err != nil {
		return err
	}
	defer done()
	described, err := kadm.NewClient(cl).DescribeGroups(ctx, group)
	if err != nil {
		return explain(err)
	}
	g := described[group]
	switch {
	case g.Err != nil:
		return explain(g.Err)
	case g.State == "Dead":
		return fmt.Errorf("consumer group '%s' does not exist", group)
	}
	story, err := groupStory(ctx, cl, g)
	if err != nil {
		return err
	}
	formatStory(t.out, g, story)
	return nil
}

// groupStory asks the coordinator itself: franz-go, which shares such requests out
// among brokers, does not keep tags.
func groupStory(ctx context.Context, cl *kgo.Client, g kadm.DescribedGroup) (*groupstory.Story, error) {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{g.Group}
	groupstory.Ask(req)
	resp, err := cl.Broker(int(g.Coordinator.NodeID)).RetriableRequest(ctx, req)
	if err != nil {
		return nil, explain(err)
	}
	groups := resp.(*kmsg.DescribeGroupsResponse).Groups
	if len(groups) != 1 {
		return nil, errors.New("the coordinator's answer is not about one group")
	}
	if groups[0].ErrorCode != 0 {
		return nil, kafkaError(groups[0].ErrorCode, groups[0].ErrorMessage)
	}
	story, err := groupstory.Of(&groups[0])
	if err == nil && story == nil {
		err = errors.New("the group's coordinator does not tell stories: it is not a Barnabas broker, or an older one")
	}
	return story, err
}

// shownLags is how many partitions are listed by name.
const shownLags = 5

func formatStory(w io.Writer, g kadm.DescribedGroup, s *groupstory.Story) {
	fmt.Fprintf(w, "%s is %s with %d members; its coordinator is broker %d (%s:%d).\n",
		g.Group, g.State, len(g.Members), g.Coordinator.NodeID, g.Coordinator.Host, g.Coordinator.Port)
	formatLag(w, s.Lag)
	if len(s.Generations) == 0 {
		fmt.Fprintln(w, "It was not rebalanced since this broker became its coordinator.")
	}
	for i := range s.Generations {
		formatGeneration(w, &s.Generations[i])
	}
}

func formatLag(w io.Writer, lags []groupstory.Lag) {
	if len(lags) == 0 {
		return
	}
	lags = slices.Clone(lags)
	slices.SortStableFunc(lags, func(a, b groupstory.Lag) int {
		return cmp.Or(cmp.Compare(b.Millis, a.Millis), cmp.Compare(b.Records, a.Records))
	})
	var records int64
	var worst []string
	for _, l := range lags {
		records += l.Records
		if l.Records > 0 && len(worst) < shownLags {
			age := ""
			if l.Millis >= 0 {
				age = ", " + seconds(l.Millis)
			}
			worst = append(worst, fmt.Sprintf("%s-%d (%d records%s)", l.Topic, l.Partition, l.Records, age))
		}
	}
	if records == 0 {
		fmt.Fprintf(w, "It has committed all of its %d partitions.\n", len(lags))
		return
	}
	fmt.Fprintf(w, "It is %d records behind in %d partitions, most in %s.\n", records, len(lags), strings.Join(worst, ", "))
}

func formatGeneration(w io.Writer, g *groupstory.Generation) {
	title := "under way"
	switch {
	case g.Generation > 0:
		title = fmt.Sprintf("generation %d", g.Generation)
	case g.Joined != 0:
		title = "ended"
	}
	fmt.Fprintf(w, "\n%s  %s  %s\n", time.UnixMilli(g.Began).UTC().Format("2006-01-02 15:04:05.000"), title, printable(g.Cause))
	line := func(format string, args ...any) { fmt.Fprintf(w, "    %s\n", printable(fmt.Sprintf(format, args...))) }
	if g.Also > 0 {
		line("%d more causes came before its members had joined", g.Also)
	}
	switch {
	case g.Joined == 0:
		line("waiting for members to join")
	case g.Members == 0:
		line("nobody was left after %s", seconds(g.Joined-g.Began))
	default:
		line("%d members joined within %s, the last after %s: %s", g.Members, seconds(g.Joined-g.Began), seconds(g.LastAfter), g.Last)
		line("leader %s, protocol %s", g.Leader, g.Protocol)
	}
	switch {
	case g.Assigned != 0:
		line("assigned after %s", seconds(g.Assigned-g.Began))
	case g.Failed != "":
		line("never assigned: %s", g.Failed)
	case g.Members > 0:
		line("waiting for the leader's assignment")
	}
	if g.MissingCount > 0 {
		line("%d did not join in time and were removed: %s", g.MissingCount, namesOf(g.Missing, g.MissingCount))
	}
	if g.UnsyncedCount > 0 {
		line("%d did not ask for their assignment and were removed: %s", g.UnsyncedCount, namesOf(g.Unsynced, g.UnsyncedCount))
	}
}

func namesOf(names []string, count int) string {
	s := strings.Join(names, ", ")
	if count > len(names) {
		s += " and others"
	}
	return s
}

// printable leaves out what would move the cursor: members choose their names.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
}

func seconds(ms int64) string { return fmt.Sprintf("%.3f s", float64(ms)/1000) }

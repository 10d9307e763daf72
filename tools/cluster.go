package tools

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/cluster/journal"
	"barnabas/internal/kafka"
)

type clusterFlags struct {
	clientFlags
	mayIStop int32
}

func (t *tool) clusterCommand() *cobra.Command {
	f := &clusterFlags{}
	cmd := &cobra.Command{
		Use:   "cluster [cluster-id]",
		Short: "Show the cluster on one screen: controller, brokers, health",
		Long: `Show the cluster on one screen: controller, brokers, and how many partitions are
not well.

"cluster cluster-id" prints the cluster's id, as kafka-cluster.sh does.

--may-i-stop N says whether broker N may be stopped without making a partition
unavailable for reading or for writing with acks=all. The exit code is 0 if it
may, and 1 if not; then the partitions that forbid it are named.`,
		Example: `  barnabas cluster
  barnabas cluster --may-i-stop 2 && systemctl stop barnabas
  barnabas cluster cluster-id --bootstrap-server broker1:9092`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 || len(args) == 1 && args[0] != "cluster-id" {
				return usagef("unknown command %q; there is cluster-id", args[len(args)-1])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return t.cluster(cmd, f, len(args) == 1) },
	}
	f.register(cmd, "command-config")
	cmd.Flags().Int32Var(&f.mayIStop, "may-i-stop", 0, "the id of a broker")
	cmd.Flags().StringVar(&f.configFile, "config", "", "the same as --command-config, as in kafka-cluster.sh")
	return cmd
}

func (t *tool) cluster(cmd *cobra.Command, f *clusterFlags, idOnly bool) error {
	ctx, cl, done, err := t.dial(cmd.Context(), &f.clientFlags)
	if err != nil {
		return err
	}
	defer done()
	if idOnly {
		m, err := kadm.NewClient(cl).BrokerMetadata(ctx)
		if err != nil {
			return explain(err)
		}
		fmt.Fprintf(t.out, "Cluster ID: %s\n", m.Cluster)
		return nil
	}
	state, err := lookAtCluster(ctx, cl)
	if err != nil {
		return err
	}
	if cmd.Flags().Changed("may-i-stop") {
		return t.mayIStop(state, f.mayIStop)
	}
	return t.showCluster(ctx, cl, state)
}

// clusterState is what health is judged by.
type clusterState struct {
	meta   kadm.Metadata
	minISR map[string]int // by topic
	// moving are the reassignments under way; nil if nobody says.
	moving map[kafka.TopicPartition]movingPartition
}

func lookAtCluster(ctx context.Context, cl *kgo.Client) (*clusterState, error) {
	admin := kadm.NewClient(cl)
	meta, err := admin.Metadata(ctx)
	if err != nil {
		return nil, explain(err)
	}
	s := &clusterState{meta: meta}
	if s.minISR, err = minISRs(ctx, cl, meta.Topics.Names()); err != nil {
		return nil, err
	}
	s.moving, _ = listMoving(ctx, cl) // there may be no controller, or brokers of before KIP-455
	return s, nil
}

// minISRs asks for the min.insync.replicas of topics. One that was deleted
// meanwhile is left out.
func minISRs(ctx context.Context, cl *kgo.Client, topics []string) (map[string]int, error) {
	out := map[string]int{}
	for part := range slices.Chunk(topics, 500) {
		req := kmsg.NewPtrDescribeConfigsRequest()
		for _, name := range part {
			r := kmsg.NewDescribeConfigsRequestResource()
			r.ResourceType, r.ResourceName, r.ConfigNames = kmsg.ConfigResourceTypeTopic, name, []string{"min.insync.replicas"}
			req.Resources = append(req.Resources, r)
		}
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return nil, explain(err)
		}
		for _, r := range resp.Resources {
			if len(r.Configs) == 1 && r.Configs[0].Value != nil {
				n, err := strconv.Atoi(*r.Configs[0].Value)
				if err != nil {
					return nil, fmt.Errorf("min.insync.replicas of topic %s: %w", r.ResourceName, err)
				}
				out[r.ResourceName] = n
			}
		}
	}
	return out, nil
}

// needed is how many replicas must be in sync for acks=all.
func (s *clusterState) needed(p kadm.PartitionDetail) int {
	return min(max(s.minISR[p.Topic], 1), len(p.Replicas))
}

// underReplicated is as in kafka-topics.sh: replicas that a reassignment brings need
// not be in sync yet.
func (s *clusterState) underReplicated(p kadm.PartitionDetail) bool {
	m := s.moving[kafka.TopicPartition{Topic: p.Topic, Partition: p.Partition}]
	return len(p.ISR) < len(p.Replicas)-len(m.AddingReplicas)
}

// each calls do for all partitions, in order.
func (s *clusterState) each(do func(kadm.PartitionDetail)) {
	for _, topic := range s.meta.Topics.Sorted() {
		for _, p := range topic.Partitions.Sorted() {
			do(p)
		}
	}
}

// shown bounds the partitions that are named.
const shown = 20

// mayIStop says whether a broker may be stopped (0), and which partitions forbid
// it.
func (t *tool) mayIStop(s *clusterState, id int32) error {
	if !slices.Contains(s.meta.Brokers.NodeIDs(), id) {
		return fmt.Errorf("broker %d is not alive; alive are %s", id, joinIDs(s.meta.Brokers.NodeIDs()))
	}
	var why []string
	s.each(func(p kadm.PartitionDetail) {
		if reason := forbids(p, s.needed(p), id); reason != "" {
			why = append(why, fmt.Sprintf("  %s-%d: %s", p.Topic, p.Partition, reason))
		}
	})
	if len(why) == 0 {
		fmt.Fprintf(t.out, "Broker %d may be stopped.\n", id)
		return nil
	}
	fmt.Fprintf(t.out, "Broker %d may not be stopped: %d partitions forbid it.\n", id, len(why))
	fmt.Fprintln(t.out, strings.Join(why[:min(len(why), shown)], "\n"))
	if n := len(why) - shown; n > 0 {
		fmt.Fprintf(t.out, "  … and %d more\n", n)
	}
	return reportedError{errors.New("it may not be stopped")}
}

// forbids says what a partition would lack without a broker, "" if nothing that
// it has now.
func forbids(p kadm.PartitionDetail, needed int, id int32) string {
	if !slices.Contains(p.ISR, id) || p.Leader < 0 {
		return "" // it counts for nothing there, or the partition is offline already
	}
	switch left := len(p.ISR) - 1; {
	case left == 0 && len(p.Replicas) == 1:
		return "it has no other replica, and would be offline"
	case left == 0:
		return fmt.Sprintf("it is the only one of %s in sync, and the partition would be offline", ids(p.Replicas))
	case left < needed:
		return fmt.Sprintf("%d of %s would be in sync, and acks=all needs %d", left, ids(p.Replicas), needed)
	}
	return ""
}

func (t *tool) showCluster(ctx context.Context, cl *kgo.Client, s *clusterState) error {
	nodes := s.meta.Brokers
	slices.SortFunc(nodes, func(a, b kadm.BrokerDetail) int { return int(a.NodeID - b.NodeID) })
	silent := map[int32]bool{} // no longer alive, or of another make
	facts := func(subject string) *journal.Explanation {
		var best *journal.Explanation
		for _, n := range nodes {
			if silent[n.NodeID] {
				continue
			}
			e, err := askToExplain(ctx, cl.Broker(int(n.NodeID)), subject)
			if silent[n.NodeID] = err != nil; err == nil && (best == nil || remembers(e) > remembers(best)) {
				best = e
			}
		}
		return best
	}
	fmt.Fprintf(t.out, "Cluster     %s\n", s.meta.Cluster)
	controller := "none: nothing is elected"
	if slices.Contains(nodes.NodeIDs(), s.meta.Controller) {
		controller = fmt.Sprintf("broker %d", s.meta.Controller)
		if e := facts("controller"); e != nil {
			controller += fmt.Sprintf(", epoch %d", e.Controller.Epoch)
			if n := len(e.Controller.Reigns); n > 0 {
				controller += ", since " + ago(e.Controller.Reigns[n-1].At, e.Now)
			}
		}
	}
	fmt.Fprintf(t.out, "Controller  %s\n\n", controller)
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "BROKER\tADDRESS\tRACK\tVERSION\tSINCE\tLEADS\tREPLICAS\tNOT IN SYNC")
	for _, n := range nodes {
		version, since := "?", "?"
		if e := facts(fmt.Sprintf("broker %d", n.NodeID)); e != nil {
			if version = e.Broker.Version; version == "" {
				version = "?"
			}
			if h := e.Broker.History; len(h) > 0 {
				since = ago(h[len(h)-1].At, e.Now)
			}
			if e.Broker.Stopping {
				since += ", stopping"
			}
		}
		rack := "-"
		if n.Rack != nil && *n.Rack != "" {
			rack = *n.Rack
		}
		leads, replicas, out := s.share(n.NodeID)
		fmt.Fprintf(w, "%d\t%s:%d\t%s\t%s\t%s\t%d\t%d\t%d\n", n.NodeID, n.Host, n.Port, rack, version, since, leads, replicas, out)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	s.showHealth(t)
	return nil
}

// ago says when something was and how long ago, by a broker's clock.
func ago(at, now int64) string {
	d := time.Duration(max(now-at, 0)) * time.Millisecond
	return fmt.Sprintf("%s (%s ago)", time.UnixMilli(at).UTC().Format("2006-01-02 15:04:05"), d.Round(time.Second))
}

// share counts the partitions that a broker leads, has, and is out of sync in.
func (s *clusterState) share(id int32) (leads, replicas, out int) {
	s.each(func(p kadm.PartitionDetail) {
		if p.Leader == id {
			leads++
		}
		if slices.Contains(p.Replicas, id) {
			replicas++
			if !slices.Contains(p.ISR, id) {
				out++
			}
		}
	})
	return leads, replicas, out
}

func (s *clusterState) showHealth(t *tool) {
	var total, offline, under, underMin, atMin int
	s.each(func(p kadm.PartitionDetail) {
		total++
		if p.Leader < 0 {
			offline++
		}
		if s.underReplicated(p) {
			under++
		}
		switch needed := s.needed(p); {
		case p.Leader < 0 || len(p.ISR) < needed:
			underMin++
		case len(p.ISR) == needed:
			atMin++
		}
	})
	moving := len(s.moving)
	if s.moving == nil {
		moving = -1
	}
	fmt.Fprintf(t.out, "\nPartitions  %d in %d topics\n", total, len(s.meta.Topics))
	for _, x := range []struct {
		name  string
		count int
		means string
	}{
		{"offline", offline, "no leader"},
		{"under-replicated", under, "replicas that are not in sync"},
		{"under-min-isr", underMin, "acks=all is refused"},
		{"at-min-isr", atMin, "one broker less, and acks=all is refused"},
		{"reassigning", moving, "on the move"},
	} {
		line := fmt.Sprintf("  %-18s%d", x.name, x.count)
		if x.count > 0 {
			line += "   (" + x.means + ")"
		} else if x.count < 0 {
			line = fmt.Sprintf("  %-18s?   (the controller does not say)", x.name)
		}
		fmt.Fprintln(t.out, line)
	}
	if offline+under+underMin == 0 {
		fmt.Fprintln(t.out, "It is healthy.")
	} else {
		fmt.Fprintln(t.out, `"barnabas topics --describe --under-replicated-partitions" names them, "barnabas explain TOPIC-PARTITION" says why.`)
	}
}

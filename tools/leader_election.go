package tools

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// leaderElectionFlags are those of kafka-leader-election.sh, and --dry-run.
type leaderElectionFlags struct {
	clientFlags
	kind      string
	topic     string
	partition int32
	file      string
	all       bool
	dryRun    bool
}

func (t *tool) leaderElectionCommand() *cobra.Command {
	f := &leaderElectionFlags{}
	cmd := &cobra.Command{
		Use:   "leader-election",
		Short: "Let partitions be led by their first replicas, or by one out of sync",
		Long: `Let partitions be led by the first of their replicas (PREFERRED), or, where they
have no leader, by the replica with the longest log of those that live, though it
was not in sync (UNCLEAN): records that only the others have are lost then.
--dry-run shows what would be elected, and for UNCLEAN where each log ends.

The partitions are all, or one, or stand in a JSON file:

  {"partitions": [{"topic": "orders", "partition": 0}]}

Flags and output are those of kafka-leader-election.sh; --dry-run is ours.`,
		Example: `  barnabas leader-election --election-type PREFERRED --all-topic-partitions
  barnabas leader-election --election-type UNCLEAN --topic orders --partition 0 --dry-run`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return t.leaderElection(cmd.Context(), f, cmd.Flags().Changed("partition"))
		},
	}
	f.register(cmd, "admin.config")
	flags := cmd.Flags()
	flags.StringVar(&f.kind, "election-type", "", "PREFERRED or UNCLEAN (required)")
	flags.StringVar(&f.topic, "topic", "", "the topic of --partition")
	flags.Int32Var(&f.partition, "partition", 0, "the partition of --topic")
	flags.StringVar(&f.file, "path-to-json-file", "", "a file that names the partitions")
	flags.BoolVar(&f.all, "all-topic-partitions", false, "all partitions of all topics")
	flags.BoolVar(&f.dryRun, "dry-run", false, "show what would be elected, and elect nothing")
	return cmd
}

// The values of --election-type, as the protocol numbers them.
var electionTypes = []string{"PREFERRED", "UNCLEAN"}

// electionWait is Kafka's tool's patience.
const electionWait = 30 * time.Second

// electionNotNeeded is told apart from failures in the output.
const electionNotNeeded = int16(protocol.ElectionNotNeeded)

func (t *tool) leaderElection(ctx context.Context, f *leaderElectionFlags, hasPartition bool) error {
	tps, err := f.partitions(hasPartition)
	if err != nil {
		return err
	}
	ctx, cl, done, err := t.dial(ctx, &f.clientFlags)
	if err != nil {
		return err
	}
	defer done()
	kind := slices.Index(electionTypes, f.kind)
	if f.dryRun {
		return t.dryElection(ctx, cl, kind, tps)
	}
	ctx, cancel := context.WithTimeout(ctx, electionWait)
	defer cancel()
	results, err := electLeaders(ctx, cl, int8(kind), tps)
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("Timeout waiting for election results")
	}
	if err != nil {
		return err
	}
	return t.printElection(f.kind, results)
}

// partitions checks the flags as Kafka's tool does; nil is all.
func (f *leaderElectionFlags) partitions(hasPartition bool) ([]kafka.TopicPartition, error) {
	given := 0
	for _, is := range []bool{f.topic != "", f.all, f.file != ""} {
		if is {
			given++
		}
	}
	switch {
	case f.kind == "":
		return nil, usagef("Missing required option(s): election-type")
	case given != 1:
		return nil, usagef("One and only one of the following options is required: topic, all-topic-partitions, path-to-json-file")
	case f.topic != "" && !hasPartition:
		return nil, usagef("Missing required option(s): partition")
	case f.topic == "" && hasPartition:
		return nil, usagef("Option partition is only allowed if topic is used")
	}
	if f.kind = strings.ToUpper(f.kind); !slices.Contains(electionTypes, f.kind) {
		return nil, usagef("Value %s is not a valid election type: PREFERRED or UNCLEAN", f.kind)
	}
	if f.all {
		return nil, nil
	}
	if f.topic != "" {
		return []kafka.TopicPartition{{Topic: f.topic, Partition: f.partition}}, nil
	}
	text, err := os.ReadFile(f.file)
	if err != nil {
		return nil, fmt.Errorf("Unable to read file %s: %w", f.file, err)
	}
	return parseElectionFile(text)
}

// parseElectionFile reads the partitions of an election.
func parseElectionFile(text []byte) ([]kafka.TopicPartition, error) {
	var file struct {
		Partitions *[]struct {
			Topic     *string `json:"topic"`
			Partition *int32  `json:"partition"`
		} `json:"partitions"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		if _, ok := errors.AsType[*json.SyntaxError](err); ok {
			return nil, errors.New("Replica election data is empty or no valid JSON")
		}
		return nil, err
	}
	if file.Partitions == nil {
		return nil, errors.New(`Replica election data is missing "partitions" field`)
	}
	var out []kafka.TopicPartition
	var twice []string
	for _, p := range *file.Partitions {
		if p.Topic == nil || p.Partition == nil {
			return nil, errors.New("Each partition of the replica election data needs `topic` and `partition`")
		}
		tp := kafka.TopicPartition{Topic: *p.Topic, Partition: *p.Partition}
		if slices.Contains(out, tp) && !slices.Contains(twice, tp.String()) {
			twice = append(twice, tp.String())
		}
		out = append(out, tp)
	}
	switch {
	case len(twice) > 0:
		return nil, fmt.Errorf("Replica election data contains duplicate partitions: %s", strings.Join(twice, ","))
	case len(out) == 0:
		return nil, errors.New("Replica election data names no partitions")
	}
	return out, nil
}

// electionResult is what the controller says of one partition.
type electionResult struct {
	tp   kafka.TopicPartition
	code int16
	text string
}

// electLeaders asks the controller; a broker that is it no more says so of each
// partition, and then the next one is looked for.
func electLeaders(ctx context.Context, cl *kgo.Client, kind int8, tps []kafka.TopicPartition) ([]electionResult, error) {
	req := kmsg.NewPtrElectLeadersRequest()
	req.ElectionType, req.TimeoutMillis = kind, int32(electionWait.Milliseconds())
	if tps != nil {
		req.Topics = []kmsg.ElectLeadersRequestTopic{}
	}
	for _, tp := range tps {
		i := slices.IndexFunc(req.Topics, func(t kmsg.ElectLeadersRequestTopic) bool { return t.Topic == tp.Topic })
		if i < 0 {
			i = len(req.Topics)
			t := kmsg.NewElectLeadersRequestTopic()
			t.Topic = tp.Topic
			req.Topics = append(req.Topics, t)
		}
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, tp.Partition)
	}
	for {
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return nil, err
		}
		if resp.ErrorCode != 0 {
			return nil, kafkaError(resp.ErrorCode, nil)
		}
		var out []electionResult
		moved := false
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				r := electionResult{tp: kafka.TopicPartition{Topic: t.Topic, Partition: p.Partition}, code: p.ErrorCode, text: protocol.Error(p.ErrorCode).Message()}
				if p.ErrorMessage != nil {
					r.text = *p.ErrorMessage
				}
				moved = moved || p.ErrorCode == protocol.NotController.Code()
				out = append(out, r)
			}
		}
		if !moved {
			slices.SortFunc(out, func(a, b electionResult) int {
				return cmp.Or(cmp.Compare(a.tp.Topic, b.tp.Topic), cmp.Compare(a.tp.Partition, b.tp.Partition))
			})
			return out, nil
		}
		cl.ForceMetadataRefresh()
		if !sleep(ctx, 200*time.Millisecond) {
			return nil, ctx.Err()
		}
	}
}

// sleep waits for a time; false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// printElection prints what Kafka's tool prints, in order.
func (t *tool) printElection(kind string, results []electionResult) error {
	var done, noop []string
	var failed []electionResult
	for _, r := range results {
		switch r.code {
		case 0:
			done = append(done, r.tp.String())
		case electionNotNeeded:
			noop = append(noop, r.tp.String())
		default:
			failed = append(failed, r)
		}
	}
	if len(done) > 0 {
		fmt.Fprintf(t.out, "Successfully completed leader election (%s) for partitions %s\n", kind, strings.Join(done, ", "))
	}
	if len(noop) > 0 {
		fmt.Fprintf(t.out, "Valid replica already elected for partitions %s\n", strings.Join(noop, ", "))
	}
	for _, r := range failed {
		fmt.Fprintf(t.out, "Error completing leader election (%s) for partition: %s: %s: %s\n", kind, r.tp, javaClass(protocol.Error(r.code)), r.text)
	}
	if len(failed) > 0 {
		return fmt.Errorf("%d replica(s) could not be elected", len(failed))
	}
	if len(results) == 0 {
		fmt.Fprintln(t.err, "No partition needs an election.")
	}
	return nil
}

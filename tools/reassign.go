package tools

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"barnabas/cluster"
	"barnabas/internal/kafka"
)

// reassignFlags are those of kafka-reassign-partitions.sh, and wait.
type reassignFlags struct {
	clientFlags
	generate, execute, verify, cancel, list bool
	reassignFile, topicsFile, brokerList    string
	disableRackAware, additional, preserve  bool
	throttle, dirsThrottle, timeout         int64
	wait                                    bool
}

func (t *tool) reassignCommand() *cobra.Command {
	f := &reassignFlags{}
	cmd := &cobra.Command{
		Use:   "reassign-partitions",
		Short: "Move partitions to other brokers",
		Long: `Move partitions to other brokers.
Flags and output are those of kafka-reassign-partitions.sh; --wait is ours: it
stays until all is moved and tells, on the standard error, how far it is and
what it waits for.

A reassignment goes on by itself and outlives brokers that stop; --cancel goes
back to the replicas of before, at any time. --throttle bounds what it may take
from the network of each broker; --verify takes the throttle off in the end.`,
		Example: `  echo '{"version":1,"topics":[{"topic":"orders"}]}' > topics.json
  barnabas reassign-partitions --generate --topics-to-move-json-file topics.json --broker-list 4,5,6
  # save the proposed configuration as move.json, and the current one for the way back
  barnabas reassign-partitions --execute --reassignment-json-file move.json --throttle 50000000
  barnabas reassign-partitions --verify --reassignment-json-file move.json --wait
  barnabas reassign-partitions --list
  barnabas reassign-partitions --cancel --reassignment-json-file move.json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return t.reassign(cmd, f) },
	}
	f.register(cmd, "command-config")
	p := cmd.Flags()
	p.BoolVar(&f.generate, "generate", false, "propose where the partitions of topics could be; nothing is moved")
	p.BoolVar(&f.execute, "execute", false, "begin to move partitions")
	p.BoolVar(&f.verify, "verify", false, "print how far it is, and take the throttles off once all is done")
	p.BoolVar(&f.cancel, "cancel", false, "go back to the replicas of before")
	p.BoolVar(&f.list, "list", false, "list all reassignments under way")
	p.StringVar(&f.reassignFile, "reassignment-json-file", "", `which partitions go where: {"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[1,2],"log_dirs":["any","/data"]}]}; log_dirs may be left out`)
	p.StringVar(&f.topicsFile, "topics-to-move-json-file", "", `topics for --generate: {"version":1,"topics":[{"topic":"t"}]}`)
	p.StringVar(&f.brokerList, "broker-list", "", "ids of brokers for --generate, with commas")
	p.BoolVar(&f.disableRackAware, "disable-rack-aware", false, "propose without regard to racks")
	p.Int64Var(&f.throttle, "throttle", -1, "bytes per second that a broker may send, and receive, for the moves; may be changed with --additional")
	p.Int64Var(&f.dirsThrottle, "replica-alter-log-dirs-throttle", -1, "bytes per second between the log directories of a broker")
	p.Int64Var(&f.timeout, "timeout", 10000, "milliseconds that a move between log directories may take to begin")
	p.BoolVar(&f.additional, "additional", false, "begin although others are under way; also to change the throttle of these")
	p.BoolVar(&f.preserve, "preserve-throttles", false, "leave the throttles as they are")
	p.BoolVar(&f.wait, "wait", false, "with --execute and --verify: stay until all is moved, with progress on the standard error")
	return cmd
}

// actions are the flags one of which is needed, with those that it takes besides
// the common ones; the first of them required.
var reassignActions = []struct {
	name             string
	required, others []string
}{
	{"generate", []string{"topics-to-move-json-file", "broker-list"}, []string{"disable-rack-aware"}},
	{"execute", []string{"reassignment-json-file"}, []string{"additional", "throttle", "replica-alter-log-dirs-throttle", "timeout", "wait"}},
	{"verify", []string{"reassignment-json-file"}, []string{"preserve-throttles", "wait"}},
	{"cancel", []string{"reassignment-json-file"}, []string{"preserve-throttles", "timeout"}},
	{"list", nil, nil},
}

// action finds the one action of the command line and checks what goes with it.
func (f *reassignFlags) action(changed func(string) bool) (string, error) {
	var names, chosen []string
	at := 0
	for i, a := range reassignActions {
		names = append(names, "--"+a.name)
		if changed(a.name) {
			chosen, at = append(chosen, a.name), i
		}
	}
	if len(chosen) != 1 {
		return "", usagef("Command must include exactly one action: %s", strings.Join(names, ", "))
	}
	a := reassignActions[at]
	for _, r := range a.required {
		if !changed(r) {
			return "", usagef("Missing required argument %q", "["+r+"]")
		}
	}
	for _, other := range reassignActions {
		for _, o := range slices.Concat(other.required, other.others) {
			if changed(o) && !slices.Contains(a.required, o) && !slices.Contains(a.others, o) {
				return "", usagef("Option %q can't be used with action %q", "["+o+"]", "["+a.name+"]")
			}
		}
	}
	return a.name, nil
}

func (t *tool) reassign(cmd *cobra.Command, f *reassignFlags) error {
	action, err := f.action(cmd.Flags().Changed)
	if err != nil {
		return err
	}
	var wanted []wantedPartition
	if f.reassignFile != "" {
		if wanted, err = readWanted(f.reassignFile); err != nil {
			return err
		}
	}
	ctx, cl, done, err := t.dial(cmd.Context(), &f.clientFlags)
	if err != nil {
		return err
	}
	defer done()
	r := &reassigner{t: t, f: f, cl: cl, admin: kadm.NewClient(cl)}
	switch action {
	case "generate":
		return r.generate(ctx)
	case "execute":
		return r.execute(ctx, wanted)
	case "verify":
		return r.verify(ctx, wanted)
	case "cancel":
		return r.cancel(ctx, wanted)
	}
	return r.list(ctx)
}

// reassigner carries one command line out.
type reassigner struct {
	t     *tool
	f     *reassignFlags
	cl    *kgo.Client
	admin *kadm.Client
}

func (r *reassigner) printf(format string, args ...any) { fmt.Fprintf(r.t.out, format, args...) }

// generate proposes an assignment over some brokers.
func (r *reassigner) generate(ctx context.Context) error {
	topics, err := readTopics(r.f.topicsFile)
	if err != nil {
		return err
	}
	var brokers []int32
	for s := range strings.SplitSeq(r.f.brokerList, ",") {
		n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 32)
		if err != nil {
			return usagef("%q of --broker-list is not the id of a broker", s)
		}
		brokers = append(brokers, int32(n))
	}
	if twice := duplicates(brokers); len(twice) > 0 {
		return fmt.Errorf("Broker list contains duplicate entries: [%s]", joinIDs(twice)) //nolint:staticcheck // Kafka's words
	}
	nodes, err := r.nodes(ctx, brokers)
	if err != nil {
		return err
	}
	details, err := r.describe(ctx, topics)
	if err != nil {
		return err
	}
	var current, proposed []wantedPartition
	for _, name := range topics {
		of := details[name].Partitions.Sorted()
		if len(of) == 0 {
			continue
		}
		rf := len(of[0].Replicas)
		if rf < 1 || rf > len(nodes) {
			return fmt.Errorf("replication factor: %d larger than available brokers: %d", rf, len(nodes))
		}
		placed := cluster.Place(nodes, 0, int32(len(of)), rf, rand.IntN(len(nodes)), rand.IntN(len(nodes)))
		for i, p := range of {
			current = append(current, wantedPartition{Topic: name, Partition: p.Partition, Replicas: p.Replicas})
			w := wantedPartition{Topic: name, Partition: p.Partition}
			for _, id := range placed[int32(i)] {
				w.Replicas = append(w.Replicas, int32(id))
			}
			proposed = append(proposed, w)
		}
	}
	r.printf("Current partition replica assignment\n%s\n\n", wantedJSON(current))
	r.printf("Proposed partition reassignment configuration\n%s\n", wantedJSON(proposed))
	return nil
}

// nodes are those of the brokers that run, with their racks.
func (r *reassigner) nodes(ctx context.Context, ids []int32) ([]cluster.Node, error) {
	live, err := r.brokers(ctx)
	if err != nil {
		return nil, explain(err)
	}
	var nodes []cluster.Node
	racks := 0
	for _, b := range live {
		if !slices.Contains(ids, b.NodeID) {
			continue
		}
		n := cluster.Node{ID: kafka.BrokerID(b.NodeID)}
		if b.Rack != nil && !r.f.disableRackAware {
			n.Rack = *b.Rack
			racks++
		}
		nodes = append(nodes, n)
	}
	switch {
	case racks > 0 && racks < len(nodes):
		return nil, cluster.ErrRacks
	case len(nodes) == 0:
		return nil, fmt.Errorf("none of the brokers %s is running; there are %s", joinIDs(ids), joinIDs(live.NodeIDs()))
	}
	return nodes, nil
}

// describe finds topics, all of which must exist.
func (r *reassigner) describe(ctx context.Context, topics []string) (kadm.TopicDetails, error) {
	if len(topics) == 0 {
		return kadm.TopicDetails{}, nil
	}
	details, err := r.admin.ListTopicsWithInternal(ctx, topics...)
	if err != nil {
		return nil, explain(err)
	}
	for _, name := range topics {
		if d, ok := details[name]; !ok || d.Err != nil {
			return nil, fmt.Errorf("Topic %s not found.", name) //nolint:staticcheck // Kafka's words
		}
	}
	return details, nil
}

// list prints all reassignments under way, and the dead brokers among their
// targets.
func (r *reassigner) list(ctx context.Context) error {
	moving, err := r.moving(ctx)
	if err != nil {
		return err
	}
	if len(moving) == 0 {
		r.printf("No partition reassignments found.\n")
		return nil
	}
	r.printf("Current partition reassignments:\n")
	for _, tp := range sortedPartitions(moving) {
		m := moving[tp]
		line := fmt.Sprintf("%s: replicas: %s.", tp, joinIDs(m.Replicas))
		if len(m.AddingReplicas) > 0 {
			line += fmt.Sprintf(" adding: %s.", joinIDs(m.AddingReplicas))
		}
		if len(m.RemovingReplicas) > 0 {
			line += fmt.Sprintf(" removing: %s.", joinIDs(m.RemovingReplicas))
		}
		r.printf("%s\n", line)
	}
	return r.nameDead(ctx, moving)
}

// nameDead tells, on the standard error, of targets that do not run.
func (r *reassigner) nameDead(ctx context.Context, moving map[kafka.TopicPartition]movingPartition) error {
	live, err := r.brokers(ctx)
	if err != nil {
		return explain(err)
	}
	dead := map[int32]int{}
	for _, m := range moving {
		for _, id := range m.target() {
			if !slices.Contains(live.NodeIDs(), id) {
				dead[id]++
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(dead)) {
		fmt.Fprintf(r.t.err, "barnabas: broker %d does not run, and %d partition%s wait for it: start it, or --cancel\n", id, dead[id], plural(dead[id]))
	}
	return nil
}

// execute begins to move partitions.
func (r *reassigner) execute(ctx context.Context, wanted []wantedPartition) error {
	if err := checkWanted(wanted); err != nil {
		return err
	}
	under, err := r.moving(ctx)
	if err != nil {
		return err
	}
	if len(under) > 0 && !r.f.additional {
		return errors.New("Cannot execute because there is an existing partition assignment.  Use --additional to override this and create a new partition assignment in addition to the existing one. The --additional flag can also be used to change the throttle by resubmitting the current reassignment.")
	}
	live, err := r.brokers(ctx)
	if err != nil {
		return explain(err)
	}
	for i := range wanted {
		for _, id := range wanted[i].Replicas {
			if !slices.Contains(live.NodeIDs(), id) {
				return fmt.Errorf("Unknown broker id %d", id) //nolint:staticcheck // Kafka's words
			}
		}
	}
	current, err := r.current(ctx, wanted)
	if err != nil {
		return err
	}
	r.printf("Current partition replica assignment\n\n%s\n\nSave this to use as the --reassignment-json-file option during rollback\n", wantedJSON(current))
	if err := r.limit(ctx, wanted, current, under); err != nil {
		return err
	}
	if err := r.ask(ctx, wanted, false); err != nil {
		return err
	}
	r.printf("Successfully started partition reassignment%s for %s\n", plural(len(wanted)), wantedNames(wanted))
	if err := r.moveDirs(ctx, dirMoves(wanted)); err != nil {
		return err
	}
	if r.f.wait {
		return r.watch(ctx, wanted)
	}
	return nil
}

// current is where the wanted partitions are now; all of them must exist.
func (r *reassigner) current(ctx context.Context, wanted []wantedPartition) ([]wantedPartition, error) {
	details, err := r.describe(ctx, topicsOf(wanted))
	if err != nil {
		return nil, err
	}
	var out []wantedPartition
	var missing []string
	for _, w := range sortedWanted(wanted) {
		p, ok := details[w.Topic].Partitions[w.Partition]
		if !ok {
			missing = append(missing, w.tp().String())
			continue
		}
		out = append(out, wantedPartition{Topic: w.Topic, Partition: w.Partition, Replicas: p.Replicas})
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("Unable to find partition: %s", strings.Join(missing, ", ")) //nolint:staticcheck // Kafka's words
	}
	return out, nil
}

// cancel goes back.
func (r *reassigner) cancel(ctx context.Context, wanted []wantedPartition) error {
	under, err := r.moving(ctx)
	if err != nil {
		return err
	}
	running := slices.DeleteFunc(slices.Clone(wanted), func(w wantedPartition) bool { _, ok := under[w.tp()]; return !ok })
	if len(running) == 0 {
		r.printf("None of the specified partition reassignments are active.\n")
	} else {
		if err := r.ask(ctx, running, true); err != nil {
			return err
		}
		r.printf("Successfully cancelled partition reassignment%s for: %s\n", plural(len(running)), wantedNames(running))
	}
	states, err := r.dirStates(ctx, dirMoves(wanted))
	if err != nil {
		return err
	}
	back := map[replicaOf]string{}
	for m, s := range states {
		if s.future != "" {
			back[m] = s.current
		}
	}
	if len(back) == 0 {
		r.printf("None of the specified partition moves are active.\n")
	} else if err := r.moveDirs(ctx, back); err != nil {
		return err
	}
	if r.f.preserve {
		return nil
	}
	return r.unlimit(ctx, wanted)
}

// verify prints how far it is, and takes the throttles off at the end.
func (r *reassigner) verify(ctx context.Context, wanted []wantedPartition) error {
	if r.f.wait {
		if err := r.watch(ctx, wanted); err != nil {
			return err
		}
	}
	under, err := r.moving(ctx)
	if err != nil {
		return err
	}
	details, err := r.admin.ListTopicsWithInternal(ctx, topicsOf(wanted)...)
	if err != nil {
		return explain(err)
	}
	r.printf("Status of partition reassignment:\n")
	for _, w := range sortedWanted(wanted) {
		now := details[w.Topic].Partitions[w.Partition].Replicas
		_, running := under[w.tp()]
		switch {
		case running:
			r.printf("Reassignment of partition %s is still in progress.\n", w.tp())
		case slices.Equal(now, w.Replicas):
			r.printf("Reassignment of partition %s is completed.\n", w.tp())
		default:
			r.printf("There is no active reassignment of partition %s, but replica set is %s rather than %s.\n", w.tp(), joinIDs(now), joinIDs(w.Replicas))
		}
	}
	dirsRun, err := r.verifyDirs(ctx, wanted)
	if err != nil {
		return err
	}
	if len(under) == 0 && !dirsRun && !r.f.preserve {
		return r.unlimit(ctx, wanted)
	}
	return r.nameDead(ctx, under)
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// duplicates are the elements that come more than once, sorted.
func duplicates[T cmp.Ordered](list []T) []T {
	var twice []T
	sorted := slices.Sorted(slices.Values(list))
	for i := 1; i < len(sorted); i++ {
		if sorted[i] == sorted[i-1] && !slices.Contains(twice, sorted[i]) {
			twice = append(twice, sorted[i])
		}
	}
	return twice
}

// readFile reads what a flag names, at most some megabytes.
func readFile(name string) ([]byte, error) {
	const most = 64 << 20
	st, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if st.Size() > most {
		return nil, fmt.Errorf("%s has %d bytes; no list of partitions is so long", name, st.Size())
	}
	return os.ReadFile(name)
}

// pollEvery is how often --wait looks.
const pollEvery = time.Second

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// dataTopic has few records; commits are for its partitions.
const (
	dataTopic      = "groupbench"
	dataPartitions = 20
)

// bench is how much is done.
type bench struct {
	committers, commitsEach int
	members, rebalances     int
	groups                  int
	joins                   int
	pause                   time.Duration
	compactMiB, compactKeys int
	rest                    time.Duration // what a broker gets to become idle, or to show that it is
	log                     io.Writer
}

// better tells which of two figures is better.
type better bool

const (
	more better = true
	less better = false
)

// figure is what one run of a workload has found.
type figure struct {
	workload, unit string
	value          float64
	better         better
}

type workload struct {
	name string
	run  func(s *side, round int) ([]figure, error)
	// process: it needs the broker's process.
	process bool
}

func (b *bench) workloads() []workload {
	return []workload{
		{"commits", b.commits, false},
		{"rebalance", b.rebalance, false},
		{"first", b.firstRecord, false},
		{"compaction", b.compaction, true},
		{"reload", b.reload, true},
	}
}

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "groupbench:", err)
		}
		os.Exit(1)
	}
}

func run(args []string, out, log io.Writer) error {
	b := &bench{log: log, rest: time.Second}
	f := flag.NewFlagSet("groupbench", flag.ContinueOnError)
	f.SetOutput(log)
	sides := make([]*side, 2)
	for i, name := range []string{"a", "b"} {
		s := &side{}
		f.StringVar(&s.addr, name, "", "address of broker "+name)
		f.StringVar(&s.name, name+"-name", []string{"Apache Kafka", "Barnabas"}[i], "what the table calls broker "+name)
		f.StringVar(&s.pidFile, name+"-pid", "", "file with the process id of broker "+name)
		f.StringVar(&s.start, name+"-start", "", "shell command that starts broker "+name+" again and writes that file")
		sides[i] = s
	}
	only := f.String("only", "commits,rebalance,first,compaction,reload", "the workloads")
	rounds := f.Int("rounds", 3, "how often each workload is run on each broker")
	f.IntVar(&b.committers, "committers", 64, "connections that commit offsets")
	f.IntVar(&b.commitsEach, "commits", 300, "commits of each of them")
	f.IntVar(&b.members, "members", 100, "members of the group that rebalances")
	f.IntVar(&b.rebalances, "rebalances", 40, "rebalances in a round")
	f.IntVar(&b.groups, "groups", 5000, fmt.Sprintf("groups with %d offsets each, for the reload", dataPartitions))
	f.IntVar(&b.joins, "joins", 40, "new members in a round")
	f.DurationVar(&b.pause, "pause", 8*time.Second, "from the kill to the start: more than the broker's ZooKeeper session")
	f.IntVar(&b.compactMiB, "compact-mib", 300, "MiB to compact")
	f.IntVar(&b.compactKeys, "compact-keys", 50_000, "keys in them")
	if err := f.Parse(args); err != nil {
		return err
	}
	names := strings.Split(*only, ",")
	chosen := slices.DeleteFunc(b.workloads(), func(w workload) bool { return !slices.Contains(names, w.name) })
	if len(chosen) != len(names) {
		return fmt.Errorf("--only %s: not all of them are workloads", *only)
	}
	for _, s := range sides {
		if s.addr == "" {
			return errors.New("two addresses are needed, --a and --b; see --help")
		}
		for _, w := range chosen {
			if w.process && (s.pidFile == "" || s.start == "") {
				return fmt.Errorf("%s needs the process of %s: -pid and -start; see --help", w.name, s.name)
			}
		}
	}
	began := time.Now()
	found, err := b.all(sides, chosen, *rounds)
	if err != nil {
		return err
	}
	fmt.Fprintf(log, "%d rounds took %v\n", *rounds, time.Since(began).Round(time.Second))
	return table(out, sides, found)
}

// all prepares both and runs everything in turns; the result is by side, each a
// list in the order of the runs.
func (b *bench) all(sides []*side, chosen []workload, rounds int) ([2][]figure, error) {
	var found [2][]figure
	for _, s := range sides {
		if err := b.prepare(s); err != nil {
			return found, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	for round := range rounds {
		for _, w := range chosen {
			for n := range sides {
				i := (n + round) % 2 // who is first alternates
				list, err := w.run(sides[i], round)
				if err != nil {
					return found, fmt.Errorf("%s, %s: %w", w.name, sides[i].name, err)
				}
				for _, f := range list {
					fmt.Fprintf(b.log, "round %d: %s: %s: %s %.2f\n", round+1, sides[i].name, f.workload, f.unit, f.value)
				}
				found[i] = append(found[i], list...)
			}
		}
	}
	return found, nil
}

// prepare makes the topic with its records and the offsets of many groups.
func (b *bench) prepare(s *side) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.addr))
	if err != nil {
		return err
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(ctx, dataPartitions, 1, nil, dataTopic); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("create %s: %w", dataTopic, err)
	}
	for i := range 10 * dataPartitions {
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: dataTopic, Value: fmt.Append(nil, i)}).FirstErr(); err != nil {
			return err
		}
	}
	// The first group makes __consumer_offsets; all of its partitions must answer.
	for i := 0; i < min(b.groups, 500); {
		w, err := dial(s.addr)
		if err != nil {
			return err
		}
		if err = awaitCoordinator(w); err == nil {
			for err == nil && i < min(b.groups, 500) {
				if err = commit(w, fillGroup(i), 1, 0); err == nil {
					i++
				}
			}
		}
		w.Close()
		if ctx.Err() != nil {
			return err
		}
	}
	began := time.Now()
	err = b.fill(s)
	fmt.Fprintf(b.log, "%s: %d offsets of %d groups in %v\n", s.name, b.groups*dataPartitions, b.groups, time.Since(began).Round(time.Millisecond))
	return err
}

// table prints medians and their ratios, and the smallest and the largest ratio of
// one round; above 1 is in favour of the second side.
func table(out io.Writer, sides []*side, found [2][]figure) error {
	w := tabwriter.NewWriter(out, 0, 0, 1, ' ', tabwriter.Debug)
	fmt.Fprintf(w, "| workload\t figure\t %s\t %s\t ratio\t of single rounds\t\n|---\t---\t---:\t---:\t---:\t---:\t\n", sides[0].name, sides[1].name)
	var seen []figure
	for _, f := range found[0] {
		same := func(o figure) bool { return o.workload == f.workload && o.unit == f.unit }
		if slices.ContainsFunc(seen, same) {
			continue
		}
		seen = append(seen, f)
		var values [2][]float64 // in the order of the rounds
		for i := range values {
			for _, o := range found[i] {
				if same(o) {
					values[i] = append(values[i], o.value)
				}
			}
		}
		ratio := func(a, b float64) float64 {
			if f.better == more {
				return b / a
			}
			return a / b
		}
		var each []float64
		for i := range min(len(values[0]), len(values[1])) {
			each = append(each, ratio(values[0][i], values[1][i]))
		}
		a, b := quantile(values[0], 0.5), quantile(values[1], 0.5)
		fmt.Fprintf(w, "| %s\t %s\t %.2f\t %.2f\t %.2fx\t %.2f to %.2f\t\n", f.workload, f.unit, a, b, ratio(a, b), quantile(each, 0), quantile(each, 1))
	}
	return w.Flush()
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// quantile is the value at q (0 to 1) of a list.
func quantile(list []float64, q float64) float64 {
	s := slices.Sorted(slices.Values(list))
	if len(s) == 0 {
		return 0
	}
	return s[min(int(q*float64(len(s))), len(s)-1)]
}

//go:build integration

package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const groupCommand = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"

// said is what a tool printed on both its outputs, sorted, without blank lines and
// without what belongs to the one tool only.
func said(r result) []string {
	var lines []string
	for line := range strings.Lines(r.stdout + r.stderr) {
		line = strings.TrimRight(line, " \n")
		if line == "" || strings.HasPrefix(line, "WARN: No action") || strings.HasPrefix(line, "\tat ") || strings.Contains(line, "log4j") {
			continue
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

func words(lines []string) []string {
	out := strings.Fields(strings.Join(lines, " "))
	slices.Sort(out)
	return out
}

// both runs a command line of kafka-consumer-groups.sh with Kafka's tool and with
// ours and wants the same lines.
func both(t *testing.T, b *broker, args ...string) {
	t.Helper()
	// Kafka's own patience of 5 s is short for a JVM on a busy machine.
	args = append([]string{"--bootstrap-server", b.addr, "--timeout", "60000"}, args...)
	theirs := said(runJava(t, "", groupCommand, args...))
	ours := said(run(t, "", binary, append([]string{"consumer-groups"}, args...)...))
	added := -1 // where our last column begins
	for i := range ours {
		if at := strings.Index(ours[i], "LAG-SECONDS"); at >= 0 {
			added = at
		}
		if added >= 0 && len(ours[i]) > added {
			ours[i] = strings.TrimRight(ours[i][:added], " ")
		}
		// Kafka 3.9 leaves the name out: (0,1) instead of orders(0,1)
		ours[i] = strings.ReplaceAll(ours[i], " orders(", " (")
	}
	if slices.Contains(args, "--reset-offsets") || slices.Contains(args, "--delete-offsets") {
		// Kafka 3.9 puts all rows of these tables into one line.
		theirs, ours = words(theirs), words(ours)
	}
	if d := cmp.Diff(theirs, ours); d != "" {
		t.Errorf("%v: -kafka +ours\n%s", args[4:], d)
	}
}

// TestConsumerGroupsTool compares both tools on groups at work and at rest.
func TestConsumerGroupsTool(t *testing.T) {
	b := newBroker(t)
	admin := kadm.NewClient(b.client())
	if _, err := admin.CreateTopics(t.Context(), 3, 1, nil, "orders", "idle"); err != nil {
		t.Fatal(err)
	}
	var readers []*reader
	for range 4 { // one has nothing to do
		readers = append(readers, startReader(b, "orders", "team"))
	}
	eventually(t, patience, "three partitions are shared", func() error {
		n := 0
		for _, r := range readers {
			p, _, _ := r.state()
			n += p
		}
		d, err := admin.DescribeGroups(t.Context(), "team")
		if err != nil || n != 3 || len(d["team"].Members) != 4 || d["team"].State != "Stable" {
			return fmt.Errorf("%d partitions, %d members in %s, %v", n, len(d["team"].Members), d["team"].State, err)
		}
		return nil
	})
	producer := b.client()
	produceSync(t, producer, "orders", numbered("a", 300))
	eventually(t, patience, "all is read and committed", func() error {
		lags, err := admin.Lag(t.Context(), "team")
		if err != nil {
			return err
		}
		if lag := lags["team"].Lag.Total(); lag != 0 {
			return fmt.Errorf("lag %d", lag)
		}
		return nil
	})
	both(t, b, "--list")
	both(t, b, "--list", "--state")
	both(t, b, "--list", "--state", "Stable", "--type")
	both(t, b, "--list", "--type", "consumer")
	both(t, b, "--list", "--type", "classic", "--state")
	both(t, b, "--describe", "--group", "team")
	both(t, b, "--describe", "--group", "team", "--members")
	both(t, b, "--describe", "--group", "team", "--members", "--verbose")
	both(t, b, "--describe", "--all-groups", "--state")
	both(t, b, "--describe", "--group", "nobody")
	both(t, b, "--reset-offsets", "--group", "team", "--topic", "orders", "--to-earliest", "--execute")

	if out := barnabas(t, "", "explain", "group", "team", "--bootstrap-server", b.addr); !strings.Contains(out, "4 members joined within") || !strings.Contains(out, "team is Stable with 4 members") {
		t.Errorf("explain group:\n%s", out)
	}

	for _, r := range readers {
		r.leave()
	}
	produceSync(t, producer, "orders", numbered("b", 60))
	middle := time.Now().UTC()
	produceSync(t, producer, "orders", numbered("c", 60))
	both(t, b, "--describe", "--group", "team")
	both(t, b, "--describe", "--group", "team", "--state")
	reset := []string{"--reset-offsets", "--group", "team", "--dry-run"}
	for _, plan := range [][]string{
		{"--topic", "orders", "--to-earliest"},
		{"--topic", "orders", "--to-latest"},
		{"--topic", "orders:0,2", "--topic", "idle", "--to-latest"},
		{"--all-topics", "--to-current"},
		{"--topic", "idle", "--to-current"},
		{"--all-topics", "--shift-by", "-7"},
		{"--all-topics", "--shift-by", "7"},
		{"--all-topics", "--to-datetime", middle.Format("2006-01-02T15:04:05.000")},
		{"--all-topics", "--to-datetime", "2040-01-01T00:00:00.000+01:00"},
		{"--all-topics", "--by-duration", "PT24H"},
		{"--topic", "orders", "--to-offset", "17"},
		{"--all-topics", "--to-current", "--export"},
	} {
		both(t, b, append(reset[:len(reset):len(reset)], plan...)...)
	}

	// What the one sets the other sees; a plan of the one is read by the other.
	tool := func(args ...string) string {
		return barnabas(t, "", append([]string{"consumer-groups", "--bootstrap-server", b.addr}, args...)...)
	}
	javaTool := func(args ...string) string {
		return java(t, "", groupCommand, append([]string{"--bootstrap-server", b.addr, "--timeout", "60000"}, args...)...)
	}
	tool("--reset-offsets", "--group", "team", "--all-topics", "--to-offset", "11", "--execute")
	both(t, b, "--describe", "--group", "team")
	ourPlan := tool("--reset-offsets", "--group", "team", "--all-topics", "--to-current", "--export", "--dry-run")
	javaTool("--reset-offsets", "--group", "team", "--all-topics", "--to-earliest", "--execute")
	both(t, b, "--describe", "--group", "team")
	file := filepath.Join(t.TempDir(), "plan.csv")
	if err := os.WriteFile(file, []byte(ourPlan), 0o600); err != nil {
		t.Fatal(err)
	}
	both(t, b, "--reset-offsets", "--group", "team", "--from-file", file, "--dry-run")
	javaTool("--reset-offsets", "--group", "team", "--from-file", file, "--execute")
	lags, err := admin.Lag(t.Context(), "team")
	if err != nil {
		t.Fatal(err)
	}
	if total := lags["team"].Lag.Total(); total != 420-3*11 {
		t.Errorf("after --from-file the lag is %d", total)
	}
	inSeconds := regexp.MustCompile(`team +orders +[0-2] +11 +\d+ +\d+ +- +- +- +\d+\.\d`)
	if out := tool("--describe", "--group", "team", "--lag-seconds"); len(inSeconds.FindAllString(out, -1)) != 3 {
		t.Errorf("--lag-seconds:\n%s", out)
	}
	// The coordinator finds it out within some seconds.
	out := ""
	for limit := time.Now().Add(time.Minute); len(inSeconds.FindAllString(out, -1)) != 3; {
		if out = tool("--describe", "--group", "team"); time.Now().After(limit) {
			t.Fatalf("lag in seconds, without being asked for:\n%s", out)
		}
	}

	// Deletions: each tool does one, the other agrees that it is done.
	javaTool("--delete-offsets", "--group", "team", "--topic", "orders:0")
	tool("--delete-offsets", "--group", "team", "--topic", "orders:1")
	both(t, b, "--describe", "--group", "team")
	both(t, b, "--delete-offsets", "--group", "team", "--topic", "idle") // succeeds without anything to do
	for group, topic := range map[string]string{"team": "none", "nobody": "orders"} {
		r := run(t, "", binary, "consumer-groups", "--bootstrap-server", b.addr, "--delete-offsets", "--group", group, "--topic", topic)
		if r.err == nil || !strings.Contains(r.stderr+r.stdout, "does not") {
			t.Errorf("deleting offsets of %s for %s: %v %s%s", group, topic, r.err, r.stdout, r.stderr)
		}
	}
	commitFor(t, admin, "one", "two")
	javaTool("--delete", "--group", "one")
	tool("--delete", "--group", "two")
	list, err := admin.ListGroups(t.Context())
	if err != nil || slices.Contains(list.Groups(), "one") || slices.Contains(list.Groups(), "two") {
		t.Errorf("left: %v, %v", list.Groups(), err)
	}
	r := run(t, "", binary, "consumer-groups", "--bootstrap-server", b.addr, "--delete", "--group", "one")
	if r.err == nil || !strings.Contains(r.stderr, "* Group 'one' could not be deleted due to: The group id does not exist.") {
		t.Errorf("deleting again: %v %s", r.err, r.stderr)
	}
}

// commitFor makes groups of stand-alone consumers.
func commitFor(t *testing.T, admin *kadm.Client, groups ...string) {
	t.Helper()
	for _, g := range groups {
		o := kadm.Offsets{}
		o.Add(kadm.Offset{Topic: "orders", Partition: 0, At: 5, LeaderEpoch: -1})
		if err := admin.CommitAllOffsets(t.Context(), g, o); err != nil {
			t.Fatal(err)
		}
	}
}

// TestKafkaReadsOurGroupRecords: its console consumer's formatters and its
// dump-log print what ours prints of the records that a group leaves.
func TestKafkaReadsOurGroupRecords(t *testing.T) {
	b := newBroker(t, "offsets.topic.num.partitions=1")
	admin := kadm.NewClient(b.client())
	if _, err := admin.CreateTopics(t.Context(), 2, 1, nil, "orders"); err != nil {
		t.Fatal(err)
	}
	r := startReader(b, "orders", "grüße")
	eventually(t, patience, "it has both partitions", func() error {
		if p, _, _ := r.state(); p != 2 {
			return errors.New("not yet")
		}
		return nil
	})
	produceSync(t, b.client(kgo.RecordPartitioner(kgo.RoundRobinPartitioner())), "orders", numbered("a", 10))
	eventually(t, patience, "it has read all", func() error {
		if _, n, _ := r.state(); n != 10 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	r.leave()
	commitFor(t, admin, "simple")
	if d, err := admin.DeleteGroups(t.Context(), "simple"); err != nil || d["simple"].Err != nil {
		t.Fatal(err, d)
	}
	end, err := admin.ListEndOffsets(t.Context(), "__consumer_offsets")
	if err != nil {
		t.Fatal(err)
	}
	last, _ := end.Lookup("__consumer_offsets", 0)
	for formatter, want := range map[string]string{
		"org.apache.kafka.tools.consumer.OffsetsMessageFormatter":       `{"key":{"version":1,"data":{"group":"grüße","topic":"orders","partition":1}},"value":{"version":3,"data":{"offset":`,
		"org.apache.kafka.tools.consumer.GroupMetadataMessageFormatter": `{"key":{"version":2,"data":{"group":"grüße"}},"value":{"version":3,"data":{"protocolType":"consumer","generation":1,`,
	} {
		out := java(t, "", "org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", b.addr, "--topic", "__consumer_offsets",
			"--partition", "0", "--offset", "earliest", "--formatter", formatter, "--max-messages", fmt.Sprint(last.Offset), "--timeout-ms", "20000")
		if !strings.Contains(out, want) || strings.Contains(out, "unknown") {
			t.Errorf("%s printed\n%s\nwant %s", formatter, out, want)
		}
	}
	log := b.glob("__consumer_offsets-0/*.log")[0]
	b.stop()
	var dumps [2][]string
	for i, out := range []string{
		java(t, "", "kafka.tools.DumpLogSegments", "--files", log, "--offsets-decoder"),
		barnabas(t, "", "dump-log", "--files", log, "--offsets-decoder"),
	} {
		dumps[i] = strings.Split(strings.TrimSpace(out), "\n")
	}
	if d := cmp.Diff(dumps[0], dumps[1]); d != "" || len(dumps[0]) < 5 {
		t.Errorf("dump-log: -kafka +ours\n%s", d)
	}
}

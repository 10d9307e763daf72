package tools

import (
	"crypto/rand"
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

	"barnabas/brokertest"
	"barnabas/internal/kafka"
)

func TestReassignCommandLine(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	good := file("good", `{"partitions":[]}`)
	for _, test := range []struct {
		args string
		code int
		want string
	}{
		{"", 2, "Command must include exactly one action: --generate, --execute, --verify, --cancel, --list"},
		{"--list --verify", 2, "exactly one action"},
		{"--verify", 2, `Missing required argument "[reassignment-json-file]"`},
		{"--generate --broker-list 1", 2, `Missing required argument "[topics-to-move-json-file]"`},
		{"--generate --topics-to-move-json-file x", 2, `Missing required argument "[broker-list]"`},
		{"--list --throttle 5", 2, `Option "[throttle]" can't be used with action "[list]"`},
		{"--verify --additional --reassignment-json-file " + good, 2, `Option "[additional]" can't be used with action "[verify]"`},
		{"--cancel --wait --reassignment-json-file " + good, 2, `Option "[wait]" can't be used with action "[cancel]"`},
		{"--verify --reassignment-json-file /nowhere", 1, "no such file"},
		{"--verify --reassignment-json-file " + file("a", "{"), 1, "not a valid JSON"},
		{"--verify --reassignment-json-file " + file("b", "{} {}"), 1, "something follows the end"},
		{"--verify --reassignment-json-file " + file("c", `{"version":2}`), 1, "Not supported version field value 2"},
		{"--verify --reassignment-json-file " + file("d", `{"partitions":[{"topic":"t","replicas":[1]}]}`), 1, `element 0 of "partitions" needs a topic, a partition and replicas`},
		{"--verify --reassignment-json-file " + file("e", `{"partitions":[{"topic":"t","partition":0,"replicas":[1,2],"log_dirs":["any"]}]}`), 1, "Size of replicas list [1,2] is different from size of log dirs list [any] for partition t-0"},
	} {
		code, out, errs := run(t, nil, append([]string{"reassign-partitions"}, strings.Fields(test.args)...)...)
		if code != test.code || !strings.Contains(errs, test.want) || out != "" {
			t.Errorf("%s: code %d, %q %q, want %d, %q", test.args, code, out, errs, test.code, test.want)
		}
	}
	for text, want := range map[string]string{
		`{"partitions":[]}`: "Partition reassignment list cannot be empty",
		`{"partitions":[{"topic":"t","partition":0,"replicas":[]}]}`:                                                         "Partition replica list cannot be empty",
		`{"partitions":[{"topic":"t","partition":0,"replicas":[1,2,1]},{"topic":"u","partition":1,"replicas":[3,3]}]}`:       "Partition replica lists may not contain duplicate entries: t-0 contains multiple entries for 1. u-1 contains multiple entries for 3",
		`{"partitions":[{"topic":"t","partition":0,"replicas":[1]},{"topic":"t","partition":0,"replicas":[2]}],"version":1}`: "Partition reassignment contains duplicate topic partitions: t-0",
	} {
		list, err := parseWanted([]byte(text))
		if err == nil {
			err = checkWanted(list)
		}
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestThrottledReplicas(t *testing.T) {
	t0, t1, u0 := kafka.TopicPartition{Topic: "t"}, kafka.TopicPartition{Topic: "t", Partition: 1}, kafka.TopicPartition{Topic: "u"}
	var running movingPartition
	running.Replicas, running.AddingReplicas, running.RemovingReplicas = []int32{4, 1}, []int32{4}, []int32{1}
	under := map[kafka.TopicPartition]movingPartition{t1: running, u0: running}
	wanted := []wantedPartition{{Topic: "t", Partition: 0, Replicas: []int32{2, 3}}, {Topic: "t", Partition: 1, Replicas: []int32{5}}}
	current := []wantedPartition{{Topic: "t", Partition: 0, Replicas: []int32{1, 2}}, {Topic: "t", Partition: 1, Replicas: []int32{4, 1}}}
	moves := moveMap(wanted, current, under)
	if d := cmp.Diff(map[string]string{"t": "0:1,0:2,1:1", "u": "0:1"}, throttledReplicas(moves, true)); d != "" {
		t.Errorf("leaders: %s", d)
	}
	if d := cmp.Diff(map[string]string{"t": "0:3,1:5", "u": "0:4"}, throttledReplicas(moves, false)); d != "" {
		t.Errorf("followers: %s", d)
	}
	same := moveMap([]wantedPartition{{Topic: "t", Replicas: []int32{1}}}, []wantedPartition{{Topic: "t", Replicas: []int32{1}}}, nil)
	if got := throttledReplicas(same, false)["t"]; got != "" || len(same[t0].destinations) != 0 {
		t.Errorf("what stays is throttled: %q", got)
	}
}

func TestProgress(t *testing.T) {
	at := time.Unix(1000, 0)
	p := progress{}
	for _, s := range []struct {
		after  time.Duration
		copied int64
		want   string // "": nothing is said
	}{
		{0, 0, "2 partitions left, 0 B of 10.0 MiB copied (0 %)"},
		{time.Second, 1 << 20, "2 partitions left, 1.0 MiB of 10.0 MiB copied (10 %), 1.0 MiB/s, about 9s left"},
		{time.Second, 1 << 20, "2 partitions left, 1.0 MiB of 10.0 MiB copied (10 %), 512.0 KiB/s, about 18s left"},
		{9 * time.Second, 1 << 20, "2 partitions left, 1.0 MiB of 10.0 MiB copied (10 %)"}, // it stands still
		{time.Second, 1 << 20, ""},
		{9 * time.Second, 1 << 20, "2 partitions left, 1.0 MiB of 10.0 MiB copied (10 %)"}, // still
	} {
		at = at.Add(s.after)
		line, again := p.line(at, 2, 0, s.copied, 10<<20)
		if again != (s.want != "") || again && line != s.want {
			t.Errorf("after %v: %q, %v, want %q", s.after, line, again, s.want)
		}
	}
	if line, _ := p.line(at.Add(time.Second), 1, 3, 5, 0); line != "1 partition left, 3 between directories" {
		t.Errorf("got %q", line)
	}
}

// TestReassign goes the way of the manual.
func TestReassign(t *testing.T) {
	c := brokertest.Start(t, brokertest.Brokers(4), brokertest.Topics(brokertest.Topic{Name: "t", Partitions: 3, ReplicationFactor: 2}))
	dir := t.TempDir()
	tool := func(wantCode int, args ...string) (stdout, stderr string) {
		t.Helper()
		code, out, errs := run(t, nil, append([]string{"reassign-partitions", "--bootstrap-server", c.Bootstrap()}, args...)...)
		if code != wantCode {
			t.Fatalf("%q: code %d\n%s\n%s", args, code, out, errs)
		}
		return out, errs
	}
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	// In no order: a cancellation does not bring it back, as in Kafka.
	replicas := func(ids []int32) string { return fmt.Sprint(slices.Sorted(slices.Values(ids))) }
	// await waits until all brokers know it; the tool asks any of them.
	await := func(what string, want []string) {
		t.Helper()
		if got := c.Await(what, "t", func(p brokertest.Partition) bool { return int(p.ID) < len(want) && replicas(p.Replicas) == want[p.ID] }); len(got) != len(want) {
			t.Fatalf("%s: %d partitions, want %d", what, len(got), len(want))
		}
	}
	cl := c.Client(kgo.RecordPartitioner(kgo.RoundRobinPartitioner())) // so that no partition moves at once
	for range 9000 {
		value := make([]byte, 1000)
		rand.Read(value) // not to be compressed
		cl.Produce(t.Context(), &kgo.Record{Topic: "t", Value: value}, nil)
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}

	out, _ := tool(0, "--list")
	if out != "No partition reassignments found.\n" {
		t.Errorf("list: %q", out)
	}
	topics := write("topics.json", `{"topics":[{"topic":"t"}],"version":1}`)
	out, _ = tool(0, "--generate", "--topics-to-move-json-file", topics, "--broker-list", "2,3")
	lines := strings.Split(out, "\n")
	if len(lines) != 6 || lines[0] != "Current partition replica assignment" || lines[3] != "Proposed partition reassignment configuration" {
		t.Fatalf("generate: %q", out)
	}
	var before, want []string
	for _, p := range c.Await("before", "t", func(brokertest.Partition) bool { return true }) {
		before = append(before, replicas(p.Replicas))
	}
	proposed, err := parseWanted([]byte(lines[4]))
	if err != nil || len(proposed) != 3 {
		t.Fatalf("proposed %v, %v", proposed, err)
	}
	for _, p := range proposed {
		want = append(want, replicas(p.Replicas))
	}
	rollback, move := write("back.json", lines[1]), write("move.json", lines[4])

	// Slow enough to be seen, and cancelled. A broker hears of a rate in its own time:
	// here before the tool sets the same, so that nothing moves without one.
	const rate = "20000"
	throttle(t, cl, rate, 0, 1, 2, 3)
	out, _ = tool(0, "--execute", "--reassignment-json-file", move, "--throttle", rate)
	for _, l := range []string{"Current partition replica assignment\n\n" + lines[1] + "\n\nSave this to use as the --reassignment-json-file option during rollback\n",
		"Warning: You must run --verify periodically", "The inter-broker throttle limit was set to 20000 B/s\n", "Successfully started partition reassignments for t-0,t-1,t-2\n"} {
		if !strings.Contains(out, l) {
			t.Errorf("execute: %q is not in\n%s", l, out)
		}
	}
	if out, _ = tool(0, "--list"); !strings.Contains(out, "Current partition reassignments:\nt-") || !strings.Contains(out, " adding: ") {
		t.Errorf("list: %s", out)
	}
	if _, out, errs := run(t, nil, "cluster", "--bootstrap-server", c.Bootstrap()); !regexp.MustCompile(`\n  under-replicated  0\n(?s:.*)\n  reassigning {7}[1-3]   \(on the move\)\n`).MatchString(out) {
		t.Errorf("the cluster's screen: %s%s", out, errs)
	}
	if _, errs := tool(1, "--execute", "--reassignment-json-file", move); !strings.Contains(errs, "Cannot execute because there is an existing partition assignment.") {
		t.Errorf("execute again: %s", errs)
	}
	if out, _ = tool(0, "--verify", "--reassignment-json-file", move); !strings.Contains(out, "is still in progress.") || strings.Contains(out, "Clearing") {
		t.Errorf("verify: %s", out)
	}
	out, _ = tool(0, "--cancel", "--reassignment-json-file", move)
	if !strings.Contains(out, "Successfully cancelled partition reassignment") || !strings.Contains(out, "Clearing broker-level throttles on brokers 0,1,2,3\nClearing topic-level throttles on topic t\n") {
		t.Errorf("cancel: %s", out)
	}
	if out, _ = tool(0, "--cancel", "--reassignment-json-file", move); !strings.Contains(out, "None of the specified partition reassignments are active.\n") {
		t.Errorf("cancel again: %s", out)
	}
	tool(0, "--verify", "--wait", "--reassignment-json-file", rollback) // whatever of it had to go back
	await("cancelled", before)

	tool(0, "--execute", "--reassignment-json-file", move, "--wait")
	await("moved", want)
	out, _ = tool(0, "--verify", "--reassignment-json-file", move)
	if want := "Status of partition reassignment:\nReassignment of partition t-0 is completed.\nReassignment of partition t-1 is completed.\nReassignment of partition t-2 is completed.\n\n" +
		"Clearing broker-level throttles on brokers 0,1,2,3\nClearing topic-level throttles on topic t\n"; out != want {
		t.Errorf("verify: %s", cmp.Diff(want, out))
	}
	if out, _ = tool(0, "--verify", "--reassignment-json-file", rollback, "--preserve-throttles"); !strings.Contains(out, "There is no active reassignment of partition t-") { // one of them may be where it was
		t.Errorf("verify of the rollback: %s", out)
	}

	// A target that does not run.
	unknown := write("unknown.json", `{"partitions":[{"topic":"t","partition":0,"replicas":[9]}]}`)
	if _, errs := tool(1, "--execute", "--reassignment-json-file", unknown); !strings.Contains(errs, "Unknown broker id 9") {
		t.Errorf("unknown broker: %s", errs)
	}
	missing := write("missing.json", `{"partitions":[{"topic":"t","partition":7,"replicas":[1]}]}`)
	if _, errs := tool(1, "--execute", "--reassignment-json-file", missing); !strings.Contains(errs, "Unable to find partition: t-7") {
		t.Errorf("unknown partition: %s", errs)
	}
	tool(0, "--execute", "--reassignment-json-file", rollback, "--throttle", "20000")
	c.Broker(0).Kill()
	c.Broker(1).Kill()
	if _, errs := tool(0, "--list"); !strings.Contains(errs, "broker 0 does not run, and ") || !strings.Contains(errs, "start it, or --cancel") {
		t.Errorf("list does not name the dead: %s", errs)
	}
	tool(0, "--cancel", "--reassignment-json-file", rollback)
	await("after the cancellation", want)
}

// throttle bounds how fast brokers copy what is throttled, in bytes per second, and
// waits until each of them knows.
func throttle(t *testing.T, cl *kgo.Client, rate string, brokers ...int32) {
	t.Helper()
	admin := kadm.NewClient(cl)
	set := []kadm.AlterConfig{{Name: "leader.replication.throttled.rate", Value: &rate}, {Name: "follower.replication.throttled.rate", Value: &rate}}
	if _, err := admin.AlterBrokerConfigs(t.Context(), set, brokers...); err != nil {
		t.Fatal(err)
	}
	limit, tick := time.After(time.Minute), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for len(brokers) > 0 {
		got, err := admin.DescribeBrokerConfigs(t.Context(), brokers[0])
		if err != nil {
			t.Fatal(err)
		}
		known := 0
		for _, c := range got[0].Configs {
			if (c.Key == set[0].Name || c.Key == set[1].Name) && c.MaybeValue() == rate {
				known++
			}
		}
		if known == len(set) {
			brokers = brokers[1:]
			continue
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("broker %d does not know the rate", brokers[0])
		}
	}
}

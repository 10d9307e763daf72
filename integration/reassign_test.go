//go:build integration

package integration

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// reassignCommand is the tool of Apache Kafka.
const reassignCommand = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"

// where are the replicas of a topic's partitions, in the order of ids.
func where(t *testing.T, b *broker, topic string) [][]int32 {
	t.Helper()
	topics, err := kadm.NewClient(b.client()).ListTopics(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]int32
	for _, p := range topics[topic].Partitions.Sorted() {
		out = append(out, slices.Sorted(slices.Values(p.Replicas)))
	}
	return out
}

// TestReassignByKafkasTool: the Java tool plans, begins, watches, cancels and ends
// moves of a topic, with and without a throttle, as the manual has it.
func TestReassignByKafkasTool(t *testing.T) {
	brokers := newCluster(t, 3)
	b := brokers[0]
	var created kadm.CreateTopicResponses
	for _, any := range brokers { // only the controller makes topics
		var err error
		if created, err = kadm.NewClient(any.client()).CreateTopics(t.Context(), 2, 1, nil, "moved"); err == nil && created["moved"].Err == nil {
			break
		}
	}
	if err := created["moved"].Err; err != nil {
		t.Fatal(err)
	}
	cl := b.client(kgo.ProducerBatchCompression(kgo.NoCompression()))
	for range 3000 {
		cl.Produce(t.Context(), &kgo.Record{Topic: "moved", Value: make([]byte, 1000)}, nil)
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	tool := func(args ...string) string {
		t.Helper()
		return java(t, "", reassignCommand, append([]string{"--bootstrap-server", b.addr}, args...)...)
	}
	file := func(name, text string) string {
		name = filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	said := func(out string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("the tool does not say %q but\n%s", w, out)
			}
		}
	}

	out := tool("--generate", "--topics-to-move-json-file", file("topics.json", `{"topics":[{"topic":"moved"}],"version":1}`), "--broker-list", "1,2,3")
	said(out, "Current partition replica assignment\n{\"version\":1,\"partitions\":[{\"topic\":\"moved\",\"partition\":0,\"replicas\":[", "Proposed partition reassignment configuration\n")

	move := file("move.json", `{"version":1,"partitions":[{"topic":"moved","partition":0,"replicas":[1,2,3]},{"topic":"moved","partition":1,"replicas":[3,2]}]}`)
	before := where(t, b, "moved")
	out = tool("--execute", "--reassignment-json-file", move, "--throttle", "20000")
	said(out, "Save this to use as the --reassignment-json-file option during rollback", "The inter-broker throttle limit was set to 20000 B/s", "Successfully started partition reassignments for moved-0,moved-1")
	said(tool("--list"), "Current partition reassignments:", "adding: ")
	said(tool("--verify", "--reassignment-json-file", move), "is still in progress.")
	// Kafka's tool cancels only what has replicas to remove, or none to add, so
	// ours cancels the rest.
	said(barnabas(t, "", "reassign-partitions", "--bootstrap-server", b.addr, "--cancel", "--reassignment-json-file", move), "Successfully cancelled partition reassignments for: moved-0,moved-1")
	said(tool("--list"), "No partition reassignments found.")
	if got := where(t, b, "moved"); !slices.EqualFunc(got, before, slices.Equal) {
		t.Errorf("cancelled: %v, before %v", got, before)
	}

	// From the one replica to another, cancelled by Kafka's tool.
	other := before[0][0]%3 + 1
	away := file("away.json", `{"version":1,"partitions":[{"topic":"moved","partition":0,"replicas":[`+string(rune('0'+other))+`]}]}`)
	tool("--execute", "--reassignment-json-file", away, "--throttle", "20000")
	said(tool("--cancel", "--reassignment-json-file", away), "Successfully cancelled partition reassignment for: moved-0", "Clearing broker-level throttles on brokers 1,2,3", "Clearing topic-level throttles on topic moved")

	tool("--execute", "--reassignment-json-file", move)
	eventually(t, patience, "the move", func() error {
		out = tool("--verify", "--reassignment-json-file", move)
		if strings.Contains(out, "still in progress") {
			return os.ErrDeadlineExceeded
		}
		return nil
	})
	said(out, "Status of partition reassignment:\nReassignment of partition moved-0 is completed.\nReassignment of partition moved-1 is completed.", "Clearing broker-level throttles on brokers 1,2,3")
	if got := where(t, b, "moved"); !slices.Equal(got[0], []int32{1, 2, 3}) || !slices.Equal(got[1], []int32{2, 3}) {
		t.Errorf("moved to %v", got)
	}

	// What is refused reads as Kafka's.
	res := runJava(t, "", reassignCommand, "--bootstrap-server", b.addr, "--execute", "--reassignment-json-file",
		file("unknown.json", `{"version":1,"partitions":[{"topic":"moved","partition":0,"replicas":[9]}]}`))
	if res.err == nil || !strings.Contains(res.stdout, "Unknown broker id 9") {
		t.Errorf("an unknown broker: %v, %s", res.err, res.stdout)
	}
}

// TestReassignByHand: what somebody writes to the znode of old tools is done, and
// the znode goes when it is.
func TestReassignByHand(t *testing.T) {
	brokers := newCluster(t, 2)
	var created kadm.CreateTopicResponses
	for _, any := range brokers {
		var err error
		if created, err = kadm.NewClient(any.client()).CreateTopics(t.Context(), 1, 1, nil, "byhand"); err == nil && created["byhand"].Err == nil {
			break
		}
	}
	if err := created["byhand"].Err; err != nil {
		t.Fatal(err)
	}
	to := 3 - where(t, brokers[0], "byhand")[0][0]
	zk, err := session.Open(t.Context(), session.Options{Connect: brokers[0].zk})
	if err != nil {
		t.Fatal(err)
	}
	defer zk.Close()
	wish := `{"version":1,"partitions":[{"topic":"byhand","partition":0,"replicas":[` + string(rune('0'+to)) + `]}]}`
	if _, err := zk.Create(t.Context(), zkpaths.ReassignPath, []byte(wish), session.Persistent); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the znode is taken and removed", func() error {
		if _, there, err := zk.Exists(t.Context(), zkpaths.ReassignPath); there || err != nil {
			return os.ErrExist
		}
		return nil
	})
	if got := where(t, brokers[0], "byhand"); !slices.Equal(got[0], []int32{to}) {
		t.Errorf("it is on %v, wanted on %d", got, to)
	}
}

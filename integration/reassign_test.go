//go:build integration

package integration

import (
	"fmt"
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

// where are the replicas of a topic's partitions, in the order of ids, by a broker
// that may have to hear of the topic first.
func where(t *testing.T, b *broker, topic string) (out [][]int32) {
	t.Helper()
	eventually(t, patience, topic+" is known", func() (err error) {
		out, err = replicasOf(t, b, topic)
		return err
	})
	return out
}

// awaitWhere waits until a broker knows that a topic's partitions are on what it is
// told: what another one has answered it may hear of later.
func awaitWhere(t *testing.T, b *broker, topic, when string, want [][]int32) {
	t.Helper()
	eventually(t, patience, topic+" "+when, func() error {
		got, err := replicasOf(t, b, topic)
		if err == nil && !slices.EqualFunc(got, want, slices.Equal) {
			err = fmt.Errorf("it is on %v, wanted on %v", got, want)
		}
		return err
	})
}

func replicasOf(t *testing.T, b *broker, topic string) (out [][]int32, err error) {
	c := b.client()
	defer c.Close()
	topics, err := kadm.NewClient(c).ListTopics(t.Context(), topic)
	if err == nil {
		err = topics.Error()
	}
	for _, p := range topics[topic].Partitions.Sorted() {
		out = append(out, slices.Sorted(slices.Values(p.Replicas)))
	}
	return out, err
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
	awaitWhere(t, b, "moved", "cancelled", before)

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
	awaitWhere(t, b, "moved", "moved", [][]int32{{1, 2, 3}, {2, 3}})

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
	awaitWhere(t, brokers[0], "byhand", "moved", [][]int32{{to}})
}

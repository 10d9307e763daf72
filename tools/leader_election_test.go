package tools

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"barnabas/brokertest"
)

func TestElectionFiles(t *testing.T) {
	for text, want := range map[string]string{
		`{"partitions":[{"topic":"a","partition":1},{"topic":"b","partition":0}]}`: "[a-1 b-0] <nil>",
		``:                               "[] Replica election data is empty or no valid JSON",
		`{}`:                             `[] Replica election data is missing "partitions" field`,
		`{"partitions":[]}`:              "[] Replica election data names no partitions",
		`{"partitions":[{"topic":"a"}]}`: "[] Each partition of the replica election data needs `topic` and `partition`",
		`{"partitions":[{"topic":"a","partition":1},{"topic":"a","partition":1},{"topic":"a","partition":1}]}`: "[] Replica election data contains duplicate partitions: a-1",
	} {
		got, err := parseElectionFile([]byte(text))
		if s := fmt.Sprint(got, " ", err); s != want {
			t.Errorf("%s: got %s, want %s", text, s, want)
		}
	}
}

// TestLeaderElection compares with what Apache Kafka's LeaderElectionCommand
// prints.
func TestLeaderElection(t *testing.T) {
	c := brokertest.Start(t, brokertest.Brokers(3), brokertest.Config("auto.leader.rebalance.enable", "false"),
		brokertest.Topics(brokertest.Topic{Name: "t", Partitions: 1, ReplicationFactor: 2}))
	cl := c.Client(kgo.DefaultProduceTopic("t"))
	bothIn := func(p brokertest.Partition) bool { return len(p.ISR) == 2 }
	leads := func(id int32) func(brokertest.Partition) bool {
		return func(p brokertest.Partition) bool { return bothIn(p) && p.Leader == id }
	}
	replicas := c.Await("both in sync", "t", bothIn)[0].Replicas
	first, second := replicas[0], replicas[1]

	out, _ := onCluster(t, c, 0, "leader-election", "--election-type", "preferred", "--topic", "t", "--partition", "0")
	same(t, "nothing to do", out, "Valid replica already elected for partitions t-0\n")
	out, errs := onCluster(t, c, 0, "leader-election", "--election-type", "UNCLEAN", "--all-topic-partitions")
	same(t, "nothing to do for all", out+errs, "No partition needs an election.\n")

	c.Broker(int(first)).Restart()
	c.Await("the second leads, both in sync", "t", leads(second))
	out, _ = onCluster(t, c, 0, "leader-election", "--election-type", "PREFERRED", "--all-topic-partitions", "--dry-run")
	same(t, "dry run", out, fmt.Sprintf("t-0\twould go from %d to %d\n", second, first))
	file := filepath.Join(t.TempDir(), "partitions.json")
	if err := os.WriteFile(file, []byte(`{"partitions":[{"topic":"t","partition":0},{"topic":"no","partition":3}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errs = onCluster(t, c, 1, "leader-election", "--election-type", "PREFERRED", "--path-to-json-file", file)
	same(t, "one of two", out, `
Successfully completed leader election (PREFERRED) for partitions t-0
Error completing leader election (PREFERRED) for partition: no-3: org.apache.kafka.common.errors.UnknownTopicOrPartitionException: The partition does not exist.
`)
	if !strings.Contains(errs, "1 replica(s) could not be elected") {
		t.Errorf("stderr: %s", errs)
	}
	c.Await("the first leads", "t", leads(first))

	// The second misses a record, and then the first is gone.
	produce := func() {
		if err := cl.ProduceSync(t.Context(), kgo.StringRecord("x")).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	produce()
	c.Broker(int(second)).Stop()
	c.Await("the second has left", "t", func(p brokertest.Partition) bool { return len(p.ISR) == 1 })
	produce()
	c.Broker(int(first)).Stop()
	c.Broker(int(second)).Restart()
	c.Await("no leader", "t", func(p brokertest.Partition) bool { return p.Leader < 0 && len(p.OfflineReplicas) == 1 })
	out, _ = onCluster(t, c, 0, "leader-election", "--election-type", "UNCLEAN", "--topic", "t", "--partition", "0", "--dry-run")
	same(t, "unclean dry run", out, fmt.Sprintf("t-0\twould be led by %d\tepoch 2\tend 1\tlost: what only %d, in sync, had\n", second, first))
	out, _ = onCluster(t, c, 0, "leader-election", "--election-type", "UNCLEAN", "--topic", "t", "--partition", "0")
	same(t, "unclean", out, "Successfully completed leader election (UNCLEAN) for partitions t-0\n")
	c.Await("the second leads", "t", func(p brokertest.Partition) bool { return p.Leader == second })
}

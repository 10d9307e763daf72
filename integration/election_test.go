//go:build integration

package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// leaderOf waits until a partition is led by one of the brokers allowed, with so
// many in sync.
func leaderOf(t *testing.T, b *broker, topic string, members int, allowed ...int32) int32 {
	t.Helper()
	admin := kadm.NewClient(b.client())
	var leader int32
	eventually(t, patience, fmt.Sprintf("%s to be led by %v, %d in sync", topic, allowed, members), func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		topics, err := admin.ListTopics(ctx, topic)
		if err != nil {
			return err
		}
		p := topics[topic].Partitions[0]
		for _, id := range allowed {
			if leader = p.Leader; leader == id && len(p.ISR) == members {
				return nil
			}
		}
		return fmt.Errorf("leader %d, ISR %v, replicas %v", p.Leader, p.ISR, p.Replicas)
	})
	return leader
}

// TestElections moves a leader there and back: by Kafka's own tool, by ours, by the
// znode of old tools, and by a hand that edits the state.
func TestElections(t *testing.T) {
	brokers := newCluster(t, 3, "auto.leader.rebalance.enable=false")
	b := brokers[2]
	server := []string{"--bootstrap-server", b.addr}
	barnabas(t, "", append([]string{"topics", "--create", "--topic", "e", "--replica-assignment", "1:3"}, server...)...)
	leaderOf(t, b, "e", 2, 1)
	elect := []string{"--election-type", "preferred", "--topic", "e", "--partition", "0"}
	ours := func() string {
		return barnabas(t, "", append(append([]string{"leader-election"}, server...), elect...)...)
	}
	theirs := func() string {
		return java(t, "", "org.apache.kafka.tools.LeaderElectionCommand", append(append([]string{}, server...), elect...)...)
	}
	if got, want := ours(), theirs(); strings.TrimSpace(got) != strings.TrimSpace(want) {
		t.Errorf("nothing to do: ours %q, theirs %q", got, want)
	}
	away := func() { // a restart of the first replica makes the other the leader
		t.Helper()
		brokers[0].stop()
		brokers[0].start()
		brokers[0].awaitReady(patience)
		leaderOf(t, b, "e", 2, 3)
	}
	var said []string
	for _, tool := range []func() string{ours, theirs} {
		away()
		said = append(said, strings.TrimSpace(tool()))
		leaderOf(t, b, "e", 2, 1)
	}
	if said[0] != said[1] || !strings.HasPrefix(said[0], "Successfully completed leader election (PREFERRED) for partitions e-0") {
		t.Errorf("ours said %q, theirs %q", said[0], said[1])
	}

	away()
	zkCLI(t, b.zk, "create", "/admin/preferred_replica_election", `{"version":1,"partitions":[{"topic":"e","partition":0}]}`)
	leaderOf(t, b, "e", 2, 1)
	eventually(t, patience, "the znode to go", func() error {
		if out := zkCLI(t, b.zk, "ls", "/admin"); strings.Contains(out, "preferred_replica_election") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})

	// A hand makes broker 3 the leader, in the epoch that 1 leads in, and then deposes
	// the controller.
	zkCLI(t, b.zk, "set", "/brokers/topics/e/partitions/0/state", `{"controller_epoch":1,"leader":3,"version":1,"leader_epoch":0,"isr":[1,3]}`)
	leaderOf(t, b, "e", 2, 3)
	zkCLI(t, b.zk, "delete", "/controller")
	eventually(t, patience, "a new controller that elects", func() error {
		r := run(t, "", binary, append(append([]string{"leader-election"}, server...), elect...)...)
		return r.err
	})
	leaderOf(t, b, "e", 2, 1)
}

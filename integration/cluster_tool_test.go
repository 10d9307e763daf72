//go:build integration

package integration

import (
	"slices"
	"strings"
	"testing"
)

// TestClusterTool: one screen of two brokers, whether one may be stopped, and
// after it was killed the filters of topics --describe as Apache Kafka's tool has
// them.
func TestClusterTool(t *testing.T) {
	b := newBroker(t)
	o := b.another(2)
	o.start()
	o.awaitReady(patience)
	awaitEachOther(t, []*broker{b, o})
	server := []string{"--bootstrap-server", b.addr}
	ours := func(args ...string) result { return run(t, "", binary, append(args, server...)...) }
	for _, topic := range [][]string{
		{"--topic", "single", "--replica-assignment", "2"},
		{"--topic", "strict", "--replica-assignment", "2:1", "--config", "min.insync.replicas=2"},
		{"--topic", "loose", "--replica-assignment", "2:1,1:2"},
	} {
		if r := ours(append([]string{"topics", "--create"}, topic...)...); r.err != nil {
			t.Fatal(r.stderr)
		}
	}
	got := ours("cluster").stdout
	for _, part := range []string{"Controller  broker 1, epoch 1, since ", "BROKER  ADDRESS", b.addr, o.addr, "Partitions  4 in 3 topics", "It is healthy."} {
		if !strings.Contains(got, part) {
			t.Errorf("no %q in\n%s", part, got)
		}
	}
	if got, want := ours("cluster", "cluster-id").stdout, java(t, "", "kafka.tools.ClusterTool", append([]string{"cluster-id"}, server...)...); !strings.HasSuffix(want, got) { // theirs warns of its own package
		t.Errorf("cluster-id: %q, Apache Kafka's %q", got, want)
	}
	r := ours("cluster", "--may-i-stop", "2")
	want := "Broker 2 may not be stopped: 2 partitions forbid it.\n  single-0: it has no other replica, and would be offline\n  strict-0: 1 of 2,1 would be in sync, and acks=all needs 2\n"
	if r.err == nil || r.stdout != want {
		t.Errorf("may I stop 2: %v\n%s%s", r.err, r.stdout, r.stderr)
	}
	if r := ours("configs", "--alter", "--topic", "strict", "--delete-config", "min.insync.replicas"); r.err != nil {
		t.Fatal(r.stderr)
	}
	if r := ours("topics", "--delete", "--topic", "single"); r.err != nil {
		t.Fatal(r.stderr)
	}
	if r := ours("cluster", "--may-i-stop", "2"); r.err != nil || r.stdout != "Broker 2 may be stopped.\n" {
		t.Errorf("may I stop 2 now: %v\n%s%s", r.err, r.stdout, r.stderr)
	}
	if r := ours("topics", "--create", "--topic", "single", "--replica-assignment", "2"); r.err != nil {
		t.Fatal(r.stderr)
	}
	o.proc.Kill()
	eventually(t, patience, "the death is known", func() error {
		if got = ours("cluster").stdout; !strings.Contains(got, "offline           1 ") || !strings.Contains(got, "under-replicated  3 ") {
			return errorText(got)
		}
		return nil
	})
	for _, filter := range []string{"--under-replicated-partitions", "--unavailable-partitions", "--under-min-isr-partitions", "--at-min-isr-partitions", "--topics-with-overrides", "--exclude-internal"} {
		args := append([]string{"--describe", filter}, server...)
		mine := sortedLines(barnabas(t, "", append([]string{"topics"}, args...)...))
		theirs := sortedLines(java(t, "", "org.apache.kafka.tools.TopicCommand", args...))
		if !slices.Equal(mine, theirs) {
			t.Errorf("%s: ours\n%s\nApache Kafka's\n%s", filter, strings.Join(mine, "\n"), strings.Join(theirs, "\n"))
		}
		if filter != "--topics-with-overrides" && len(mine[0]) == 0 {
			t.Errorf("%s prints nothing", filter)
		}
	}
}

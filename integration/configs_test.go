//go:build integration

package integration

import (
	"slices"
	"strings"
	"testing"
)

// TestConfigTools: what Apache Kafka's kafka-configs.sh changes and prints, ours
// prints the same, and the other way round.
func TestConfigTools(t *testing.T) {
	b := newBroker(t)
	createTopic(t, b, "t", 1)
	both := func(args ...string) (mine, theirs []string) {
		t.Helper()
		args = append([]string{"--bootstrap-server", b.addr}, args...)
		mine = sortedLines(barnabas(t, "", append([]string{"configs"}, args...)...))
		theirs = sortedLines(java(t, "", "kafka.admin.ConfigCommand", args...))
		if !slices.Equal(mine, theirs) {
			t.Errorf("%v: ours\n%s\nApache Kafka's\n%s", args, strings.Join(mine, "\n"), strings.Join(theirs, "\n"))
		}
		return mine, theirs
	}
	both("--alter", "--topic", "t", "--add-config", "retention.ms=1000,cleanup.policy=[compact,delete]")
	both("--describe", "--topic", "t")
	got := java(t, "", "kafka.admin.ConfigCommand", "--bootstrap-server", b.addr, "--alter", "--entity-type", "topics", "--entity-name", "t",
		"--add-config", "segment.bytes=1000000", "--delete-config", "retention.ms")
	if got != "Completed updating config for topic t.\n" {
		t.Errorf("delete and add: %q", got)
	}
	again := run(t, "", binary, "configs", "--bootstrap-server", b.addr, "--alter", "--topic", "t", "--delete-config", "retention.ms")
	if again.err == nil || !strings.Contains(again.stderr, "Invalid config(s): retention.ms") {
		t.Errorf("deleted twice: %v %q", again.err, again.stderr)
	}
	both("--describe", "--entity-type", "topics")
	both("--alter", "--broker-defaults", "--add-config", "log.retention.ms=3600000")
	both("--alter", "--entity-type", "brokers", "--entity-name", "1", "--add-config", "log.retention.ms=7200000,leader.replication.throttled.rate=5000,my.own=x")
	both("--describe", "--entity-type", "brokers")
	both("--describe", "--broker", "1", "--all")
	both("--describe", "--topic", "t", "--all")
}

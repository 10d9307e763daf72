//go:build integration

package integration

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// numbered makes n distinct lines.
func numbered(prefix string, n int) []string {
	var lines []string
	for i := range n {
		lines = append(lines, fmt.Sprintf("%s-%05d", prefix, i))
	}
	return lines
}

func text(lines []string) string { return strings.Join(lines, "\n") + "\n" }

func sortedLines(s string) []string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	slices.Sort(lines)
	return lines
}

func wantLines(t *testing.T, who, got string, want []string) {
	t.Helper()
	if g := sortedLines(got); !slices.Equal(g, want) {
		t.Fatalf("%s: %d lines, want %d; the first are %.200q", who, len(g), len(want), g)
	}
}

// TestKcat produces with each codec to topics that are made on the way, and
// consumes all back; kcat is librdkafka.
func TestKcat(t *testing.T) {
	b := newBroker(t)
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		topic, lines := "kcat-"+codec, numbered(codec, 3000)
		must(t, text(lines), "kcat", "-P", "-b", b.addr, "-t", topic, "-z", codec, "-X", "topic.request.required.acks=-1")
		got := must(t, "", "kcat", "-C", "-b", b.addr, "-t", topic, "-o", "beginning", "-e", "-q")
		wantLines(t, "kcat "+codec, got, lines)
	}
	list := must(t, "", "kcat", "-L", "-b", b.addr)
	for _, want := range []string{"broker 1 at " + b.addr, `topic "kcat-zstd" with 1 partitions`, "leader 1, replicas: 1, isrs: 1"} {
		if !strings.Contains(list, want) {
			t.Errorf("kcat -L has no %q:\n%s", want, list)
		}
	}
	// The offset of a moment, and from the end.
	end := must(t, "", "kcat", "-Q", "-b", b.addr, "-t", "kcat-none:0:-1")
	if !strings.Contains(end, "offset 3000") {
		t.Errorf("kcat -Q: %q", end)
	}
	last := must(t, "", "kcat", "-C", "-b", b.addr, "-t", "kcat-lz4", "-o", "-2", "-e", "-q")
	if want := "lz4-02998\nlz4-02999\n"; last != want {
		t.Errorf("the last two: %q, want %q", last, want)
	}
}

// TestJavaConsoleTools is the quick start of Apache Kafka, with its own tools.
func TestJavaConsoleTools(t *testing.T) {
	b := newBroker(t)
	const (
		topics   = "org.apache.kafka.tools.TopicCommand"
		producer = "kafka.tools.ConsoleProducer"
		consumer = "org.apache.kafka.tools.consumer.ConsoleConsumer"
		groups   = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
	)
	server := []string{"--bootstrap-server", b.addr}
	tool := func(stdin, class string, args ...string) string {
		t.Helper()
		return java(t, stdin, class, append(slices.Clone(server), args...)...)
	}
	if got := tool("", topics, "--create", "--topic", "quick", "--partitions", "3", "--config", "max.message.bytes=70000"); !strings.Contains(got, "Created topic quick.") {
		t.Fatalf("create: %q", got)
	}
	if got := tool("", topics, "--list"); !slices.Contains(sortedLines(got), "quick") {
		t.Fatalf("list: %q", got)
	}
	described := tool("", topics, "--describe", "--topic", "quick")
	for _, want := range []string{"PartitionCount: 3", "ReplicationFactor: 1", "max.message.bytes=70000", "Partition: 2\tLeader: 1\tReplicas: 1\tIsr: 1"} {
		if !strings.Contains(described, want) {
			t.Errorf("describe has no %q:\n%s", want, described)
		}
	}
	lines := numbered("line", 500)
	tool(text(lines), producer, "--topic", "quick", "--producer-property", "acks=all")
	got := tool("", consumer, "--topic", "quick", "--group", "readers", "--from-beginning", "--max-messages", "500", "--timeout-ms", "60000")
	wantLines(t, "console consumer", got, lines)

	// The group has committed all, and resumes there.
	state := tool("", groups, "--describe", "--group", "readers")
	if rows := regexp.MustCompile(`(?m)^readers\s+quick\s+\d\s+(\d+)\s+(\d+)\s+0\s`).FindAllString(state, -1); len(rows) != 3 {
		t.Errorf("describe of the group, want three partitions with lag 0:\n%s", state)
	}
	more := numbered("more", 50)
	tool(text(more), producer, "--topic", "quick")
	got = tool("", consumer, "--topic", "quick", "--group", "readers", "--max-messages", "50", "--timeout-ms", "60000")
	wantLines(t, "console consumer, resumed", got, more)
	if got := tool("", groups, "--list"); !strings.Contains(got, "readers") {
		t.Errorf("list of groups: %q", got)
	}

	tool("", topics, "--alter", "--topic", "quick", "--partitions", "5")
	if got := tool("", topics, "--describe", "--topic", "quick"); !strings.Contains(got, "PartitionCount: 5") {
		t.Errorf("after the alteration:\n%s", got)
	}
	tool("", topics, "--delete", "--topic", "quick")
	eventually(t, patience, "the topic is gone", func() error {
		if slices.Contains(sortedLines(tool("", topics, "--list")), "quick") {
			return fmt.Errorf("it is listed")
		}
		return nil
	})
}

// TestJavaPerfTools: idempotent producers, compression, and fetches at full
// speed.
func TestJavaPerfTools(t *testing.T) {
	b := newBroker(t, "num.partitions=4")
	const n = "200000"
	for _, codec := range []string{"none", "lz4"} {
		topic := "perf-" + codec
		out := java(t, "", "org.apache.kafka.tools.ProducerPerformance", "--topic", topic, "--num-records", n, "--record-size", "124",
			"--throughput", "-1", "--producer-props", "bootstrap.servers="+b.addr, "acks=all", "enable.idempotence=true", "compression.type="+codec)
		if !strings.Contains(out, n+" records sent") {
			t.Fatalf("producer-perf-test: %s", out)
		}
		t.Log(lastLine(out))
		out = java(t, "", "org.apache.kafka.tools.ConsumerPerformance", "--bootstrap-server", b.addr, "--topic", topic, "--messages", n, "--timeout", "60000")
		// start, end, MB, MB/s, records, …
		fields := strings.Split(lastLine(out), ", ")
		if len(fields) < 6 || fields[4] != n {
			t.Fatalf("consumer-perf-test: %s", out)
		}
		t.Log(lastLine(out))
	}
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// TestOwnTools: the commands of the binary, with Kafka's flags.
func TestOwnTools(t *testing.T) {
	b := newBroker(t)
	server := []string{"--bootstrap-server", b.addr}
	tool := func(stdin, name string, args ...string) string {
		t.Helper()
		return barnabas(t, stdin, append(append([]string{name}, server...), args...)...)
	}
	if got := tool("", "topics", "--create", "--topic", "own", "--partitions", "2"); !strings.Contains(got, "Created topic own.") {
		t.Fatalf("create: %q", got)
	}
	lines := numbered("own", 200)
	tool(text(lines), "console-producer", "--topic", "own")
	got := tool("", "console-consumer", "--topic", "own", "--from-beginning", "--max-messages", "200", "--group", "g", "--timeout-ms", "60000")
	wantLines(t, "console-consumer", got, lines)
	if got := tool("", "consumer-groups", "--describe", "--group", "g"); !strings.Contains(got, "own") {
		t.Errorf("consumer-groups: %q", got)
	}
	if got := tool("", "topics", "--list"); !slices.Contains(sortedLines(got), "own") {
		t.Errorf("list: %q", got)
	}
	// What one's own tools print, Apache Kafka's prints, too.
	mine := tool("", "topics", "--describe", "--topic", "own")
	theirs := java(t, "", "org.apache.kafka.tools.TopicCommand", "--bootstrap-server", b.addr, "--describe", "--topic", "own")
	if strings.TrimSpace(mine) != strings.TrimSpace(theirs) {
		t.Errorf("describe:\n%s\nApache Kafka's:\n%s", mine, theirs)
	}
}

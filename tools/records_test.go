package tools

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/brokertest"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

// moving is what differs from run to run: times, and sums of them.
var moving = regexp.MustCompile(`("timestamp"|"avg_throughput"):[0-9.e+]+`)

// onCluster carries out a command against brokers and returns its output with
// what moves taken out.
func onCluster(t *testing.T, c *brokertest.Cluster, wantCode int, args ...string) (stdout, stderr string) {
	t.Helper()
	code, out, errs := run(t, nil, append(args, "--bootstrap-server", c.Bootstrap())...)
	if code != wantCode {
		t.Fatalf("%v: exit %d, want %d:\n%s%s", args, code, wantCode, out, errs)
	}
	return moving.ReplaceAllString(out, "$1:N"), errs
}

func same(t *testing.T, what, got, want string) {
	t.Helper()
	if d := cmp.Diff(strings.TrimPrefix(want, "\n"), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// TestRecordTools compares with what Apache Kafka's Java tools print.
func TestRecordTools(t *testing.T) {
	c := brokertest.Start(t, brokertest.Topics(brokertest.Topic{Name: "tb", Partitions: 1}, brokertest.Topic{Name: "ta", Partitions: 2}, brokertest.Topic{Name: "wide", Partitions: 11}))
	out, _ := onCluster(t, c, 0, "verifiable-producer", "--topic", "tb", "--max-messages", "3", "--value-prefix", "7", "--repeating-keys", "2")
	same(t, "verifiable-producer", out, `
{"timestamp":N,"name":"startup_complete"}
{"timestamp":N,"name":"producer_send_success","key":"0","value":"7.0","offset":0,"topic":"tb","partition":0}
{"timestamp":N,"name":"producer_send_success","key":"1","value":"7.1","offset":1,"topic":"tb","partition":0}
{"timestamp":N,"name":"producer_send_success","key":"0","value":"7.2","offset":2,"topic":"tb","partition":0}
{"timestamp":N,"name":"shutdown_complete"}
{"timestamp":N,"name":"tool_data","sent":3,"acked":3,"target_throughput":-1,"avg_throughput":N}
`)
	out, _ = onCluster(t, c, 0, "verifiable-consumer", "--topic", "tb", "--group-id", "g", "--max-messages", "2", "--verbose")
	same(t, "verifiable-consumer", out, `
{"timestamp":N,"name":"startup_complete"}
{"timestamp":N,"name":"partitions_assigned","partitions":[{"topic":"tb","partition":0}]}
{"timestamp":N,"name":"record_data","key":"0","value":"7.0","topic":"tb","partition":0,"offset":0}
{"timestamp":N,"name":"record_data","key":"1","value":"7.1","topic":"tb","partition":0,"offset":1}
{"timestamp":N,"name":"records_consumed","count":2,"partitions":[{"topic":"tb","partition":0,"count":2,"minOffset":0,"maxOffset":1}]}
{"timestamp":N,"name":"offsets_committed","offsets":[{"topic":"tb","partition":0,"offset":2}],"success":true}
{"timestamp":N,"name":"partitions_revoked","partitions":[{"topic":"tb","partition":0}]}
{"timestamp":N,"name":"shutdown_complete"}
`)
	file := filepath.Join(t.TempDir(), "offsets.json")
	text := `{"partitions":[{"topic":"tb","partition":0,"offset":1},{"topic":"ta","partition":0,"offset":99},{"topic":"nosuch","partition":0,"offset":1}],"version":1}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ = onCluster(t, c, 0, "delete-records", "--offset-json-file", file)
	same(t, "delete-records", out, `
Executing records delete operation
Records delete operation completed:
partition: nosuch-0	error: org.apache.kafka.common.errors.UnknownTopicOrPartitionException: This server does not host this topic-partition.
partition: ta-0	error: org.apache.kafka.common.errors.OffsetOutOfRangeException: The requested offset is not within the range of offsets maintained by the server.
partition: tb-0	low_watermark: 1
`)
	for args, want := range map[string]string{
		"":                                "ta:0:0\nta:1:0\ntb:0:3\nwide:0:0\nwide:1:0\nwide:10:0\nwide:2:0\nwide:3:0\nwide:4:0\nwide:5:0\nwide:6:0\nwide:7:0\nwide:8:0\nwide:9:0\n",
		"--topic tb --time earliest":      "tb:0:1\n",
		"--topic t. --partitions 1":       "ta:1:0\n",
		"--topic-partitions tb,ta:0-1":    "ta:0:0\ntb:0:3\n",
		"--time 9999999999999":            "",
		"--topic tb --time -3":            "tb:0:2\n",
		"--topic tb --time latest-tiered": "",
	} {
		out, _ := onCluster(t, c, 0, append([]string{"get-offsets", "--exclude-internal-topics"}, strings.Fields(args)...)...)
		if args == "--topic tb --time -3" { // records of one millisecond: any of them
			out = regexp.MustCompile(`[0-2]\n`).ReplaceAllString(out, "2\n")
		}
		same(t, "get-offsets "+args, out, want)
	}
	_, errs := onCluster(t, c, 1, "get-offsets", "--topic", "nosuch")
	same(t, "get-offsets of nothing", errs, "barnabas: Could not match any topic-partitions with the specified filters\n")
}

func TestLogDirsAndVersionsOfBrokers(t *testing.T) {
	c := brokertest.Start(t, brokertest.Brokers(2), brokertest.Topics(brokertest.Topic{Name: "ta", Partitions: 2}))
	want := []string{"ta-0 0 <nil>", "ta-1 0 <nil>"}
	var out string
	var found []string
	for end := time.Now().Add(time.Minute); !slices.Equal(found, want); { // a broker may be about to make its log
		if time.Now().After(end) {
			t.Fatalf("got %v, want %v in %s", found, want, out)
		}
		out, _ = onCluster(t, c, 0, "log-dirs", "--describe", "--topic-list", "ta,other")
		lines := strings.SplitN(out, "\n", 3)
		same(t, "log-dirs", strings.Join(lines[:2], "\n"), "Querying brokers for log directories information\nReceived log directory information from brokers 0,1")
		var view logDirsView
		if err := json.Unmarshal([]byte(lines[2]), &view); err != nil {
			t.Fatal(err)
		}
		found = nil
		for _, b := range view.Brokers {
			for _, d := range b.LogDirs {
				for _, p := range d.Partitions {
					found = append(found, fmt.Sprintf("%s %d %v", p.Partition, p.Size, d.Error))
				}
			}
		}
		slices.Sort(found)
	}
	_, errs := onCluster(t, c, 1, "log-dirs", "--describe", "--broker-list", "1,7")
	same(t, "log-dirs of no broker", errs, "barnabas: ERROR: The given brokers do not exist from --broker-list: 7. Current existent brokers: 0,1\n")
	out, _ = onCluster(t, c, 0, "broker-api-versions")
	for _, want := range []string{" (id: 0 rack: null) -> (\n\tProduce(0): 0 to 11 [usable: 11],\n", " (id: 1 rack: null) -> (\n", "\tDescribeQuorum(55): UNSUPPORTED,\n", "\tReadShareGroupStateSummary(87): UNSUPPORTED\n)\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("broker-api-versions lacks %q:\n%s", want, out)
		}
	}
}

func TestPrintVersions(t *testing.T) {
	var b strings.Builder
	printVersions(&b, []kmsg.ApiVersionsResponseApiKey{{ApiKey: 200, MaxVersion: 3}, {ApiKey: 0, MinVersion: 12, MaxVersion: 13}, {ApiKey: 3, MinVersion: 0, MaxVersion: 99}, {ApiKey: 61}})
	for _, want := range []string{"(\n\tProduce(0): 12 to 13 [unusable: node too new],\n", "\tMetadata(3): 0 to 99 [usable: 12],\n", "\tDescribeProducers(61): 0 [usable: 0],\n", "\tUNKNOWN(200): 0 to 3\n)\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("lacks %q:\n%s", want, b.String())
		}
	}
}

func TestOffsetFile(t *testing.T) {
	for text, want := range map[string]string{
		`nonsense`: "The input string is not a valid JSON", `{"version":1}`: "Missing partitions field",
		`{"partitions":[],"version":2}`:                                                                  "Not supported version field value 2",
		`{"partitions":[{"topic":"t","partition":0}]}`:                                                   "No such field exists: `offset`",
		`{"partitions":[{"partition":0,"offset":0}]}`:                                                    "No such field exists: `topic`",
		`{"partitions":[{"topic":"t","partition":3000000000}]}`:                                          "json: cannot unmarshal number 3000000000 into Go struct field .partitions.partition of type int32",
		`{"partitions":[{"topic":"t","partition":0,"offset":1},{"topic":"t","partition":0,"offset":2}]}`: "Offset json file contains duplicate topic partitions: t-0",
	} {
		if _, err := parseOffsetFile([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestTopicPartitionRules(t *testing.T) {
	for rules, want := range map[string]string{
		"a": "a-0 a-1 a-2 a-3", "a:1": "a-1", "a:1-3": "a-1 a-2", "a:2-": "a-2 a-3", "a:-1": "a-0", ":0": "a-0 ab-0",
		"ab:3,a:0": "a-0 ab-3", "a.:1": "ab-1", "a:": "a-0 a-1 a-2 a-3",
	} {
		wants, err := parseRules(rules)
		if err != nil {
			t.Errorf("%s: %v", rules, err)
			continue
		}
		var got []string
		for _, topic := range []string{"a", "ab"} {
			for p := range int32(4) {
				if tp := (kafka.TopicPartition{Topic: topic, Partition: p}); wants(tp) {
					got = append(got, tp.String())
				}
			}
		}
		same(t, rules, strings.Join(got, " "), want)
	}
	for _, bad := range []string{"a:x", "a:1-2-3", "a:9999999999", "[:1"} {
		if _, err := parseRules(bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestJavaNames(t *testing.T) {
	for code, want := range map[protocol.Error]string{
		protocol.OffsetOutOfRange: "OffsetOutOfRangeException", protocol.InvalidTopic: "InvalidTopicException",
		protocol.PolicyViolation: "PolicyViolationException", protocol.TopicAuthorizationFailed: "TopicAuthorizationException",
		protocol.RequestTimedOut: "TimeoutException", protocol.NetworkException: "NetworkException",
	} {
		if got := javaClass(code); got != "org.apache.kafka.common.errors."+want {
			t.Errorf("%v: got %s", code, got)
		}
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		code, out, errs := run(t, nil, "completion", shell)
		if code != 0 || !strings.Contains(out, "barnabas") {
			t.Errorf("%s: exit %d, %s%s", shell, code, out, errs)
		}
	}
	_, out, _ := run(t, nil, "__complete", "get")
	if !strings.HasPrefix(out, "get-offsets\t") {
		t.Errorf("got %s", out)
	}
}

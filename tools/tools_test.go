package tools

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/conf"
	"barnabas/internal/testaddr"
)

// run carries out a command line against a pretended broker.
func run(t *testing.T, start func(context.Context, *conf.Config, *slog.Logger) (instance, error), args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	tl := &tool{in: strings.NewReader(""), out: &out, err: &errs, start: start}
	code = tl.run(args)
	return code, out.String(), errs.String()
}

func TestExitCodes(t *testing.T) {
	nobody := testaddr.Reserve(t)
	for _, test := range []struct {
		args string
		code int
		want string // on stderr; on stdout when the code is 0
	}{
		{"", 0, "Brokers:\n  cluster "},
		{"--help", 0, "Measuring and looking inside:"},
		{"version", 0, "compatible with Apache Kafka 3.9"},
		{"topics --help", 0, "barnabas topics --create --topic orders"},
		{"topics --version", 0, "devel"},
		{"nonsense", 2, `unknown command "nonsense"`},
		{"topcs --list", 2, `unknown command "topcs" (did you mean topics?)`},
		{"topics", 2, "Command must include exactly one action: --list, --describe, --create, --alter or --delete"},
		{"topics --list --create", 2, "exactly one action"},
		{"topics --create", 2, `Missing required argument "[topic]"`},
		{"topics --alter --topic x", 2, `Missing required argument "[partitions]"`},
		{"topics --create --topic x --partitions 0", 2, "The partitions must be greater than 0"},
		{"topics --create --topic x --replication-factor 40000", 2, "The replication factor must be between 1 and 32767 inclusive"},
		{"topics --list --nope", 2, "unknown flag: --nope"},
		{"topics --list stray", 2, `unexpected argument "stray"`},
		{"topics --list --bootstrap-server " + nobody, 1, `"barnabas dev" starts one`},
		{"topics --list --command-config /nowhere.properties", 1, "no such file"},
		{"configs --alter --describe", 2, "exactly one action"},
		{"configs --describe --add-config a=b --topic t", 2, "belong to --alter"},
		{"configs --describe", 2, "At least one entity type must be specified"},
		{"configs --alter --entity-type topics --add-config a=b", 2, "An entity name must be specified with --alter of topics"},
		{"configs --alter --entity-type brokers --add-config a=b", 2, "An entity-name or default entity must be specified"},
		{"configs --alter --topic t", 2, "At least one of --add-config, --add-config-file, or --delete-config"},
		{"configs --alter --topic t --add-config nonsense", 2, "must be in the format \"key=val\""},
		{"configs --describe --broker x", 2, "must be a valid integer broker id, but it is: x"},
		{"configs --describe --topic a/b", 2, "Topic name is invalid"},
		{"configs --describe --entity-type nonsense", 2, "Invalid entity type nonsense"},
		{"configs --describe --user u", 1, "Configs of users (quotas and SCRAM credentials) are not built yet; those of topics and brokers are"},
		{"configs --describe --entity-type clients --entity-default", 1, "not built yet"},
		{"configs --describe --topic t --broker 1", 2, "One entity at a time"},
		{"configs --describe --topic t --zookeeper z:1", 2, "--bootstrap-server is"},
		{"cluster nonsense", 2, `unknown command "nonsense"; there is cluster-id`},
		{"explain", 2, "What shall be explained?"},
		{"explain broker 1 2", 2, "What shall be explained?"},
		{"explain t-0 --zookeeper z:1 --bootstrap-server b:1", 2, "leave --bootstrap-server out"},
		{"console-consumer", 2, "Exactly one of --include/--topic is required."},
		{"console-consumer --topic t --offset 5", 2, "The partition is required when offset is specified."},
		{"console-consumer --topic t --partition 0 --group g", 2, "Options group and partition cannot be specified together."},
		{"console-consumer --topic t --partition 0 --offset x", 2, "The provided offset value 'x' is incorrect. Valid values are 'earliest', 'latest', or a non-negative long."},
		{"console-consumer --topic t --formatter a.b.Other", 2, "the formatter a.b.Other is not built yet"},
		{"console-consumer --topic t --property key.deserializer=x.Y", 2, "the deserializer x.Y is not known"},
		{"console-producer", 2, `Missing required argument "[topic]"`},
		{"console-producer --topic t --property nonsense", 2, `invalid property "nonsense"`},
		{"console-producer --topic t --producer-property acks=2", 2, "acks=2: allowed are all (or -1), 1 and 0"},
		{"console-producer --topic t --producer-property security.protocol=SSL", 1, "security.protocol=SSL is not built yet"},
		{"console-producer --topic t --compression-codec zip", 2, "compression.type=zip: allowed are"},
		{"console-producer --topic t --compression-codec none x", 2, `unexpected argument "x"`},
		{"console-producer --compression-codec none", 2, `Missing required argument "[topic]"`},
		{"console-producer --compression-codec --topic", 2, "flag needs an argument: --topic"},
		{"consumer-groups --describe", 2, "Option [describe] takes one of these options: [all-groups], [group]"},
		{"consumer-groups", 2, "exactly one action"},
		{"consumer-groups --delete", 2, "Option [delete] takes one of these options: [all-groups], [group]"},
		{"consumer-groups --delete --group g --topic t", 2, "does not support topic-specific offset deletion"},
		{"consumer-groups --delete-offsets --group g", 2, "Option [delete-offsets] takes the following options: [group], [topic]"},
		{"consumer-groups --reset-offsets --all-topics --to-latest", 2, "Option [reset-offsets] takes one of these options: [all-groups], [group]"},
		{"consumer-groups --reset-offsets --group g --all-topics", 2, "requires one of the following scenarios: [to-earliest]"},
		{"consumer-groups --reset-offsets --group g --all-topics --to-latest --to-offset 0", 2, "a reset has one plan"},
		{"consumer-groups --reset-offsets --group g --all-topics --to-latest --execute --dry-run", 2, "only accepts one of [execute] and [dry-run]"},
		{"consumer-groups --reset-offsets --group g --to-latest", 2, "One of the reset scopes should be defined: --all-topics, --topic."},
		{"consumer-groups --reset-offsets --group g --all-topics --to-datetime 2026-01-31", 2, `"2026-01-31" is no time`},
		{"consumer-groups --reset-offsets --group g --all-topics --by-duration 5m", 2, `"5m" is no duration`},
		{"consumer-groups --list --type nonsense --state", 2, "Invalid types list 'nonsense'"},
		{"consumer-groups --list --state --type nonsense", 2, "Invalid types list 'nonsense'"},
		{"consumer-groups --list --state stable,empty --type nonsense", 2, "Invalid types list 'nonsense'"},
		{"consumer-groups --list --type classic --state nonsense", 2, "Invalid state list 'nonsense'"},
		{"consumer-groups --list --state=stable --state nonsense", 2, "Invalid state list 'nonsense'"},
		{"consumer-groups --list --group g stable", 2, "unexpected argument"},
		{"consumer-groups --describe --group g --members --offsets", 2, "takes at most one"},
		{"producer-perf-test --topic t --num-records 5", 2, "exactly one of --record-size"},
		{"producer-perf-test --topic t --num-records 0 --record-size 1", 2, "--num-records should be greater than zero"},
		{"consumer-perf-test --topic t", 2, `Missing required argument "[messages]"`},
		{"get-offsets --topic-partitions t:0 --topic t", 2, "--topic-partitions cannot be used with --topic or --partitions"},
		{"get-offsets --time foo", 2, "Malformed time argument foo."},
		{"get-offsets --partitions x", 2, "--partitions expects a comma separated list of numeric partition ids, but received: x"},
		{"delete-records", 2, `Missing required argument "[offset-json-file]"`},
		{"leader-election --all-topic-partitions", 2, "Missing required option(s): election-type"},
		{"leader-election --election-type PREFERRED", 2, "One and only one of the following options is required: topic, all-topic-partitions, path-to-json-file"},
		{"leader-election --election-type UNCLEAN --topic t", 2, "Missing required option(s): partition"},
		{"leader-election --election-type UNCLEAN --all-topic-partitions --partition 3", 2, "Option partition is only allowed if topic is used"},
		{"leader-election --election-type BEST --all-topic-partitions", 2, "Value BEST is not a valid election type"},
		{"log-dirs", 2, `Missing required argument "[describe]"`},
		{"broker-api-versions x", 2, `unexpected argument "x"`},
		{"verifiable-producer", 2, "argument --topic is required"},
		{"verifiable-producer --topic t --acks 2", 2, "argument --acks: invalid choice: '2' (choose from {0,1,-1})"},
		{"verifiable-consumer --topic t", 2, "argument --group-id is required"},
		{"verifiable-consumer --topic t --group-id g --group-protocol consumer", 2, "have only classic"},
		{"completion bash", 0, "barnabas"},
		{"dump-log", 2, `Missing required argument "[files]"`},
		{"dump-log --files x.log --value-decoder-class com.example.D", 2, "there is no decoder com.example.D"},
		{"server", 2, "the file is missing"},
		{"server /nowhere/server.toml", 1, "no such file"},
		{"server a b", 2, "--override key=value"},
		{"dev --ephemeral --data-dir x", 2, "--ephemeral keeps no data"},
		{"dev --brokers 0", 2, "--brokers 0: allowed are 1 to 9"},
		{"dev --log-level loud", 2, "--log-level loud"},
	} {
		code, stdout, stderr := run(t, nil, strings.Fields(test.args)...)
		text := stderr
		if test.code == 0 {
			text = stdout
		}
		if code != test.code || !strings.Contains(text, test.want) {
			t.Errorf("%s: exit %d, want %d with %q; got\n%s%s", test.args, code, test.code, test.want, stdout, stderr)
		}
	}
}

// TestEveryCommandHasAnExample keeps the help useful.
func TestEveryCommandHasAnExample(t *testing.T) {
	for _, c := range (&tool{}).root().Commands() {
		if c.Name() != "help" && (c.Example == "" || c.Long == "" || !strings.Contains(c.Example, "barnabas "+c.Name())) {
			t.Errorf("%s: its help lacks an example", c.Name())
		}
	}
}

// pretended is a broker that only listens.
type pretended struct {
	l      net.Listener
	closed chan struct{}
}

func (p *pretended) ID() int32            { return 7 }
func (p *pretended) ClusterID() string    { return "abc" }
func (p *pretended) Addr(string) net.Addr { return p.l.Addr() }
func (p *pretended) Wait() error          { <-p.closed; return nil }
func (p *pretended) Close() error         { close(p.closed); return p.l.Close() }

// pretend starts such a broker, and ends the process' context as Ctrl-C does.
func pretend(t *testing.T, seen **conf.Config) func(context.Context, *conf.Config, *slog.Logger) (instance, error) {
	return func(_ context.Context, c *conf.Config, _ *slog.Logger) (instance, error) {
		*seen = c
		l := c.Listeners.Bind[0]
		ln, err := net.Listen("tcp", fmt.Sprintf("%s:%d", l.Host, l.Port))
		if err != nil {
			return nil, err
		}
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGINT); err != nil {
			t.Error(err)
		}
		return &pretended{ln, make(chan struct{})}, nil
	}
}

func TestDev(t *testing.T) {
	var c *conf.Config
	dir := filepath.Join(t.TempDir(), "data")
	code, stdout, stderr := run(t, pretend(t, &c), "dev", "--data-dir", dir, "--port", "0", "--zookeeper-port", "0",
		"--host", "127.0.0.1", "--override", "num.partitions=4", "--log-level", "error")
	if code != 0 || stderr != "" {
		t.Fatalf("exit %d\n%s", code, stderr)
	}
	if c.Topics.Partitions != 4 || c.Group.Topic.ReplicationFactor != 1 || c.Group.InitialRebalanceDelay != 0 || c.Log.Dirs[0] != filepath.Join(dir, "broker-0") {
		t.Errorf("%+v", c)
	}
	for _, want := range []string{"Barnabas runs.", "kept in " + dir, " topics --create --topic hello", "console-consumer --topic hello --from-beginning --bootstrap-server 127.0.0.1:", "Ctrl-C"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is missing in\n%s", want, stdout)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "zookeeper")); err != nil {
		t.Error(err)
	}
}

// TestDevBrokers: three brokers with an id, a port and files each, and topics with
// three replicas.
func TestDevBrokers(t *testing.T) {
	var seen []*conf.Config
	start := func(_ context.Context, c *conf.Config, _ *slog.Logger) (instance, error) {
		l := c.Listeners.Bind[0]
		ln, err := net.Listen("tcp", fmt.Sprintf("%s:%d", l.Host, l.Port))
		if err != nil {
			return nil, err
		}
		if seen = append(seen, c); len(seen) == 3 {
			if err := syscall.Kill(syscall.Getpid(), syscall.SIGINT); err != nil {
				t.Error(err)
			}
		}
		return &pretended{ln, make(chan struct{})}, nil
	}
	code, stdout, stderr := run(t, start, "dev", "--ephemeral", "--brokers", "3", "--port", "0", "--zookeeper-port", "0", "--host", "127.0.0.1", "--log-level", "error")
	if code != 0 || stderr != "" || len(seen) != 3 || strings.Count(stdout, "127.0.0.1:") < 4 {
		t.Fatalf("exit %d, %d brokers\n%s%s", code, len(seen), stdout, stderr)
	}
	for i, c := range seen {
		if int(c.Broker.ID) != i || filepath.Base(c.Log.Dirs[0]) != fmt.Sprintf("broker-%d", i) || c.Topics.ReplicationFactor != 3 || c.Group.Topic.ReplicationFactor != 3 {
			t.Errorf("broker %d: %+v", i, c.Broker)
		}
		if c.Socket.Pollers != 0 {
			t.Errorf("broker %d: %d pollers", i, c.Socket.Pollers)
		}
	}
}

func TestDevPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := fmt.Sprint(taken.Addr().(*net.TCPAddr).Port)
	for flag, other := range map[string]string{"--port": "--zookeeper-port", "--zookeeper-port": "--port"} {
		code, _, stderr := run(t, nil, "dev", "--ephemeral", "--host", "127.0.0.1", flag, port, other, "0")
		if code != 1 || !strings.Contains(stderr, "port "+port) || !strings.Contains(stderr, "choose another port by "+flag) {
			t.Errorf("%s: exit %d: %s", flag, code, stderr)
		}
	}
}

func TestServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.properties")
	if err := os.WriteFile(path, []byte("zookeeper.connect=zk:2181/x\nlisteners=PLAINTEXT://127.0.0.1:0\nlog.dirs=/d\nlog.retentoin.ms=5\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var c *conf.Config
	code, _, stderr := run(t, pretend(t, &c), "server", path, "--override", "broker.id=7")
	if code != 0 || c.Broker.ID != 7 {
		t.Fatalf("exit %d\n%s", code, stderr)
	}
	for _, want := range []string{"did you mean log.retention.ms?", "INFO  started version=", "broker=7 cluster=abc listeners=PLAINTEXT://127.0.0.1:", "log.dirs=/d zookeeper=zk:2181/x", "shutting down", "shut down"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q is missing in\n%s", want, stderr)
		}
	}
	code, _, stderr = run(t, nil, "server", path, "--override", "num.partitions=0", "--override", "ssl.keystore.location=x")
	if code != 1 || strings.Count(stderr, "\n  ") != 3 || !strings.Contains(stderr, "\n  warning: nobody knows the key log.retentoin.ms (did you mean log.retention.ms?)") {
		t.Errorf("exit %d\n%s", code, stderr)
	}
	busy := func(context.Context, *conf.Config, *slog.Logger) (instance, error) { return nil, syscall.EADDRINUSE }
	if code, _, stderr = run(t, busy, "server", path); code != 1 || !strings.Contains(stderr, "--override listeners=") {
		t.Errorf("exit %d\n%s", code, stderr)
	}
}

func TestTopicFormat(t *testing.T) {
	id := kadm.TopicID{1, 2, 3}
	value := func(s string) *string { return &s }
	detail := kadm.TopicDetail{Topic: "orders", ID: id, Partitions: kadm.PartitionDetails{
		1: {Partition: 1, Leader: -1, Replicas: []int32{2, 3}, ISR: []int32{2}},
		0: {Partition: 0, Leader: 1, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2}},
	}}
	configs := []kadm.Config{
		{Key: "segment.bytes", Value: value("1"), Source: kmsg.ConfigSourceStaticBrokerConfig},
		{Key: "min.insync.replicas", Value: value("1"), Source: kmsg.ConfigSourceDefaultConfig},
		{Key: "retention.ms", Value: value("5"), Source: kmsg.ConfigSourceDynamicTopicConfig}}
	moves := map[int32]kadm.ListPartitionReassignmentsResponse{0: {Replicas: []int32{1, 2, 3}, AddingReplicas: []int32{3}, RemovingReplicas: []int32{}}}
	const (
		head   = "Topic: orders\tTopicId: AQIDAAAAAAAAAAAAAAAAAA\tPartitionCount: 2\tReplicationFactor: 2\tConfigs: segment.bytes=1,retention.ms=5\n"
		first  = "\tTopic: orders\tPartition: 0\tLeader: 1\tReplicas: 1,2,3\tIsr: 1,2\tAdding Replicas: 3\tRemoving Replicas: \tElr: N/A\tLastKnownElr: N/A\n"
		second = "\tTopic: orders\tPartition: 1\tLeader: none\tReplicas: 2,3\tIsr: 2\tElr: N/A\tLastKnownElr: N/A\n"
	)
	for _, test := range []struct {
		flags topicsFlags
		want  string
	}{
		{topicsFlags{}, head + first + second},
		{topicsFlags{changed: true}, head},
		{topicsFlags{unavailable: true}, second},
		{topicsFlags{underReplicated: true}, second}, // 0 is being moved
		{topicsFlags{underMinISR: true}, second},
		{topicsFlags{atMinISR: true}, second},
	} {
		var b bytes.Buffer
		(&topicView{topicsFlags: &test.flags, detail: detail, configs: configs, live: []int32{1, 2, 3}, moves: moves}).print(&b)
		if d := cmp.Diff(b.String(), test.want); d != "" {
			t.Errorf("%+v -got +want\n%s", test.flags, d)
		}
	}
}

func TestTopicPattern(t *testing.T) {
	for _, test := range []struct {
		pattern, topic string
		want           bool
	}{{"orders", "orders", true}, {"orders", "orders2", false}, {"ord.*", "orders", true}, {"a,b", "b", true}, {"a, b", "b", false}, {`"a"`, "a", true}} {
		re, err := topicPattern(test.pattern)
		if err != nil || re.MatchString(test.topic) != test.want {
			t.Errorf("%q on %q: %v", test.pattern, test.topic, err)
		}
	}
	if _, err := topicPattern("("); err == nil {
		t.Error("( is no expression")
	}
}

func TestParseAssignment(t *testing.T) {
	got, err := parseAssignment("1:2, 2 : 3")
	if d := cmp.Diff(got, [][]int32{{1, 2}, {2, 3}}); err != nil || d != "" {
		t.Error(err, d)
	}
	for _, bad := range []string{"", "1:1", "1:2,3", "x", "-1", "1:"} {
		if _, err := parseAssignment(bad); err == nil {
			t.Errorf("%q passed", bad)
		}
	}
}

func TestGroupFormats(t *testing.T) {
	var b bytes.Buffer
	formatOffsets(&b, "audit", []offsetRow{
		{topic: "orders", partition: 0, committed: 10, end: 12, consumerID: "c-1", host: "/127.0.0.1", client: "cl"},
		{topic: "orders", partition: 1, committed: -1, end: 5},
		{partition: -1, committed: -1, end: -1, consumerID: "c-2", host: "/127.0.0.1", client: "cl"},
	}, false)
	want := `
GROUP           TOPIC           PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG             CONSUMER-ID     HOST            CLIENT-ID
audit           orders          0          10              12              2               c-1             /127.0.0.1      cl
audit           orders          1          -               5               -               -               -               -
audit           -               -          -               -               -               c-2             /127.0.0.1      cl
`
	if d := cmp.Diff(b.String(), want); d != "" {
		t.Errorf("-got +want\n%s", d)
	}
	b.Reset()
	name := "one"
	g := kadm.DescribedGroup{Group: "audit", State: "Stable", Protocol: "range",
		Coordinator: kadm.BrokerDetail{NodeID: 1, Host: "h", Port: 9092},
		Members:     []kadm.DescribedGroupMember{{MemberID: "c-1", ClientID: "cl", ClientHost: "/127.0.0.1"}}}
	formatMembers(&b, g, true)
	g.Members[0].InstanceID = &name
	formatMembers(&b, g, false)
	formatGroupState(&b, g)
	formatGroupList(&b, []kadm.ListedGroup{{Group: "audit", State: "Stable"}}, true, false)
	formatGroupList(&b, []kadm.ListedGroup{{Group: "audit", State: "Stable"}}, false, false)
	want = `
GROUP           CONSUMER-ID     HOST            CLIENT-ID       #PARTITIONS     ASSIGNMENT
audit           c-1             /127.0.0.1      cl              0               -

GROUP           CONSUMER-ID     GROUP-INSTANCE-ID HOST            CLIENT-ID       #PARTITIONS     
audit           c-1             one               /127.0.0.1      cl              0               

GROUP                     COORDINATOR (ID)          ASSIGNMENT-STRATEGY  STATE           #MEMBERS
audit                     h:9092  (1)               range                Stable          1
GROUP                     STATE               
audit                     Stable              
audit
`
	if d := cmp.Diff(b.String(), want); d != "" {
		t.Errorf("-got +want\n%s", d)
	}
	if got := assignmentText([]offsetRow{{topic: "b", partition: 2}, {topic: "a", partition: 0}, {topic: "a", partition: 1}}); got != "a(0,1), b(2)" {
		t.Error(got)
	}
}

func TestRecordFormat(t *testing.T) {
	rec := &kgo.Record{Key: []byte("k"), Value: []byte("v"), Partition: 3, Offset: 42, Timestamp: time.UnixMilli(1700000000000),
		Headers: []kgo.RecordHeader{{Key: "h1", Value: []byte("x")}, {Key: "h2"}}}
	all := map[string]string{"print.timestamp": "true", "print.partition": "TRUE", "print.offset": "true", "print.headers": "true", "print.key": "true"}
	for _, test := range []struct {
		props map[string]string
		rec   *kgo.Record
		want  string
	}{
		{nil, rec, "v\n"},
		{all, rec, "CreateTime:1700000000000\tPartition:3\tOffset:42\th1:x,h2:null\tk\tv\n"},
		{all, &kgo.Record{Timestamp: time.UnixMilli(0)}, "CreateTime:0\tPartition:0\tOffset:0\tNO_HEADERS\tnull\tnull\n"},
		{map[string]string{"print.key": "true", "print.value": "false", "key.separator": "|"}, rec, "k\n"},
		{map[string]string{"print.key": "true", "key.separator": "|", "line.separator": ";", "null.literal": "-"}, &kgo.Record{Value: []byte("v")}, "-|v;"},
		{map[string]string{"print.value": "false"}, rec, ""},
		{map[string]string{"value.deserializer": "org.apache.kafka.common.serialization.LongDeserializer"}, &kgo.Record{Value: []byte{0, 0, 0, 0, 0, 0, 1, 0}}, "256\n"},
		{map[string]string{"value.deserializer": "org.apache.kafka.common.serialization.IntegerDeserializer"}, &kgo.Record{Value: []byte{255, 255, 255, 255}}, "-1\n"},
	} {
		f, err := newRecordFormatter(test.props)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := f.format(&b, test.rec); err != nil || b.String() != test.want {
			t.Errorf("%v: got %q, %v, want %q", test.props, b.String(), err, test.want)
		}
	}
	f, err := newRecordFormatter(map[string]string{"value.deserializer": "LongDeserializer"})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.format(io.Discard, rec); err == nil || !strings.Contains(err.Error(), "Size of data received by LongDeserializer is not 8") {
		t.Error(err)
	}
}

func TestLineReader(t *testing.T) {
	show := func(b []byte) string {
		if b == nil {
			return "null"
		}
		return fmt.Sprintf("%q", b)
	}
	for _, test := range []struct {
		props, in, want string
	}{
		{"", "a\r\nb\n\nc", `null:"a" null:"b" null:"" null:"c"`},
		{"parse.key=true", "k\tv\nk2\t\t\n", `"k":"v" "k2":"\t"`},
		{"parse.key=true key.separator=:", "k:v:w", `"k":"v:w"`},
		{"parse.key=true", "novalue", `error No key separator found on line number 1: 'novalue'`},
		{"parse.key=true ignore.error=true", "novalue", `null:"novalue"`},
		{"parse.key=true null.marker=NULL", "NULL\tNULL", `null:null`},
		{"parse.headers=true parse.key=true", "a:1,b:2\tk\tv", `"k":"v" a="1" b="2"`},
		{"parse.headers=true", "a\tv", `error No header key separator found in pair 'a' on line number 1`},
		{"parse.headers=true null.marker=N", "a:N\tv", `null:"v" a=null`},
	} {
		r, err := newLineReader("", strings.Fields(test.props))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		in := bufio.NewReader(strings.NewReader(test.in))
		for {
			rec, err := r.next(in)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				got = append(got, "error "+err.Error())
				break
			}
			text := show(rec.Key) + ":" + show(rec.Value)
			for _, h := range rec.Headers {
				text += " " + h.Key + "=" + show(h.Value)
			}
			got = append(got, text)
		}
		if d := cmp.Diff(strings.Join(got, " "), test.want); d != "" {
			t.Errorf("%s: -got +want\n%s", test.props, d)
		}
	}
	if _, err := newLineReader("", []string{"headers.delimiter=,"}); err == nil {
		t.Error("equal delimiters passed")
	}
}

func TestPerfLines(t *testing.T) {
	var b bytes.Buffer
	begin := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	s := newPerfStats(&b, 4, begin)
	for i, ms := range []int{1, 2, 3, 10} {
		s.record(time.Duration(ms)*time.Millisecond, 1<<20, begin.Add(time.Duration(i+2)*time.Second))
	}
	if failed, _ := s.finish(begin.Add(8 * time.Second)); failed != 0 {
		t.Error(failed)
	}
	p := consumerPerf{start: begin, end: begin.Add(2 * time.Second), bytes: 4 << 20, records: 1000, joining: 500 * time.Millisecond}
	fmt.Fprintln(&b, p.total("yyyy-MM-dd HH:mm:ss:SSS"))
	fmt.Fprintln(&b, p.interval("yyyy-MM-dd HH:mm:ss:SSS"))
	want := `4 records sent, 0.8 records/sec (0.80 MB/sec), 4.0 ms avg latency, 10.0 ms max latency.
4 records sent, 0.500000 records/sec (0.50 MB/sec), 4.00 ms avg latency, 10.00 ms max latency, 3 ms 50th, 10 ms 95th, 10 ms 99th, 10 ms 99.9th.
2026-01-02 03:04:05:678, 2026-01-02 03:04:07:678, 4.0000, 2.0000, 1000, 500.0000, 500, 1500, 2.6667, 666.6667
2026-01-02 03:04:07:678, 0, 4.0000, 2.0000, 1000, 500.0000, 500, 1500, 2.6667, 666.6667
`
	if d := cmp.Diff(b.String(), want); d != "" {
		t.Errorf("-got +want\n%s", d)
	}
}

func TestLogLines(t *testing.T) {
	var b bytes.Buffer
	h := &textHandler{out: &logOutput{w: &b, seen: map[string]*repeated{}}, level: slog.LevelInfo}
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	line := func(h slog.Handler, at time.Time, level slog.Level, msg string, attrs ...slog.Attr) {
		r := slog.NewRecord(at, level, msg, 0)
		r.AddAttrs(attrs...)
		if err := h.Handle(t.Context(), r); err != nil {
			t.Error(err)
		}
	}
	line(h, at, slog.LevelInfo, "started", slog.Int("broker", 1), slog.String("text", `a "b"`), slog.Duration("took", time.Second), slog.String("none", ""))
	line(h.WithAttrs([]slog.Attr{slog.String("topic", "t")}).WithGroup("g"), at, slog.LevelWarn, "odd\nclient", slog.Any("error", errors.New("x=y")), slog.Group("in", slog.Bool("ok", true)))
	for i := range 15 {
		line(h, at.Add(time.Duration(i)*time.Millisecond), slog.LevelError, "again", slog.Int("i", i))
	}
	line(h, at.Add(11*time.Second), slog.LevelError, "again", slog.Int("i", 15))
	want := `2026-01-02 03:04:05.678 INFO  started broker=1 text="a \"b\"" took=1s none=""
2026-01-02 03:04:05.678 WARN  "odd\nclient" topic=t g.error="x=y" g.in.ok=true
`
	for i := range 10 {
		want += fmt.Sprintf("2026-01-02 03:04:05.%d ERROR again i=%d\n", 678+i, i)
	}
	want += "2026-01-02 03:04:16.678 ERROR again i=15 left_out=5\n"
	if d := cmp.Diff(b.String(), want); d != "" {
		t.Errorf("-got +want\n%s", d)
	}
}

func TestClientOptions(t *testing.T) {
	_, unknown, err := clientOptions(map[string]string{"acks": "1", "linger.ms": "5", "compression.type": "zstd", "sasl.mechanism": "x",
		"bootstrap.servers": "h:1", "partition.assignment.strategy": "org.apache.kafka.clients.consumer.RangeAssignor", "isolation.level": "read_committed"})
	if d := cmp.Diff(unknown, []string{"sasl.mechanism"}); err != nil || d != "" {
		t.Error(err, d)
	}
	for _, bad := range []string{"linger.ms=x", "batch.size=-1", "compression.type=zip", "acks=3"} {
		k, v, _ := strings.Cut(bad, "=")
		if _, _, err := clientOptions(map[string]string{k: v}); err == nil {
			t.Errorf("%s passed", bad)
		}
	}
}

package conf

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var rewrite = flag.Bool("rewrite", false, "write server.toml anew")

// base is the least that a broker needs.
func base(more ...string) map[string]string {
	m := map[string]string{"zookeeper.connect": "localhost:2181"}
	for _, kv := range more {
		k, v, _ := strings.Cut(kv, "=")
		m[k] = v
	}
	return m
}

func load(t *testing.T, more ...string) *Config {
	t.Helper()
	c, _, err := FromMap(base(more...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSampleIsTheTable(t *testing.T) {
	want := Sample()
	if *rewrite {
		if err := os.WriteFile("server.toml", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("server.toml")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(got), want); d != "" {
		t.Fatalf("conf/server.toml is not what the table says; run go test ./conf -rewrite (-got +want):\n%s", d)
	}
	if _, warnings, err := Load("server.toml", nil, nil); err != nil || len(warnings) > 0 {
		t.Fatalf("server.toml does not load as it is: %v %v", warnings, err)
	}
}

// TestSampleUncommented reads server.toml with every key taken out of its
// comment: names must not collide and defaults must be their own.
func TestSampleUncommented(t *testing.T) {
	var b strings.Builder
	for line := range strings.Lines(Sample()) {
		if strings.HasPrefix(line, "# ") && strings.Contains(line, " = ") && !strings.Contains(line, "(not set)") && !strings.Contains(line, "[log]") {
			line = line[2:]
		}
		b.WriteString(line)
	}
	path := filepath.Join(t.TempDir(), "all.toml")
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	// Both ways to name the inter-broker protocol exclude each other, and node.id
	// follows broker.id.
	text := strings.ReplaceAll(b.String(), "\nnode.id = -1", "\nnode.id = 0")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	_, warnings, err := Load(path, nil, nil)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("warnings %v, error %v", warnings, err)
	}
	props, err := parseTOML([]byte(text))
	if err != nil || len(props) < 250 {
		t.Fatalf("%d keys, %v", len(props), err)
	}
}

func TestTableIsSound(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range Keys() {
		if seen[k.Name] {
			t.Errorf("%s stands twice", k.Name)
		}
		seen[k.Name] = true
		if k.Doc == "" {
			t.Errorf("%s has no documentation", k.Name)
		}
		if k.NoDefault {
			continue
		}
		v, reason := parse(k.Type, k.Default)
		if reason != "" || format(v) != k.Default {
			t.Errorf("%s: default %q is not as printed: %v %s", k.Name, k.Default, v, reason)
		}
		if k.Valid.check != nil && k.Valid.check(v) != "" {
			t.Errorf("%s: default %q is out of range", k.Name, k.Default)
		}
	}
	for _, k := range table().topics {
		if k.Synonym != "" && table().byName[k.Synonym] == nil {
			t.Errorf("%s: no broker key %s", k.Name, k.Synonym)
		}
	}
	if len(seen) < 319 {
		t.Errorf("%d keys", len(seen))
	}
}

// kafkaEntry is one line of the answers that Apache Kafka 3.9.1 gave.
type kafkaEntry struct {
	ConfigSynonyms []struct {
		Name, Source string
		Value        *string
	}
	ConfigType, Name, Source string
	IsSensitive, ReadOnly    bool
	Value                    *string
}

func golden(t *testing.T, file string) []kafkaEntry {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []kafkaEntry
	for s := bufio.NewScanner(f); s.Scan(); {
		var e kafkaEntry
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// like turns ours into the form of the golden files.
func like(e Entry) kafkaEntry {
	sources := map[Source]string{FromTopic: "DYNAMIC_TOPIC_CONFIG", FromDynamicBroker: "DYNAMIC_BROKER_CONFIG",
		FromDynamicDefault: "DYNAMIC_DEFAULT_BROKER_CONFIG", FromStaticBroker: "STATIC_BROKER_CONFIG", FromDefault: "DEFAULT_CONFIG"}
	k := kafkaEntry{ConfigType: e.Type.String(), Name: e.Name, Source: sources[e.Source],
		IsSensitive: e.Sensitive, ReadOnly: e.ReadOnly, Value: e.Value}
	for _, s := range e.Synonyms {
		k.ConfigSynonyms = append(k.ConfigSynonyms, struct {
			Name, Source string
			Value        *string
		}{s.Name, sources[s.Source], s.Value})
	}
	return k
}

func TestDescribeBrokerAsKafka(t *testing.T) {
	c := load(t, "zookeeper.connect=127.0.0.1:32181/kafka", "broker.id=1", "listeners=PLAINTEXT://127.0.0.1:39092",
		"log.dirs=/var/lib/kafka", "zookeeper.session.timeout.ms=6000", "group.initial.rebalance.delay.ms=0",
		"offsets.topic.replication.factor=1", "transaction.state.log.min.isr=1", "transaction.state.log.replication.factor=1")
	c.static["authorizer.class.name"] = setting{value: "kafka.security.authorizer.AclAuthorizer"}
	c.values["authorizer.class.name"] = "kafka.security.authorizer.AclAuthorizer"
	c.static["super.users"] = setting{value: "User:ANONYMOUS"}
	want := golden(t, "describe-configs-broker.jsonl")
	var got []kafkaEntry
	for _, e := range c.DescribeBroker(nil) {
		if e.Name != "record.validation" && e.Name != "log.flush.when.alone" && !strings.HasPrefix(e.Name, "barnabas.") {
			got = append(got, like(e))
		}
	}
	compare(t, got, want)
}

func compare(t *testing.T, got, want []kafkaEntry) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("got %d entries, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if want[i].Name == "listener.security.protocol.map" { // Kafka's order comes from a hash
			continue
		}
		if d := cmp.Diff(got[i], want[i]); d != "" {
			t.Errorf("%s (-got +want):\n%s", want[i].Name, d)
		}
	}
}

func TestDescribeTopicAsKafka(t *testing.T) {
	c := load(t)
	var got []kafkaEntry
	for _, e := range c.DescribeTopic(map[string]string{"retention.ms": "86400000", "cleanup.policy": "delete"}, nil) {
		if e.Name != "record.validation" {
			got = append(got, like(e))
		}
	}
	compare(t, got, golden(t, "describe-configs-topic.jsonl"))
}

func TestTopic(t *testing.T) {
	c := load(t, "log.retention.hours=2", "log.segment.bytes=1000", "log.retention.minutes=3")
	topic, err := c.Topic(map[string]string{"cleanup.policy": " compact , delete ", "max.compaction.lag.ms": "5000", "segment.jitter.ms": "9999999999999"})
	if err != nil {
		t.Fatal(err)
	}
	want := c.Topics.Defaults
	want.Compact, want.MaxCompactionLag, want.SegmentAge, want.SegmentJitter = true, 5*time.Second, 5*time.Second, 168*time.Hour
	if d := cmp.Diff(topic, want); d != "" {
		t.Errorf("-got +want\n%s", d)
	}
	if topic.Retention != 3*time.Minute || topic.SegmentBytes != 1000 {
		t.Errorf("%+v", topic)
	}
	for kv, text := range map[string]string{
		"foo=1":                        "Unknown topic config name: foo",
		"retention.ms=-2":              "Invalid value -2 for configuration retention.ms: Value must be at least -1",
		"segment.bytes=x":              "Invalid value x for configuration segment.bytes: Not a number of type INT",
		"cleanup.policy=delete,gone":   "Invalid value gone for configuration cleanup.policy: String must be one of: compact, delete",
		"min.compaction.lag.ms=6":      "",
		"remote.log.copy.disable=true": "It is invalid to set `remote.log.delete.on.disable` or `remote.log.copy.disable` under Zookeeper's mode.",
	} {
		k, v, _ := strings.Cut(kv, "=")
		_, err := c.Topic(map[string]string{k: v})
		switch {
		case text == "" && err != nil, text != "" && (err == nil || err.Error() != text):
			t.Errorf("%s: got %v, want %s", kv, err, text)
		}
	}
	if _, err := c.Topic(map[string]string{"foo": "1"}); !errors.Is(err, ErrUnknownTopicConfig) {
		t.Error(err)
	}
	_, err = c.Topic(map[string]string{"min.compaction.lag.ms": "7", "max.compaction.lag.ms": "6"})
	if err == nil || err.Error() != "conflict topic config setting min.compaction.lag.ms (7) > max.compaction.lag.ms (6)" {
		t.Error(err)
	}
	lenient, warnings := c.TopicLenient(map[string]string{"foo": "1", "retention.ms": "x", "segment.bytes": "77"})
	if len(warnings) != 2 || lenient.SegmentBytes != 77 {
		t.Error(lenient, warnings)
	}
}

func TestDynamic(t *testing.T) {
	c := load(t, "log.retention.ms=1000", "broker.id=3")
	next, warnings := c.WithDynamic(
		map[string]string{"log.segment.bytes": "500", "broker.id": "7", "message.max.bytes": "x", "leader.replication.throttled.rate": "5"},
		map[string]string{"log.segment.bytes": "600", "min.insync.replicas": "2", "num.io.threads": "9"})
	if next.Topics.Defaults.SegmentBytes != 500 || next.Topics.Defaults.MinISR != 2 || next.Broker.ID != 3 {
		t.Errorf("%+v", next.Topics.Defaults)
	}
	if len(warnings) != 2 {
		t.Error(warnings)
	}
	got := next.DescribeBroker([]string{"log.segment.bytes"})
	var sources []Source
	for _, s := range got[0].Synonyms {
		sources = append(sources, s.Source)
	}
	if !slices.Equal(sources, []Source{FromDynamicBroker, FromDynamicDefault, FromDefault}) || *got[0].Value != "500" {
		t.Errorf("%+v", got)
	}
	if d := next.DescribeClusterDefault(nil); len(d) != 3 || d[0].Name != "log.segment.bytes" || *d[0].Value != "600" {
		t.Errorf("%+v", d)
	}
	for _, bad := range []struct {
		k, v      string
		perBroker bool
		want      string
	}{
		{"broker.id", "1", true, "Cannot update these configs dynamically: Set(broker.id)"},
		{"listeners", "A://:1", false, "Cannot update these configs at default cluster level, broker id must be specified: Set(listeners)"},
		{"ssl.keystore.location", "x", true, "These security configs can be dynamically updated only per-listener using the listener prefix: HashSet(ssl.keystore.location)"},
		{"num.io.threads", "17", false, "Invalid value org.apache.kafka.common.config.ConfigException: Dynamic thread count update validation failed for num.io.threads=17, value should not be greater than double the current value 8 for configuration Invalid dynamic configuration"},
		{"log.cleaner.threads", "0", true, "Invalid value org.apache.kafka.common.config.ConfigException: Log cleaner threads should be at least 1 for configuration Invalid dynamic configuration"},
		{"advertised.listeners", "PLAINTEXT://other:1", true, "advertised.listeners can't be changed while this broker runs: set it in the broker's configuration file and restart the broker"},
		{"leader.replication.throttled.rate", "-1", false, "Invalid value -1 for configuration leader.replication.throttled.rate: Value must be at least 0"},
		{"log.retention.ms", "0", false, "Invalid value org.apache.kafka.common.config.ConfigException: log.retention.ms must be unlimited (-1) or, greater than or equal to 1 for configuration Invalid dynamic configuration"},
		{"compression.type", "none", true, "Invalid value none for configuration compression.type: String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer"},
	} {
		if err := c.CheckDynamic(map[string]string{bad.k: bad.v}, bad.perBroker); err == nil || err.Error() != bad.want {
			t.Errorf("%s: got %v, want %s", bad.k, err, bad.want)
		}
	}
	if err := c.CheckDynamic(map[string]string{"max.connections": "5", "custom": "x"}, false); err != nil {
		t.Error(err)
	}
	if err := c.CheckDynamic(map[string]string{"broker.id": "5", "log.dirs": "x"}, true); err == nil || err.Error() != "Cannot update these configs dynamically: Set(broker.id, log.dirs)" {
		t.Error(err)
	}
	if err := c.CheckDynamic(map[string]string{"listeners": "PLAINTEXT://:9092"}, true); err != nil { // as it is now
		t.Error(err)
	}
}

func TestStoredKeys(t *testing.T) {
	const rate = "leader.replication.throttled.rate"
	c, warnings, err := FromMap(map[string]string{"zookeeper.connect": "z:1", rate: "7"})
	if err != nil || len(warnings) != 1 || warnings[0].Key != rate {
		t.Errorf("%v %v", warnings, err)
	}
	if c.Replication.LeaderThrottle != math.MaxInt64 || len(c.DescribeBroker([]string{rate})) != 0 {
		t.Errorf("a value of a file: %d, %v", c.Replication.LeaderThrottle, c.DescribeBroker([]string{rate}))
	}
	next, _ := c.WithDynamic(map[string]string{rate: "8"}, map[string]string{rate: "9"})
	got := next.DescribeBroker([]string{rate})
	if next.Replication.LeaderThrottle != 8 || len(got) != 1 || got[0].ReadOnly || got[0].Sensitive || got[0].Type != Long || len(got[0].Synonyms) != 2 {
		t.Errorf("%d, %+v", next.Replication.LeaderThrottle, got)
	}
}

func TestAlter(t *testing.T) {
	for _, x := range []struct {
		now     map[string]string
		changes []Change
		want    map[string]string
		err     string
	}{
		{nil, []Change{{Set, "retention.ms", "5"}, {Delete, "nothing", ""}}, map[string]string{"retention.ms": "5"}, ""},
		{map[string]string{"a": "1", "b": "2"}, []Change{{Delete, "a", ""}}, map[string]string{"b": "2"}, ""},
		{nil, []Change{{Append, "cleanup.policy", "compact"}}, map[string]string{"cleanup.policy": "delete,compact"}, ""},
		{nil, []Change{{Append, "leader.replication.throttled.replicas", "0:1"}}, map[string]string{"leader.replication.throttled.replicas": "0:1"}, ""},
		{map[string]string{"cleanup.policy": "compact,delete"}, []Change{{Append, "cleanup.policy", "delete"}}, map[string]string{"cleanup.policy": "compact,delete"}, ""},
		{map[string]string{"cleanup.policy": "compact,delete"}, []Change{{Subtract, "cleanup.policy", "compact"}}, map[string]string{"cleanup.policy": "delete"}, ""},
		{nil, []Change{{Subtract, "cleanup.policy", "delete"}}, map[string]string{"cleanup.policy": ""}, ""},
		{nil, []Change{{Append, "retention.ms", "1"}}, nil, "Config value append is not allowed for config key: retention.ms"},
		{nil, []Change{{Subtract, "retention.ms", "1"}}, nil, "Config value subtract is not allowed for config key: retention.ms"},
		{nil, []Change{{Append, "no.such", "1"}}, nil, "conf: no such change of a config: no.such is not known"},
		{nil, []Change{{9, "retention.ms", "1"}}, nil, "conf: no such change of a config: operation 9"},
	} {
		got, err := AlterTopic(x.now, x.changes)
		if text := fmt.Sprint(err); err != nil && text != x.err || err == nil && x.err != "" {
			t.Errorf("%v: %v, want %s", x.changes, err, x.err)
		}
		if d := cmp.Diff(got, x.want); d != "" {
			t.Errorf("%v: -got +want\n%s", x.changes, d)
		}
	}
	got, err := AlterBroker(map[string]string{"broker.id": "7", "log.retention.ms": "x", "custom": "1"}, []Change{{Append, "log.cleanup.policy", "compact"}}, false)
	if d := cmp.Diff(got, map[string]string{"custom": "1", "log.cleanup.policy": "delete,compact"}); d != "" || err != nil {
		t.Error(d, err)
	}
}

package conf

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestStartupErrors holds what Apache Kafka 3.9 says of the same settings.
func TestStartupErrors(t *testing.T) {
	const two = "listener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT,C:PLAINTEXT|inter.broker.listener.name=A|"
	for _, test := range []struct{ set, want string }{
		{"inter.broker.listener.name=PLAINTEXT|security.inter.broker.protocol=PLAINTEXT", "Only one of inter.broker.listener.name and security.inter.broker.protocol should be set."},
		{"listeners=PLAINTEXT://0.0.0.0:9092", "advertised.listeners cannot use the nonroutable meta-address 0.0.0.0. Use a routable IP address"},
		{two + "listeners=A://127.0.0.1:9,B://127.0.0.1:9", "If you have two listeners on the same port then one needs to be IPv4 and the other IPv6, listeners: A://127.0.0.1:9,B://127.0.0.1:9, port: 9"},
		{two + "listeners=A://127.0.0.1:5,B://[::1]:5", ""},
		{two + "listeners=A://127.0.0.1:5,B://[::1]:5,C://i:5", "Each listener must have a different port"},
		{two + "listeners=A://localhost:5,B://[::1]:5", "Each listener must have a different port unless exactly one listener has an IPv4 address and the other IPv6 address, listeners: A://localhost:5,B://[::1]:5, port: 5"},
		{two + "listeners=A://127.0.0.1:0,B://127.0.0.1:0", ""},
		{"listeners=PLAINTEXT://h:1,PLAINTEXT://h:2", "Each listener must have a different name, listeners: PLAINTEXT://h:1,PLAINTEXT://h:2"},
		{"listeners=FOO://h:1", "Error creating broker listeners from 'FOO://h:1': No security protocol defined for listener FOO"},
		{"listeners=PLAINTEXT//h", "Error creating broker listeners from 'PLAINTEXT//h': Unable to parse PLAINTEXT//h to a broker endpoint"},
		{"listeners=PLAINTEXT://h:", "Unable to parse PLAINTEXT://h: to a broker endpoint"},
		{"listeners=PLAINTEXT://h:70000", "port 70000 of PLAINTEXT://h:70000 is not in 0 to 65535"},
		{"listeners=", "There must be at least one broker advertised listener."},
		{"listener.security.protocol.map=A:PLAINTEXT", "Error creating broker listeners from 'PLAINTEXT://:9092': No security protocol defined for listener PLAINTEXT"},
		{"listener.security.protocol.map=PLAINTEXT:plaintext", ""},
		{"listener.security.protocol.map=A:FOO", "Invalid security protocol `FOO` defined in listener.security.protocol.map"},
		{"listeners=PLAINTEXT://h:1|advertised.listeners=PLAINTEXT://h:1,SSL://h:2", "advertised.listeners listener names must be equal to or a subset of the ones defined in listeners. Found PLAINTEXT,SSL. The valid options based on the current configuration are PLAINTEXT"},
		{"security.inter.broker.protocol=SSL", "inter.broker.listener.name must be a listener name defined in advertised.listeners. The valid options based on currently configured listeners are PLAINTEXT"},
		{"inter.broker.listener.name=FOO", "Listener with name FOO defined in inter.broker.listener.name not found in listener.security.protocol.map."},
		{"control.plane.listener.name=PLAINTEXT", "control.plane.listener.name, when defined, should have a different value from the inter broker listener name."},
		{"control.plane.listener.name=FOO", "Listener with FOO defined in control.plane.listener.name not found in listener.security.protocol.map."},
		{"security.inter.broker.protocol=plaintext", "Invalid value plaintext for configuration security.inter.broker.protocol: String must be one of: PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"},
		{"log.retention.hours=-7", ""},
		{"log.retention.ms=0", "log.retention.ms must be unlimited (-1) or, greater than or equal to 1"},
		{"log.roll.ms=0", "log.roll.ms must be greater than or equal to 1"},
		{"log.roll.jitter.ms=-1", "log.roll.jitter.ms must be greater than or equal to 0"},
		{"auto.create.topics.enable=yes", "Invalid value yes for configuration auto.create.topics.enable: Expected value to be either true or false"},
		{"auto.create.topics.enable=TRUE", ""},
		{"num.partitions=8k", "Invalid value 8k for configuration num.partitions: Not a number of type INT; allowed: 1 to 2147483647"},
		{"num.io.threads=0", "Invalid value 0 for configuration num.io.threads: Value must be at least 1; allowed: 1 to 2147483647"},
		{"num.io.threads=", "Invalid value  for configuration num.io.threads: Not a number of type INT"},
		{"num.partitions= +5 ", ""},
		{"compression.gzip.level=0", "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1"},
		{"compression.lz4.level=99", "Value must be no more than 17; allowed: 1 to 17"},
		{"log.cleaner.min.cleanable.ratio=2", "Invalid value 2.0 for configuration log.cleaner.min.cleanable.ratio: Value must be no more than 1; allowed: 0 to 1"},
		{"log.cleanup.policy=compact,,delete", "Invalid value  for configuration log.cleanup.policy: String must be one of: compact, delete"},
		{"broker.id=1001", "broker.id must be greater than or equal to -1 and not greater than reserved.broker.max.id; broker.id is 1001, reserved.broker.max.id is 1000"},
		{"broker.id=-2", "broker.id must be greater than or equal to -1 and not greater than reserved.broker.max.id"},
		{"broker.id.generation.enable=false", "broker.id must be greater than or equal to 0"},
		{"broker.id=5|node.id=6", "You must set `node.id` to the same value as `broker.id`."},
		{"node.id=6", ""},
		{"process.roles=broker", "Barnabas runs with ZooKeeper, not with KRaft"},
		{"controller.listener.names=CONTROLLER", "controller.listener.names must be empty when not running in KRaft mode: [CONTROLLER]"},
		{"queued.max.request.bytes=5", "queued.max.request.bytes must be larger or equal to socket.request.max.bytes"},
		{"replica.fetch.wait.max.ms=40000", "replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms to prevent unnecessary socket timeouts"},
		{"replica.fetch.wait.max.ms=29000|replica.lag.time.max.ms=20000", "replica.fetch.wait.max.ms should always be less than or equal to replica.lag.time.max.ms to prevent frequent changes in ISR"},
		{"connections.max.idle.ms=100", "connection.failed.authentication.delay.ms=100 should always be less than connections.max.idle.ms=100 to prevent failed authentication responses from timing out"},
		{"connections.max.idle.ms=-1", ""},
		{"log.cleaner.dedupe.buffer.size=1000", "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread."},
		{"log.cleaner.threads=0", "log.cleaner.threads must be at least 1"},
		{"log.cleaner.min.compaction.lag.ms=5|log.cleaner.max.compaction.lag.ms=4", "conflict topic config setting"},
		{"inter.broker.protocol.version=9.9", "Invalid value 9.9 for configuration inter.broker.protocol.version: Version 9.9 is not a valid version"},
		{"inter.broker.protocol.version=4.0", "Version 4.0 is not a valid version"},
		{"inter.broker.protocol.version=3.9.1", ""},
		{"inter.broker.protocol.version=2.7-IV2", ""},
		{"inter.broker.protocol.version=2.7-IV3", "Version 2.7-IV3 is not a valid version"},
		{"inter.broker.protocol.version=0.9.0.1", ""},
		{"offsets.topic.compression.codec=9", "Unknown compression type id: 9"},
		{"offsets.commit.required.acks=-2", "offsets.commit.required.acks must be greater or equal to -1 and less or equal to offsets.topic.replication.factor"},
		{"compression.type=none", "Invalid value none for configuration compression.type: String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer"},
		{"log.message.timestamp.type=createtime", "Invalid value createtime for configuration log.message.timestamp.type: String must be one of: CreateTime, LogAppendTime"},
		{"max.connections.per.ip=0", "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set."},
		{"max.connections.per.ip=0|max.connections.per.ip.overrides=h:1", ""},
		{"max.connections.per.ip.overrides=a b:5", "max.connections.per.ip.overrides contains invalid addresses : a b"},
		{"log.dirs= , ", "At least one log directory must be defined via log.dirs or log.dir."},
		{"zookeeper.connect=", "zookeeper.connect is empty"},
		{"ssl.keystore.location=/x", "ssl.keystore.location is not built yet, and without it this broker would be less secure"},
		{"listener.name.internal.ssl.keystore.location=/x", "listener.name.internal.ssl.keystore.location is not built yet"},
		{"authorizer.class.name=kafka.security.authorizer.AclAuthorizer", "authorizer.class.name is not built yet"},
		{"listeners=SSL://h:1|security.inter.broker.protocol=SSL", "listener SSL is to speak SSL, which is not built yet"},
		{"create.topic.policy.class.name=x.Y", "take it out, or start with --accept-missing=create.topic.policy.class.name"},
	} {
		_, _, err := FromMap(base(strings.Split(test.set, "|")...), "queued.max.request.bytes")
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.set, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s:\n got %v\nwant %s", test.set, err, test.want)
		}
	}
	if _, _, err := FromMap(nil); err == nil || !strings.HasPrefix(err.Error(), "Missing required configuration `zookeeper.connect` which has no default value.") {
		t.Error(err)
	}
}

// TestAllErrorsAtOnce: an operator repairs a file once, not once per mistake.
func TestAllErrorsAtOnce(t *testing.T) {
	_, _, err := FromMap(base("num.partitions=0", "log.roll.hours=x"))
	if err == nil || strings.Count(err.Error(), "Invalid value") != 2 {
		t.Error(err)
	}
	if e, ok := errors.AsType[*Error](err); !ok || e.Key != "log.roll.hours" {
		t.Error(e)
	}
}

func TestWarnings(t *testing.T) {
	for _, test := range []struct{ set, want string }{
		{"log.retentoin.hours=5", "nobody knows the key log.retentoin.hours (did you mean log.retention.hours?); it has no effect"},
		{"log.dris=/d", "nobody knows the key log.dris (did you mean log.dirs?); it has no effect"},
		{"my.own.plugin.setting=5", "nobody knows the key my.own.plugin.setting; it has no effect"},
		{"num.io.threads=9", "num.io.threads is known and changes nothing here."},
		{"num.io.threads=8", ""},
		{"ssl.keystore.location=", ""},
		{"sasl.enabled.mechanisms=GSSAPI", ""},
	} {
		_, warnings, err := FromMap(base(test.set))
		if err != nil {
			t.Errorf("%s: %v", test.set, err)
		}
		got := ""
		for _, w := range warnings {
			got += w.Text
		}
		if test.want == "" && got != "" || !strings.Contains(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.set, got, test.want)
		}
	}
	if _, warnings, err := FromMap(base("create.topic.policy.class.name=x.Y"), "create.topic.policy.class.name"); err != nil || len(warnings) != 1 {
		t.Error(warnings, err)
	}
	if _, _, err := FromMap(base("ssl.keystore.location=x"), "ssl.keystore.location"); err == nil {
		t.Error("an unsafe key was accepted")
	}
}

func TestPrecedence(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.properties")
	file := "zookeeper.connect=file:1\nnum.partitions=1\nnum.partitions=2\nbroker.rack=file\nlog.retention.hours=x\n"
	if err := os.WriteFile(path, []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	environ := []string{"KAFKA_BROKER_RACK=env", "KAFKA_LOG_RETENTION_HOURS=7", "KAFKA_ZOOKEEPER_CLIENTCNXNSOCKET=x",
		"KAFKA_HEAP_OPTS=-Xmx1g", "KAFKA_PORT=tcp://10.0.0.1:9092", "KAFKA_SERVICE_HOST=10.0.0.1", "HOME=/root"}
	c, warnings, err := Load(path, []string{"log.retention.hours=8", "num.partitions=3 "}, environ)
	if err != nil {
		t.Fatal(err)
	}
	if c.Topics.Partitions != 3 || c.Broker.Rack != "env" || c.Topics.Defaults.Retention.Hours() != 8 || c.ZooKeeper.Connect != "file:1" {
		t.Errorf("%+v %+v", c.Broker, c.Topics)
	}
	var keys []string
	for _, w := range warnings {
		keys = append(keys, w.Key)
	}
	if d := cmp.Diff(keys, []string{"num.partitions", "zookeeper.clientCnxnSocket"}); d != "" {
		t.Errorf("-got +want\n%s", d)
	}
	_, _, err = Load(path, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "(server.properties, line 5)") {
		t.Error(err)
	}
	if _, _, err = Load(path, []string{"novalue"}, nil); err == nil {
		t.Error("an override without = passed")
	}
	if _, _, err = Load(path+"x", nil, nil); !errors.Is(err, ErrFile) || !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestEnvironmentNames(t *testing.T) {
	got := fromEnviron([]string{"KAFKA_A_B__C___D=1=2", "KAFKA_=x", "KAFKA_ZOOKEEPER_CONNECT=z", "KAFKA_VERSION=3"})
	want := []property{{key: "a.b_c-d", value: "1=2"}, {key: "zookeeper.connect", value: "z"}}
	if d := cmp.Diff(got, want, cmp.AllowUnexported(property{})); d != "" {
		t.Errorf("-got +want\n%s", d)
	}
}

func TestTOML(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.TOML")
	text := "zookeeper.connect = \"a:1,b:2/c\"\n\"log.dir\" = \"/x\"\n[log]\ndirs = [\"/a\", \"/b\"]\nsegment.bytes = 1_000\npreallocate = true\ncleaner.min.cleanable.ratio = 0.25\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c, warnings, err := Load(path, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(c.Log.Dirs, []string{"/a", "/b"}); d != "" || c.Topics.Defaults.SegmentBytes != 1000 || !c.Topics.Defaults.Preallocate {
		t.Errorf("%+v", c.Log)
	}
	if len(warnings) != 0 || c.Topics.Defaults.MinCleanableRatio != 0.25 {
		t.Error(warnings, c.Topics.Defaults.MinCleanableRatio)
	}
	for _, bad := range []string{"a = 1979-05-27", "a = [[1]]\nb", "[[x]]\na=1", "\"a.b\" = 1\n[a]\nb = 2", "x = \n"} {
		if _, err := parseTOML([]byte(bad)); err == nil {
			t.Errorf("%q passed", bad)
		}
	}
}

// TestPropertiesAsJava holds what java.util.Properties.load makes of the same
// text.
func TestPropertiesAsJava(t *testing.T) {
	for _, test := range []struct {
		text string
		want []property
	}{
		{"a=b", []property{{"a", "b", 1}}},
		{"a = b ", []property{{"a", "b ", 1}}},
		{"a:b=c", []property{{"a", "b=c", 1}}},
		{"a b c", []property{{"a", "b c", 1}}},
		{"a  :  b", []property{{"a", "b", 1}}},
		{"a", []property{{"a", "", 1}}},
		{"  # c\n\t! d\n\n a=1\n", []property{{"a", "1", 4}}},
		{"a=1,\\\n   2,\\\n\t3\nb=2", []property{{"a", "1,2,3", 1}, {"b", "2", 4}}},
		{"a=1\\\\\nb=2", []property{{"a", `1\`, 1}, {"b", "2", 2}}},
		{"a=1\\", []property{{"a", "1", 1}}},
		{"a=1\\\n# no comment", []property{{"a", "1# no comment", 1}}},
		{`a\ b\=c\:d=e`, []property{{"a b=c:d", "e", 1}}},
		{`a=\u0041\t\n\q\\`, []property{{"a", "A\t\nq\\", 1}}},
		{`a=\uD83D\uDE00`, []property{{"a", "😀", 1}}},
		{"a=1\rb=2\r\nc=3", []property{{"a", "1", 1}, {"b", "2", 2}, {"c", "3", 3}}},
		{"=x", []property{{"", "x", 1}}},
		{"a==x", []property{{"a", "=x", 1}}},
		{"a=\xe9", []property{{"a", "é", 1}}},
		{`log.dirs=C:\\x`, []property{{"log.dirs", `C:\x`, 1}}},
	} {
		got, err := parseProperties([]byte(test.text))
		if d := cmp.Diff(got, test.want, cmp.AllowUnexported(property{})); err != nil || d != "" {
			t.Errorf("%q: %v -got +want\n%s", test.text, err, d)
		}
	}
	for _, bad := range []string{`a=\u12`, `a=\u12x4`} {
		if _, err := parseProperties([]byte(bad)); err == nil {
			t.Errorf("%q passed", bad)
		}
	}
}

func TestFormatDouble(t *testing.T) {
	for f, want := range map[float64]string{0.5: "0.5", 1: "1.0", 1e7: "1.0E7", 12345678.9: "1.23456789E7", 9999999: "9999999.0",
		0.001: "0.001", 0.0001: "1.0E-4", -2.5e-10: "-2.5E-10", 1.7976931348623157e308: "1.7976931348623157E308", 0: "0.0"} {
		if got := formatDouble(f); got != want {
			t.Errorf("%v: got %s, want %s", f, got, want)
		}
	}
}

func FuzzProperties(f *testing.F) {
	for _, s := range []string{"a=b\\\nc", `\u0041:x`, "a\\ b c", "# x\r\ny", `a=\uD83D`, "\\", "=\\\\\\\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		props, err := parseProperties(data)
		if err != nil {
			return
		}
		// What was read and is written with every character escaped reads the same.
		var b strings.Builder
		for _, p := range props {
			b.WriteString(escapeAll(p.key) + "=" + escapeAll(p.value) + "\n")
		}
		again, err := parseProperties([]byte(b.String()))
		if err != nil || len(again) != len(props) {
			t.Fatalf("%q: %v", b.String(), err)
		}
		for i := range props {
			if again[i].key != props[i].key || again[i].value != props[i].value {
				t.Fatalf("got %+v, want %+v", again[i], props[i])
			}
		}
	})
}

func escapeAll(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch r {
		case '\n':
			b.WriteString(`\n`)
		case '\r':
			b.WriteString(`\r`)
		case '\t':
			b.WriteString(`\t`)
		case '\f':
			b.WriteString(`\f`)
		case 'u', 't', 'n', 'r', 'f':
			b.WriteRune(r)
		default:
			b.WriteString(`\` + string(r))
		}
	}
	return b.String()
}

func FuzzTOML(f *testing.F) {
	f.Add([]byte("[log]\ndirs = [\"a\", 1, true, 0.5]\n"))
	f.Add([]byte("\"a.b\" = 1\na.c = 2\n"))
	f.Fuzz(func(t *testing.T, data []byte) { parseTOML(data) })
}

func FuzzConfig(f *testing.F) {
	f.Add("listeners", "A://[::1]:5,B://h:6")
	f.Add("listener.name.a.b.sasl.jaas.config", "x")
	f.Add("log.cleanup.policy", ",")
	f.Add("log.retention.hours", "2147483647")
	f.Fuzz(func(t *testing.T, key, value string) {
		c, _, err := FromMap(map[string]string{"zookeeper.connect": "h:1", key: value})
		if err == nil {
			c.DescribeBroker(nil)
			c.DescribeTopic(map[string]string{key: value}, nil)
		}
		if c == nil {
			c, _, _ = FromMap(map[string]string{"zookeeper.connect": "h:1"})
		}
		c.Topic(map[string]string{key: value})
		c.WithDynamic(map[string]string{key: value}, map[string]string{key: value})
	})
}

// TestHTTPListen: where health and metrics are answered.
func TestHTTPListen(t *testing.T) {
	if c := load(t); c.HTTP != (HTTP{}) {
		t.Errorf("by default: %+v", c.HTTP)
	}
	for _, good := range []string{"127.0.0.1:9405", ":0", "[::1]:65535", ""} {
		c := load(t, "barnabas.http.listen="+good, "barnabas.http.pprof=true")
		if c.HTTP != (HTTP{good, true}) {
			t.Errorf("%q: %+v", good, c.HTTP)
		}
	}
	for _, bad := range []string{"9405", "localhost", "localhost:x", "localhost:65536", "::1:80"} {
		if _, _, err := FromMap(base("barnabas.http.listen=" + bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

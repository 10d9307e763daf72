package broker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

const (
	topicResource  = kmsg.ConfigResourceTypeTopic
	brokerResource = kmsg.ConfigResourceTypeBroker
)

// change is one op of IncrementalAlterConfigs; a nil value is null.
type change struct {
	op    int8
	name  string
	value *string
}

const (
	set      = 0
	del      = 1
	appendOp = 2
	subtract = 3
)

func to(v string) *string { return &v }

// alter asks for changes of one resource and gives "code message".
func (c *conn) alter(kind kmsg.ConfigResourceType, name string, validateOnly bool, changes ...change) string {
	c.t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.ValidateOnly = validateOnly
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kind, name
	for _, ch := range changes {
		r.Configs = append(r.Configs, kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: ch.name, Op: kmsg.IncrementalAlterConfigOp(ch.op), Value: ch.value})
	}
	req.Resources = append(req.Resources, r)
	got := c.do(req, 1).(*kmsg.IncrementalAlterConfigsResponse).Resources
	if len(got) != 1 || got[0].ResourceType != kind || got[0].ResourceName != name {
		c.t.Fatalf("answer %+v", got)
	}
	return fmt.Sprintf("%d %s", got[0].ErrorCode, str(got[0].ErrorMessage))
}

// replace asks to replace the configs of one resource (AlterConfigs).
func (c *conn) replace(kind kmsg.ConfigResourceType, name string, values ...string) string {
	c.t.Helper()
	req := kmsg.NewPtrAlterConfigsRequest()
	r := kmsg.NewAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kind, name
	for i := 0; i < len(values); i += 2 {
		rc := kmsg.NewAlterConfigsRequestResourceConfig()
		if rc.Name = values[i]; values[i+1] != "null" {
			rc.Value = &values[i+1]
		}
		r.Configs = append(r.Configs, rc)
	}
	req.Resources = append(req.Resources, r)
	got := c.do(req, 2).(*kmsg.AlterConfigsResponse).Resources[0]
	return fmt.Sprintf("%d %s", got.ErrorCode, str(got.ErrorMessage))
}

// describe gives the named configs of a resource, each as
// "name=value source [synonym=value source, ...]".
func (c *conn) describe(kind kmsg.ConfigResourceType, name string, configs ...string) string {
	c.t.Helper()
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.IncludeSynonyms = true
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = kind, name, configs
	req.Resources = append(req.Resources, r)
	got := c.do(req, 4).(*kmsg.DescribeConfigsResponse).Resources[0]
	var b strings.Builder
	if got.ErrorCode != 0 {
		return fmt.Sprintf("%d %s", got.ErrorCode, str(got.ErrorMessage))
	}
	for _, e := range got.Configs {
		fmt.Fprintf(&b, "%s=%s %d [", e.Name, str(e.Value), e.Source)
		for i, s := range e.ConfigSynonyms {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%s=%s %d", s.Name, str(s.Value), s.Source)
		}
		b.WriteString("]\n")
	}
	return b.String()
}

// TestAlterTopicConfigs repeats a conversation with Apache Kafka 3.9.1.
func TestAlterTopicConfigs(t *testing.T) {
	n := start(t, nil)
	n.create("t1", 1, "retention.ms", "86400000")
	n.create("auto1", 1)
	c := n.dial()
	one := func(op int8, name, value string) []change { return []change{{op, name, to(value)}} }
	for _, x := range []struct {
		name, topic string
		changes     []change
		want        string
	}{
		{"set", "t1", one(set, "retention.ms", "1000"), "0 <nil>"},
		{"append", "t1", one(appendOp, "cleanup.policy", "compact"), "0 <nil>"},
		{"subtract", "t1", one(subtract, "cleanup.policy", "delete"), "0 <nil>"},
		{"append to what is no list", "t1", one(appendOp, "retention.ms", "1"), "40 Config value append is not allowed for config key: retention.ms"},
		{"append to what nobody knows", "t1", one(appendOp, "no.such", "1"), "-1 <nil>"},
		{"set what nobody knows", "t1", one(set, "no.such", "1"), "40 Unknown topic config name: no.such"},
		{"bad value", "t1", one(set, "retention.ms", "x"), "40 Invalid config value for resource ConfigResource(type=TOPIC, name='t1'): Invalid value x for configuration retention.ms: Not a number of type LONG"},
		{"null", "t1", []change{{set, "retention.ms", nil}}, "42 Null value not supported for : retention.ms"},
		{"a key twice", "t1", []change{{set, "retention.ms", to("1")}, {del, "retention.ms", nil}}, "42 Error due to duplicate config keys"},
		{"unknown operation", "t1", one(9, "retention.ms", "1"), "-1 <nil>"},
		{"delete", "t1", []change{{del, "retention.ms", nil}}, "0 <nil>"},
		{"unknown topic", "nope9", one(set, "retention.ms", "1"), "3 The topic 'nope9' does not exist."},
		{"no topic", "", one(set, "retention.ms", "1"), "42 Default topic resources are not allowed."},
		{"compaction lags", "t1", []change{{set, "min.compaction.lag.ms", to("10")}, {set, "max.compaction.lag.ms", to("5")}},
			"40 conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)"},
	} {
		eq(t, x.name, c.alter(topicResource, x.topic, false, x.changes...), x.want)
	}
	eq(t, "described", c.describe(topicResource, "t1", "cleanup.policy", "retention.ms"),
		"cleanup.policy=compact 1 [cleanup.policy=compact 1, log.cleanup.policy=delete 5]\nretention.ms=604800000 5 []\n")
	eq(t, "validate only", c.alter(topicResource, "t1", true, change{set, "retention.ms", to("9")}), "0 <nil>")
	eq(t, "validate only, bad", c.alter(topicResource, "t1", true, change{set, "retention.ms", to("y")}),
		"40 Invalid config value for resource ConfigResource(type=TOPIC, name='t1'): Invalid value y for configuration retention.ms: Not a number of type LONG")
	eq(t, "nothing was written", c.describe(topicResource, "t1", "retention.ms"), "retention.ms=604800000 5 []\n")

	eq(t, "replace", c.replace(topicResource, "auto1", "segment.bytes", "1000", "retention.ms", "5"), "0 <nil>")
	eq(t, "replace again", c.replace(topicResource, "auto1", "segment.bytes", "2000"), "0 <nil>")
	eq(t, "replaced", c.describe(topicResource, "auto1", "segment.bytes", "retention.ms"),
		"retention.ms=604800000 5 []\nsegment.bytes=2000 1 [segment.bytes=2000 1, log.segment.bytes=1073741824 5]\n")
	eq(t, "replace by null", c.replace(topicResource, "auto1", "segment.bytes", "null"), "42 Null value not supported for : segment.bytes")
	eq(t, "a logger", c.replace(8, "1", "root", "INFO"), "42 Unknown resource type 8")
	eq(t, "client metrics", c.alter(16, "x", false, change{set, "a", to("b")}), "42 AlterConfigs is only supported for topics and brokers, but resource type is CLIENT_METRICS")
	eq(t, "type 99", c.alter(99, "x", false, change{set, "a", to("b")}), "42 Unknown resource type 99")
}

func TestResourceNamedTwice(t *testing.T) {
	n := start(t, nil)
	n.create("t", 1)
	n.create("u", 1)
	const twice = "42 Each resource must appear at most once."
	req := kmsg.NewPtrAlterConfigsRequest() // Apache Kafka does not answer this one at all
	inc := kmsg.NewPtrIncrementalAlterConfigsRequest()
	for _, name := range []string{"t", "u", "t"} {
		req.Resources = append(req.Resources, kmsg.AlterConfigsRequestResource{ResourceType: topicResource, ResourceName: name})
		inc.Resources = append(inc.Resources, kmsg.IncrementalAlterConfigsRequestResource{ResourceType: topicResource, ResourceName: name})
	}
	for i, want := range []string{twice, "0 <nil>", twice} {
		got := n.dial().do(req, 2).(*kmsg.AlterConfigsResponse).Resources[i]
		eq(t, "AlterConfigs", fmt.Sprintf("%d %s", got.ErrorCode, str(got.ErrorMessage)), want)
		gi := n.dial().do(inc, 1).(*kmsg.IncrementalAlterConfigsResponse).Resources[i]
		eq(t, "IncrementalAlterConfigs", fmt.Sprintf("%d %s", gi.ErrorCode, str(gi.ErrorMessage)), want)
	}
}

// TestAlterBrokerConfigs repeats a conversation with Apache Kafka 3.9.1, but for
// TLS, which is not built.
func TestAlterBrokerConfigs(t *testing.T) {
	n := start(t, nil)
	n.create("t1", 1)
	c := n.dial()
	for _, x := range []struct {
		name, broker string
		changes      []change
		want         string
	}{
		{"default", "", []change{{set, "log.retention.ms", to("3600000")}, {set, "log.cleaner.threads", to("2")}}, "0 <nil>"},
		{"own", "1", []change{{set, "log.retention.ms", to("7200000")}, {set, "my.custom", to("x")}, {set, "leader.replication.throttled.rate", to("1000000")}}, "0 <nil>"},
		{"static", "1", []change{{set, "log.dirs", to("/x")}}, "42 Cannot update these configs dynamically: Set(log.dirs)"},
		{"bad value", "", []change{{set, "log.retention.ms", to("x")}}, "42 Invalid value x for configuration log.retention.ms: Not a number of type LONG"},
		{"another broker", "2", []change{{set, "log.retention.ms", to("1")}}, "42 Unexpected broker id, expected 1, but received 2"},
		{"no broker", "abc", []change{{set, "log.retention.ms", to("1")}}, "42 Node id must be an integer, but it is: abc"},
		{"threads", "", []change{{set, "num.io.threads", to("100")}}, "42 Invalid value org.apache.kafka.common.config.ConfigException: Dynamic thread count update validation failed for num.io.threads=100, value should not be greater than double the current value 8 for configuration Invalid dynamic configuration"},
		{"hours", "", []change{{set, "log.retention.hours", to("1")}}, "42 Cannot update these configs dynamically: Set(log.retention.hours)"},
		{"of one broker, at the default", "", []change{{set, "advertised.listeners", to("PLAINTEXT://a:1")}}, "42 Cannot update these configs at default cluster level, broker id must be specified: Set(advertised.listeners)"},
		{"a password at the default", "", []change{{set, "listener.name.plaintext.ssl.keystore.password", to("p")}}, "42 Cannot update these configs at default cluster level, broker id must be specified: Set(listener.name.plaintext.ssl.keystore.password)"},
		{"ssl without prefix", "1", []change{{set, "ssl.keystore.location", to("x")}}, "42 These security configs can be dynamically updated only per-listener using the listener prefix: HashSet(ssl.keystore.location)"},
		{"append", "", []change{{appendOp, "log.cleanup.policy", to("compact")}}, "0 <nil>"},
		{"append what nobody knows", "", []change{{appendOp, "no.such", to("1")}}, "-1 <nil>"},
		{"delete", "", []change{{del, "log.cleanup.policy", nil}}, "0 <nil>"},
		{"a listener", "1", []change{{set, "advertised.listeners", to("PLAINTEXT://a:1")}}, "42 advertised.listeners can't be changed while this broker runs: set it in the broker's configuration file and restart the broker"},
	} {
		eq(t, x.name, c.alter(brokerResource, x.broker, false, x.changes...), x.want)
	}
	eq(t, "own", c.describe(brokerResource, "1", "log.retention.hours", "log.retention.ms", "my.custom", "leader.replication.throttled.rate"),
		"leader.replication.throttled.rate=1000000 2 [leader.replication.throttled.rate=1000000 2]\n"+
			"log.retention.hours=168 5 [log.retention.hours=168 5]\n"+
			"log.retention.ms=7200000 2 [log.retention.ms=7200000 2, log.retention.ms=3600000 3, log.retention.hours=168 5]\n"+
			"my.custom=<nil> 2 [my.custom=<nil> 2]\n")
	eq(t, "default", c.describe(brokerResource, "", ""), "")
	eq(t, "default", c.describe(brokerResource, "", "log.retention.ms", "log.cleaner.threads"),
		"log.cleaner.threads=2 3 [log.cleaner.threads=2 3]\nlog.retention.ms=3600000 3 [log.retention.ms=3600000 3]\n")
	eq(t, "a topic's", c.describe(topicResource, "t1", "retention.ms"),
		"retention.ms=7200000 2 [log.retention.ms=7200000 2, log.retention.ms=3600000 3, log.retention.hours=168 5]\n")
	eq(t, "all at once", c.replace(brokerResource, "1", "log.retention.ms", "5"), "0 <nil>")
	eq(t, "the rest is gone", c.describe(brokerResource, "1", "my.custom", "log.retention.ms"),
		"log.retention.ms=5 2 [log.retention.ms=5 2, log.retention.ms=3600000 3, log.retention.hours=168 5]\n")

	n.restart()
	eq(t, "after a restart", n.dial().describe(brokerResource, "1", "log.retention.ms"),
		"log.retention.ms=5 2 [log.retention.ms=5 2, log.retention.ms=3600000 3, log.retention.hours=168 5]\n")
}

// TestConfigZnodes looks at what other tools of Kafka's find in ZooKeeper.
func TestConfigZnodes(t *testing.T) {
	n := start(t, nil)
	n.create("t", 1)
	zk, err := session.Open(t.Context(), session.Options{Connect: n.values["zookeeper.connect"]})
	if err != nil {
		t.Fatal(err)
	}
	defer zk.Close()
	c := n.dial()
	eq(t, "topic", c.alter(topicResource, "t", false, change{set, "retention.ms", to("1")}), "0 <nil>")
	eq(t, "default", c.alter(brokerResource, "", false, change{set, "log.retention.ms", to("2")}), "0 <nil>")
	eq(t, "broker", c.alter(brokerResource, "1", false, change{set, "log.retention.ms", to("3")}), "0 <nil>")
	for path, want := range map[string]string{
		"/config/topics/t":                         `{"version":1,"config":{"retention.ms":"1"}}`,
		"/config/brokers/<default>":                `{"version":1,"config":{"log.retention.ms":"2"}}`,
		"/config/brokers/1":                        `{"version":1,"config":{"log.retention.ms":"3"}}`,
		"/config/changes/config_change_0000000000": `{"version":2,"entity_path":"topics/t"}`,
		"/config/changes/config_change_0000000001": `{"version":2,"entity_path":"brokers/<default>"}`,
		"/config/changes/config_change_0000000002": `{"version":2,"entity_path":"brokers/1"}`,
	} {
		data, _, err := zk.Get(t.Context(), path)
		if err != nil {
			t.Error(err)
		}
		eq(t, path, string(data), want)
	}
	// A hand has deleted what the start made; the next change makes it again.
	for _, path := range []string{"/config/changes/config_change_0000000000", "/config/changes/config_change_0000000001", "/config/changes/config_change_0000000002", "/config/changes"} {
		if err := zk.Delete(t.Context(), path, -1); err != nil {
			t.Fatal(err)
		}
	}
	eq(t, "topic", c.alter(topicResource, "t", false, change{del, "retention.ms", nil}), "0 <nil>")
	n.await("the controller", func() bool {
		return c.describe(topicResource, "t", "retention.ms") == "retention.ms=3 2 [log.retention.ms=3 2, log.retention.ms=2 3, log.retention.hours=168 5]\n"
	})
	// What is stored and can't be read is not overwritten by a small change.
	if _, err := zk.Set(t.Context(), zkpaths.TopicConfigPath("t"), []byte(`{"version":7}`), -1); err != nil {
		t.Fatal(err)
	}
	if got := c.alter(topicResource, "t", false, change{set, "retention.ms", to("1")}); !strings.HasPrefix(got, "40 ") || !strings.Contains(got, "can't be read") {
		t.Error(got)
	}
}

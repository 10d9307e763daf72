package zkpaths

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"barnabas/internal/kafka"
)

// again decodes the data of a znode and encodes what it found. ok is false for
// paths of no family.
func again(path string, data []byte) (out []byte, ok bool, err error) {
	has := func(prefix string) bool { return strings.HasPrefix(path, prefix) }
	if _, ok := ParseTopicPath(path); ok {
		a, err := DecodeAssignment(data)
		if err != nil {
			return nil, true, err
		}
		return a.Encode(), true, nil
	}
	if _, ok := ParseStatePath(path); ok {
		s, err := DecodeState(data)
		return s.Encode(), true, err
	}
	switch {
	case has(BrokerIDs + "/"):
		r, err := DecodeRegistration(data)
		if err != nil {
			return nil, true, err
		}
		return r.Encode(), true, nil
	case path == BrokerSeqID:
		return data, true, nil
	case path == ClusterIDPath:
		id, err := DecodeClusterID(data)
		return EncodeClusterID(id), true, err
	case path == ControllerPath:
		c, err := DecodeController(data)
		return c.Encode(), true, err
	case path == ControllerEpochPath:
		e, err := DecodeControllerEpoch(data)
		return EncodeControllerEpoch(e), true, err
	case path == FeaturePath:
		f, err := DecodeFeatures(data)
		return f.Encode(), true, err
	case path == ProducerIDBlockPath:
		b, ok, err := DecodeProducerIDBlock(data)
		if !ok {
			return nil, true, err
		}
		return b.Encode(), true, err
	case has(ConfigChanges + "/"):
		c, err := DecodeConfigChange(data)
		return c.Encode(), true, err
	case has(Config + "/"):
		v, err := DecodeConfig(data)
		return EncodeConfig(v), true, err
	case path == ReassignPath:
		r, err := DecodeReassignments(data)
		return EncodeReassignments(r), true, err
	case path == PreferredElectionPath, has(ISRChangePath):
		p, err := DecodePartitions(data)
		return EncodePartitions(p), true, err
	case has(LogDirEventPath):
		e, err := DecodeLogDirEvent(data)
		return e.Encode(), true, err
	case has(Consumers + "/"):
		n, err := DecodeConsumerOffset(data)
		return EncodeConsumerOffset(n), true, err
	}
	return nil, false, nil
}

// lines reads path, tab, data.
func lines(t testing.TB, name string) [][2]string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var out [][2]string
	for line := range strings.Lines(string(b)) {
		path, data, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok {
			t.Fatalf("no tab in %q", line)
		}
		out = append(out, [2]string{path, strings.ReplaceAll(data, "<empty>", "")})
	}
	return out
}

// TestGolden decodes what Apache Kafka 3.9 wrote and encodes it back to the same
// JSON values.
func TestGolden(t *testing.T) {
	for _, name := range []string{"testdata/golden.tsv", "testdata/documented.tsv"} {
		for _, l := range lines(t, name) {
			got, ok, err := again(l[0], []byte(l[1]))
			if !ok || err != nil {
				t.Errorf("%s: known %v, err %v, data %s", l[0], ok, err, l[1])
				continue
			}
			if !sameJSON(t, got, []byte(l[1])) {
				t.Errorf("%s\n got %s\nwant %s", l[0], got, l[1])
			}
		}
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		t.Errorf("%s: %v", a, err)
	}
	if err := json.Unmarshal(b, &y); err != nil {
		t.Errorf("%s: %v", b, err)
	}
	return reflect.DeepEqual(x, y)
}

// TestRefused holds what must be an error.
func TestRefused(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200)
	for _, path := range []string{
		BrokerPath(1), ClusterIDPath, ControllerPath, ControllerEpochPath, FeaturePath, ProducerIDBlockPath, TopicPath("t"),
		StatePath(kafka.TopicPartition{Topic: "t"}), ReassignPath, PreferredElectionPath, ISRChangePath + "0000000001",
		LogDirEventPath + "0000000001", ConfigChangePath + "0000000001", Consumers + "/g/offsets/t/0",
	} {
		for _, data := range []string{"null", "[]", `{"version":`, `"x"`, deep, strings.Repeat(" ", MaxData+1), "{}"} {
			if _, _, err := again(path, []byte(data)); err == nil && !(data == "{}" && (path == PreferredElectionPath || path == ReassignPath || strings.HasPrefix(path, ISRChangePath))) {
				t.Errorf("%s took %.40q", path, data)
			}
		}
	}
	for path, data := range map[string]string{
		BrokerPath(1):       `{"version":5,"endpoints":["PLAINTEXT://h:99999999"]}`,
		BrokerPath(2):       `{"version":5,"endpoints":["X://h:1"],"listener_security_protocol_map":{"Y":"SSL"}}`,
		TopicPath("a"):      `{"version":3,"partitions":{"2000000000":[1]}}`,
		TopicPath("b"):      `{"version":3,"partitions":{"-1":[1]}}`,
		TopicPath("c"):      `{"version":3,"partitions":{"0":[1]},"topic_id":"short"}`,
		TopicPath("d"):      `{"version":3,"partitions":{"0":[1,2,1]}}`,
		TopicPath("e"):      `{"version":3,"partitions":{"0":[1,-2]}}`,
		TopicPath("f"):      `{"version":3,"partitions":{"0":[1]},"adding_replicas":{"0":[4,4]}}`,
		ControllerPath:      `{"version":2,"timestamp":"1"}`,
		ControllerEpochPath: `2147483647`,
		StatePath(kafka.TopicPartition{Topic: "a"}): `{"controller_epoch":5,"leader":1,"version":1,"leader_epoch":2147483647,"isr":[1]}`,
		StatePath(kafka.TopicPartition{Topic: "b"}): `{"controller_epoch":5,"leader":1,"version":1,"leader_epoch":3,"isr":[1,2,1]}`,
		StatePath(kafka.TopicPartition{Topic: "c"}): `{"controller_epoch":5,"leader":1,"version":1,"leader_epoch":3,"isr":[1,-1]}`,
		ConfigPath("topics", "t"):                   `{"version":2,"config":{}}`,
	} {
		if _, _, err := again(path, []byte(data)); err == nil {
			t.Errorf("%s took %s", path, data)
		}
	}
}

func TestConfigOfHands(t *testing.T) {
	for data, want := range map[string]map[string]string{
		"": {}, "hello": {}, `{"version":1,"config":{"a":1,"b":"x","c":true}}`: {"a": "1", "b": "x", "c": "true"},
	} {
		got, err := DecodeConfig([]byte(data))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %v, %v, want %v", data, got, err, want)
		}
	}
}

func TestOldVersions(t *testing.T) {
	r, err := DecodeRegistration([]byte(`{"version":1,"host":"h","port":9092,"jmx_port":-1,"timestamp":"1"}`))
	if err != nil || len(r.Endpoints) != 1 || r.Endpoints[0] != (Endpoint{"PLAINTEXT", "h", 9092, "PLAINTEXT"}) {
		t.Errorf("version 1: %+v, %v", r, err)
	}
	r, err = DecodeRegistration([]byte(`{"version":3,"host":null,"port":-1,"endpoints":["SSL://[::1]:9093"],"rack":null,"timestamp":"1"}`))
	if err != nil || len(r.Endpoints) != 1 || r.Endpoints[0] != (Endpoint{"SSL", "::1", 9093, "SSL"}) || r.Endpoints[0].String() != "SSL://[::1]:9093" {
		t.Errorf("version 3: %+v, %v", r, err)
	}
	c, err := DecodeConfigChange([]byte(`{"version":1,"entity_type":"topics","entity_name":"x"}`))
	if err != nil || c.Path() != "/config/topics/x" {
		t.Errorf("config change version 1: %v, %v", c, err)
	}
	ct, err := DecodeController([]byte(`{"version":1,"brokerid":7,"timestamp":"5"}`))
	if err != nil || ct != (Controller{7, 5, -1}) {
		t.Errorf("controller version 1: %v, %v", ct, err)
	}
}

func TestMarkerSurvives(t *testing.T) {
	r := &Registration{Endpoints: []Endpoint{{"SSL", "h", 1, "SSL"}}, JMXPort: -1, Marker: &Marker{Version: "1", FastDeath: true, Crashed: true}}
	got, err := DecodeRegistration(r.Encode())
	if err != nil || got.Marker == nil || *got.Marker != *r.Marker || got.Port != -1 || !strings.Contains(string(r.Encode()), `"host":null`) {
		t.Errorf("got %+v, %v from %s", got, err, r.Encode())
	}
}

func TestNames(t *testing.T) {
	if p := MetadataChangePath(42); p != "/metadata_changes/change_0000000042" {
		t.Error(p)
	}
	for name, want := range map[string]int64{"change_0000000042": 42, "change_2147483647": 1<<31 - 1, "change_-000000001": -1, "change_42": -1, "x_0000000042": -1, "change_2147483648": -1} {
		if n, ok := ParseMetadataChange(name); ok != (want >= 0) || ok && n != want {
			t.Errorf("%s: %d, %v", name, n, ok)
		}
	}
	if n, ok := ParseMetadataChangePath(MetadataChangePath(7)); !ok || n != 7 {
		t.Error(n, ok)
	}
	for _, s := range []string{"c 1", "a*b+c", "<default>", "ä/ö", "plain._-"} {
		if got, err := Desanitize(Sanitize(s)); err != nil || got != s || strings.ContainsAny(Sanitize(s), "/*+ <") {
			t.Errorf("%q: %q, %q, %v", s, Sanitize(s), got, err)
		}
	}
	if tp, ok := ParseStatePath("/brokers/topics/a-b/partitions/12/state"); !ok || tp != (kafka.TopicPartition{Topic: "a-b", Partition: 12}) {
		t.Error(tp, ok)
	}
}

func TestProducerIDBlocks(t *testing.T) {
	b, err := NextProducerIDBlock(nil, 3)
	if err != nil || b != (ProducerIDBlock{3, 0, 999}) {
		t.Fatal(b, err)
	}
	b, err = NextProducerIDBlock(b.Encode(), 4)
	if err != nil || b != (ProducerIDBlock{4, 1000, 1999}) {
		t.Fatal(b, err)
	}
	b.Last = 1<<63 - 1
	if _, err := NextProducerIDBlock(b.Encode(), 4); err == nil {
		t.Fatal("ids beyond the end")
	}
}

// FuzzDecode: no input ends the process, and what is taken is stable.
func FuzzDecode(f *testing.F) {
	for _, l := range lines(f, "testdata/golden.tsv") {
		if len(l[1]) < 500 {
			f.Add(l[0], []byte(l[1]))
		}
	}
	for _, l := range lines(f, "testdata/documented.tsv") {
		f.Add(l[0], []byte(l[1]))
	}
	f.Fuzz(func(t *testing.T, path string, data []byte) {
		once, ok, err := again(path, data)
		if !ok || err != nil {
			return
		}
		// Old versions of a format drop keys that a reader understands all the same
		// (a protocol map in a registration of version 2), so the first encoding may
		// differ from the second.
		twice, _, err := again(path, once)
		if err != nil {
			t.Fatalf("%s: %q became %s: %v", path, data, once, err)
		}
		thrice, _, err := again(path, twice)
		if err != nil || !bytes.Equal(twice, thrice) {
			t.Errorf("%s: %q became %s, then %s (%v)", path, data, twice, thrice, err)
		}
	})
}

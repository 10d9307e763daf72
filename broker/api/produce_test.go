package api

import (
	"bytes"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker/replica"
	"barnabas/internal/kafka"
	"barnabas/log/batch"
	"barnabas/protocol"
)

// plain are builder options of a batch without a producer.
func plain() batch.BuilderOptions {
	return batch.BuilderOptions{}
}

type toProduce struct {
	topic     string
	partition int32
	records   []byte
}

func produceRequest(version, acks int16, parts ...toProduce) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(version)
	req.Acks, req.TimeoutMillis = acks, 5000
	for _, p := range parts {
		t := kmsg.NewProduceRequestTopic()
		t.Topic = p.topic
		t.Partitions = []kmsg.ProduceRequestTopicPartition{{Partition: p.partition, Records: p.records}}
		req.Topics = append(req.Topics, t)
	}
	return req
}

// TestProduceErrors has the cases of Kafka's answers to bad requests.
func TestProduceErrors(t *testing.T) {
	b := newBroker(t)
	good := func() []byte { return records(t, 10, plain()) }
	edit := func(at int, with ...byte) []byte {
		r := good()
		copy(r[at:], with)
		return r
	}
	zstd := edit(22, 4)
	for _, tc := range []struct {
		name          string
		version, acks int16
		part          toProduce
		want          protocol.Error
	}{
		{"ok", 11, 1, toProduce{"a", 0, good()}, protocol.None},
		{"ok, all", 3, -1, toProduce{"a", 0, good()}, protocol.None},
		{"truncated tail", 11, 1, toProduce{"a", 0, append(good(), good()[:30]...)}, protocol.None},
		{"magic 2 in version 2", 2, 1, toProduce{"a", 0, good()}, protocol.None},
		{"zstd in version 7", 7, 1, toProduce{"a", 0, zstd}, protocol.None},
		{"acks 2", 11, 2, toProduce{"a", 0, good()}, protocol.InvalidRequiredAcks},
		{"unknown topic", 11, 1, toProduce{"nosuch", 0, good()}, protocol.UnknownTopicOrPartition},
		{"unknown partition", 11, 1, toProduce{"a", 9, good()}, protocol.UnknownTopicOrPartition},
		{"negative partition", 11, 1, toProduce{"a", -1, good()}, protocol.UnknownTopicOrPartition},
		{"internal topic", 11, 1, toProduce{kafka.ConsumerOffsetsTopic, 0, good()}, protocol.InvalidTopic},
		{"two batches", 11, 1, toProduce{"a", 0, append(good(), good()...)}, protocol.InvalidRecord},
		{"empty", 11, 1, toProduce{"a", 0, []byte{}}, protocol.InvalidRecord},
		{"null", 11, 1, toProduce{"a", 0, nil}, protocol.InvalidRecord},
		{"partial batch", 11, 1, toProduce{"a", 0, good()[:40]}, protocol.InvalidRecord},
		{"partial header", 11, 1, toProduce{"a", 0, good()[:16]}, protocol.InvalidRecord},
		{"lying length", 11, 1, toProduce{"a", 0, edit(8, 0x7f, 0xff, 0xff, 0xff)}, protocol.InvalidRecord},
		{"negative length", 11, 1, toProduce{"a", 0, edit(8, 0xff)}, protocol.CorruptMessage},
		{"batch without its header", 11, 1, toProduce{"a", 0, edit(8, 0, 0, 0, 20)}, protocol.CorruptMessage},
		{"magic 3", 11, 1, toProduce{"a", 0, edit(16, 3)}, protocol.CorruptMessage},
		{"magic 1 in version 3", 3, 1, toProduce{"a", 0, edit(16, 1)}, protocol.InvalidRecord},
		{"zstd in version 6", 6, 1, toProduce{"a", 0, zstd}, protocol.UnsupportedCompressionType},
		{"transactional without an id", 11, 1, toProduce{"a", 0, edit(22, 0x10)}, protocol.TransactionalIDAuthorizationFailed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := b.dial()
			resp := call[*kmsg.ProduceResponse](c, produceRequest(tc.version, tc.acks, tc.part))
			p := resp.Topics[0].Partitions[0]
			if got := protocol.Error(p.ErrorCode); got != tc.want || resp.Topics[0].Topic != tc.part.topic || p.Partition != tc.part.partition {
				t.Errorf("got %v for %s-%d, want %v", got, resp.Topics[0].Topic, p.Partition, tc.want)
			}
			if tc.want != protocol.None && (p.BaseOffset != -1 || p.LogAppendTime != -1 || tc.version >= 5 && p.LogStartOffset != -1) {
				t.Errorf("an error with offsets: %+v", p)
			}
			if tc.name == "magic 3" && (p.ErrorMessage == nil || *p.ErrorMessage != "Invalid magic found in record: 3") {
				t.Errorf("message %v", p.ErrorMessage)
			}
			if tc.acks != 1 {
				return
			}
			c.send(produceRequest(tc.version, 0, tc.part))
			if tc.want != protocol.None {
				c.closed("without acknowledgement")
			} else if resp := call[*kmsg.ProduceResponse](c, produceRequest(11, 1, tc.part)); len(resp.Topics) != 1 {
				t.Error("no answer after one without acknowledgement")
			}
		})
	}
}

func TestProduceParksForReplicas(t *testing.T) {
	b := newBroker(t)
	tp := kafka.TopicPartition{Topic: "a", Partition: 1}
	b.rep.mu.Lock()
	b.rep.part(tp).replica = true
	b.rep.mu.Unlock()
	c := b.dial()
	recs := records(t, 10, plain())
	parked := produceRequest(9, -1, toProduce{"a", 0, recs}, toProduce{"a", 1, recs}, toProduce{"nosuch", 0, recs})
	c.send(parked)
	c.send(produceRequest(9, -1, toProduce{"a", 0, recs}))
	// The second is appended while the first waits.
	await(t, func() bool {
		b.rep.mu.Lock()
		defer b.rep.mu.Unlock()
		return b.rep.part(kafka.TopicPartition{Topic: "a"}).offset == 2
	})
	b.rep.replicated(tp, replica.ErrNotEnoughReplicasAfterAppend)
	first := receive[*kmsg.ProduceResponse](c, parked)
	var got []protocol.Error
	for _, topic := range first.Topics {
		for _, p := range topic.Partitions {
			got = append(got, protocol.Error(p.ErrorCode))
		}
	}
	want := []protocol.Error{protocol.None, protocol.NotEnoughReplicasAfterAppend, protocol.UnknownTopicOrPartition}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("partition %d: got %v, want %v", i, got[i], want[i])
		}
	}
	second := receive[*kmsg.ProduceResponse](c, produceRequest(9, -1))
	if o := second.Topics[0].Partitions[0].BaseOffset; o != 1 {
		t.Errorf("second at offset %d, want 1", o)
	}
}

// TestProduceNamesNewLeader_KIP951: the answer to a producer that asked the
// wrong broker says who leads, and where.
func TestProduceNamesNewLeader_KIP951(t *testing.T) {
	b := newBroker(t)
	b.rep.part(kafka.TopicPartition{Topic: "b"}).err = &replica.NotLeaderError{Leader: 2, Epoch: 8}
	b.rep.part(kafka.TopicPartition{Topic: "b", Partition: 1}).err = replica.ErrUnknownPartition // not here
	for _, version := range []int16{9, 10} {
		for _, want := range []struct{ partition, epoch int32 }{{0, 8}, {1, 7}} {
			resp := call[*kmsg.ProduceResponse](b.dial(), produceRequest(version, -1, toProduce{"b", want.partition, records(t, 1, plain())}))
			p := resp.Topics[0].Partitions[0]
			if protocol.Error(p.ErrorCode) != protocol.NotLeaderOrFollower {
				t.Fatalf("got %v", protocol.Error(p.ErrorCode))
			}
			if version < 10 {
				if len(resp.Brokers) != 0 || p.CurrentLeader.LeaderID != -1 {
					t.Errorf("version %d names a leader: %+v", version, resp)
				}
				continue
			}
			if p.CurrentLeader.LeaderID != 2 || p.CurrentLeader.LeaderEpoch != want.epoch || len(resp.Brokers) != 1 ||
				resp.Brokers[0].Port != 9092 || *resp.Brokers[0].Rack != "rack" {
				t.Errorf("got leader %+v, nodes %+v", p.CurrentLeader, resp.Brokers)
			}
		}
	}
}

func TestBodyThatDoesNotParse(t *testing.T) {
	b := newBroker(t)
	for name, frame := range map[string]string{
		"unknown key":         "\x00\xc8\x00\x00\x00\x00\x00\x01\xff\xff",
		"unknown version":     "\x00\x03\x00\x0d\x00\x00\x00\x01\xff\xff",
		"negative version":    "\x00\x03\xff\xff\x00\x00\x00\x01\xff\xff",
		"produce cut short":   "\x00\x00\x00\x03\x00\x00\x00\x01\xff\xff\xff\xff",
		"fetch version 3":     "\x00\x01\x00\x03\x00\x00\x00\x01\xff\xff",
		"fetch without end":   "\x00\x01\x00\x04\x00\x00\x00\x01\xff\xff\xff\xff\xff\xff",
		"four billion tags":   "\x00\x12\x00\x03\x00\x00\x00\x01\xff\xff\x00\x02a\x02b\xff\xff\xff\xff\x0f",
		"versions, null name": "\x00\x12\x00\x03\x00\x00\x00\x01\xff\xff\x00\x00\x02b\x00",
	} {
		c := b.dial()
		if _, err := c.nc.Write(append([]byte{0, 0, 0, byte(len(frame))}, frame...)); err != nil {
			t.Fatal(err)
		}
		c.closed(name)
	}
}

func TestAPIVersions(t *testing.T) {
	b := newBroker(t)
	c := b.dial()
	req := kmsg.NewPtrApiVersionsRequest()
	for v := range int16(5) {
		req.SetVersion(v)
		req.ClientSoftwareName, req.ClientSoftwareVersion = "a.b-c", "1"
		resp := call[*kmsg.ApiVersionsResponse](c, req)
		if resp.ErrorCode != 0 || len(resp.ApiKeys) != len(table()) {
			t.Fatalf("version %d: %+v", v, resp)
		}
		for i, k := range resp.ApiKeys {
			_, max, ok := protocol.Supported(k.ApiKey)
			if !ok || k.MaxVersion > max || k.MinVersion < 0 || i > 0 && k.ApiKey <= resp.ApiKeys[i-1].ApiKey {
				t.Errorf("key %+v: Kafka has up to %d", k, max)
			}
		}
	}
	for _, name := range []string{"", "-a", "a b", "a-"} {
		req.SetVersion(3)
		req.ClientSoftwareName = name
		resp := call[*kmsg.ApiVersionsResponse](c, req)
		if protocol.Error(resp.ErrorCode) != protocol.InvalidRequest || len(resp.ApiKeys) != 0 {
			t.Errorf("software %q: got %+v", name, resp)
		}
	}
	// As Apache Kafka answers versions that it does not know.
	if _, err := c.nc.Write([]byte("\x00\x00\x00\x0a\x00\x12\x00\x63\x00\x00\x00\x70\xff\xff")); err != nil {
		t.Fatal(err)
	}
	got, err := c.frame()
	if want := []byte("\x00\x00\x00\x70\x00\x23\x00\x00\x00\x01\x00\x12\x00\x00\x00\x04"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("version 99: got %x, %v, want %x", got, err, want)
	}
}

package broker_test

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/log/batch"
)

// produce makes a request for one partition.
func produce(acks int16, topic string, partition int32, recs []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = acks, 5000
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Partition, rp.Records = partition, recs
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

var codecs = batch.NewCodecs(batch.Limits{})

// packed makes a batch; a nil value is a record without a key or a value.
func packed(t *testing.T, o batch.BuilderOptions, values ...[]byte) []byte {
	t.Helper()
	o.Codecs = codecs
	b := batch.NewBuilder(o)
	for _, v := range values {
		b.Append(time.Now().UnixMilli(), nil, v)
	}
	out, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// records makes a plain batch.
func records(values ...string) []byte {
	b := batch.NewBuilder(batch.BuilderOptions{})
	for _, v := range values {
		b.Append(time.Now().UnixMilli(), []byte("k"), []byte(v))
	}
	out, _ := b.Bytes() // it has records
	return out
}

// produced shows what was answered: code, base offset, log start offset.
func (c *conn) produced(req *kmsg.ProduceRequest) string {
	c.t.Helper()
	p := c.do(req, 11).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	return fmt.Sprintf("%d at %d, start %d", p.ErrorCode, p.BaseOffset, p.LogStartOffset)
}

// Texts of Apache Kafka 3.9.1 (KIP-467).
func TestRecordErrors(t *testing.T) {
	n := start(t, nil)
	n.create("cmp", 1, "cleanup.policy", "compact")
	n.create("ts", 1, "message.timestamp.before.max.ms", "1000")
	c := n.dial()
	p := c.do(produce(-1, "cmp", 0, packed(t, batch.BuilderOptions{}, []byte("a"))), 11).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	eq(t, "no key", fmt.Sprintf("%d %s %d", p.ErrorCode, str(p.ErrorMessage), len(p.ErrorRecords)),
		"87 One or more records have been rejected due to 1 record errors in total, and only showing the first three errors at most: [RecordError(batchIndex=0, message='Compacted topic cannot accept message without key in topic partition cmp-0')] 1")

	b := batch.NewBuilder(batch.BuilderOptions{})
	b.Append(time.Now().Add(-time.Hour).UnixMilli(), nil, nil)
	old, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	p = c.do(produce(-1, "ts", 0, old), 11).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	eq(t, "too old", fmt.Sprintf("%d %s %d", p.ErrorCode, str(p.ErrorMessage), len(p.ErrorRecords)),
		"32 One or more records have been rejected due to invalid timestamp 1")
}

// A client's lie is its own matter: no line of the log for it, and after one
// that was found out no other passes unseen (docs/coordination.md §11).
func TestDecompressionBombs(t *testing.T) {
	n := start(t, nil)
	n.create("t", 1)
	c := n.dial()
	bomb := packed(t, batch.BuilderOptions{Codec: batch.Zstd}, make([]byte, 64<<20)) // more than 4 KiB, so not always opened
	for range 40 {
		eq(t, "bomb", c.produced(produce(-1, "t", 0, bomb)), "87 at -1, start 0")
	}
	torn := packed(t, batch.BuilderOptions{Codec: batch.Gzip}, []byte(strings.Repeat("in the penal colony ", 10)))
	torn = torn[:len(torn)-3]
	refit(torn)
	for range 5 {
		eq(t, "does not decompress", c.produced(produce(-1, "t", 0, torn)), "-1 at -1, start 0")
	}
	eq(t, "an honest one", c.produced(produce(-1, "t", 0, packed(t, batch.BuilderOptions{Codec: batch.Gzip}, []byte("x")))), "0 at 0, start 0")
	if got := n.logs.count("append failed"); got != 0 {
		t.Errorf("%d lines:\n%s", got, n.logs)
	}
}

// refit makes length and CRC of a batch right.
func refit(b []byte) {
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
}

// What an idempotent producer wrote is known to the next start of the broker:
// duplicates are answered as such, gaps and old epochs refused.
func TestIdempotenceOverRestarts(t *testing.T) {
	n := start(t, nil)
	n.create("t", 1)
	c := n.dial()
	id := c.do(kmsg.NewPtrInitProducerIDRequest(), 5).(*kmsg.InitProducerIDResponse)
	if id.ErrorCode != 0 {
		t.Fatalf("InitProducerId: code %d", id.ErrorCode)
	}
	send := func(epoch int16, sequence int32) string {
		return c.produced(produce(-1, "t", 0, packed(t, batch.BuilderOptions{
			Producer: &batch.Producer{ID: id.ProducerID, Epoch: epoch, Sequence: sequence},
		}, []byte("a"), []byte("b"))))
	}
	eq(t, "first", send(0, 0), "0 at 0, start 0")
	eq(t, "second", send(0, 2), "0 at 2, start 0")
	eq(t, "again", send(0, 2), "0 at 2, start 0")
	for i := range 3 {
		n.restart()
		c = n.dial()
		first := int64(2 + 2*i)
		eq(t, "again after the restart", send(0, int32(first)), fmt.Sprintf("0 at %d, start 0", first))
		eq(t, "gap", send(0, int32(first)+4), "45 at -1, start 0")
		eq(t, "next", send(0, int32(first)+2), fmt.Sprintf("0 at %d, start 0", first+2))
	}
	eq(t, "new epoch not from 0", send(1, 7), "45 at -1, start 0")
	eq(t, "new epoch", send(1, 0), "0 at 10, start 0")
	eq(t, "old epoch", send(0, 10), "47 at -1, start 0")
	n.restart()
	c = n.dial()
	eq(t, "old epoch after the restart", send(0, 10), "47 at -1, start 0")
	next := c.do(kmsg.NewPtrInitProducerIDRequest(), 5).(*kmsg.InitProducerIDResponse)
	if next.ErrorCode != 0 || next.ProducerID <= id.ProducerID {
		t.Errorf("producer id %d after %d, code %d", next.ProducerID, id.ProducerID, next.ErrorCode)
	}
}

// Without acknowledgement nothing is answered, and a refusal closes the
// connection.
func TestNoAcknowledgement(t *testing.T) {
	n := start(t, nil)
	n.create("t", 1)
	c := n.dial()
	c.write(produce(0, "t", 0, records("x")), 9)
	if got := len(c.do(kmsg.NewPtrMetadataRequest(), 12).(*kmsg.MetadataResponse).Topics); got != 1 {
		t.Errorf("%d topics", got)
	}
	eq(t, "what came without an answer is there", c.produced(produce(1, "t", 0, records("y"))), "0 at 1, start 0")
	c.write(produce(0, "nosuch", 0, records("x")), 9)
	if b, err := c.frame(); err == nil {
		t.Errorf("answered %x", b)
	}
}

func TestProduceRefusals(t *testing.T) {
	n := start(t, nil)
	n.create("t", 1, "max.message.bytes", "1000")
	c := n.dial()
	coordinator(c) // makes __consumer_offsets
	crc := records("x")
	crc[20]++
	count := records("x", "y")
	count[60]++ // of records
	refit(count)
	for _, x := range []struct {
		name string
		req  *kmsg.ProduceRequest
		want string
	}{
		{"acks", produce(2, "t", 0, records("x")), "21 at -1, start -1"},
		{"unknown topic", produce(-1, "nosuch", 0, records("x")), "3 at -1, start -1"},
		{"unknown partition", produce(-1, "t", 7, records("x")), "3 at -1, start -1"},
		{"topic name", produce(-1, "a/../b", 0, records("x")), "3 at -1, start -1"},
		{"internal topic", produce(-1, "__consumer_offsets", 0, records("x")), "17 at -1, start -1"},
		{"too large", produce(-1, "t", 0, records(strings.Repeat("x", 2000))), "10 at -1, start -1"},
		{"CRC", produce(-1, "t", 0, crc), "2 at -1, start -1"},
		{"count", produce(-1, "t", 0, count), "87 at -1, start 0"},
		{"two batches", produce(-1, "t", 0, append(records("x"), records("y")...)), "87 at -1, start -1"},
		{"null records", produce(-1, "t", 0, nil), "87 at -1, start -1"},
	} {
		eq(t, x.name, c.produced(x.req), x.want)
	}
}

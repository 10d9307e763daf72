package broker_test

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
	"barnabas/log/batch"
)

// produce writes a batch of n records, of a producer if one is given.
func (c *conn) produce(topic string, partition int32, n int, p *batch.Producer) {
	c.t.Helper()
	b := batch.NewBuilder(batch.BuilderOptions{Producer: p})
	for range n {
		b.Append(time.Now().UnixMilli(), []byte("key"), []byte("value"))
	}
	recs, err := b.Bytes()
	if err != nil {
		c.t.Fatal(err)
	}
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 10_000
	rt, rp := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	rp.Partition, rp.Records = partition, recs
	rt.Topic, rt.Partitions = topic, append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	if got := c.do(req, 9).(*kmsg.ProduceResponse).Topics[0].Partitions[0]; got.ErrorCode != 0 {
		c.t.Fatalf("producing to %s-%d: code %d %s", topic, partition, got.ErrorCode, str(got.ErrorMessage))
	}
}

// deletion asks for one partition's records below offset to be deleted.
func (c *conn) deletion(version int16, topic string, partition int32, offset int64) string {
	c.t.Helper()
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 3000
	rt, rp := kmsg.NewDeleteRecordsRequestTopic(), kmsg.NewDeleteRecordsRequestTopicPartition()
	rp.Partition, rp.Offset = partition, offset
	rt.Topic, rt.Partitions = topic, append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	got := c.do(req, version).(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0]
	return fmt.Sprintf("code %d low %d", got.ErrorCode, got.LowWatermark)
}

// TestDeleteRecords asks what a running 3.9.1 was asked, and gets its answers.
func TestDeleteRecords(t *testing.T) {
	n := start(t, nil)
	n.create("pr", 2)
	n.create("cmp", 1, "cleanup.policy", "compact")
	c := n.dial()
	c.produce("pr", 0, 5, nil)
	c.produce("pr", 1, 8, nil)
	c.produce("cmp", 0, 1, nil)
	eq(t, "beyond, as bytes", n.raw(unhex(t, "000000280015000200000001000570726f62650002037072020000000000000000000003e7000000000bb800")),
		"000000010000000000020370720200000000ffffffffffffffff0001000000")
	ask := func(name string, version int16, topic string, partition int32, offset int64, want string) {
		t.Helper()
		eq(t, name, c.deletion(version, topic, partition, offset), want)
	}
	ask("ok", 2, "pr", 0, 3, "code 0 low 3")
	ask("lower", 1, "pr", 0, 1, "code 0 low 3")
	ask("negative", 0, "pr", 0, -5, "code 1 low -1")
	ask("compacted", 2, "cmp", 0, 1, "code 44 low -1")
	ask("unknown topic", 2, "nosuch", 0, 1, "code 3 low -1")
	ask("unknown partition", 2, "pr", 9, 1, "code 3 low -1")
	ask("to the high watermark", 2, "pr", 1, -1, "code 0 low 8")

	find := kmsg.NewPtrFindCoordinatorRequest()
	find.CoordinatorKeys = []string{"g"}
	n.await("the internal topic", func() bool {
		return c.do(find, 4).(*kmsg.FindCoordinatorResponse).Coordinators[0].ErrorCode == 0
	})
	ask("internal topic", 2, kafka.ConsumerOffsetsTopic, 0, 0, "code 17 low -1")

	n.restart()
	c = n.dial()
	n.await("the partition", func() bool { return strings.HasPrefix(c.deletion(2, "pr", 0, 0), "code 0") })
	ask("after a restart", 2, "pr", 0, 0, "code 0 low 3")
}

func TestDescribeProducers(t *testing.T) {
	n := start(t, nil)
	n.create("pr", 1)
	c := n.dial()
	c.produce("pr", 0, 2, &batch.Producer{ID: 9, Epoch: 1})
	req := kmsg.NewPtrDescribeProducersRequest()
	rt := kmsg.NewDescribeProducersRequestTopic()
	rt.Topic, rt.Partitions = "pr", []int32{0, 9, 0}
	req.Topics = append(req.Topics, rt)
	parts := c.do(req, 0).(*kmsg.DescribeProducersResponse).Topics[0].Partitions
	if parts[0].ErrorCode != 0 || len(parts[0].ActiveProducers) != 1 {
		t.Fatalf("got %+v", parts[0])
	}
	p := parts[0].ActiveProducers[0]
	eq(t, "producer", fmt.Sprintf("id %d epoch %d sequence %d coordinator %d transaction %d", p.ProducerID, p.ProducerEpoch, p.LastSequence, p.CoordinatorEpoch, p.CurrentTxnStartOffset),
		"id 9 epoch 1 sequence 1 coordinator -1 transaction -1")
	eq(t, "unknown partition", fmt.Sprintf("%d, %d producers, %s", parts[1].ErrorCode, len(parts[1].ActiveProducers), str(parts[1].ErrorMessage)), "3, 0 producers, "+str(nil))
	eq(t, "named again", fmt.Sprintf("%d, %d producers", parts[2].ErrorCode, len(parts[2].ActiveProducers)), "42, 0 producers")
}

func TestDescribeLogDirs(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	n := start(t, map[string]string{"log.dirs": strings.Join(dirs, ",")})
	n.create("pr", 2)
	n.create("other", 1)
	c := n.dial()
	c.produce("pr", 0, 3, nil)
	req := kmsg.NewPtrDescribeLogDirsRequest()
	show := func(version int16) (out string, size int64) {
		t.Helper()
		resp := c.do(req, version).(*kmsg.DescribeLogDirsResponse)
		if len(resp.Dirs) != 2 {
			t.Fatalf("got %+v", resp)
		}
		for i, d := range resp.Dirs {
			eq(t, "directory", d.Dir, dirs[i])
			if version >= 4 && (d.TotalBytes <= 0 || d.UsableBytes <= 0 || d.UsableBytes > d.TotalBytes) {
				t.Errorf("%d bytes of %d are usable", d.UsableBytes, d.TotalBytes)
			}
			for _, rt := range d.Topics {
				for _, p := range rt.Partitions {
					out += fmt.Sprintf("%d:%s-%d code %d lag %d future %v\n", i, rt.Topic, p.Partition, d.ErrorCode, p.OffsetLag, p.IsFuture)
					size += p.Size
				}
			}
		}
		return out, size
	}
	out, size := show(4)
	if got := strings.Count(out, "code 0 lag 0 future false"); got != 3 || size == 0 {
		t.Errorf("got %d bytes, %s", size, out)
	}
	rt := kmsg.NewDescribeLogDirsRequestTopic()
	rt.Topic, rt.Partitions = "pr", []int32{1, 0, 7}
	req.Topics = append(req.Topics, rt)
	out, _ = show(1)
	if strings.Count(out, ":pr-") != 2 || strings.Contains(out, "other") {
		t.Errorf("only pr: %s", out)
	}
	req.Topics = []kmsg.DescribeLogDirsRequestTopic{}
	if out, _ = show(2); out != "" {
		t.Errorf("nothing asked for: %s", out)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

package broker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fetch makes a request for one partition.
func fetch(topic string, offset int64, wait time.Duration) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = int32(wait.Milliseconds()), 1, 1<<20, -1
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.FetchOffset, rp.PartitionMaxBytes, rp.CurrentLeaderEpoch = offset, 1<<20, -1
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

// fetched shows an answer: code of the whole, then of each partition code, high
// watermark, log start offset and whether there are records.
func fetched(r *kmsg.FetchResponse) string {
	out := fmt.Sprint(r.ErrorCode)
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			out += fmt.Sprintf(" [%d hw %d start %d %v]", p.ErrorCode, p.HighWatermark, p.LogStartOffset, len(p.RecordBatches) > 0)
		}
	}
	return out
}

func TestFetchErrors(t *testing.T) {
	n := start(t, nil)
	n.create("t", 1)
	c := n.dial()
	eq(t, "produce", c.produced(produce(-1, "t", 0, records("a", "b"))), "0 at 0, start 0")
	for _, x := range []struct {
		name string
		edit func(r *kmsg.FetchRequest)
		want string
	}{
		{"data", func(*kmsg.FetchRequest) {}, "0 [0 hw 2 start 0 true]"},
		{"one batch though it is larger", func(r *kmsg.FetchRequest) { r.MaxBytes, r.Topics[0].Partitions[0].PartitionMaxBytes = 1, 1 }, "0 [0 hw 2 start 0 true]"},
		{"within a batch", func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].FetchOffset = 1 }, "0 [0 hw 2 start 0 true]"},
		{"end", func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].FetchOffset = 2 }, "0 [0 hw 2 start 0 false]"},
		{"beyond", func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].FetchOffset = 3 }, "0 [1 hw -1 start -1 false]"},
		{"negative", func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].FetchOffset = -7 }, "0 [1 hw -1 start -1 false]"},
		{"epoch of the future", func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].CurrentLeaderEpoch = 7 }, "0 [75 hw -1 start -1 false]"},
		{"unknown topic", func(r *kmsg.FetchRequest) { r.Topics[0].Topic = "nosuch" }, "0 [3 hw -1 start -1 false]"},
		{"unknown partition", func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].Partition = 8 }, "0 [3 hw -1 start -1 false]"},
		{"unknown session", func(r *kmsg.FetchRequest) { r.SessionID, r.SessionEpoch = 12345, 1 }, "70"},
	} {
		req := fetch("t", 0, 0)
		x.edit(req)
		eq(t, x.name, fetched(c.do(req, 12).(*kmsg.FetchResponse)), x.want)
	}
}

// A session tells what is new (KIP-227), and a wrong epoch does not end it.
func TestFetchSession(t *testing.T) {
	n := start(t, nil)
	n.create("t", 1)
	c := n.dial()
	req := fetch("t", 0, 0)
	req.SessionEpoch = 0
	first := c.do(req, 12).(*kmsg.FetchResponse)
	if first.SessionID == 0 {
		t.Fatal("no session")
	}
	next := func(epoch int32) string {
		req := kmsg.NewPtrFetchRequest()
		req.MaxBytes, req.SessionID, req.SessionEpoch = 1<<20, first.SessionID, epoch
		return fetched(c.do(req, 12).(*kmsg.FetchResponse))
	}
	eq(t, "nothing new", next(1), "0")
	eq(t, "wrong epoch", next(7), "71")
	eq(t, "produce", n.dial().produced(produce(-1, "t", 0, records("a"))), "0 at 0, start 0")
	eq(t, "new", next(2), "0 [0 hw 1 start 0 true]")
	eq(t, "an epoch again", next(2), "71")
}

// Who waits for records is woken by them, and by the end of the topic.
func TestFetchWaits(t *testing.T) {
	n := start(t, nil)
	n.create("t", 1)
	c, other := n.dial(), n.dial()
	c.write(fetch("t", 0, time.Minute), 11)
	eq(t, "produce", other.produced(produce(-1, "t", 0, records("a"))), "0 at 0, start 0")
	c.expect("woken by records", "0 [0 hw 1 start 0 true]")

	c.write(fetch("t", 1, time.Minute), 11)
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TimeoutMillis, req.TopicNames = 10_000, []string{"t"}
	if code := other.do(req, 5).(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode; code != 0 {
		t.Fatalf("deleting: code %d", code)
	}
	c.expect("woken by the deletion", "0 [3 hw -1 start -1 false]")
}

// expect reads the answer of a fetch of version 11.
func (c *conn) expect(what, want string) {
	c.t.Helper()
	b, err := c.frame()
	if err != nil {
		c.t.Fatal(err)
	}
	resp := kmsg.NewPtrFetchResponse()
	resp.SetVersion(11)
	if err := resp.ReadFrom(b[4:]); err != nil {
		c.t.Fatal(err)
	}
	eq(c.t, what, fetched(resp), want)
}

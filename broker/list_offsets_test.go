package broker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// offsets asks for one partition's offset; more names the partition again.
func (c *conn) offsets(version int16, topic string, partition int32, timestamp int64, epoch int32, isolation int8, more bool) string {
	c.t.Helper()
	req := kmsg.NewPtrListOffsetsRequest()
	req.IsolationLevel = isolation
	rt, rp := kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	rp.Partition, rp.Timestamp, rp.CurrentLeaderEpoch, rp.MaxNumOffsets = partition, timestamp, epoch, 5
	rt.Topic, rt.Partitions = topic, append(rt.Partitions, rp)
	if more {
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	got := c.do(req, version).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
	if version == 0 {
		return fmt.Sprintf("code %d offsets %v", got.ErrorCode, got.OldStyleOffsets)
	}
	return fmt.Sprintf("code %d offset %d time %d epoch %d", got.ErrorCode, got.Offset, got.Timestamp, got.LeaderEpoch)
}

// TestListOffsets asks what a running 3.9.1 was asked, and gets its answers: all
// versions, and all timestamps that mean something.
func TestListOffsets(t *testing.T) {
	n := start(t, nil)
	n.create("pr", 1)
	n.create("empty", 1)
	c := n.dial()
	before := time.Now().UnixMilli()
	c.produce("pr", 0, 3, nil)
	c.produce("pr", 0, 4, nil)
	const none = "code 0 offset -1 time -1 epoch -1"
	unsupported := "code 35 offset -1 time -1 epoch -1"
	ask := func(name string, version int16, timestamp int64, want string) {
		t.Helper()
		eq(t, name, c.offsets(version, "pr", 0, timestamp, -1, 0, false), want)
	}
	for v := int16(1); v <= 9; v++ {
		epoch := 0
		if v < 4 { // these have no epochs
			epoch = -1
		}
		at := fmt.Sprintf(" in version %d", v)
		ask("latest"+at, v, -1, fmt.Sprintf("code 0 offset 7 time -1 epoch %d", epoch))
		ask("earliest"+at, v, -2, fmt.Sprintf("code 0 offset 0 time -1 epoch %d", epoch))
		ask("in the future"+at, v, before+3_600_000, none)
		ask("unknown timestamp"+at, v, -6, unsupported)
		if v < 7 {
			ask("largest timestamp"+at, v, -3, unsupported)
		}
		switch {
		case v < 8:
			ask("earliest local"+at, v, -4, unsupported)
		default:
			ask("earliest local"+at, v, -4, "code 0 offset 0 time -1 epoch 0")
		}
		switch {
		case v < 9:
			ask("latest tiered"+at, v, -5, unsupported)
		default:
			ask("latest tiered"+at, v, -5, none)
		}
		var offset, ts int64
		if _, err := fmt.Sscanf(c.offsets(v, "pr", 0, 0, -1, 0, false), "code 0 offset %d time %d", &offset, &ts); err != nil || offset != 0 || ts < before {
			t.Errorf("first since 0%s: offset %d, time %d, %v", at, offset, ts, err)
		}
		if v >= 7 {
			if _, err := fmt.Sscanf(c.offsets(v, "pr", 0, -3, -1, 0, false), "code 0 offset %d time %d", &offset, &ts); err != nil || ts < before {
				t.Errorf("largest timestamp%s: offset %d, time %d, %v", at, offset, ts, err)
			}
		}
	}
	ask("all, version 0", 0, -1, "code 0 offsets [7 0]")
	ask("earliest, version 0", 0, -2, "code 0 offsets [0]")
	ask("by time, version 0", 0, time.Now().UnixMilli()+1000, "code 0 offsets [7 0]")
	ask("largest timestamp, version 0", 0, -3, "code 35 offsets []")
	eq(t, "largest timestamp of nothing", c.offsets(9, "empty", 0, -3, -1, 0, false), none)
	eq(t, "read committed", c.offsets(9, "pr", 0, -1, -1, 1, false), "code 0 offset 7 time -1 epoch 0")
	eq(t, "unknown topic", c.offsets(9, "nosuch", 0, -1, -1, 0, false), "code 3 offset -1 time -1 epoch -1")
	eq(t, "unknown partition", c.offsets(9, "pr", 7, -1, -1, 0, false), "code 3 offset -1 time -1 epoch -1")
	eq(t, "newer epoch", c.offsets(9, "pr", 0, -1, 3, 0, false), "code 75 offset -1 time -1 epoch -1")
	eq(t, "named twice", c.offsets(9, "pr", 0, -1, -1, 0, true), "code 42 offset -1 time -1 epoch -1")
}

// TestOffsetForLeaderEpoch likewise.
func TestOffsetForLeaderEpoch(t *testing.T) {
	n := start(t, nil)
	n.create("pr", 1)
	c := n.dial()
	c.produce("pr", 0, 7, nil)
	ask := func(version int16, partition, epoch, current int32, want string) {
		t.Helper()
		req := kmsg.NewPtrOffsetForLeaderEpochRequest()
		rt, rp := kmsg.NewOffsetForLeaderEpochRequestTopic(), kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		rp.Partition, rp.LeaderEpoch, rp.CurrentLeaderEpoch = partition, epoch, current
		rt.Topic, rt.Partitions = "pr", append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		got := c.do(req, version).(*kmsg.OffsetForLeaderEpochResponse).Topics[0].Partitions[0]
		eq(t, fmt.Sprintf("epoch %d of %d, version %d, by %d", epoch, partition, version, current),
			fmt.Sprintf("code %d end %d epoch %d", got.ErrorCode, got.EndOffset, got.LeaderEpoch), want)
	}
	for v := int16(1); v <= 4; v++ {
		ask(v, 0, 0, -1, "code 0 end 7 epoch 0")
	}
	ask(0, 0, 0, -1, "code 0 end 7 epoch -1")
	ask(4, 0, -1, -1, "code 0 end -1 epoch -1")
	ask(4, 0, 9, -1, "code 0 end -1 epoch -1")
	ask(4, 0, 0, 3, "code 75 end -1 epoch -1")
	ask(4, 7, 0, -1, "code 3 end -1 epoch -1")
}

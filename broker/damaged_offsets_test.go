package broker_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestDamagedOffsets: where the header of a batch of __consumer_offsets is damaged,
// the coordinator has loaded what is before and behind it, and says what is lost.
func TestDamagedOffsets(t *testing.T) {
	n := start(t, map[string]string{"offsets.topic.num.partitions": "1"})
	const commits = 120
	n.create("t", commits)
	c := n.dial()
	find := kmsg.NewPtrFindCoordinatorRequest() // makes __consumer_offsets
	find.CoordinatorKeys = []string{"g"}
	n.await("the coordinator", func() bool {
		return c.do(find, 4).(*kmsg.FindCoordinatorResponse).Coordinators[0].ErrorCode == 0
	})
	for p := range commits {
		n.await("the commit", func() bool { return c.commit("g", "t", int32(p), int64(1000+p), strings.Repeat("m", 100)) == 0 })
	}
	want := make([]int64, commits)
	for p := range commits {
		want[p] = int64(1000 + p)
	}
	if got := n.committed(c, "g", "t", commits); !slices.Equal(got, want) {
		t.Fatalf("committed %v", got)
	}
	c.Close()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}

	files, err := filepath.Glob(filepath.Join(n.values["log.dirs"], "__consumer_offsets-0", "*.log"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	const damaged = 5 // the batch with the commit for this partition
	at := strings.Index(string(b), strings.Repeat("m", 100))
	size := len(b) / commits
	at = at/size*size + damaged*size
	if at+size > 4096 || b[at+16] != 2 || int(b[at+11])+12 != size || len(b) != size*commits {
		t.Fatalf("no batches of %d bytes in %d", size, len(b))
	}
	clear(b[at : at+17]) // base offset to magic
	if err := os.WriteFile(files[0], b, 0o644); err != nil {
		t.Fatal(err)
	}

	n.open()
	want[damaged] = -1
	if got := n.committed(n.dial(), "g", "t", commits); !slices.Equal(got, want) {
		t.Errorf("committed %v", got)
	}
	told := fmt.Sprintf("file=%s position=%d next_position=%d lost_from=%d lost_to=%d lost=1", files[0], at, at+size, damaged, damaged)
	if logged := n.logs.String(); strings.Count(logged, "damage in a log") != 1 || !strings.Contains(logged, told) || !strings.Contains(logged, "level=ERROR") {
		t.Errorf("no line says %s:\n%s", told, logged)
	}
}

func (c *conn) commit(group, topic string, partition int32, offset int64, metadata string) int16 {
	c.t.Helper()
	req := kmsg.NewPtrOffsetCommitRequest()
	rp := kmsg.NewOffsetCommitRequestTopicPartition()
	rp.Partition, rp.Offset, rp.Metadata = partition, offset, &metadata
	req.Group, req.Generation = group, -1
	req.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetCommitRequestTopicPartition{rp}}}
	return c.do(req, 7).(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode
}

// committed are the offsets of a group, once its coordinator has loaded them; -1 for
// none.
func (n *node) committed(c *conn, group, topic string, partitions int32) (offsets []int64) {
	n.t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = group
	rt := kmsg.OffsetFetchRequestTopic{Topic: topic}
	for p := range partitions {
		rt.Partitions = append(rt.Partitions, p)
	}
	req.Topics = []kmsg.OffsetFetchRequestTopic{rt}
	n.await("the group's coordinator", func() bool {
		resp := c.do(req, 7).(*kmsg.OffsetFetchResponse)
		if resp.ErrorCode != 0 {
			return false
		}
		for _, p := range resp.Topics[0].Partitions {
			offsets = append(offsets, p.Offset)
		}
		return true
	})
	return offsets
}

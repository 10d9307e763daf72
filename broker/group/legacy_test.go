package group

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"barnabas/internal/zktest"
	"barnabas/protocol"
	"barnabas/zkpaths/session"
)

// TestLegacyOffsets follows the answers of Apache Kafka 3.9.1 to version 0.
func TestLegacyOffsets(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		zk, err := session.Open(t.Context(), session.Options{Connect: connect})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(zk.Close)
		c, err := New(Options{Store: newMemStore(), Partitions: func() int32 { return 1 }, Legacy: ZooKeeperOffsets{zk}, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		exists := func(topic string, partition int32) bool { return topic == "pr" && partition < 2 }
		commit := func(group string, offset int64, metadata string) protocol.Error {
			r := &CommitRequest{Group: group, Topics: []CommitTopic{{"pr", []CommitPartition{{Offset: offset, Metadata: metadata}}}}}
			c.CommitLegacy(t.Context(), r)
			return r.Topics[0].Partitions[0].Err
		}
		for _, x := range []struct {
			group    string
			offset   int64
			metadata string
			want     protocol.Error
		}{
			{"zkg", 7, "", ok},
			{"zkg", 8, "m", ok},
			{"zkg", 9, strings.Repeat("x", 4097), errMetadataTooLarge},
			{"a/b", 1, "", errInvalidGroupID},
			{"", 1, "", errInvalidGroupID},
			{"..", 1, "", errInvalidGroupID},
			{"grüße", -3, "", ok},
		} {
			if got := commit(x.group, x.offset, x.metadata); got != x.want {
				t.Errorf("commit of %q %d: got %v, want %v", x.group, x.offset, got, x.want)
			}
		}
		if data, _, err := zk.Get(t.Context(), "/consumers/zkg/offsets/pr/0"); err != nil || string(data) != "8" {
			t.Errorf("znode: %q, %v", data, err)
		}
		got := c.FetchLegacy(t.Context(), &FetchRequest{Group: "zkg", Topics: []FetchTopic{{"pr", []int32{0, 1}}, {"nosuch", []int32{0}}}}, exists)
		want := FetchResponse{Topics: []FetchedTopic{
			{"pr", []FetchedPartition{{0, 8, -1, "", ok}, {1, -1, -1, "", errUnknownPartition}}},
			{"nosuch", []FetchedPartition{{0, -1, -1, "", errUnknownPartition}}},
		}}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
		if _, err := zk.Set(t.Context(), "/consumers/zkg/offsets/pr/0", []byte("junk"), -1); err != nil {
			t.Fatal(err)
		}
		got = c.FetchLegacy(t.Context(), &FetchRequest{Group: "zkg", Topics: []FetchTopic{{"pr", []int32{0}}}}, exists)
		if got.Topics[0].Partitions[0].Err != errUnknownServer {
			t.Errorf("junk: %+v", got)
		}
		zk.Close()
		if got := commit("zkg", 1, ""); got != errUnknownServer {
			t.Errorf("commit without ZooKeeper: %v", got)
		}
	})
}

func TestNoLegacyOffsets(t *testing.T) {
	c := start(t, newMemStore(), Config{})
	r := &CommitRequest{Group: "g", Topics: []CommitTopic{{"t", []CommitPartition{{}}}}}
	c.CommitLegacy(t.Context(), r)
	if got := r.Topics[0].Partitions[0].Err; got != errNotAvailable {
		t.Errorf("commit: %v", got)
	}
}

func TestOptionsAreValidated(t *testing.T) {
	if _, err := New(Options{}); err == nil || errors.Unwrap(err) != nil {
		t.Errorf("got %v", err)
	}
}

package testcluster

import (
	"reflect"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/internal/kafka"
)

// TestGroupChecker: each kind of broken promise to a group is found, and a kept one
// is not.
func TestGroupChecker(t *testing.T) {
	tp := kafka.TopicPartition{Topic: "t"}
	all := []kafka.TopicPartition{tp}
	commit := func(h *History, member string, generation int32, offset int64) {
		h.committed("g", member, generation, tp, offset, h.committing("g", tp, offset))
	}
	for name, test := range map[string]struct {
		told  func(h *History)
		after int64
		want  string // "" for nothing
	}{
		"kept": {func(h *History) {
			h.owns("g", 1, "a", all)
			h.owns("g", 1, "a", all) // told again
			commit(h, "a", 1, 3)
			h.owns("g", 2, "b", all)
			commit(h, "b", 2, 3)
		}, 3, ""},
		"a later one that was not acknowledged": {func(h *History) {
			commit(h, "a", 1, 3)
			h.committing("g", tp, 5)
		}, 5, ""},
		"lost":     {func(h *History) { commit(h, "a", 1, 3) }, 0, "3 was acknowledged by a in generation 1, and in the end 0 is there"},
		"invented": {func(h *History) { commit(h, "a", 1, 3) }, 4, "4 is there, which nobody committed"},
		"moved back": {func(h *History) {
			commit(h, "a", 1, 3)
			commit(h, "b", 1, 2)
		}, 3, "2 was acknowledged by b in generation 1, after 3 by a in generation 1"},
		"one that was overtaken moves nothing back": {func(h *History) {
			asked := h.committing("g", tp, 2)
			commit(h, "a", 1, 3)
			h.committed("g", "b", 1, tp, 2, asked)
		}, 3, ""},
		"counted anew after it was deleted": {func(h *History) {
			h.owns("other", 1, "a", all)
			h.owns("g", 1, "a", all)
			h.owns("g", 2, "a", all)
			h.forgotten("g")
			h.owns("g", 1, "b", all)
			commit(h, "b", 1, 3)
		}, 3, ""},
		"another one was deleted": {func(h *History) {
			h.owns("g", 1, "a", all)
			h.forgotten("other")
			h.owns("g", 1, "b", all)
		}, 0, "t-0 is owned by a and by b"},
		"two owners": {func(h *History) {
			h.owns("g", 1, "a", all)
			h.owns("g", 1, "b", all)
		}, 0, "t-0 is owned by a and by b"},
		"a stale generation": {func(h *History) {
			h.owns("g", 2, "b", all)
			commit(h, "a", 1, 7)
		}, 7, "7 was acknowledged by a in generation 1, when generation 2 had begun"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory()
			test.told(h)
			h.checkCommitted("g", map[kafka.TopicPartition]int64{tp: test.after})
			broken := strings.Join(h.broken(), "\n")
			if test.want == "" && broken != "" || !strings.Contains(broken, test.want) {
				t.Errorf("found %q, want %q", broken, test.want)
			}
		})
	}
}

// TestDeal: every partition goes to one member, and comes out as it was dealt.
func TestDeal(t *testing.T) {
	members := make([]kmsg.JoinGroupResponseMember, 3)
	for i, id := range []string{"c", "a", "b"} {
		members[i].MemberID = id
	}
	seen := map[kafka.TopicPartition]int{}
	for _, a := range deal(members, []Topic{{Name: "x", Partitions: 3}, {Name: "yy", Partitions: 2}}) {
		tps, err := decodeDealt(a.MemberAssignment)
		if err != nil {
			t.Fatal(err)
		}
		for _, tp := range tps {
			seen[tp]++
		}
	}
	want := map[kafka.TopicPartition]int{}
	for _, tp := range []kafka.TopicPartition{{Topic: "x"}, {Topic: "x", Partition: 1}, {Topic: "x", Partition: 2}, {Topic: "yy"}, {Topic: "yy", Partition: 1}} {
		want[tp] = 1
	}
	if !reflect.DeepEqual(seen, want) {
		t.Errorf("dealt %v", seen)
	}
}

package tools

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"

	"barnabas/protocol/groupstory"
)

func TestStoryFormat(t *testing.T) {
	g := kadm.DescribedGroup{Group: "audit", State: "Stable", Coordinator: kadm.BrokerDetail{NodeID: 1, Host: "h", Port: 9092},
		Members: make([]kadm.DescribedGroupMember, 2)}
	began := int64(1_700_000_000_000)
	var b bytes.Buffer
	formatStory(&b, g, &groupstory.Story{
		Lag: []groupstory.Lag{{Topic: "orders", Partition: 0, Records: 0}, {Topic: "orders", Partition: 1, Records: 7, Millis: 61_500}, {Topic: "orders", Partition: 2, Records: 3, Millis: -1}},
		Generations: []groupstory.Generation{
			{Generation: 3, Cause: "member b of 10.0.0.2 joins: new", Began: began, Joined: began + 2000, Assigned: began + 2100, Members: 2,
				Leader: "a", Protocol: "range", Last: "a", LastAfter: 2000, MissingCount: 11, Missing: []string{"c", "d"}, Also: 2},
			{Generation: 4, Cause: "member b of 10.0.0.2 leaves: bye", Began: began, Joined: began, Members: 1, Leader: "a", Protocol: "range", Last: "a",
				Failed: "rebalanced again: x", UnsyncedCount: 1, Unsynced: []string{"e"}},
			{Generation: 5, Cause: "c\x1b[2J\n", Began: began, Joined: began + 5},
			{Cause: "d", Began: began},
		},
	})
	want := `audit is Stable with 2 members; its coordinator is broker 1 (h:9092).
It is 10 records behind in 3 partitions, most in orders-1 (7 records, 61.500 s), orders-2 (3 records).

2023-11-14 22:13:20.000  generation 3  member b of 10.0.0.2 joins: new
    2 more causes came before its members had joined
    2 members joined within 2.000 s, the last after 2.000 s: a
    leader a, protocol range
    assigned after 2.100 s
    11 did not join in time and were removed: c, d and others

2023-11-14 22:13:20.000  generation 4  member b of 10.0.0.2 leaves: bye
    1 members joined within 0.000 s, the last after 0.000 s: a
    leader a, protocol range
    never assigned: rebalanced again: x
    1 did not ask for their assignment and were removed: e

2023-11-14 22:13:20.000  generation 5  c[2J
    nobody was left after 0.005 s

2023-11-14 22:13:20.000  under way  d
    waiting for members to join
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	b.Reset()
	formatStory(&b, g, &groupstory.Story{Lag: []groupstory.Lag{{Topic: "orders"}}})
	want = `audit is Stable with 2 members; its coordinator is broker 1 (h:9092).
It has committed all of its 1 partitions.
It was not rebalanced since this broker became its coordinator.
`
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

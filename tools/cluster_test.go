package tools

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
)

func TestForbids(t *testing.T) {
	for _, x := range []struct {
		name          string
		replicas, isr []int32
		leader        int32
		needed        int
		want          string
	}{
		{"enough others", []int32{1, 2, 3}, []int32{1, 2, 3}, 1, 2, ""},
		{"the only replica", []int32{1}, []int32{1}, 1, 1, "it has no other replica, and would be offline"},
		{"the only one in sync", []int32{1, 2}, []int32{1}, 1, 1, "it is the only one of 1,2 in sync, and the partition would be offline"},
		{"too few for acks=all", []int32{1, 2, 3}, []int32{1, 2}, 2, 2, "1 of 1,2,3 would be in sync, and acks=all needs 2"},
		{"out of sync itself", []int32{1, 2, 3}, []int32{2}, 2, 2, ""},
		{"not there at all", []int32{2, 3}, []int32{2, 3}, 2, 2, ""},
		{"offline already", []int32{1, 2}, []int32{1}, -1, 1, ""},
	} {
		p := kadm.PartitionDetail{Topic: "t", Replicas: x.replicas, ISR: x.isr, Leader: x.leader}
		if got := forbids(p, x.needed, 1); got != x.want {
			t.Errorf("%s: %q, want %q", x.name, got, x.want)
		}
	}
}

package controller_test

import (
	"slices"
	"testing"
	"time"

	"barnabas/cluster"
	"barnabas/controller"
	"barnabas/internal/kafka"
	"barnabas/internal/zktest"
	"barnabas/zkpaths"
)

// entries are the numbers of the entries that the change log has.
func entries(n *node) []int64 {
	n.t.Helper()
	names, _, err := n.zk.Children(n.t.Context(), zkpaths.MetadataChanges)
	if err != nil {
		n.t.Fatal(err)
	}
	var out []int64
	for _, name := range names {
		if number, ok := zkpaths.ParseMetadataChange(name); ok {
			out = append(out, number)
		}
	}
	slices.Sort(out)
	return out
}

// Old entries go, oldest first; the newest hundred stay, and so does what somebody
// may be about to read.
func TestPurge(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		age := func(d time.Duration) func(*controller.Options) {
			return func(o *controller.Options) { o.EntryAge = d }
		}
		one := startNode(t, connect, 1, age(time.Hour))
		one.awaitReign()
		two := startNode(t, connect, 2, age(time.Millisecond))
		one.await("both", func(im *cluster.Image) bool { return im.Alive(1) && im.Alive(2) })
		one.create(cluster.NewTopic{Name: "t", Assignment: [][]kafka.BrokerID{{1, 2}}})
		one.await("the topic", led("t", 1))
		for range 120 {
			one.alter(1)
			one.alter(1, 2)
		}
		all := entries(one)
		// Another reign, to which they are too young.
		newReign := func() {
			t.Helper()
			before := two.meta.Current().ControllerEpoch
			if err := two.zk.Delete(t.Context(), zkpaths.ControllerPath, -1); err != nil {
				t.Fatal(err)
			}
			waitUntil(t, "another reign", func() bool {
				return two.meta.Current().ControllerEpoch > before && (one.ctl.Active() || two.ctl.Active())
			})
		}
		for two.ctl.Active() || len(entries(one)) >= len(all) {
			if two.ctl.Active() {
				waitUntil(t, "old entries to go", func() bool { return len(entries(one)) < len(all)/2+20 })
				break
			}
			if got := entries(one); len(got) < len(all) || got[0] != all[0] {
				t.Fatalf("%d of %d entries are left though none is an hour old", len(got), len(all))
			}
			newReign()
		}
		left := entries(one)
		newest := left[len(left)-1]
		if left[0] > newest-99 || int64(len(left)) != newest-left[0]+1 {
			t.Errorf("entries %d to %d are left, %d of them: want the newest hundred, without a gap", left[0], newest, len(left))
		}
		// Who read on, who loads, and who comes now all see the same.
		sameAsLoaded(t, one)
		sameAsLoaded(t, two)
		three := startNode(t, connect, 3)
		three.await("itself", func(im *cluster.Image) bool { return im.Alive(3) && led("t", 1)(im) })
		sameAsLoaded(t, three)
	})
}

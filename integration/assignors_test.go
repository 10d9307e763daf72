//go:build integration

package integration

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"barnabas/internal/testproc"
)

// TestJavaAssignors shares ten partitions among three Java consumers with each of
// Kafka's strategies, then one of them dies without a word.
func TestJavaAssignors(t *testing.T) {
	b := newBroker(t, "group.min.session.timeout.ms=1000")
	admin := kadm.NewClient(b.client())
	if _, err := admin.CreateTopics(t.Context(), 10, 1, nil, "ten"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][][]int32{
		"RangeAssignor":             {{0, 1, 2, 3}, {4, 5, 6}, {7, 8, 9}},
		"RoundRobinAssignor":        {{0, 3, 6, 9}, {1, 4, 7}, {2, 5, 8}},
		"StickyAssignor":            nil,
		"CooperativeStickyAssignor": nil,
	} {
		t.Run(name, func(t *testing.T) {
			var procs []*testproc.Process
			for i := range 3 {
				cmd := exec.Command("java", javaArgs(t, "org.apache.kafka.tools.consumer.ConsoleConsumer", []string{
					"--bootstrap-server", b.addr, "--topic", "ten", "--group", name,
					"--consumer-property", "partition.assignment.strategy=org.apache.kafka.clients.consumer." + name,
					"--consumer-property", "session.timeout.ms=6000", "--consumer-property", "heartbeat.interval.ms=500",
				})...)
				p, err := testproc.Start(cmd, filepath.Join(t.TempDir(), fmt.Sprintf("java-%d", i)))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(p.Kill)
				procs = append(procs, p)
			}
			got := owned(t, admin, name, 3)
			sizes := []int{len(got[0]), len(got[1]), len(got[2])}
			if !slices.Equal(sizes, []int{4, 3, 3}) || want != nil && !slices.EqualFunc(got, want, slices.Equal) {
				t.Errorf("got %v, want %v", got, want)
			}
			procs[0].Kill()
			if after := owned(t, admin, name, 2); len(after[0]) != 5 {
				t.Errorf("after one died: %v", after)
			}
		})
	}
}

// owned waits until a group is stable with n members and shares ten partitions,
// and gives what each has, the most first.
func owned(t *testing.T, admin *kadm.Client, group string, n int) [][]int32 {
	t.Helper()
	var out [][]int32
	eventually(t, 2*time.Minute, fmt.Sprintf("%s with %d members", group, n), func() error {
		d, err := admin.DescribeGroups(t.Context(), group)
		if err != nil {
			return err
		}
		g := d[group]
		if g.State != "Stable" || len(g.Members) != n {
			return fmt.Errorf("%s with %d members", g.State, len(g.Members))
		}
		out = nil
		total := map[int32]bool{}
		for _, m := range g.Members {
			a, _ := m.Assigned.AsConsumer()
			var ps []int32
			for _, x := range a.Topics {
				ps = append(ps, x.Partitions...)
			}
			for _, p := range ps {
				if total[p] {
					t.Fatalf("partition %d has two owners", p)
				}
				total[p] = true
			}
			slices.Sort(ps)
			out = append(out, ps)
		}
		if len(total) != 10 {
			return fmt.Errorf("%d partitions are owned", len(total))
		}
		return nil
	})
	slices.SortFunc(out, func(a, b []int32) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return slices.Compare(a, b)
	})
	return out
}

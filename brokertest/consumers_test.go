package brokertest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// consume starts a member that polls until the test ends or leave is called.
func consume(t *testing.T, c *Cluster, group string, opts ...kgo.Opt) (cl *kgo.Client, leave func()) {
	t.Helper()
	cl = c.Client(append([]kgo.Opt{kgo.ConsumerGroup(group), kgo.HeartbeatInterval(100 * time.Millisecond), kgo.SessionTimeout(30 * time.Second),
		kgo.MetadataMinAge(50 * time.Millisecond), kgo.MetadataMaxAge(200 * time.Millisecond)}, opts...)...)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			cl.PollFetches(ctx)
		}
	}()
	leave = func() {
		cancel()
		<-done
		cl.Close()
	}
	t.Cleanup(leave)
	return cl, leave
}

// shared waits until a group is stable with n members and gives what each has of
// a topic, those with the smallest partitions first.
func shared(t *testing.T, admin *kadm.Client, group, topic string, n, partitions int) [][]int32 {
	t.Helper()
	var out [][]int32
	eventually(t, fmt.Sprintf("%s shares %d partitions among %d", group, partitions, n), func() error {
		d, err := admin.DescribeGroups(t.Context(), group)
		if err != nil {
			return err
		}
		g := d[group]
		if g.State != "Stable" || len(g.Members) != n {
			return fmt.Errorf("%s with %d members", g.State, len(g.Members))
		}
		out = nil
		owned := map[int32]bool{}
		for _, m := range g.Members {
			a, ok := m.Assigned.AsConsumer()
			if !ok {
				return errors.New("an assignment can't be read")
			}
			var ps []int32
			for _, x := range a.Topics {
				if x.Topic == topic {
					ps = append(ps, x.Partitions...)
				}
			}
			for _, p := range ps {
				if owned[p] {
					t.Fatalf("partition %d has two owners", p)
				}
				owned[p] = true
			}
			slices.Sort(ps)
			out = append(out, ps)
		}
		if len(owned) != partitions {
			return fmt.Errorf("%d are owned", len(owned))
		}
		return nil
	})
	slices.SortFunc(out, func(a, b []int32) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), slices.Compare(a, b))
	})
	return out
}

// TestAssignors shares ten partitions among three with each of the strategies.
func TestAssignors(t *testing.T) {
	c := Start(t, Topics(Topic{Name: "ten", Partitions: 10}))
	admin := kadm.NewClient(c.Client())
	for name, test := range map[string]struct {
		balancer kgo.GroupBalancer
		want     [][]int32 // nil: only the sizes are sure
	}{
		"range":       {kgo.RangeBalancer(), [][]int32{{0, 1, 2, 3}, {4, 5, 6}, {7, 8, 9}}},
		"round-robin": {kgo.RoundRobinBalancer(), [][]int32{{0, 3, 6, 9}, {1, 4, 7}, {2, 5, 8}}},
		"sticky":      {kgo.StickyBalancer(), nil},
		"cooperative": {kgo.CooperativeStickyBalancer(), nil},
	} {
		t.Run(name, func(t *testing.T) {
			opts := []kgo.Opt{kgo.ConsumeTopics("ten"), kgo.Balancers(test.balancer)}
			consume(t, c, name, opts...)
			consume(t, c, name, opts...)
			_, leave := consume(t, c, name, opts...)
			got := shared(t, admin, name, "ten", 3, 10)
			if len(got[0]) != 4 || len(got[1]) != 3 || len(got[2]) != 3 || test.want != nil && !slices.EqualFunc(got, test.want, slices.Equal) {
				t.Errorf("got %v, want %v", got, test.want)
			}
			leave()
			after := shared(t, admin, name, "ten", 2, 10)
			if len(after[0]) != 5 {
				t.Errorf("after one left: %v", after)
			}
			if test.want != nil {
				return
			}
			// Who stays keeps what it had; franz-go's sticky one may move one partition.
			kept := 0
			for _, now := range after {
				most := 0
				for _, was := range got {
					both := slices.DeleteFunc(slices.Clone(was), func(p int32) bool { return !slices.Contains(now, p) })
					most = max(most, len(both))
				}
				kept += most
			}
			if kept < 6 {
				t.Errorf("before %v, after %v", got, after)
			}
		})
	}
}

// TestSubscriptionsFollowTopics: a regular expression takes in new topics, and
// new partitions are shared out.
func TestSubscriptionsFollowTopics(t *testing.T) {
	c := Start(t, Topics(Topic{Name: "log-a", Partitions: 2}, Topic{Name: "other", Partitions: 2}))
	admin := kadm.NewClient(c.Client())
	for range 2 {
		consume(t, c, "team", kgo.ConsumeRegex(), kgo.ConsumeTopics(regexp.QuoteMeta("log-")+".*"))
	}
	shared(t, admin, "team", "log-a", 2, 2)
	c.CreateTopics(Topic{Name: "log-b", Partitions: 4})
	shared(t, admin, "team", "log-b", 2, 4)
	if _, err := admin.CreatePartitions(t.Context(), 4, "log-a"); err != nil {
		t.Fatal(err)
	}
	shared(t, admin, "team", "log-a", 2, 6)
	shared(t, admin, "team", "other", 2, 0)
}

// TestStandAloneCommitsAreRefused: a consumer without membership can't commit for
// a group that has members, and can once they are gone.
func TestStandAloneCommitsAreRefused(t *testing.T) {
	c := Start(t, Topics(Topic{Name: "work", Partitions: 2}))
	admin := kadm.NewClient(c.Client())
	_, leave := consume(t, c, "team", kgo.ConsumeTopics("work"), kgo.DisableAutoCommit())
	shared(t, admin, "team", "work", 1, 2)
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: "work", Partition: 0, At: 7, LeaderEpoch: -1})
	if err := admin.CommitAllOffsets(t.Context(), "team", offsets); !errors.Is(err, kerr.UnknownMemberID) {
		t.Errorf("a stranger's commit: %v", err)
	}
	leave()
	eventually(t, "the commit after the member has left", func() error {
		return admin.CommitAllOffsets(t.Context(), "team", offsets)
	})
	o, err := admin.FetchOffsets(t.Context(), "team")
	if at, found := o.Lookup("work", 0); err != nil || !found || at.At != 7 {
		t.Errorf("committed is %+v, %v", at, err)
	}
}

package brokertest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/protocol/groupstory"
)

// committer is the only member of a group, and commits one offset after the
// other for its partition.
type committer struct {
	group  string
	client *kgo.Client
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu    sync.Mutex // guards the following
	moves int        // assignments and losses
	acked int64      // the last offset that was acknowledged
	acks  int
}

func startCommitter(t *testing.T, c *Cluster, group string) *committer {
	t.Helper()
	m := &committer{group: group, acked: -1}
	moved := func(context.Context, *kgo.Client, map[string][]int32) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.moves++
	}
	ctx, cancel := context.WithCancel(t.Context())
	m.cancel = cancel
	// The session outlives any pause of a machine that is busy with other tests.
	m.client = c.Client(kgo.ConsumerGroup(group), kgo.ConsumeTopics("work"), kgo.DisableAutoCommit(),
		kgo.SessionTimeout(60*time.Second), kgo.HeartbeatInterval(300*time.Millisecond),
		kgo.Dialer(dialPatiently), kgo.RequestRetries(math.MaxInt32), kgo.RetryTimeout(patience),
		kgo.OnPartitionsAssigned(moved), kgo.OnPartitionsRevoked(moved), kgo.OnPartitionsLost(moved))
	m.done.Go(func() { m.run(ctx) })
	t.Cleanup(m.end)
	return m
}

// dialPatiently tells of a refused connection as of one that timed out. franz-go
// leaves a group when the dial of its heartbeat is refused again before there is
// another coordinator; it tries on where one is not answered.
func dialPatiently(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	if errors.Is(err, syscall.ECONNREFUSED) {
		err = &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ETIMEDOUT)}
	}
	return c, err
}

func (m *committer) run(ctx context.Context) {
	for n := int64(0); ctx.Err() == nil; n++ {
		if _, generation := m.client.GroupMetadata(); generation < 0 {
			poll, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
			m.client.PollFetches(poll)
			cancel()
			continue
		}
		var failed error
		m.client.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{"work": {0: {Epoch: -1, Offset: n}}},
			func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
				failed = err
				if err == nil && resp.Topics[0].Partitions[0].ErrorCode != 0 {
					failed = errors.New("refused")
				}
			})
		if failed == nil {
			m.mu.Lock()
			m.acked, m.acks = n, m.acks+1
			m.mu.Unlock()
		}
	}
}

func (m *committer) end() {
	m.cancel()
	m.done.Wait()
	m.client.Close()
}

func (m *committer) state() (moves, acks int, acked int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.moves, m.acks, m.acked
}

func eventually(t *testing.T, what string, ask func() error) {
	t.Helper()
	limit := time.After(90 * time.Second)
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-limit:
			t.Fatalf("%s: %v", what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestCoordinatorFailover kills a coordinator whose groups commit all the time:
// each goes on under another broker in the same generation, and no commit that
// was acknowledged is lost.
func TestCoordinatorFailover(t *testing.T) {
	const groups = 20
	c := Start(t, Brokers(3), Config("offsets.topic.replication.factor", "3"), Topics(Topic{Name: "work", ReplicationFactor: 3}))
	var members []*committer
	for i := range groups {
		members = append(members, startCommitter(t, c, fmt.Sprintf("team-%d", i)))
	}
	commitMore := func(what string) {
		start := map[*committer]int{}
		for _, m := range members {
			_, start[m], _ = m.state()
		}
		eventually(t, what, func() error {
			for _, m := range members {
				if _, n, _ := m.state(); n < start[m]+20 {
					return fmt.Errorf("%s has %d commits more", m.group, n-start[m])
				}
			}
			return nil
		})
	}
	commitMore("all groups commit")
	before := describe(t, c)
	victims := map[int32]int{}
	for _, g := range before {
		victims[g.Coordinator.NodeID]++
	}
	if len(victims) < 2 {
		t.Errorf("the coordinators are %v", victims)
	}
	victim := before["team-0"].Coordinator.NodeID
	moves := map[*committer]int{}
	for _, m := range members {
		moves[m], _, _ = m.state()
	}

	c.Broker(int(victim)).Kill()
	commitMore("all groups commit under their new coordinators")
	for _, m := range members {
		if now, _, _ := m.state(); now != moves[m] {
			t.Errorf("%s was rebalanced", m.group)
		}
	}
	after := describe(t, c)
	for name, g := range after {
		if g.State != "Stable" || len(g.Members) != 1 || g.Members[0].MemberID != before[name].Members[0].MemberID || g.Coordinator.NodeID == victim {
			t.Errorf("%s is %s with %d members on broker %d", name, g.State, len(g.Members), g.Coordinator.NodeID)
		}
	}
	acked := map[string]int64{}
	for _, m := range members {
		m.cancel()
		m.done.Wait()
		_, _, acked[m.group] = m.state()
	}

	// The next coordinators know of it, too.
	c.Broker(int(victim)).Restart()
	admin := kadm.NewClient(c.Client())
	for name, least := range acked {
		eventually(t, name, func() error {
			o, err := admin.FetchOffsets(t.Context(), name)
			if err != nil {
				return err
			}
			if at, found := o.Lookup("work", 0); !found || at.At < least {
				t.Fatalf("%s has committed %d, and %d was acknowledged", name, at.At, least)
			}
			return nil
		})
	}
}

func describe(t *testing.T, c *Cluster) kadm.DescribedGroups {
	t.Helper()
	admin := kadm.NewClient(c.Client())
	list, err := admin.ListGroups(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d, err := admin.DescribeGroups(t.Context(), list.Groups()...)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestLagOverBrokers: the coordinator knows how far a group is behind on all
// brokers, although it stopped before anybody looked.
func TestLagOverBrokers(t *testing.T) {
	c := Start(t, Brokers(3), Topics(Topic{Name: "work", Partitions: 6}))
	cl := c.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	written := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	offsets := kadm.Offsets{}
	for p := range int32(6) {
		for range 10 {
			if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "work", Partition: p, Timestamp: written}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		offsets.Add(kadm.Offset{Topic: "work", Partition: p, At: 4, LeaderEpoch: -1})
	}
	admin := kadm.NewClient(cl)
	if err := admin.CommitAllOffsets(t.Context(), "team", offsets); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the lag of six partitions", func() error {
		story, err := tell(t, cl, "team", true)
		if err != nil || story == nil {
			return fmt.Errorf("the story is %v, %v", story, err)
		}
		if len(story.Lag) != 6 {
			return fmt.Errorf("%+v", story.Lag)
		}
		for _, l := range story.Lag {
			if l.Records != 6 || l.Millis < time.Hour.Milliseconds() || l.Millis > time.Hour.Milliseconds()+10*60_000 {
				return fmt.Errorf("%+v", l)
			}
		}
		return nil
	})
	// Nobody is told who did not ask.
	if story, err := tell(t, cl, "team", false); story != nil || err != nil {
		t.Errorf("%v, %v", story, err)
	}
}

// tell asks a group's coordinator itself: franz-go, which shares such requests out
// among brokers, does not keep tags.
func tell(t *testing.T, cl *kgo.Client, group string, ask bool) (*groupstory.Story, error) {
	t.Helper()
	d, err := kadm.NewClient(cl).DescribeGroups(t.Context(), group)
	if err != nil {
		return nil, err
	}
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups = []string{group}
	if ask {
		groupstory.Ask(req)
	}
	resp, err := cl.Broker(int(d[group].Coordinator.NodeID)).RetriableRequest(t.Context(), req)
	if err != nil {
		return nil, err
	}
	return groupstory.Of(&resp.(*kmsg.DescribeGroupsResponse).Groups[0])
}

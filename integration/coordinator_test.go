//go:build integration

package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"barnabas/internal/testproc"
)

// committer is a member of a group that commits what it has read, one commit after
// the other, and knows what was acknowledged.
type committer struct {
	client *kgo.Client
	done   sync.WaitGroup
	cancel context.CancelFunc

	mu    sync.Mutex // guards following
	acked map[int32]int64
	n     int
	moved []string // what was assigned and revoked
	errs  []error
}

func startCommitter(t *testing.T, seeds []string, topic, group string) *committer {
	t.Helper()
	c := &committer{acked: map[int32]int64{}}
	note := func(what string) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, ps map[string][]int32) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.moved = append(c.moved, fmt.Sprint(what, " ", ps))
		}
	}
	var err error
	c.client, err = kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.HeartbeatInterval(time.Second),
		kgo.OnPartitionsAssigned(note("assigned")), kgo.OnPartitionsRevoked(note("revoked")), kgo.OnPartitionsLost(note("lost")))
	if err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, c.cancel = context.WithCancel(context.Background())
	c.done.Go(func() {
		for ctx.Err() == nil {
			records := c.client.PollFetches(ctx).Records()
			err := c.client.CommitRecords(ctx, records...)
			c.mu.Lock()
			if err == nil {
				for _, r := range records {
					c.acked[r.Partition] = r.Offset + 1
				}
				c.n++
			} else if lostMembership(err) { // that its coordinator is not there a client may say
				c.errs = append(c.errs, err)
			}
			c.mu.Unlock()
		}
	})
	t.Cleanup(func() { c.cancel(); c.client.Close(); c.done.Wait() })
	return c
}

// lostMembership tells whether a commit was refused for its member or generation.
func lostMembership(err error) bool {
	for _, e := range []error{kerr.UnknownMemberID, kerr.IllegalGeneration, kerr.RebalanceInProgress, kerr.FencedInstanceID} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (c *committer) state() (n int, acked map[int32]int64, moved []string, errs []error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	acked = map[int32]int64{}
	for p, o := range c.acked {
		acked[p] = o
	}
	return c.n, acked, slices.Clone(c.moved), slices.Clone(c.errs)
}

// javaVerifiable runs Kafka's verifiable consumer, whose lines tell of records,
// commits and rebalances.
type javaVerifiable struct {
	t    *testing.T
	proc *testproc.Process
	out  string
}

func startVerifiable(t *testing.T, seeds []string, topic, group string) *javaVerifiable {
	t.Helper()
	v := &javaVerifiable{t: t, out: filepath.Join(t.TempDir(), "verifiable")}
	var err error
	v.proc, err = testproc.Start(exec.Command("java", javaArgs(t, "org.apache.kafka.tools.VerifiableConsumer", []string{
		"--bootstrap-server", strings.Join(seeds, ","), "--topic", topic, "--group-id", group, "--reset-policy", "earliest"})...), v.out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.proc.Kill)
	return v
}

// javaEvent is a line of the verifiable consumer.
type javaEvent struct {
	Name    string
	Success bool
	Error   string
	Offsets []struct {
		Partition int32
		Offset    int64
	}
}

// state is what it has told so far.
func (v *javaVerifiable) state() (commits int, acked map[int32]int64, moved, failed []string) {
	v.t.Helper()
	text, err := os.ReadFile(v.out)
	if err != nil {
		v.t.Fatal(err)
	}
	acked = map[int32]int64{}
	for line := range bytes.Lines(text) {
		var e javaEvent
		if !bytes.HasSuffix(line, []byte("}\n")) || json.Unmarshal(line, &e) != nil {
			continue // what Kafka logs
		}
		switch {
		case e.Name == "partitions_assigned", e.Name == "partitions_revoked":
			moved = append(moved, e.Name)
		case e.Name == "offsets_committed" && e.Success:
			commits++
			for _, o := range e.Offsets {
				acked[o.Partition] = o.Offset
			}
		case e.Name == "offsets_committed" && (strings.Contains(e.Error, "rebalance") || strings.Contains(e.Error, "CommitFailed")):
			failed = append(failed, e.Error)
		}
	}
	return commits, acked, moved, failed
}

// generations are those of a group's records in __consumer_offsets.
func generations(t *testing.T, b *broker, partition int) []int {
	t.Helper()
	out := run(t, "", binary, "dump-log", "--offsets-decoder", "--files",
		strings.Join(b.glob(fmt.Sprintf("__consumer_offsets-%d/*.log", partition)), ","))
	var all []int
	for _, m := range regexp.MustCompile(`"generation":(\d+)`).FindAllStringSubmatch(out.stdout, -1) {
		n, _ := strconv.Atoi(m[1])
		all = append(all, n)
	}
	if out.err != nil || len(all) == 0 {
		t.Fatalf("no generation in the log: %v %s%s", out.err, out.stdout, out.stderr)
	}
	return all
}

// TestCoordinatorUnderLoad kills the coordinator of groups whose members, of
// franz-go and of Java, are committing all the while: no commit that was
// acknowledged is lost, and no group whose members live is rebalanced: they go on
// in their generation, with their partitions.
func TestCoordinatorUnderLoad(t *testing.T) {
	brokers := newCluster(t, 3, "min.insync.replicas=2", "offsets.topic.replication.factor=3", "offsets.topic.num.partitions=1", "replica.lag.time.max.ms=10000")
	var seeds []string
	for _, b := range brokers {
		seeds = append(seeds, b.addr)
	}
	const topic, partitions = "work", 6
	l := replicated(t, brokers, topic, partitions)
	members := []*committer{startCommitter(t, seeds, topic, "go"), startCommitter(t, seeds, topic, "go")}
	java := startVerifiable(t, seeds, topic, "java")
	describe := func() (d kadm.DescribedGroups, err error) {
		asking(t, seeds, func(admin *kadm.Client) {
			if d, err = admin.DescribeGroups(t.Context(), "go", "java"); err == nil {
				err = d.Error()
			}
		})
		return d, err
	}
	grown := func(what string) {
		t.Helper()
		was := []int{}
		look := func() (n []int) {
			for _, m := range members {
				c, _, _, _ := m.state()
				n = append(n, c)
			}
			c, _, _, _ := java.state()
			return append(n, c)
		}
		was = look()
		eventually(t, 90*time.Second, what+": each member commits", func() error {
			for i, n := range look() {
				if n < was[i]+5 {
					return fmt.Errorf("member %d has %d commits, had %d", i, n, was[i])
				}
			}
			return nil
		})
	}
	settled := func() map[string][]string {
		t.Helper()
		ids := map[string][]string{}
		eventually(t, 90*time.Second, "both groups are stable", func() error {
			d, err := describe()
			if err != nil {
				return err
			}
			for g, n := range map[string]int{"go": 2, "java": 1} {
				if d[g].State != "Stable" || len(d[g].Members) != n {
					return fmt.Errorf("%s is %s with %d members, %v", g, d[g].State, len(d[g].Members), d[g].Err)
				}
				ids[g] = nil
				for _, m := range d[g].Members {
					ids[g] = append(ids[g], m.MemberID)
				}
				slices.Sort(ids[g])
			}
			return nil
		})
		return ids
	}
	before := settled()
	grown("at first")
	awaitInSync(t, brokers[0], "__consumer_offsets", 3)
	var moves []int
	for _, m := range members {
		_, _, moved, _ := m.state()
		moves = append(moves, len(moved))
	}
	_, _, moved, _ := java.state()
	moves = append(moves, len(moved))

	for round := range 2 {
		d, err := describe()
		if err != nil || d["go"].Coordinator.NodeID != d["java"].Coordinator.NodeID {
			t.Fatal(err, d)
		}
		victim := brokers[d["go"].Coordinator.NodeID-1]
		other := brokers[(d["go"].Coordinator.NodeID)%3]
		began := generations(t, other, 0)
		victim.proc.Kill()
		grown(fmt.Sprintf("round %d, the coordinator is dead", round))
		if after := settled(); !slices.Equal(after["go"], before["go"]) || !slices.Equal(after["java"], before["java"]) {
			t.Errorf("round %d: members %v, were %v", round, after, before)
		}
		if now := generations(t, other, 0); !slices.Equal(now, began) {
			t.Errorf("round %d: the log has records of the generations %v, had %v", round, now, began)
		}
		for g, acked := range map[string][]map[int32]int64{"go": {ackedOf(members[0]), ackedOf(members[1])}, "java": {ackedOfJava(java)}} {
			wantAtLeast(t, seeds, g, topic, acked)
		}
		victim.start()
		victim.awaitReady(patience)
		awaitInSync(t, other, "__consumer_offsets", 3)
		awaitInSync(t, other, topic, 3)
		grown(fmt.Sprintf("round %d, all are back", round))
	}
	total := 0
	for i, m := range members {
		n, _, moved, errs := m.state()
		total += n
		if len(moved) != moves[i] || len(errs) > 0 {
			t.Errorf("member %d: %v, of which %d before the first kill; commits failed: %v", i, moved, moves[i], errors.Join(errs...))
		}
	}
	n, _, moved, failed := java.state()
	if len(moved) != moves[2] || len(failed) > 0 {
		t.Errorf("Java: %v, of which %d before the first kill; commits failed: %v", moved, moves[2], failed)
	}
	close(l.stop)
	l.done.Wait()
	if l.failed != nil {
		t.Errorf("a record was refused: %v", l.failed)
	}
	t.Logf("%d commits of franz-go, %d of Java, %d records written", total, n, l.count())
}

// asking asks by a client of its own: one that has been asking goes on with the
// coordinator that it knows, be it dead.
func asking(t *testing.T, seeds []string, f func(*kadm.Client)) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.DialTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f(kadm.NewClient(c))
}

func ackedOf(c *committer) map[int32]int64 {
	_, acked, _, _ := c.state()
	return acked
}

func ackedOfJava(v *javaVerifiable) map[int32]int64 {
	_, acked, _, _ := v.state()
	return acked
}

// wantAtLeast wants that a group's offsets are no smaller than what was
// acknowledged before it is asked for them.
func wantAtLeast(t *testing.T, seeds []string, group, topic string, acked []map[int32]int64) {
	t.Helper()
	got := kadm.OffsetResponses{}
	eventually(t, time.Minute, "offsets of "+group, func() (err error) {
		asking(t, seeds, func(admin *kadm.Client) {
			if got, err = admin.FetchOffsets(t.Context(), group); err == nil {
				err = got.Error()
			}
		})
		return err
	})
	for _, by := range acked {
		for p, want := range by {
			if o, ok := got.Lookup(topic, p); !ok || o.At < want {
				t.Errorf("%s, partition %d: offset %d is committed, %d was acknowledged", group, p, o.At, want)
			}
		}
	}
}

//go:build integration

package integration

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"
)

// TestGroupOfMany: a group of many members, each a connection of its own. The tests
// of scale have it with a thousand.
func TestGroupOfMany(t *testing.T) { groupOfMany(t, 60) }

// TestManyGroups: many groups, the offsets of which a broker loads after kill -9
// while their members live on. The tests of scale have five thousand.
func TestManyGroups(t *testing.T) { manyGroups(t, 300, 0) }

// crowd are the members of one group, each at work: heartbeats, and a join where
// that is due.
type crowd struct {
	t       *testing.T
	members []*lightMember

	mu         sync.Mutex // guards following
	joined     map[int32]int
	heartbeats []time.Duration
	failed     error

	stop []chan struct{}
	done sync.WaitGroup
}

// beat is the time between two heartbeats.
const beat = 500 * time.Millisecond

// live lets one member live until it is stopped.
func (c *crowd) live(m *lightMember, stop <-chan struct{}, rejoin <-chan string) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	err := m.join("")
	for {
		if err == nil && m.assigned != m.id {
			err = fmt.Errorf("member %s was given what is %q's", m.id, m.assigned)
		}
		c.mu.Lock()
		if err != nil {
			c.failed = errors.Join(c.failed, err)
			c.mu.Unlock()
			return
		}
		c.joined[m.generation]++
		c.mu.Unlock()
		news := ""
		for err == nil {
			select {
			case <-stop:
				return
			case news = <-rejoin:
				err = kerr.RebalanceInProgress
			case <-tick.C:
				begin := time.Now()
				if err = m.heartbeat(); err == nil {
					c.mu.Lock()
					c.heartbeats = append(c.heartbeats, time.Since(begin))
					c.mu.Unlock()
				}
			}
		}
		if errors.Is(err, kerr.RebalanceInProgress) || errors.Is(err, kerr.IllegalGeneration) {
			err = m.join(news)
		}
	}
}

// await waits until so many members are in the last generation, which is a later
// one than that given, and gives it.
func (c *crowd) await(what string, members int, after int32) int32 {
	c.t.Helper()
	generation := after
	eventually(c.t, 2*time.Minute, what, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.failed != nil {
			c.t.Fatal(c.failed)
		}
		for g := range c.joined {
			generation = max(generation, g)
		}
		if n := c.joined[generation]; n != members || generation == after {
			return fmt.Errorf("%d members in generation %d", n, generation)
		}
		return nil
	})
	return generation
}

// rests takes the heartbeats since the last call.
func (c *crowd) rests() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.heartbeats
	c.heartbeats = nil
	slices.Sort(h)
	return h
}

// groupOfMany forms a group of n members, rebalances it, lets it rest, and lets a
// member vanish.
func groupOfMany(t *testing.T, n int) {
	b := newBroker(t)
	createTopic(t, b, "t", 1)
	awaitCoordinator(t, b)
	c := &crowd{t: t, joined: map[int32]int{}}
	rejoin := make(chan string)
	begin := time.Now()
	for i := range n {
		m := &lightMember{line: dialLine(t, b), group: "crowd", session: time.Minute}
		if i == 0 { // the one that will vanish is known
			m.session = 10 * time.Second
		}
		stop := make(chan struct{})
		c.members, c.stop = append(c.members, m), append(c.stop, stop)
		c.done.Go(func() { c.live(m, stop, rejoin) })
	}
	stopped := make([]bool, n)
	halt := func(i int) {
		if !stopped[i] {
			stopped[i] = true
			close(c.stop[i])
		}
	}
	defer func() {
		for i := range n {
			halt(i)
		}
		c.done.Wait()
	}()
	formed := c.await("the group is formed", n, 0)
	t.Logf("%d members formed a group in %v, %d generations", n, time.Since(begin).Round(time.Millisecond), formed)

	var times []time.Duration
	for range 5 {
		begin = time.Now()
		before := formed
		rejoin <- fmt.Sprint("news-", formed)
		if formed = c.await("the rebalance is over", n, before); formed != before+1 {
			t.Errorf("generation %d after %d", formed, before)
		}
		times = append(times, time.Since(begin))
	}
	slices.Sort(times)
	t.Logf("a rebalance of %d members took %v, median of %v; members ask every %v whether there is one", n, times[len(times)/2], times, beat)

	c.rests()
	var heartbeats []time.Duration
	eventually(t, patience, "ten heartbeats each", func() error {
		if heartbeats = append(heartbeats, c.rests()...); len(heartbeats) < 10*n {
			return fmt.Errorf("%d", len(heartbeats))
		}
		return nil
	})
	slices.Sort(heartbeats)
	t.Logf("%d heartbeats: median %v, the 99th percentile %v", len(heartbeats), heartbeats[len(heartbeats)/2], heartbeats[len(heartbeats)*99/100])
	if now := c.await("nothing happens", n, formed-1); now != formed {
		t.Errorf("generation %d at rest, was %d", now, formed)
	}

	halt(0) // it says nothing any more
	begin = time.Now()
	if now := c.await("one has vanished", n-1, formed); now != formed+1 {
		t.Errorf("generation %d, want %d", now, formed+1)
	}
	t.Logf("one that vanished was missed after %v; its session was %v", time.Since(begin).Round(time.Millisecond), c.members[0].session)
}

// awaitCoordinator lets a group commit one offset: the topic of offsets is made for
// that, and all its partitions are led when that is done.
func awaitCoordinator(t *testing.T, b *broker) {
	t.Helper()
	eventually(t, patience, "there is a coordinator", func() error {
		return kadm.NewClient(b.client()).CommitAllOffsets(t.Context(), "first", kadm.Offsets{"t": {0: {Topic: "t", At: 1, LeaderEpoch: -1}}})
	})
}

// lanes is how many connections share the groups.
const lanes = 8

// eachGroup does something with each member, as many at a time as there are lines.
func eachGroup(members []*lightMember, f func(m *lightMember) error) error {
	var g errgroup.Group
	for lane := range lanes {
		g.Go(func() error {
			for i := lane; i < len(members); i += lanes {
				if err := f(members[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

const offsetsEach = 20

// manyGroups makes n groups of one member with offsets, kills the broker, and wants
// all of it again: members with their generations, and offsets, loaded in time if
// limit is not 0.
func manyGroups(t *testing.T, n int, limit time.Duration) {
	b := newBroker(t)
	createTopic(t, b, "t", offsetsEach)
	awaitCoordinator(t, b)
	var members []*lightMember
	dial := func() {
		t.Helper()
		var lines []*line
		for range lanes {
			lines = append(lines, dialLine(t, b))
		}
		for i, m := range members {
			m.line = lines[i%lanes]
		}
	}
	for i := range n {
		members = append(members, &lightMember{group: fmt.Sprint("group-", i), session: 5 * time.Minute})
	}
	dial()
	timed := func(what string, f func(m *lightMember) error) {
		t.Helper()
		begin := time.Now()
		if err := eachGroup(members, f); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		t.Logf("%d groups: %s: %v", n, what, time.Since(begin).Round(time.Millisecond))
	}
	timed("joined and assigned", func(m *lightMember) error { return m.join("") })
	timed(fmt.Sprintf("%d offsets each committed", offsetsEach), func(m *lightMember) error { return m.commit(offsetsEach, 7) })
	timed("a heartbeat each", (*lightMember).heartbeat)
	resident, _ := residentOf(t, b.proc.PID())
	t.Logf("the broker has %d MB", resident>>20)

	b.proc.Kill()
	begin := time.Now()
	b.start()
	b.awaitReady(patience)
	var took time.Duration
	eventually(t, patience, "all groups are loaded", func() error {
		for _, m := range loadedGroups.FindAllStringSubmatch(b.proc.Output(), -1) {
			if m[1] == fmt.Sprint(n+1) && m[2] == fmt.Sprint(n*offsetsEach+1) {
				var err error
				took, err = time.ParseDuration(m[3])
				return err
			}
		}
		return errors.New("the broker has not said so")
	})
	t.Logf("%d offsets of %d groups were loaded in %v, %v after the start of the process", n*offsetsEach, n, took, time.Since(begin).Round(time.Millisecond))
	if limit > 0 && took > limit {
		t.Errorf("loading took %v, it must not take more than %v", took, limit)
	}
	dial()
	timed("a heartbeat each, in the same generation", (*lightMember).heartbeat)
	wantOffsets(t, members, 7)
	timed("one more commit each, by the same members", func(m *lightMember) error { return m.commit(offsetsEach, 8) })
	wantOffsets(t, members, 8)
}

var loadedGroups = regexp.MustCompile(`loaded consumer groups partitions=\d+ groups=(\d+) offsets=(\d+) took=(\S+)`)

// wantOffsets asks for the offsets of all groups, fifty groups at a time.
func wantOffsets(t *testing.T, members []*lightMember, want int64) {
	t.Helper()
	for some := range slices.Chunk(members, 50) {
		r := kmsg.NewPtrOffsetFetchRequest()
		r.RequireStable = true
		for _, m := range some {
			g := kmsg.NewOffsetFetchRequestGroup()
			g.Group = m.group
			r.Groups = append(r.Groups, g)
		}
		resp, err := some[0].line.call(r, 8)
		if err != nil {
			t.Fatal(err)
		}
		groups := resp.(*kmsg.OffsetFetchResponse).Groups
		if len(groups) != len(some) {
			t.Fatalf("%d groups answered, %d asked for", len(groups), len(some))
		}
		for _, g := range groups {
			if g.ErrorCode != 0 || len(g.Topics) != 1 || len(g.Topics[0].Partitions) != offsetsEach {
				t.Fatalf("offsets of %s: %+v", g.Group, g)
			}
			for _, p := range g.Topics[0].Partitions {
				if p.Offset != want || p.ErrorCode != 0 {
					t.Fatalf("%s, partition %d: %+v, want offset %d", g.Group, p.Partition, p, want)
				}
			}
		}
	}
}

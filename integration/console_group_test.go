//go:build integration

package integration

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"barnabas/internal/testproc"
)

// console is a `barnabas console-consumer` of a group.
type console struct {
	t    *testing.T
	proc *testproc.Process
	out  string
}

// startConsole lets one more read the topic.
func startConsole(t *testing.T, b *broker, topic, group, name string) *console {
	return startConsoleOf(t, b, group, name, "--topic", topic)
}

// startConsoleOf is startConsole with the flags that name topics.
func startConsoleOf(t *testing.T, b *broker, group, name string, args ...string) *console {
	t.Helper()
	c := &console{t: t, out: filepath.Join(t.TempDir(), name)}
	cmd := exec.Command(binary, append([]string{"console-consumer", "--bootstrap-server", b.addr, "--group", group, "--from-beginning",
		"--property", "print.partition=true", "--property", "print.offset=true", "--consumer-property", "client.id=" + name,
		"--consumer-property", "session.timeout.ms=6000", "--consumer-property", "heartbeat.interval.ms=500",
		"--consumer-property", "auto.commit.interval.ms=200"}, args...)...)
	var err error
	if c.proc, err = testproc.Start(cmd, c.out); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.proc.Kill)
	return c
}

var printed = regexp.MustCompile(`^Partition:(\d+)\tOffset:(\d+)\t(.*)$`)

// place is where a record is.
type place struct {
	partition int32
	offset    int64
}

// read is what it has printed, by place; the last line may be a part of one.
func (c *console) read() map[place]string {
	c.t.Helper()
	text, err := os.ReadFile(c.out)
	if err != nil {
		c.t.Fatal(err)
	}
	got := map[place]string{}
	for line := range strings.Lines(string(text)) {
		m := printed.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil || !strings.HasSuffix(line, "\n") {
			continue
		}
		p, _ := strconv.Atoi(m[1])
		o, _ := strconv.ParseInt(m[2], 10, 64)
		at := place{int32(p), o}
		if got[at] != "" {
			c.t.Errorf("%s printed %v twice", filepath.Base(c.out), at)
		}
		got[at] = m[3]
	}
	return got
}

// TestConsoleGroup: three of our console consumers share ten partitions as Kafka's
// range assignor does; one is killed, one is stopped, records come all the while,
// and what the group prints is every record, and none twice but what the killed one
// had not committed.
func TestConsoleGroup(t *testing.T) {
	b := newBroker(t)
	createTopic(t, b, "ten", 10)
	admin := kadm.NewClient(b.client())
	producer := b.client(kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.ProducerLinger(0))
	var all []string
	produce := func(who string, n int) {
		t.Helper()
		values := numbered(who, n)
		produceSync(t, producer, "ten", values)
		all = append(all, values...)
	}
	produce("before", 500)
	members := []*console{startConsole(t, b, "ten", "team", "c-0"), startConsole(t, b, "ten", "team", "c-1"), startConsole(t, b, "ten", "team", "c-2")}
	if got, want := owned(t, admin, "team", 3), [][]int32{{0, 1, 2, 3}, {4, 5, 6}, {7, 8, 9}}; !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("assigned %v, want %v", got, want)
	}
	// complete wants all records printed, and gives how many were more than once.
	complete := func(when string) (twice int) {
		t.Helper()
		eventually(t, patience, when+": all records are printed", func() error {
			seen := map[string]int{}
			for _, c := range members {
				for _, v := range c.read() {
					seen[v]++
				}
			}
			twice = 0
			for _, v := range all {
				switch n := seen[v]; {
				case n == 0:
					return fmt.Errorf("%s is not there, %d of %d are", v, len(seen), len(all))
				case n > 1:
					twice++
				}
			}
			if len(seen) != len(all) {
				t.Fatalf("%d different records were printed, %d written", len(seen), len(all))
			}
			return nil
		})
		return twice
	}
	produce("three", 1000)
	if n := complete("with three members"); n != 0 {
		t.Errorf("%d records were printed twice, and nobody has died", n)
	}

	members[0].proc.Kill()
	produce("killed", 1000)
	if got := owned(t, admin, "team", 2); len(got[0]) != 5 {
		t.Errorf("after the kill: %v", got)
	}
	killed := members[0].read()
	twice := complete("after the kill")
	for _, c := range members[1:] {
		for at := range c.read() {
			if _, again := killed[at]; again {
				twice--
			}
		}
	}
	if twice != 0 {
		t.Errorf("%d records more than what the killed member had printed were printed twice", twice)
	}

	before := complete("before the stop")
	if err := members[1].proc.Stop(syscall.SIGTERM, patience); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, members[1].proc.Output())
	}
	if out := members[1].proc.Output(); !strings.Contains(out, fmt.Sprintf("Processed a total of %d messages", len(members[1].read()))) {
		t.Errorf("the stopped member printed %d records and says:\n%s", len(members[1].read()), out[max(0, len(out)-300):])
	}
	produce("stopped", 1000)
	if got := owned(t, admin, "team", 1); len(got[0]) != 10 {
		t.Errorf("after the stop: %v", got)
	}
	if after := complete("after the stop"); after != before {
		t.Errorf("a stop made %d records be printed twice", after-before)
	}
	if err := members[2].proc.Stop(syscall.SIGTERM, patience); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, members[2].proc.Output())
	}
	lags, err := admin.Lag(t.Context(), "team")
	if err != nil || lags["team"].Lag.Total() != 0 || lags["team"].State != "Empty" {
		t.Errorf("in the end: %s, lag %d, %v", lags["team"].State, lags["team"].Lag.Total(), err)
	}
}

// TestConsoleGroupSlowOutput: a member whose output nobody takes holds up a
// rebalance, as long as it is in time: what it has polled is printed and committed
// before somebody else gets its partitions.
func TestConsoleGroupSlowOutput(t *testing.T) {
	b := newBroker(t)
	createTopic(t, b, "ten", 10)
	admin := kadm.NewClient(b.client())
	const records = 3000
	pad := strings.Repeat("x", 300)
	var values []string
	for _, v := range numbered("slow", records) {
		values = append(values, v+pad)
	}
	produceSync(t, b.client(kgo.RecordPartitioner(kgo.RoundRobinPartitioner())), "ten", values)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	slow := exec.Command(binary, "console-consumer", "--bootstrap-server", b.addr, "--topic", "ten", "--group", "team", "--from-beginning",
		"--property", "print.partition=true", "--property", "print.offset=true", "--consumer-property", "heartbeat.interval.ms=100")
	slow.Stdout = write
	if err := slow.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	defer func() {
		slow.Process.Kill() // that it has ended already is fine
		slow.Wait()
	}()
	lines := bufio.NewScanner(read)
	if !lines.Scan() { // it prints, and soon there is no room
		t.Fatal("it prints nothing")
	}
	first := lines.Text()
	fast := startConsole(t, b, "ten", "team", "fast")
	eventually(t, patience, "the other has joined", func() error {
		d, err := admin.DescribeGroups(t.Context(), "team")
		if err == nil && len(d["team"].Members) != 2 {
			err = fmt.Errorf("%d members", len(d["team"].Members))
		}
		return err
	})
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); { // twenty heartbeats
		if d, err := admin.DescribeGroups(t.Context(), "team"); err != nil || d["team"].State == "Stable" {
			t.Fatalf("the rebalance is over, and the slow member has not printed what it has: %v", err)
		}
	}
	times := map[string]int{printed.ReplaceAllString(first, "$3"): 1}
	var mu sync.Mutex // guards times
	var taking sync.WaitGroup
	taking.Go(func() {
		for lines.Scan() {
			mu.Lock()
			times[printed.ReplaceAllString(lines.Text(), "$3")]++
			mu.Unlock()
		}
	})
	owned(t, admin, "team", 2)
	eventually(t, patience, "all records are printed", func() error {
		mu.Lock()
		n := len(times)
		mu.Unlock()
		if n += len(fast.read()); n < records {
			return fmt.Errorf("%d of %d", n, records)
		}
		return nil
	})
	slow.Process.Signal(syscall.SIGTERM)
	taking.Wait()
	for _, v := range fast.read() {
		times[v]++
	}
	twice := 0
	for _, n := range times {
		if n > 1 {
			twice++
		}
	}
	if twice > 0 || len(times) != records {
		t.Errorf("%d records were printed, %d of them twice", len(times), twice)
	}
}

// TestConsoleGroupGrows: members that read what a regular expression names find
// topics that are made later, and partitions that are added.
func TestConsoleGroupGrows(t *testing.T) {
	b := newBroker(t)
	admin := kadm.NewClient(b.client())
	createTopic(t, b, "grow-a", 1)
	createTopic(t, b, "other", 1)
	var members []*console
	for i := range 2 {
		members = append(members, startConsoleOf(t, b, "team", fmt.Sprint("c-", i), "--include", "grow-.*", "--consumer-property", "metadata.max.age.ms=500"))
	}
	// shared wants so many partitions to be read by the two together.
	shared := func(when string, partitions int) {
		t.Helper()
		eventually(t, time.Minute, when, func() error {
			d, err := admin.DescribeGroups(t.Context(), "team")
			if err != nil {
				return err
			}
			n := 0
			for _, m := range d["team"].Members {
				a, _ := m.Assigned.AsConsumer()
				for _, topic := range a.Topics {
					if topic.Topic == "other" {
						t.Fatal("a topic that the expression does not name was assigned")
					}
					n += len(topic.Partitions)
				}
			}
			if d["team"].State != "Stable" || len(d["team"].Members) != 2 || n != partitions {
				return fmt.Errorf("%s, %d members, %d partitions", d["team"].State, len(d["team"].Members), n)
			}
			return nil
		})
	}
	shared("one partition", 1)
	createTopic(t, b, "grow-b", 2)
	shared("a new topic", 3)
	if r, err := admin.CreatePartitions(t.Context(), 3, "grow-a"); err != nil || r["grow-a"].Err != nil {
		t.Fatal(err, r["grow-a"].Err)
	}
	shared("more partitions", 6)
	c := b.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	want := map[string]bool{}
	for topic, partitions := range map[string]int32{"grow-a": 4, "grow-b": 2, "other": 1} {
		for p := range partitions {
			value := fmt.Sprint(topic, "-", p)
			if err := producePartition(t.Context(), c, topic, p, value); err != nil {
				t.Fatal(err)
			}
			if topic != "other" {
				want[value] = true
			}
		}
	}
	eventually(t, time.Minute, "a record of each partition is printed", func() error {
		got := ""
		for _, m := range members {
			got += m.proc.Output()
		}
		for v := range want {
			if n := strings.Count(got, v+"\n"); n != 1 {
				return fmt.Errorf("%s is there %d times", v, n)
			}
		}
		if strings.Contains(got, "other") {
			t.Fatal("a record of another topic was printed")
		}
		return nil
	})
}

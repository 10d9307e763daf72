//go:build integration

package integration

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// another prepares a broker of the same cluster with its own address and files.
func (b *broker) another(id int) *broker {
	b.t.Helper()
	o := prepareBroker(b.t, b.zk)
	props, err := os.ReadFile(o.props)
	if err != nil {
		b.t.Fatal(err)
	}
	write(b.t, o.props, []byte(strings.Replace(string(props), "broker.id=1", fmt.Sprintf("broker.id=%d", id), 1)))
	return o
}

// TestTwins: a taken port, and a broker id that another process holds, are
// refused with who holds it; the first one does not notice.
func TestTwins(t *testing.T) {
	b := newBroker(t)
	createTopic(t, b, "t", 1)
	l := startLoad(b, "t", 2)
	twin := b.another(1)
	begin := time.Now()
	twin.startRefused("broker 1", b.addr)
	t.Logf("refused after %v", time.Since(begin))
	props, err := os.ReadFile(twin.props)
	if err != nil {
		t.Fatal(err)
	}
	write(t, twin.props, []byte(strings.ReplaceAll(strings.Replace(string(props), "broker.id=1", "broker.id=2", 1), twin.addr, b.addr)))
	twin.startRefused(b.addr, "in use")
	l.progress(t, 200, patience, "beside a twin")
	l.end(t, b, "t", 1)
}

// TestTwoBrokers of one cluster each serve the partitions that they lead, and
// the one left is the controller when the other stops.
func TestTwoBrokers(t *testing.T) {
	b := newBroker(t)
	o := b.another(2)
	o.start()
	o.awaitReady(patience)
	createTopic(t, b, "spread", 8)
	c := o.client()
	for p := range int32(8) {
		if err := producePartition(t.Context(), c, "spread", p, "x"); err != nil {
			t.Errorf("partition %d: %v", p, err)
		}
	}
	if got := len(readAll(t, b, "spread", 8)); got != 8 {
		t.Errorf("%d records", got)
	}
	for _, stop := range []func(){b.stop, b.proc.Kill} {
		stop()
		b.start()
		b.awaitReady(patience)
		eventually(t, patience, "a topic can be made by the one and the other", func() error {
			for i, a := range []*kadm.Client{kadm.NewClient(o.client()), kadm.NewClient(b.client())} {
				name := fmt.Sprintf("after-%d-%d", i, time.Now().UnixNano())
				res, err := a.CreateTopics(t.Context(), 2, 1, nil, name)
				if err != nil {
					return err
				}
				if res[name].Err != nil {
					return res[name].Err
				}
			}
			return nil
		})
		if got := len(readAll(t, o, "spread", 8)); got != 8 {
			t.Errorf("%d records", got)
		}
	}
}

// TestNothingLeaks: connections and topics that come and go leave no descriptor,
// no goroutine and no memory behind.
func TestNothingLeaks(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Fatal("it reads /proc")
	}
	b := newBroker(t, "log.segment.delete.delay.ms=0")
	descriptors := func() int {
		names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", b.proc.PID()))
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	memory := func() int {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.proc.PID()))
		if err != nil {
			t.Fatal(err)
		}
		var kb int
		_, after, _ := strings.Cut(string(text), "VmRSS:")
		fmt.Sscan(after, &kb)
		return kb
	}
	round := func(connects, topics int) {
		for range connects {
			c, err := kgo.NewClient(kgo.SeedBrokers(b.addr))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.Close()
		}
		a := kadm.NewClient(b.client())
		defer a.Close()
		for i := range topics {
			name := fmt.Sprintf("leak-%d", i)
			if res, err := a.CreateTopics(t.Context(), 1, 1, nil, name); err != nil || res[name].Err != nil {
				t.Fatal(err, res[name].Err)
			}
			if res, err := a.DeleteTopics(t.Context(), name); err != nil || res[name].Err != nil {
				t.Fatal(err, res[name].Err)
			}
		}
	}
	round(100, 20)
	fds, kb := descriptors(), memory()
	round(2000, 300)
	eventually(t, patience, "descriptors are given back", func() error {
		if n := descriptors(); n > fds+5 {
			return fmt.Errorf("%d, and were %d", n, fds)
		}
		return nil
	})
	t.Logf("descriptors %d, then %d; memory %d KB, then %d", fds, descriptors(), kb, memory())
	if m := memory(); m > kb+30<<10 {
		t.Errorf("memory %d KB, and was %d", m, kb)
	}
	syscall.Kill(b.proc.PID(), syscall.SIGQUIT) // prints the goroutines
	<-b.proc.Done()
	out := b.proc.Output()
	if n := strings.Count(out, "\ngoroutine "); n > 80 {
		t.Errorf("%d goroutines:\n%s", n, out)
	} else {
		t.Logf("%d goroutines", n)
	}
}

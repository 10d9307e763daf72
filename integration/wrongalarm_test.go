//go:build integration

package integration

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"barnabas/internal/testaddr"
	"barnabas/internal/zktest"
)

// reject makes the proxy do what a firewall's REJECT rule with tcp-reset does:
// connections get a RST, and new ones are refused, while the broker lives.
func (p *proxy) reject() {
	p.l.Close()
	p.drop()
}

// allow ends that.
func (p *proxy) allow(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", p.l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p.l = l
	t.Cleanup(func() { l.Close() })
	p.wg.Go(p.accept)
}

// says counts a text in what brokers have logged.
func says(brokers []*broker, text string) (n int) {
	for _, b := range brokers {
		n += strings.Count(b.proc.Output(), text)
	}
	return n
}

// awaitMetric waits until a broker's page has a line.
func awaitMetric(t *testing.T, page, line string) {
	t.Helper()
	eventually(t, patience, line, func() error {
		resp, err := http.Get("http://" + page + "/metrics")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err == nil && !strings.Contains(string(b), "\n"+line+"\n") {
			err = fmt.Errorf("not on the page of %s", page)
		}
		return err
	})
}

// TestRejectedButAlive: a firewall rejects all connections to a broker that lives,
// the controller at that, so that it looks dead to everybody else. It is
// deposed and declared dead; it finds out, registers again, and nothing that was
// acknowledged is lost. The second time it is exempt.
func TestRejectedButAlive(t *testing.T) {
	connect := zktest.Chroot(t, zktest.Real(t))
	behind := testaddr.Reserve(t)
	p := newProxy(t, behind)
	var brokers []*broker
	var pages []string
	for i := range 3 {
		pages = append(pages, testaddr.Reserve(t))
		lines := []string{fmt.Sprint("broker.id=", i+1), "min.insync.replicas=2", "zookeeper.session.timeout.ms=30000", "barnabas.http.listen=" + pages[i]}
		if i == 0 {
			lines = append(lines, "listeners=PLAINTEXT://"+behind, "advertised.listeners=PLAINTEXT://"+p.addr(), "barnabas.fast.death=on")
		}
		b := prepareBroker(t, connect, lines...)
		if i == 0 {
			b.addr = p.addr()
		}
		b.start()
		b.awaitReady(patience) // the first one is the controller
		brokers = append(brokers, b)
	}
	awaitEachOther(t, brokers)
	const topic, partitions = "rejected", 6
	l := replicated(t, brokers, topic, partitions)
	l.progress(t, 300, patience, "by all three")
	for _, page := range pages {
		awaitMetric(t, page, "barnabas_deathwatch_connections 2")
	}
	l.lap()
	p.reject()
	eventually(t, patience, "broker 1 is declared dead", func() error {
		if says(brokers[1:], "deposing the controller") == 0 || says(brokers[1:], "declaring a broker dead") != 1 {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	eventually(t, patience, "broker 1 registers again", func() error {
		if n := says(brokers[:1], "INFO  registered "); n != 2 {
			return fmt.Errorf("registered %d times", n)
		}
		return nil
	})
	l.progress(t, 500, patience, "while broker 1 is out of reach")
	t.Logf("longest gap %v", l.lap().Round(time.Millisecond))
	p.allow(t)
	awaitInSync(t, brokers[1], topic, 3)
	for _, page := range pages {
		awaitMetric(t, page, "barnabas_deathwatch_connections 2")
	}
	p.reject()
	eventually(t, patience, "broker 1 is exempt", func() error {
		if says(brokers[1:], "it was declared dead and the same process came back (1 times), so it is exempt") == 0 {
			return fmt.Errorf("nobody says so")
		}
		return nil
	})
	l.progress(t, 500, patience, "while broker 1 is out of reach again")
	if n := says(brokers, "declaring a broker dead"); n != 1 {
		t.Errorf("declared dead %d times", n)
	}
	p.allow(t)
	l.end(t, brokers[1], topic, partitions)
}

// TestPausedIsNotDead: SIGSTOP ends no connection and refuses none; nor does a
// broker that is stopped in order look dead.
func TestPausedIsNotDead(t *testing.T) {
	brokers := newCluster(t, 3, "min.insync.replicas=2", "zookeeper.session.timeout.ms=30000")
	const topic, partitions = "paused", 6
	l := replicated(t, brokers, topic, partitions)
	l.progress(t, 300, patience, "by all three")
	for _, b := range brokers {
		syscall.Kill(b.proc.PID(), syscall.SIGSTOP)
		timer := time.NewTimer(2 * time.Second) // fast verdicts take a tenth of that
		<-timer.C
		syscall.Kill(b.proc.PID(), syscall.SIGCONT)
		l.progress(t, 200, patience, "after the pause")
	}
	for i, b := range brokers {
		b.stop()
		b.start()
		b.awaitReady(patience)
		awaitInSync(t, brokers[(i+1)%3], topic, 3)
	}
	for _, text := range []string{"declaring a broker dead", "deposing the controller"} {
		if n := says(brokers, text); n != 0 {
			t.Errorf("%q was said %d times", text, n)
		}
	}
	l.end(t, brokers[0], topic, partitions)
}

// TestKilledAgain kills a broker by SIGKILL, starts it, and kills it again as soon
// as it is back, then another one: a new process is no wrong alarm, so that each
// death is noticed long before the session ends.
func TestKilledAgain(t *testing.T) {
	connect := zktest.Chroot(t, zktest.Real(t))
	var brokers []*broker
	var pages []string
	for i := range 3 {
		pages = append(pages, testaddr.Reserve(t))
		b := prepareBroker(t, connect, fmt.Sprint("broker.id=", i+1), "min.insync.replicas=2", "zookeeper.session.timeout.ms=40000", "barnabas.http.listen="+pages[i])
		b.start()
		b.awaitReady(patience)
		brokers = append(brokers, b)
	}
	awaitEachOther(t, brokers)
	const topic, partitions = "again", 6
	l := replicated(t, brokers, topic, partitions)
	l.progress(t, 300, time.Minute, "by all three")
	for n, i := range []int{1, 1, 2, 1} {
		for _, page := range pages { // what nobody was connected to can't be seen to die
			awaitMetric(t, page, "barnabas_deathwatch_connections 2")
		}
		l.lap()
		brokers[i].proc.Kill()
		eventually(t, 30*time.Second, "it is declared dead", func() error {
			if got := says(brokers, "declaring a broker dead"); got != n+1 {
				return fmt.Errorf("kill %d: %d verdicts", n+1, got)
			}
			return nil
		})
		l.progress(t, 300, time.Minute, "by two")
		t.Logf("kill %d, of broker %d: longest gap %v", n+1, i+1, l.lap().Round(time.Millisecond))
		brokers[i].start()
		brokers[i].awaitReady(patience)
		awaitInSync(t, brokers[0], topic, 3)
	}
	l.end(t, brokers[0], topic, partitions)
}

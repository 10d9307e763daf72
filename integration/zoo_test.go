//go:build integration

package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"barnabas/internal/zktest"
)

// TestZooKeeperKilled: producers don't notice that ZooKeeper is away, and what
// needs it goes on when it is back.
func TestZooKeeperKilled(t *testing.T) {
	own := zktest.NewOwn(t)
	b := prepareBroker(t, zktest.Chroot(t, own.Addr()))
	b.start()
	b.awaitReady(patience)
	createTopic(t, b, "load", 3)
	l := startLoad(b, "load", 4)
	l.progress(t, 200, patience, "at first")
	l.lap()
	for i := range 3 {
		own.Kill()
		l.progress(t, 500+5000*i, patience, "while ZooKeeper is dead")
		own.Restart()
		begin := time.Now()
		createTopic(t, b, fmt.Sprintf("after-%d", i), 2)
		t.Logf("a topic is made %v after ZooKeeper's restart; longest gap %v", time.Since(begin), l.lap())
		l.progress(t, 500, patience, "after ZooKeeper's restart")
	}
	l.end(t, b, "load", 3)
}

// TestBrokerPaused: SIGSTOP until the session has expired; the broker registers
// anew, leads again in a new epoch, and producers go on.
func TestBrokerPaused(t *testing.T) {
	b := newBroker(t, "zookeeper.session.timeout.ms=1500")
	createTopic(t, b, "load", 3)
	c, root := b.tree()
	_, before, err := c.Get(root + "/brokers/ids/1")
	if err != nil {
		t.Fatal(err)
	}
	l := startLoad(b, "load", 4)
	l.progress(t, 200, patience, "at first")
	syscall.Kill(b.proc.PID(), syscall.SIGSTOP)
	eventually(t, patience, "the session expires", func() error {
		if ok, _, err := c.Exists(root + "/brokers/ids/1"); err != nil || ok {
			return fmt.Errorf("%v %v", ok, err)
		}
		return nil
	})
	syscall.Kill(b.proc.PID(), syscall.SIGCONT)
	begin := time.Now()
	l.progress(t, 500, patience, "after the pause")
	t.Logf("500 records acknowledged %v after SIGCONT", time.Since(begin))
	// It serves until it knows that its session has ended.
	eventually(t, patience, "it registers again", func() error {
		_, st, err := c.Get(root + "/brokers/ids/1")
		if err == nil && st.Czxid == before.Czxid {
			err = errors.New("it is the old registration")
		}
		return err
	})
	l.progress(t, 500, patience, "after the new registration")
	state, _, err := c.Get(root + "/brokers/topics/load/partitions/0/state")
	t.Logf("%s %v", state, err)
	createTopic(t, b, "after", 2)
	l.end(t, b, "load", 3)
}

// TestCutFromZooKeeper: the network between broker and ZooKeeper swallows bytes,
// in both directions and in one.
func TestCutFromZooKeeper(t *testing.T) {
	for _, c := range []struct {
		name     string
		up, down bool
	}{{"both ways", false, false}, {"to ZooKeeper", false, true}, {"from ZooKeeper", true, false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newProxy(t, zktest.Real(t))
			direct := zktest.Chroot(t, zktest.Real(t))
			_, root, _ := strings.Cut(direct, "/")
			b := prepareBroker(t, p.addr()+"/"+root, "zookeeper.session.timeout.ms=2000")
			b.start()
			b.awaitReady(patience)
			createTopic(t, b, "load", 3)
			b.zk = direct
			l := startLoad(b, "load", 2)
			l.progress(t, 200, patience, "at first")
			zk, path := b.tree()
			p.set(c.up, c.down)
			l.progress(t, 300, patience, "while cut")
			eventually(t, patience, "the session expires", func() error {
				if c.up { // each try to connect keeps it
					if !strings.Contains(b.proc.Output(), "disconnected") {
						return fmt.Errorf("the broker does not see it")
					}
					return nil
				}
				if ok, _, err := zk.Exists(path + "/brokers/ids/1"); err != nil || ok {
					return fmt.Errorf("%v %v", ok, err)
				}
				return nil
			})
			l.progress(t, 100, patience, "when the session may have expired unseen")
			p.set(true, true)
			begin := time.Now()
			createTopic(t, b, "after", 2)
			t.Logf("topic made %v after the network is whole", time.Since(begin))
			l.progress(t, 300, patience, "after the network is whole")
			l.end(t, b, "load", 3)
		})
	}
}

// TestStartWithoutZooKeeper: a broker that was never part of a cluster gives up,
// one that was waits and says so.
func TestStartWithoutZooKeeper(t *testing.T) {
	own := zktest.NewOwn(t)
	chroot := zktest.Chroot(t, own.Addr())
	own.Kill()
	b := prepareBroker(t, chroot, "zookeeper.connection.timeout.ms=2000")
	begin := time.Now()
	r := run(t, "", binary, "server", b.props)
	if r.err == nil || !strings.Contains(r.stderr+r.stdout, own.Addr()) || time.Since(begin) > time.Minute {
		t.Errorf("after %v: %v\n%s%s", time.Since(begin), r.err, r.stdout, r.stderr)
	}
	t.Logf("%v %s%s", time.Since(begin), r.stdout, r.stderr)
	own.Restart()
	b.start()
	b.awaitReady(patience)
	b.stop()
	own.Kill()
	os.Truncate(filepath.Join(b.dir, "output"), 0)
	b.start()
	eventually(t, patience, "the broker says that it waits", func() error {
		if out := b.proc.Output(); !strings.Contains(out, "waiting for ZooKeeper") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	own.Restart()
	begin = time.Now()
	b.awaitReady(patience)
	t.Logf("ready %v after ZooKeeper", time.Since(begin))
	b.stop()
}

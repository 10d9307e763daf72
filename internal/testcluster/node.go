package testcluster

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"barnabas/broker"
	"barnabas/cluster"
	"barnabas/conf"
	"barnabas/internal/kafka"
	"barnabas/internal/memnet"
	"barnabas/internal/vfs"
)

// restartAfter is how long a broker that ended by itself stays down: somebody, or
// systemd, starts it again.
const restartAfter = 2 * time.Second

// Node is a machine with a broker, running or not. Its methods may be called by
// any goroutine.
type Node struct {
	c    *Cluster
	id   kafka.BrokerID
	host *memnet.Host
	disk *disk

	mu    sync.Mutex // guards following
	boots int        // of the machine
	runs  int        // of the process
	life  *life      // nil while no process runs
}

// life is one process of a broker.
type life struct {
	n      *Node
	run    int
	proc   *memnet.Process
	files  *vfs.Mortal
	cancel context.CancelFunc
	ended  chan struct{}
	dead   atomic.Bool // by Kill or Crash: what it says is not heard

	// Guarded by Node.mu.
	broker *broker.Broker // nil until it has started
	killed bool           // or stopped: not to be started again by itself
}

func newNode(c *Cluster, id kafka.BrokerID) *Node {
	return &Node{c: c, id: id, host: c.net.Host(fmt.Sprintf("10.0.0.%d", id+1)), disk: newDisk(max(c.o.Dirs, 1))}
}

func (n *Node) addr() string { return net.JoinHostPort(n.host.IP(), port) }

func (n *Node) name() string { return fmt.Sprintf("b%d", n.id) }

// Start starts the process, unless one runs; it returns at once.
func (n *Node) Start() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life == nil {
		n.startLocked()
	}
}

func (n *Node) startLocked() {
	n.runs++
	l := &life{n: n, run: n.runs, proc: n.host.Process(), files: vfs.NewMortal(n.disk.fs()), ended: make(chan struct{})}
	n.life = l
	var ctx context.Context
	ctx, l.cancel = context.WithCancel(context.Background())
	n.c.history.note(n.name(), "process %d starts", l.run)
	boot := fmt.Sprintf("boot-%d", n.boots)
	n.c.running.Go(func() { l.main(ctx, boot) })
}

// main is the process: it ends when the broker has.
func (l *life) main(ctx context.Context, boot string) {
	defer l.cancel()
	n := l.n
	err := l.serve(ctx, boot)
	close(l.ended)
	l.proc.Kill()
	l.files.End()
	n.mu.Lock()
	defer n.mu.Unlock()
	byItself := !l.killed
	if n.life == l {
		n.life = nil
	}
	if !byItself {
		return
	}
	n.c.history.note(n.name(), "process %d ended by itself: %v", l.run, err)
	n.c.running.Go(func() {
		time.Sleep(restartAfter)
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.life == nil && n.runs == l.run {
			n.startLocked()
		}
	})
}

func (l *life) serve(ctx context.Context, boot string) error {
	n := l.n
	values := map[string]string{
		"broker.id": fmt.Sprint(n.id), "zookeeper.connect": zkIP + ":2181", "listeners": "PLAINTEXT://" + n.addr(), "log.dirs": strings.Join(n.disk.dirs, ","),
		"broker.rack": fmt.Sprintf("r%d", n.id),
	}
	maps.Copy(values, n.c.o.Configs)
	config, _, err := conf.FromMap(values)
	if err != nil {
		return err
	}
	b, err := broker.Start(ctx, broker.Options{
		Config: config, Version: "sim", FS: l.files, Listen: l.proc.Listen, Dial: l.proc.Dial,
		Logger:    slog.New(&logHandler{h: n.c.history, who: n.name(), run: l.run, dead: &l.dead}),
		MachineID: "machine-" + n.name(), BootID: n.name() + "-" + boot,
	})
	if err != nil {
		return err
	}
	n.mu.Lock()
	l.broker = b
	killed := l.killed
	n.mu.Unlock()
	if killed {
		return b.Close()
	}
	n.c.history.note(n.name(), "process %d serves", l.run)
	return b.Wait()
}

// take makes the present process one that may end; nil if none runs. n.mu is held.
func (n *Node) takeLocked() *life {
	l := n.life
	if l == nil {
		n.runs++ // nothing that waits to start it does
		return nil
	}
	l.killed = true
	return l
}

// Kill ends the process as kill -9 does.
func (n *Node) Kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.takeLocked()
	if l == nil {
		return
	}
	n.c.history.note(n.name(), "kill -9 of process %d", l.run)
	n.endLocked(l)
}

// endLocked lets the process be dead: the goroutines that were it find out.
func (n *Node) endLocked(l *life) {
	l.dead.Store(true)
	l.proc.Kill()
	l.files.End()
	n.life = nil
	l.cancel()
	if b := l.broker; b != nil {
		n.c.running.Go(func() { _ = b.Close() }) // of a dead one
	}
}

// Stop asks the process to end, as SIGTERM does, and returns when it has.
func (n *Node) Stop() {
	n.mu.Lock()
	l := n.takeLocked()
	if l == nil {
		n.mu.Unlock()
		return
	}
	n.c.history.note(n.name(), "SIGTERM of process %d", l.run)
	b := l.broker
	l.cancel()
	n.mu.Unlock()
	if b != nil {
		_ = b.Close() // what a stop could not write, the next start recovers
	}
	<-l.ended
}

// Crash lets the machine lose its power, and keep percent of what was not synced.
// It is down until Boot.
func (n *Node) Crash(keep int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.c.history.note(n.name(), "the machine crashes, keeping %d%% of what was not synced", keep)
	n.host.Down()
	n.disk.crash(keep)
	n.boots++
	if l := n.takeLocked(); l != nil {
		n.endLocked(l)
	}
}

// Boot starts the machine and its broker again.
func (n *Node) Boot() {
	n.host.Up()
	n.Start()
}

// Image is what the broker knows of the cluster; nil if it doesn't run.
func (n *Node) Image() *cluster.Image {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life == nil || n.life.broker == nil {
		return nil
	}
	return n.life.broker.Image()
}

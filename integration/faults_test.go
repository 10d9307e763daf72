//go:build integration

package integration

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"barnabas/internal/testaddr"
	"barnabas/internal/zktest"
)

// proxy is a TCP relay to one address whose directions can be cut: bytes are
// then swallowed, as by a network that drops packets.
type proxy struct {
	target string
	l      net.Listener
	wg     sync.WaitGroup

	mu     sync.Mutex // guards the following
	moved  *sync.Cond
	up     bool // client to target flows
	down   bool // target to client flows
	refuse bool // new connections are closed at once
	conns  map[net.Conn]bool
}

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", testaddr.Reserve(t)) // again, too: allow
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{target: target, l: l, up: true, down: true, conns: map[net.Conn]bool{}}
	p.moved = sync.NewCond(&p.mu)
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.set(true, true)
		p.drop()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.l.Addr().String() }

// set lets the directions flow, or holds their bytes back.
func (p *proxy) set(up, down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.up, p.down = up, down
	p.moved.Broadcast()
}

// drop closes all connections, by RST.
func (p *proxy) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
}

func (p *proxy) accept() {
	for {
		in, err := p.l.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() {
			defer in.Close()
			out, err := net.DialTimeout("tcp", p.target, time.Second)
			if err != nil {
				return
			}
			defer out.Close()
			p.mu.Lock()
			p.conns[in], p.conns[out] = true, true
			p.mu.Unlock()
			var both sync.WaitGroup
			both.Go(func() { p.relay(out, in, &p.up) })
			both.Go(func() { p.relay(in, out, &p.down) })
			both.Wait()
			p.mu.Lock()
			delete(p.conns, in)
			delete(p.conns, out)
			p.mu.Unlock()
		})
	}
}

// relay copies while flows says so; it closes both at the end of one.
func (p *proxy) relay(to, from net.Conn, flows *bool) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		p.mu.Lock()
		for !*flows {
			p.moved.Wait()
		}
		p.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// tree is a connection to the ZooKeeper of a broker and its chroot's path.
func (b *broker) tree() (*zk.Conn, string) {
	b.t.Helper()
	addr, root, found := strings.Cut(b.zk, "/")
	if found {
		root = "/" + root
	}
	return zktest.Dial(b.t, addr), root
}

// progress wants n more acknowledgements within limit.
func (l *load) progress(t testing.TB, n int, limit time.Duration, when string) {
	t.Helper()
	from := l.count()
	eventually(t, limit, "records are acknowledged "+when, func() error {
		if now := l.count(); now < from+n {
			return fmt.Errorf("%d in this time", now-from)
		}
		return nil
	})
}

// end stops the writers and compares what is stored with what they know.
func (l *load) end(t *testing.T, b *broker, topic string, partitions int32) {
	t.Helper()
	close(l.stop)
	l.done.Wait()
	if l.failed != nil {
		t.Errorf("a record was refused: %v", l.failed)
	}
	l.check(t, readAll(t, b, topic, partitions))
}

func createTopic(t testing.TB, b *broker, topic string, partitions int32) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	created, err := kadm.NewClient(b.client()).CreateTopics(ctx, partitions, 1, nil, topic)
	if err != nil || created[topic].Err != nil {
		t.Fatal(err, created[topic].Err)
	}
}

// producePartition writes one record to a partition.
func producePartition(ctx context.Context, c *kgo.Client, topic string, partition int32, value string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p, err := kgo.NewClient(append(c.Opts(), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		return err
	}
	defer p.Close()
	return p.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: partition, Value: []byte(value)}).FirstErr()
}

package broker_test

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"io"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/broker"
	"barnabas/conf"
	"barnabas/zkpaths/devzk"
)

// node is a broker in this process, on a ZooKeeper in memory.
type node struct {
	*broker.Broker
	t      *testing.T
	values map[string]string
	logs   *lines
}

// start starts a broker with one listener on a free port and its files below
// t.TempDir. overrides are configs of it.
func start(t *testing.T, overrides map[string]string) *node {
	t.Helper()
	zk, err := devzk.Start(devzk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { zk.Close() })
	n := &node{t: t, logs: new(lines), values: map[string]string{
		"broker.id": "1", "listeners": "PLAINTEXT://127.0.0.1:0", "log.dirs": t.TempDir(), "zookeeper.connect": zk.Addr(),
		"offsets.topic.replication.factor": "1", "offsets.topic.num.partitions": "2", "group.initial.rebalance.delay.ms": "0",
	}}
	maps.Copy(n.values, overrides)
	n.open()
	t.Cleanup(func() { n.Close() })
	return n
}

func (n *node) open() {
	n.t.Helper()
	config, _, err := conf.FromMap(n.values)
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(n.t.Context(), time.Minute)
	defer cancel()
	n.Broker, err = broker.Start(ctx, broker.Options{Config: config, Version: "test", Logger: slog.New(slog.NewTextHandler(n.logs, nil))})
	if err != nil {
		n.t.Fatal(err)
	}
	c := n.dial()
	defer c.Close()
	n.await("the controller", func() bool {
		const notController = 41
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Topics, req.ValidateOnly = append(req.Topics, kmsg.NewCreateTopicsRequestTopic()), true
		return c.do(req, 7).(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode != notController
	})
}

// restart closes the broker and starts it again on the same files.
func (n *node) restart() {
	n.t.Helper()
	if err := n.Close(); err != nil {
		n.t.Fatal(err)
	}
	n.open()
}

func (n *node) await(what string, done func() bool) {
	n.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !done(); <-tick.C {
		if time.Now().After(end) {
			n.t.Fatalf("waited in vain for %s; the log:\n%s", what, n.logs)
		}
	}
}

func (n *node) addr() string { return n.Addr("PLAINTEXT").String() }

// dial connects a client.
func (n *node) dial() *conn {
	n.t.Helper()
	c, err := net.Dial("tcp", n.addr())
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close() })
	return &conn{Conn: c, t: n.t, id: "test"}
}

// create makes a topic; configs are name, value, name, value.
func (n *node) create(topic string, partitions int32, configs ...string) {
	n.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 10_000
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = topic, partitions, 1
	for i := 0; i < len(configs); i += 2 {
		rt.Configs = append(rt.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: configs[i], Value: &configs[i+1]})
	}
	req.Topics = append(req.Topics, rt)
	c := n.dial()
	defer c.Close()
	if got := c.do(req, 7).(*kmsg.CreateTopicsResponse).Topics[0]; got.ErrorCode != 0 {
		n.t.Fatalf("creating %s: code %d", topic, got.ErrorCode)
	}
}

// conn is a client's connection on which the tests speak the protocol.
type conn struct {
	net.Conn
	t           *testing.T
	id          string
	correlation int32
}

func (c *conn) write(req kmsg.Request, version int16) {
	c.t.Helper()
	req.SetVersion(version)
	c.correlation++
	if _, err := c.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID(c.id)).AppendRequest(nil, req, c.correlation)); err != nil {
		c.t.Fatal(err)
	}
}

// frame reads an answer; io.EOF when the broker has closed the connection.
func (c *conn) frame() ([]byte, error) {
	c.SetReadDeadline(time.Now().Add(time.Minute))
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(c, b)
	return b, err
}

// do asks and reads the answer.
func (c *conn) do(req kmsg.Request, version int16) kmsg.Response {
	c.t.Helper()
	c.write(req, version)
	b, err := c.frame()
	if err != nil {
		c.t.Fatalf("%s version %d: %v", kmsg.NameForKey(req.Key()), version, err)
	}
	if got := int32(binary.BigEndian.Uint32(b)); got != c.correlation {
		c.t.Fatalf("correlation id %d, want %d", got, c.correlation)
	}
	resp := req.ResponseKind()
	resp.SetVersion(version)
	b = b[4:]
	if resp.IsFlexible() && req.Key() != 18 {
		b = b[1:] // no tags
	}
	if err := resp.ReadFrom(b); err != nil {
		c.t.Fatalf("%s version %d: %v", kmsg.NameForKey(req.Key()), version, err)
	}
	return resp
}

// raw sends bytes on a connection of their own and returns the answer in hex,
// or "closed".
func (n *node) raw(b []byte) string {
	n.t.Helper()
	c := n.dial()
	defer c.Close()
	c.Write(b)
	got, err := c.frame()
	if err != nil {
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			n.t.Fatal("neither an answer nor the end of the connection")
		}
		return "closed"
	}
	return hex.EncodeToString(got)
}

// lines keeps what is logged.
type lines struct {
	mu sync.Mutex // guards b
	b  strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// count tells how many lines have a text.
func (l *lines) count(text string) (n int) {
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

func str(s *string) string {
	if s == nil {
		return "<nil>"
	}
	return *s
}

func eq(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

package controller_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"barnabas/cluster"
	"barnabas/internal/zktest"
	"barnabas/zkpaths"
)

// holder holds back what ZooKeeper answers from the first request that names one of
// its paths on, until a second one was sent.
type holder struct {
	path  []byte
	mu    sync.Mutex // guards following
	armed bool
	asked int
	open  chan struct{} // closed at the second request
	alone bool          // there was none
}

func (h *holder) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &heldConn{conn, h}, nil
}

type heldConn struct {
	net.Conn
	h *holder
}

func (c *heldConn) Write(b []byte) (int, error) {
	h := c.h
	h.mu.Lock()
	if h.armed && len(b) < 1<<10 && bytes.Contains(b, h.path) { // no transaction
		if h.asked++; h.asked == 2 {
			close(h.open)
		}
	}
	h.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *heldConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.h.mu.Lock()
	asked := c.h.asked
	c.h.mu.Unlock()
	if asked == 1 {
		timer := time.NewTimer(2 * time.Second) // less than the session's timeout
		defer timer.Stop()
		select {
		case <-c.h.open:
		case <-timer.C:
			c.h.mu.Lock()
			c.h.alone = true
			c.h.mu.Unlock()
		}
	}
	return n, err
}

// A new controller reads the overrides of all topics again, and does not wait for
// one of them before it asks for the next.
func TestConfigsArePipelined(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		one := startNode(t, connect, 1)
		one.awaitReign()
		const topics = 8
		for i := range topics {
			one.create(cluster.NewTopic{Name: fmt.Sprint("c", i), Partitions: 1, ReplicationFactor: 1, Config: map[string]string{"retention.ms": "1"}})
		}
		h := &holder{path: []byte(zkpaths.TopicConfigPath("c")), open: make(chan struct{})}
		two := startNodeOver(t, h.dial, connect, 2)
		two.await("the topics", led(fmt.Sprint("c", topics-1), 1))
		h.mu.Lock()
		h.armed = true
		h.mu.Unlock()
		one.stop()
		two.awaitReign()
		waitUntil(t, "requests for all configs", func() bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.asked >= topics
		})
		h.mu.Lock()
		if h.alone {
			t.Error("the first one was waited for")
		}
		h.mu.Unlock()
		if _, err := two.zk.Set(t.Context(), zkpaths.TopicConfigPath("c3"), zkpaths.EncodeConfig(map[string]string{"retention.ms": "2"}), -1); err != nil {
			t.Fatal(err)
		}
		two.note("c3")
		two.await("the config", func(im *cluster.Image) bool { return im.Topic("c3").Config["retention.ms"] == "2" })
	})
}

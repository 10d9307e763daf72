package devzk

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// maxReply is where multiRead stops.
	maxReply = 4 << 20
	// pauseOutput is how many bytes may wait for a client before its next
	// request is read; at maxOutput (watch events) it is cut off.
	pauseOutput = 4 << 20
	maxOutput   = 64 << 20
	// handshakeTimeout is how long a connection may take to say what it wants.
	handshakeTimeout = 10 * time.Second
	// keepBuffer is the largest buffer that an idle connection holds on to.
	keepBuffer = 64 << 10
)

// conn is one client connection: a goroutine that reads, executes and, as a
// rule, sends what it caused, and one that sends what others caused.
type conn struct {
	server *Server
	net    net.Conn
	r      *bufio.Reader
	frame  []byte

	// Guarded by Server.mu.
	session    *session
	ids        []acl // authenticated as
	watched    map[string]struct{}
	watchBytes int

	mu      sync.Mutex // guards the following
	changed sync.Cond  // out, sending, kicked or closed changed
	out     []byte     // packets not yet being sent
	spare   []byte
	sending bool   // a goroutine is in Write
	kicked  bool   // the sender is to look
	closed  bool   // nothing more is sent
	after   uint64 // the transaction that must be on disk before out is sent
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{server: s, net: nc, r: bufio.NewReaderSize(nc, 4096), watched: map[string]struct{}{}}
	c.changed.L = &c.mu
	return c
}

func (c *conn) remoteHost() string {
	host, _, err := net.SplitHostPort(c.net.RemoteAddr().String())
	if err != nil {
		return c.net.RemoteAddr().String()
	}
	return host
}

// close breaks the connection; it may be called with or without Server.mu, by
// anyone, and again.
func (c *conn) close() {
	c.mu.Lock()
	c.closed = true
	c.changed.Broadcast()
	c.mu.Unlock()
	c.net.Close()
}

// serve is the life of the connection.
func (c *conn) serve() {
	var sender sync.WaitGroup
	sender.Go(c.sendLoop)
	err := c.read()
	c.drain()
	c.server.forget(c)
	c.close()
	sender.Wait()
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		c.server.log.Debug("connection ended", "remote", c.net.RemoteAddr().String(), "error", err)
	}
}

// read does the handshake and then request after request. nil means that the
// client closed its session.
func (c *conn) read() error {
	c.net.SetReadDeadline(time.Now().Add(handshakeTimeout))
	head, err := c.r.Peek(4)
	if err != nil {
		return err
	}
	if answer, ok := c.server.fourLetters(string(head)); ok {
		c.net.SetWriteDeadline(time.Now().Add(handshakeTimeout))
		_, err := io.WriteString(c.net, answer)
		return err
	}
	packet, err := c.readFrame()
	if err != nil {
		return err
	}
	hello, err := decodeConnect(packet)
	if err != nil {
		return err
	}
	if err := c.server.connect(c, &hello); err != nil {
		return err
	}
	c.net.SetReadDeadline(time.Time{})
	for {
		c.flushIdle()
		packet, err := c.readFrame()
		if err != nil {
			return err
		}
		if last, err := c.server.handle(c, packet); last || err != nil {
			return err
		}
	}
}

// readFrame reads one packet into the connection's buffer. The buffer grows
// with what arrives, not with what the length claims.
func (c *conn) readFrame() ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return nil, err
	}
	n := int(int32(binary.BigEndian.Uint32(head[:])))
	if n < 0 || n > c.server.opts.MaxBuffer {
		return nil, fmt.Errorf("devzk: packet length %d is out of range", n)
	}
	if cap(c.frame) > keepBuffer && n <= keepBuffer {
		c.frame = nil
	}
	b := c.frame[:0]
	for len(b) < n {
		step := min(n-len(b), max(keepBuffer, len(b)))
		if cap(b)-len(b) < step {
			b = append(make([]byte, 0, len(b)+step), b...)
		}
		if _, err := io.ReadFull(c.r, b[len(b):len(b)+step]); err != nil {
			return nil, err
		}
		b = b[:len(b)+step]
	}
	c.frame = b
	return b, nil
}

// flushIdle sends what waits unless the next request is here already, so that
// pipelined requests share a write. It also holds a client back that does not
// read.
func (c *conn) flushIdle() {
	if c.r.Buffered() >= 4 {
		head, _ := c.r.Peek(4)
		if int64(c.r.Buffered()) >= 4+int64(binary.BigEndian.Uint32(head)) {
			c.mu.Lock()
			full := len(c.out) > keepBuffer
			c.mu.Unlock()
			if !full {
				return
			}
		}
	}
	if c.server.opts.Sync {
		c.kick() // the sender waits for the disk; pings go on being read
	} else {
		c.flush()
	}
	c.mu.Lock()
	for len(c.out) > pauseOutput && !c.closed {
		c.changed.Wait()
	}
	c.mu.Unlock()
}

// kick makes the sender look.
func (c *conn) kick() {
	c.mu.Lock()
	if len(c.out) > 0 {
		c.kicked = true
		c.changed.Broadcast()
	}
	c.mu.Unlock()
}

func (c *conn) sendLoop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.closed {
		if !c.kicked {
			c.changed.Wait()
			continue
		}
		c.kicked = false
		c.flushLocked()
	}
}

func (c *conn) flush() {
	c.mu.Lock()
	c.flushLocked()
	c.mu.Unlock()
}

// drain sends all and returns when it has been sent or cannot be.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushLocked()
	for (c.sending || len(c.out) > 0) && !c.closed {
		c.changed.Wait()
	}
}

// flushLocked sends until nothing waits. Only one goroutine sends; another that
// comes leaves its packets to that one.
func (c *conn) flushLocked() {
	for len(c.out) > 0 && !c.sending && !c.closed {
		c.sending = true
		b, after := c.out, c.after
		c.out, c.spare = c.spare[:0], nil
		c.mu.Unlock()
		err := c.server.waitDurable(after)
		if err == nil {
			_, err = c.net.Write(b)
		}
		c.mu.Lock()
		c.sending = false
		if cap(b) <= keepBuffer {
			c.spare = b
		}
		if err != nil {
			c.closed = true
			c.net.Close() // the reader sees it
		}
		c.changed.Broadcast()
	}
}

// sendEvent queues a watch event. Server.mu is held. by is the connection whose
// goroutine is running, which sends its own.
func (c *conn) sendEvent(event int32, path string, by *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	if len(c.out) > maxOutput {
		c.closed = true
		c.changed.Broadcast()
		c.net.Close()
		return
	}
	start := len(c.out)
	c.out = appendReplyHeader(c.out, xidEvent, -1, codeOK)
	c.out = appendInt32(appendInt32(c.out, event), 3) // 3: SyncConnected
	c.out = finishPacket(appendString(c.out, path), start)
	c.after = c.server.lastTxn
	if c != by {
		c.kicked = true
		c.changed.Broadcast()
	}
}

// sendReply queues a reply. Server.mu is held; body is copied.
func (c *conn) sendReply(xid int32, zxid int64, result code, body []byte) {
	c.mu.Lock()
	start := len(c.out)
	c.out = appendReplyHeader(c.out, xid, zxid, result)
	if result == codeOK {
		c.out = append(c.out, body...)
	}
	c.out = finishPacket(c.out, start)
	c.after = c.server.lastTxn
	c.mu.Unlock()
}

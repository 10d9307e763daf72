package peer

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sys/unix"

	"barnabas/internal/kafka"
	"barnabas/net/frame"
	"barnabas/protocol"
)

// maxKept bounds the request buffer that a connection keeps.
const maxKept = 256 << 10

// Conn is a connection to one broker, with one request under way at a time. It
// is used by one goroutine.
type Conn struct {
	p      *Peers
	broker kafka.BrokerID
	addr   string
	conn   net.Conn
	in     *frame.Reader

	out         []byte
	correlation int32
	stamp       protocol.Stamp
	timeout     time.Duration // of a request
	used        time.Time     // when it was last of use
	broken      bool
}

func newConn(p *Peers, broker kafka.BrokerID, addr string, conn net.Conn) *Conn {
	return &Conn{p: p, broker: broker, addr: addr, conn: conn, timeout: p.o.Timeout, in: frame.NewReader(conn, p.pool, p.o.MaxResponseBytes), used: time.Now()}
}

// Addr is where the connection leads to.
func (c *Conn) Addr() string { return c.addr }

// Close closes the connection. Later requests fail with ErrBroken.
func (c *Conn) Close() {
	c.broken = true
	c.in.Close()
	_ = c.conn.Close() // nothing that was written waits in it
}

// Request sends a request and returns its answer, which belongs to the caller.
// After an error the connection is of no use.
func (c *Conn) Request(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	body, err := c.Exchange(ctx, req)
	if err != nil {
		return nil, err
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	// Byte fields alias what is read.
	if err := resp.ReadFrom(slices.Clone(body)); err != nil {
		c.broken = true
		return nil, fmt.Errorf("%w: %s version %d of broker %d: %w", ErrMalformed, kmsg.NameForKey(req.Key()), req.GetVersion(), c.broker, err)
	}
	c.in.Release()
	return resp, nil
}

// Exchange sends a request and returns the body of its answer, valid until the
// next call. After an error the connection is of no use.
func (c *Conn) Exchange(ctx context.Context, req kmsg.Request) ([]byte, error) {
	if c.broken {
		return nil, fmt.Errorf("%w: to broker %d: closed before", ErrBroken, c.broker)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := c.conn.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return nil, c.fail(ctx, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) }) // fails only if closed
	body, err := c.exchange(req)
	if !stop() {
		c.broken = true // by its deadline, now or in a moment
	}
	if err != nil {
		return nil, c.fail(ctx, err)
	}
	c.used = time.Now()
	return body, nil
}

func (c *Conn) exchange(req kmsg.Request) ([]byte, error) {
	c.correlation++
	c.format(req)
	_, err := c.conn.Write(c.out)
	if cap(c.out) > maxKept {
		c.out = nil
	}
	if err != nil {
		return nil, err
	}
	answer, err := c.in.Next()
	if err != nil {
		return nil, err
	}
	return c.body(req, answer)
}

// format writes a request into out.
func (c *Conn) format(req kmsg.Request) {
	var stamp *protocol.Stamp
	if c.p.o.Stamp != nil {
		c.stamp = c.p.o.Stamp()
		stamp = &c.stamp
	}
	c.out = protocol.AppendRequestHeader(c.out[:0], req.Key(), req.GetVersion(), c.correlation, c.p.o.ClientID, stamp)
	c.out = req.AppendTo(c.out)
	binary.BigEndian.PutUint32(c.out, uint32(len(c.out)-4))
}

// body is an answer without its header.
func (c *Conn) body(req kmsg.Request, answer []byte) ([]byte, error) {
	if len(answer) < 4 {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(answer))
	}
	if id := int32(binary.BigEndian.Uint32(answer)); id != c.correlation {
		return nil, fmt.Errorf("%w: correlation id %d, want %d", ErrMalformed, id, c.correlation)
	}
	body := answer[4:]
	if !protocol.FlexibleResponseHeader(req.Key(), req.GetVersion()) {
		return body, nil
	}
	stamp, stamped, body, ok := protocol.ResponseTags(body)
	if !ok {
		return nil, fmt.Errorf("%w: header", ErrMalformed)
	}
	if stamped && c.p.o.Heard != nil {
		c.p.o.Heard(stamp)
	}
	return body, nil
}

// fail makes err the typed error of a connection that ends by it.
func (c *Conn) fail(ctx context.Context, err error) error {
	c.broken = true
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: to broker %d at %s: %w", ErrBroken, c.broker, c.addr, err)
}

// quiet reports whether the connection, with no request under way, neither
// ended nor brought what nobody asked for.
func (c *Conn) quiet() bool {
	sc, ok := c.conn.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	quiet := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		quiet = err == unix.EAGAIN
	})
	return err == nil && quiet
}

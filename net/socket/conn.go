package socket

import (
	"context"
	"net"
)

// Conn is a connection of a client.
type Conn struct {
	id       uint64
	listener string
	conn     net.Conn
	ctx      context.Context
}

// ID is unique among the connections of a server's life.
func (c *Conn) ID() uint64 { return c.id }

// Listener is the name of the listener that accepted the connection.
func (c *Conn) Listener() string { return c.listener }

// RemoteAddr is the address of the client.
func (c *Conn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// RemoteHost is the client's IP without the port, as groups show it.
func (c *Conn) RemoteHost() string {
	host, _, err := net.SplitHostPort(c.conn.RemoteAddr().String())
	if err != nil {
		return c.conn.RemoteAddr().String()
	}
	return host
}

// Context ends when the connection or the server closes.
func (c *Conn) Context() context.Context { return c.ctx }

//go:build !linux

package poll

import (
	"errors"
	"fmt"
	"net"
)

// Poller and Conn need epoll. Where there is none New fails, nobody has either, and
// connections are served by goroutines.
type Poller struct{}

// Conn is a connection of a Poller.
type Conn struct{ net.Conn }

// New fails with errors.ErrUnsupported.
func New() (*Poller, error) {
	return nil, fmt.Errorf("poll: %w on this system", errors.ErrUnsupported)
}

// Adopt fails as New does.
func (p *Poller) Adopt(*net.TCPConn) (*Conn, error) { return nil, errors.ErrUnsupported }

// Close does nothing.
func (p *Poller) Close() {}

// Calm says yes.
func (p *Poller) Calm() bool { return true }

// Yield does nothing.
func (p *Poller) Yield() {}

// Stalls are none.
func (p *Poller) Stalls() int64 { return 0 }

// Handle does nothing.
func (c *Conn) Handle(Handler) {}

// Poller is nil.
func (c *Conn) Poller() *Poller { return nil }

// Post does nothing.
func (c *Conn) Post() {}

// WatchRead does nothing.
func (c *Conn) WatchRead(bool) {}

// WatchWrite does nothing.
func (c *Conn) WatchWrite(bool) {}

package devzk

import (
	"errors"
	"log/slog"
	"net"
	"time"

	"barnabas/internal/vfs"
)

// Options configure a Server. The zero value listens on a free loopback port
// and keeps everything in memory.
type Options struct {
	// Addr is the TCP address to listen on; "" is 127.0.0.1:0, a free port.
	// Unused with Listener.
	Addr string
	// Listener, if set, is served instead of Addr; Close closes it.
	Listener net.Listener

	// Dir holds the transaction log and the snapshots; "" keeps all in memory.
	Dir string
	// FS is where Dir is. Default vfs.OS.
	FS vfs.FS
	// Sync makes each transaction durable (fdatasync, shared by those that
	// wait) before it is answered. Without it a killed process loses nothing
	// but a crashed machine may.
	Sync bool
	// SnapshotEvery is how many transactions the log holds before a snapshot
	// replaces it. Default 100,000.
	SnapshotEvery int

	// Tick is the grain of session expiry. Default 2 s.
	Tick time.Duration
	// MinSessionTimeout and MaxSessionTimeout bound what clients ask for.
	// Defaults: 2 and 20 ticks.
	MinSessionTimeout, MaxSessionTimeout time.Duration

	// MaxBuffer is the longest request in bytes (jute.maxbuffer); a longer one
	// closes the connection. Default 1,048,575, as ZooKeeper.
	MaxBuffer int
	// MaxConnections bounds the open connections; more are closed at once.
	// Default 10,000.
	MaxConnections int
	// MaxSessions bounds the sessions, connected or not. Default 100,000.
	MaxSessions int
	// MaxBytes bounds paths and data of all znodes together; creations and
	// writes beyond it are refused. Default 1 GiB.
	MaxBytes int64

	// Logger gets starts, expiries, refused connections and damage. Default: none.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	def := func(p *int, n int) {
		if *p == 0 {
			*p = n
		}
	}
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if o.Tick == 0 {
		o.Tick = 2 * time.Second
	}
	if o.MinSessionTimeout == 0 {
		o.MinSessionTimeout = 2 * o.Tick
	}
	if o.MaxSessionTimeout == 0 {
		o.MaxSessionTimeout = 20 * o.Tick
	}
	def(&o.SnapshotEvery, 100_000)
	def(&o.MaxBuffer, 0xfffff)
	def(&o.MaxConnections, 10_000)
	def(&o.MaxSessions, 100_000)
	if o.MaxBytes == 0 {
		o.MaxBytes = 1 << 30
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o *Options) validate() error {
	switch {
	case o.Tick < time.Millisecond:
		return errors.New("devzk: Options.Tick is below 1 ms")
	case o.MinSessionTimeout > o.MaxSessionTimeout:
		return errors.New("devzk: Options.MinSessionTimeout is above MaxSessionTimeout")
	case o.SnapshotEvery < 0 || o.MaxBuffer < 0 || o.MaxConnections < 0 || o.MaxSessions < 0 || o.MaxBytes < 0:
		return errors.New("devzk: a negative limit in Options")
	}
	return nil
}

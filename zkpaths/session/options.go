package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"
)

// Options of Open. Only Connect is needed.
type Options struct {
	// Connect is host:port,host:port/chroot, as in zookeeper.connect. A port
	// left out is 2181; the chroot is written once, after the last host.
	Connect string
	// KeepChroot: Open fails with ErrNoNode if the chroot is not there, instead of
	// making it. For those who only read: a misspelled chroot is theirs.
	KeepChroot bool
	// Timeout is the session timeout asked for; the servers may grant another
	// (SessionTimeout tells). Default 18 s.
	Timeout time.Duration
	// ConnectTimeout bounds Open. Default: Timeout. Negative: Open waits for
	// ever (until its context ends), saying so in the log.
	ConnectTimeout time.Duration
	// Dialer connects to one address; default net.Dialer.
	Dialer func(ctx context.Context, network, addr string) (net.Conn, error)
	// Resolver gives the addresses of a host name; default net.Resolver. It is
	// asked again in each round over the servers.
	Resolver func(ctx context.Context, host string) ([]string, error)
	// MaxInFlight bounds the requests that wait for a reply. Default 64.
	MaxInFlight int
	// MaxReplyBytes bounds one reply. Default 4 MiB, as Kafka's jute.maxbuffer.
	MaxReplyBytes int
	// OnEvent and OnState hear of watches and of the session, one call at a
	// time, in order. They must only enqueue.
	OnEvent func(Event)
	OnState func(State)
	Logger  *slog.Logger
}

const (
	defaultTimeout = 18 * time.Second
	defaultPort    = "2181"
)

func (o Options) withDefaults() Options {
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = o.Timeout
	}
	if o.Dialer == nil {
		o.Dialer = new(net.Dialer).DialContext
	}
	if o.Resolver == nil {
		o.Resolver = new(net.Resolver).LookupHost
	}
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = 64
	}
	if o.MaxReplyBytes <= 0 {
		o.MaxReplyBytes = 4 << 20
	}
	if o.OnEvent == nil {
		o.OnEvent = func(Event) {}
	}
	if o.OnState == nil {
		o.OnState = func(State) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// ParseConnect splits a connect string into host:port pairs and the chroot,
// which is "" or begins with a slash.
func ParseConnect(connect string) (servers []string, chroot string, err error) {
	hosts := connect
	if i := strings.IndexByte(connect, '/'); i >= 0 {
		hosts, chroot = connect[:i], strings.TrimRight(connect[i:], "/")
	}
	if chroot != "" {
		if err := checkPath(chroot); err != nil {
			return nil, "", fmt.Errorf("session: chroot of %q: %w", connect, err)
		}
	}
	for _, h := range strings.Split(hosts, ",") {
		if h = strings.TrimSpace(h); h == "" {
			continue
		}
		host, port, err := net.SplitHostPort(h)
		if err != nil {
			host, port = strings.Trim(h, "[]"), defaultPort
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
			return nil, "", fmt.Errorf("session: %q in %q is not host:port", h, connect)
		}
		servers = append(servers, net.JoinHostPort(host, port))
	}
	if len(servers) == 0 {
		return nil, "", fmt.Errorf("session: no server in %q: want host:port,host:port/chroot", connect)
	}
	return servers, chroot, nil
}

// errPath is returned, wrapped, for a path that ZooKeeper would refuse.
var errPath = errors.New("not a znode path")

// checkPath follows ZooKeeper's PathUtils: absolute, no empty or dot component,
// no trailing slash, no control characters.
func checkPath(p string) error {
	if p == "/" {
		return nil
	}
	if p == "" || p[0] != '/' || p[len(p)-1] == '/' {
		return fmt.Errorf("%w: %q", errPath, p)
	}
	for part := range strings.SplitSeq(p[1:], "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("%w: %q", errPath, p)
		}
	}
	for _, r := range p {
		if r < 0x20 || r >= 0x7f && r <= 0x9f || r >= 0xd800 && r <= 0xf8ff || r >= 0xfff0 && r <= 0xffff {
			return fmt.Errorf("%w: %q", errPath, p)
		}
	}
	return nil
}

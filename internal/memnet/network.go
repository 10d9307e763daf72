package memnet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// ErrKilled is what a killed process gets from its sockets.
var ErrKilled = errors.New("memnet: the process was killed")

// Network is a set of hosts. Its methods may be called by any goroutine.
type Network struct {
	mu    sync.Mutex // guards following; before conn.mu
	rng   *rand.Rand
	hosts map[netip.Addr]*Host
	links map[direction]*link
	pairs map[*pair]struct{} // connections that an end still has open
	// changed is told when a link, a host or a listener changed.
	changed sync.Cond
}

type direction struct{ from, to netip.Addr }

// link is one direction between two hosts. It is never removed.
type link struct {
	cut      bool
	min, max time.Duration // of a delivery
}

// New makes an empty network whose delays are drawn from rng.
func New(rng *rand.Rand) *Network {
	n := &Network{rng: rng, hosts: map[netip.Addr]*Host{}, links: map[direction]*link{}, pairs: map[*pair]struct{}{}}
	n.changed.L = &n.mu
	return n
}

// Host returns the host with an IP address, which is made at first use.
func (n *Network) Host(ip string) *Host {
	addr := netip.MustParseAddr(ip)
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hostLocked(addr)
}

func (n *Network) hostLocked(addr netip.Addr) *Host {
	h := n.hosts[addr]
	if h == nil {
		h = &Host{n: n, addr: addr, listeners: map[uint16]*listener{}, nextPort: 32768}
		n.hosts[addr] = h
	}
	return h
}

func (n *Network) linkLocked(d direction) *link {
	l := n.links[d]
	if l == nil {
		l = &link{}
		n.links[d] = l
	}
	return l
}

// Cut lets nothing pass from one host to another, until Mend.
func (n *Network) Cut(from, to *Host) { n.setCut(from, to, true) }

// Mend undoes Cut: what waits arrives.
func (n *Network) Mend(from, to *Host) { n.setCut(from, to, false) }

func (n *Network) setCut(from, to *Host, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.linkLocked(direction{from.addr, to.addr}).cut = cut
	n.wakeLocked()
}

// Delay sets how long deliveries from one host to another take: each a random
// time from min to max.
func (n *Network) Delay(from, to *Host, min, max time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.linkLocked(direction{from.addr, to.addr})
	l.min, l.max = min, max
}

// wakeLocked lets everybody look again.
func (n *Network) wakeLocked() {
	n.changed.Broadcast()
	for p := range n.pairs {
		p.wake()
	}
}

// delayLocked draws the time of one delivery.
func (n *Network) delayLocked(d direction) time.Duration {
	l := n.linkLocked(d)
	if l.max <= l.min {
		return l.min
	}
	return l.min + time.Duration(n.rng.Int64N(int64(l.max-l.min)))
}

// passesLocked reports whether something can go from a host to another now.
func (n *Network) passesLocked(d direction) bool {
	return !n.linkLocked(d).cut && !n.hostLocked(d.from).down && !n.hostLocked(d.to).down
}

// Host is a machine.
type Host struct {
	n    *Network
	addr netip.Addr

	// Guarded by Network.mu.
	down      bool
	boot      int // counts Down
	listeners map[uint16]*listener
	nextPort  uint16
}

// IP is the host's address.
func (h *Host) IP() string { return h.addr.String() }

// Down stops the machine at once: nothing answers any more and nobody is told.
// What its processes still do has no effect; Kill them too.
func (h *Host) Down() {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	h.down = true
	h.boot++
	clear(h.listeners)
	h.n.wakeLocked()
}

// Up starts the machine again. Whoever has sent, or sends, on a connection from
// before gets a reset.
func (h *Host) Up() {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	h.down = false
	h.n.wakeLocked()
}

// Process starts a process, which owns the sockets that it makes.
func (h *Host) Process() *Process {
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	return &Process{h: h, boot: h.boot, conns: map[*conn]struct{}{}}
}

// Process owns sockets.
type Process struct {
	h    *Host
	boot int

	// Guarded by Network.mu.
	dead  bool
	conns map[*conn]struct{}
	lns   []*listener
}

// Kill ends the process: its calls fail with ErrKilled from now on, its listeners
// refuse, and its connections break, unless the host is down.
func (p *Process) Kill() {
	n := p.h.n
	n.mu.Lock()
	defer n.mu.Unlock()
	if p.dead {
		return
	}
	p.dead = true
	for _, l := range p.lns {
		l.closeLocked()
	}
	for c := range p.conns {
		c.killLocked()
	}
	n.wakeLocked()
}

func (p *Process) gone() bool { return p.dead || p.boot != p.h.boot }

// Listen is net.Listen for TCP. The address must be one of the host's, or none.
func (p *Process) Listen(network, addr string) (net.Listener, error) {
	fail := func(err error) (net.Listener, error) {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	host, port, err := splitPort(addr)
	if err != nil {
		return fail(err)
	}
	if host != "" && host != p.h.IP() && host != "0.0.0.0" && host != "::" {
		return fail(syscall.EADDRNOTAVAIL)
	}
	n := p.h.n
	n.mu.Lock()
	defer n.mu.Unlock()
	if p.gone() {
		return fail(ErrKilled)
	}
	if port == 0 {
		port = p.h.portLocked()
	}
	if p.h.listeners[port] != nil {
		return fail(os.NewSyscallError("bind", syscall.EADDRINUSE))
	}
	l := &listener{p: p, port: port}
	p.h.listeners[port] = l
	p.lns = append(p.lns, l)
	return l, nil
}

func splitPort(addr string) (host string, port uint16, err error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	if _, err := fmt.Sscanf(service, "%d", &port); err != nil {
		return "", 0, fmt.Errorf("port of %q: %w", addr, err)
	}
	return host, port, nil
}

func (h *Host) portLocked() uint16 {
	for {
		port := h.nextPort
		if h.nextPort++; h.nextPort == 0 {
			h.nextPort = 32768
		}
		if h.listeners[port] == nil {
			return port
		}
	}
}

// Dial is net.Dialer.DialContext for TCP: it is refused where nobody listens, and
// waits for ctx where nothing answers.
func (p *Process) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	host, port, err := splitPort(addr)
	if err != nil {
		return fail(err)
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return fail(&net.DNSError{Err: "no such host", Name: host, IsNotFound: true})
	}
	n := p.h.n
	stop := context.AfterFunc(ctx, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.changed.Broadcast()
	})
	defer stop()
	there, back := direction{p.h.addr, ip}, direction{ip, p.h.addr}
	n.mu.Lock()
	wait := n.delayLocked(there) + n.delayLocked(back)
	n.mu.Unlock()
	if err := sleep(ctx, wait); err != nil {
		return fail(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for !p.gone() && ctx.Err() == nil && (!n.passesLocked(there) || !n.passesLocked(back)) {
		n.changed.Wait()
	}
	switch {
	case p.gone():
		return fail(ErrKilled)
	case ctx.Err() != nil:
		return fail(dialError(ctx))
	}
	l := n.hostLocked(ip).listeners[port]
	if l == nil || len(l.waiting) >= backlog {
		return fail(os.NewSyscallError("connect", syscall.ECONNREFUSED))
	}
	return p.connectLocked(l, netip.AddrPortFrom(ip, port)), nil
}

// dialError is ctx's end as a dialer reports it: a deadline is a timeout.
func dialError(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return os.ErrDeadlineExceeded
	}
	return ctx.Err()
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return dialError(ctx)
	}
}

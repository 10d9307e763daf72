package session

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// lookupTimeout bounds the resolving of one host name.
const lookupTimeout = 3 * time.Second

// hosts is the library's host provider: it goes round the servers and resolves
// their names anew in each round, so that an ensemble that moved is found.
type hosts struct {
	ctx     context.Context // ends with the session
	servers []string        // host:port
	resolve func(ctx context.Context, host string) ([]string, error)
	failed  func(server string, err error)

	mu        sync.Mutex // guards following
	addrs     []string   // of this round
	next      int
	rounds    int
	connected bool // since this round began
}

// Init is called by the library; the servers are known already.
func (h *hosts) Init([]string) error { return nil }

// Len is the number of addresses in this round.
func (h *hosts) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.addrs)
}

// Connected is told after a good handshake.
func (h *hosts) Connected() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.connected = true
}

// Next gives the next address. retryStart makes the library wait for a second,
// and give up if it is being closed: after each round without a connection.
func (h *hosts) Next() (server string, retryStart bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.next >= len(h.addrs) {
		h.addrs, h.next = h.lookup(), 0
		retryStart = h.rounds > 0 && !h.connected
		h.rounds++
		h.connected = false
	}
	server = h.addrs[h.next]
	h.next++
	return server, retryStart || h.ctx.Err() != nil
}

// lookup gives at least one address: a name that can't be resolved stands for
// itself, and the dial fails.
func (h *hosts) lookup() []string {
	var out []string
	for _, s := range h.servers {
		host, port, err := net.SplitHostPort(s)
		if err != nil {
			out = append(out, s)
			continue
		}
		if net.ParseIP(host) != nil {
			out = append(out, s)
			continue
		}
		ctx, cancel := context.WithTimeout(h.ctx, lookupTimeout)
		addrs, err := h.resolve(ctx, host)
		cancel()
		if err != nil || len(addrs) == 0 {
			h.failed(s, err)
			continue
		}
		for _, a := range addrs {
			out = append(out, net.JoinHostPort(a, port))
		}
	}
	if len(out) == 0 {
		return []string{h.servers[0]}
	}
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

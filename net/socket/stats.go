package socket

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"barnabas/internal/metrics"
	"barnabas/net/frame"
	"barnabas/protocol"
)

// Slots of the requests' times: one for each key, and one for the Fetches of
// other brokers.
const (
	slotFollower = int16(protocol.KeyConsumerGroupDescribe) + 1
	slots        = slotFollower + 1
)

// timedEvery is how many of the requests that overlap are there for each whose
// time in its handler is measured; of other keys all are.
const timedEvery = 16

// times are the microseconds of the requests of one key.
type times struct {
	// total is from the last byte of a request to the last of its reply. It has
	// all requests that were answered.
	total metrics.Histogram
	// local is the time in the handler; of the keys that overlap a sample.
	local metrics.Histogram
}

// stats hold the times of the keys that were used.
type stats struct {
	slots [slots]atomic.Pointer[times]
}

// of makes the times of a slot with its first request.
func (s *stats) of(slot int8) *times {
	if t := s.slots[slot].Load(); t != nil {
		return t
	}
	s.slots[slot].CompareAndSwap(nil, new(times))
	return s.slots[slot].Load()
}

func (s *stats) done(slot int8, took time.Duration) { s.of(slot).total.Update(took.Microseconds()) }

// served notes that the handler has returned, and gives the slot of the request.
func (c *Conn) served(r *Request) int8 {
	if r.Key < 0 || r.Key >= slotFollower {
		return 0 // nobody serves it: the connection is closed
	}
	slot := int8(r.Key)
	if r.Follower {
		slot = int8(slotFollower)
	}
	if c.requests++; c.requests%timedEvery == 1 || !Overlaps(r.Key) {
		c.srv.stats.of(slot).local.Since(r.Arrived)
	}
	return slot
}

// sent notes that the batch is written.
func (c *Conn) sent() {
	now := time.Now()
	c.active.Store(now.UnixNano()) // who waited long for this has time for the next one
	for i := range c.batch {
		if r := &c.batch[i]; r.kind == replyOut {
			c.srv.stats.done(r.slot, now.Sub(r.arrived))
		}
	}
}

// accepting is the state of a listener's accept loop.
type accepting struct {
	refused atomic.Int64

	state struct {
		sync.Mutex
		ended   bool
		failing time.Time // since when accept fails; zero if it does not
		err     error
	}
}

func (a *accepting) end() {
	a.state.Lock()
	defer a.state.Unlock()
	a.state.ended = true
}

// note takes the outcome of an accept.
func (a *accepting) note(err error) {
	a.state.Lock()
	defer a.state.Unlock()
	switch {
	case err == nil:
		a.state.failing, a.state.err = time.Time{}, nil
	case a.state.err == nil:
		a.state.failing, a.state.err = time.Now(), err
	default:
		a.state.err = err
	}
}

// ListenerStatus is how a listener is.
type ListenerStatus struct {
	Name string
	// Open connections; Limit of them, 0 if there is none.
	Open, Limit int
	// Refused counts connections closed because their address had too many.
	Refused int64
	// Ended: the accept loop has returned.
	Ended bool
	// Failing is since when accept fails, with Err; zero if it does not.
	Failing time.Time
	Err     error
}

// Listeners tells how the listeners are, by name.
func (s *Server) Listeners() []ListenerStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]ListenerStatus, 0, len(s.listeners))
	for _, l := range s.listeners {
		st := ListenerStatus{Name: l.opt.Name, Open: l.open, Limit: max(s.limits.Listeners[l.opt.Name].MaxConnections, 0), Refused: l.refused.Load()}
		l.state.Lock()
		st.Ended, st.Failing, st.Err = l.state.ended, l.state.failing, l.state.err
		l.state.Unlock()
		out = append(out, st)
	}
	slices.SortFunc(out, func(a, b ListenerStatus) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Memory is how the memory for requests stands.
func (s *Server) Memory() frame.BudgetStatus { return s.budget.Status() }

// Work is how the memory for what requests become, for replies, and for what is made
// while they are sent, stands.
func (s *Server) Work() frame.BudgetStatus {
	w, h := s.work.Status(), s.held.Status()
	return frame.BudgetStatus{
		Used: w.Used + h.Used, Limit: w.Limit + h.Limit, Waiting: w.Waiting + h.Waiting, Evicted: w.Evicted + h.Evicted,
	}
}

// Collect writes Kafka's RequestMetrics and SocketServer.
func (s *Server) Collect(p *metrics.Page) {
	s.collectRequests(p)
	status := s.Listeners()
	p.Family("kafka_server_socket_server_metrics_connection_count", metrics.GaugeKind, "Open connections.")
	for _, l := range status {
		p.Int(int64(l.Open), "listener", l.Name)
	}
	p.Family("barnabas_connections_refused_total", metrics.CounterKind, "Connections closed at once, since their address had too many.")
	for _, l := range status {
		p.Int(l.Refused, "listener", l.Name)
	}
	m := s.Memory()
	p.Gauge("barnabas_request_memory_bytes", "Memory of requests that arrive or are not answered yet.", m.Used)
	p.Gauge("barnabas_request_memory_limit_bytes", "Bound of that (queued.max.request.bytes).", m.Limit)
	p.Gauge("barnabas_request_memory_waiting", "Connections that are not read until there is memory for their requests.", int64(m.Waiting))
	p.Counter("barnabas_slow_requests_closed_total", "Connections closed because their request held memory that others waited for and arrived too slowly.", m.Evicted)
	w := s.Work()
	p.Gauge("barnabas_work_memory_bytes", "Memory of large requests that are served and of large replies that are not sent yet.", w.Used)
	p.Gauge("barnabas_work_memory_limit_bytes", "Bound of that.", w.Limit)
	p.Gauge("barnabas_work_memory_waiting", "Requests and replies that wait for such memory.", int64(w.Waiting))
	p.Counter("barnabas_slow_replies_closed_total", "Connections closed because they kept such memory for too long while others waited.", w.Evicted)
	p.Gauge("barnabas_pollers", "Threads that wait for connections and serve them; 0: each connection has a goroutine.", int64(len(s.pollers)))
	stalls := int64(0)
	for _, poller := range s.pollers {
		stalls += poller.Stalls()
	}
	p.Counter("barnabas_poller_stalls_total", "Times that a request held up the others of its poller, so that another thread went on with them.", stalls)
	hits, misses := s.pool.Stats()
	p.Counter("barnabas_buffers_reused_total", "Network buffers taken from the pool.", hits)
	p.Counter("barnabas_buffers_made_total", "Network buffers allocated.", misses)
}

// named is the times of one request label.
type named struct {
	request string
	t       *times
}

// used are the slots in use. A Fetch counts twice, as Kafka has it: as Fetch, and
// as who fetched.
func (s *Server) used() []named {
	var out []named
	fetch := new(times)
	for slot := range s.stats.slots {
		t := s.stats.slots[slot].Load()
		if t == nil {
			continue
		}
		name := protocol.KeyName(int16(slot))
		switch int16(slot) {
		case protocol.KeyFetch:
			name = "FetchConsumer"
			fetch.total.Merge(&t.total)
		case slotFollower:
			name = "FetchFollower"
			fetch.total.Merge(&t.total)
		}
		out = append(out, named{name, t})
	}
	if fetch.total.Count() > 0 {
		out = append(out, named{"Fetch", fetch})
	}
	slices.SortFunc(out, func(a, b named) int { return cmp.Compare(a.request, b.request) })
	return out
}

func (s *Server) collectRequests(p *metrics.Page) {
	list := s.used()
	p.Meter("kafka_network_requestmetrics_requests", "Requests answered.", func() {
		for _, n := range list {
			p.Int(n.t.total.Count(), "request", n.request)
		}
	})
	for _, m := range []struct {
		name, help string
		of         func(*times) *metrics.Histogram
	}{
		{"totaltimems", "Milliseconds from a request's last byte to its reply's last.", func(t *times) *metrics.Histogram { return &t.total }},
		{"localtimems", "Milliseconds in the request's handler; of Produce and Fetch one in 16 is measured.", func(t *times) *metrics.Histogram { return &t.local }},
	} {
		p.Family("kafka_network_requestmetrics_"+m.name, metrics.SummaryKind, m.help)
		for _, n := range list {
			if n.request != "Fetch" { // it is the sum of two, whose quantiles don't add up
				p.Summary(m.of(n.t), 1000, "request", n.request)
			}
		}
	}
}

package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"sync/atomic"
	"time"

	"barnabas/internal/metrics"
)

// Options of a Server. Addr and Page are required.
type Options struct {
	// Addr is host:port; an empty host means all interfaces, port 0 any free
	// port.
	Addr string
	// Page writes the metrics.
	Page func(w io.Writer, partitions bool) error
	// Pprof serves /debug/pprof, which shows memory and costs CPU.
	Pprof bool
	// Listen opens the listening socket. Default net.Listen.
	Listen func(network, addr string) (net.Listener, error)
	// Logger. Default: nothing is logged.
	Logger *slog.Logger
}

const (
	// maxConnections bounds the connections; one more is closed at once.
	maxConnections = 64
	// maxPages bounds the metrics pages that are written at once.
	maxPages = 2
)

// Server answers. New, Add checks, Listen, Close. Checks may be added while it
// serves.
type Server struct {
	opt     Options
	http    *http.Server
	startup *Startup
	open    atomic.Int64  // connections
	page    chan struct{} // a token for each page that may be written now

	mu          sync.Mutex // guards the fields below
	live, ready []*probe
	ln          net.Listener
	served      chan struct{} // closed when Serve has returned
}

// New makes a server that listens nowhere yet.
func New(o Options) *Server {
	if o.Listen == nil {
		o.Listen = net.Listen
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{opt: o, startup: newStartup(), page: make(chan struct{}, maxPages)}
	for range maxPages {
		s.page <- struct{}{}
	}
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      2 * time.Minute, // a profile takes its time
		IdleTimeout:       2 * time.Minute, // above the interval of common scrapers
		MaxHeaderBytes:    16 << 10,
		ConnState:         s.count,
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
	return s
}

// Startup is where the start of the broker is reported.
func (s *Server) Startup() *Startup { return s.startup }

// Live adds a check to /livez; Ready one to /readyz. Names are unique there.
func (s *Server) Live(name string, c Check) { s.add(&s.live, name, c) }

// Ready adds a check to /readyz.
func (s *Server) Ready(name string, c Check) { s.add(&s.ready, name, c) }

func (s *Server) add(list *[]*probe, name string, c Check) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*list = append(*list, &probe{name: name, check: c})
}

// Listen binds the address and begins to serve.
func (s *Server) Listen() error {
	ln, err := s.opt.Listen("tcp", s.opt.Addr)
	if err != nil {
		return fmt.Errorf("health: listening on %s: %w", s.opt.Addr, err)
	}
	s.mu.Lock()
	s.ln, s.served = ln, make(chan struct{})
	s.mu.Unlock()
	go func() {
		defer close(s.served)
		if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			s.opt.Logger.Error("health: no longer served", "error", err)
		}
	}()
	return nil
}

// Addr is the bound address; nil before Listen.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ln == nil {
		return nil
	}
	return s.ln.Addr()
}

// Close lets answers under way finish for a second, and ends the server.
func (s *Server) Close() error {
	s.mu.Lock()
	served := s.served
	s.mu.Unlock()
	if served == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	<-served
	return err
}

// count closes connections above the bound.
func (s *Server) count(c net.Conn, st http.ConnState) {
	switch st {
	case http.StateNew:
		if s.open.Add(1) > maxConnections {
			_ = c.Close() // refused; nothing was sent
		}
	case http.StateClosed, http.StateHijacked:
		s.open.Add(-1)
	}
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		header(w)
		_, _ = io.WriteString(w, "/livez\n/readyz\n/startupz\n/metrics\n/metrics?partitions=1\n")
	})
	mux.HandleFunc("GET /livez", s.serveLive)
	mux.HandleFunc("GET /readyz", s.serveReady)
	mux.HandleFunc("GET /startupz", s.serveStartup)
	mux.HandleFunc("GET /metrics", s.serveMetrics)
	if s.opt.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

func header(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
}

// answer writes a verdict and its lines. What the client does not take is its
// own loss.
func answer(w http.ResponseWriter, ok bool, body string) {
	header(w)
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = io.WriteString(w, body)
}

func (s *Server) serveLive(w http.ResponseWriter, _ *http.Request) {
	now := time.Now()
	s.mu.Lock()
	probes := s.live
	s.mu.Unlock()
	list := append([]Result{{Name: "start", Finding: s.startup.alive(now)}}, run(probes, now)...)
	ok, lines := report(list)
	answer(w, ok, verdict(ok, "alive", "not alive")+lines)
}

func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	now := time.Now()
	s.mu.Lock()
	probes := s.ready
	s.mu.Unlock()
	list := append([]Result{{Name: "start", Finding: s.startup.ready(now)}}, run(probes, now)...)
	ok, lines := report(list)
	answer(w, ok, verdict(ok, "ready", "not ready")+lines)
}

func (s *Server) serveStartup(w http.ResponseWriter, _ *http.Request) {
	f, lines := s.startup.describe(time.Now())
	answer(w, f.OK, lines)
}

// pageTime is how long a client may take a page.
const pageTime = 20 * time.Second

// serveMetrics writes few pages at a time: they are alike, and many at once take
// the processor from those who produce.
func (s *Server) serveMetrics(w http.ResponseWriter, r *http.Request) {
	select {
	case <-s.page:
	case <-r.Context().Done():
		return
	}
	defer func() { s.page <- struct{}{} }()
	// Without it (a recorder in a test) the server's own deadline holds.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(pageTime))
	w.Header().Set("Content-Type", metrics.ContentType)
	if r.Method == http.MethodHead {
		return
	}
	v := r.URL.Query().Get("partitions")
	if err := s.opt.Page(w, v == "1" || v == "true"); err != nil {
		s.opt.Logger.Debug("health: a metrics page was not taken whole", "error", err)
	}
}

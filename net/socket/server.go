package socket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"barnabas/internal/buf"
	"barnabas/net/frame"
	"barnabas/net/poll"
)

// Server listens and serves. New, then Listen, then Serve; Close ends it.
type Server struct {
	opt     Options
	pool    *buf.Pool
	budget  *frame.Budget
	work    *frame.Budget // see Request.Lease
	held    *frame.Budget // see Request.Hold
	outs    sync.Pool     // of *Out
	handler Handler
	pollers []*poll.Poller // made by Listen
	polled  sync.Once      // ends them
	log     limitedLog
	nextID  atomic.Uint64
	stats   stats

	ctx    context.Context // ends when Close gives up waiting
	cancel context.CancelFunc
	wg     sync.WaitGroup // goroutines of listeners and connections

	mu        sync.Mutex // guards following
	listeners []*listener
	conns     map[*Conn]struct{}
	perIP     map[string]int
	limits    Limits
	rate      rate // of new connections
	closing   bool
	changed   sync.Cond // a connection went, limits changed, or closing was set
}

// New makes a server.
func New(o Options) *Server {
	s := &Server{opt: o.withDefaults(), pool: buf.New(), conns: make(map[*Conn]struct{}), perIP: make(map[string]int)}
	s.budget = frame.NewBudget(s.opt.MaxQueuedBytes, s.opt.MaxRequestBytes)
	s.work = frame.NewBudget(s.opt.MaxWorkBytes, int(s.opt.MaxWorkBytes/2))
	s.held = frame.NewBudget(s.opt.MaxWorkBytes/4, int(s.opt.MaxWorkBytes/8))
	s.limits = s.opt.Limits
	s.log.logger = s.opt.Logger
	s.changed.L = &s.mu
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Listen binds all listeners, so that a taken port is known before anything
// else is done, and ports that were 0 are known. The error names host and port;
// nothing stays bound then.
func (s *Server) Listen() error {
	for range s.opt.Pollers {
		p, err := poll.New()
		if errors.Is(err, errors.ErrUnsupported) {
			s.opt.Logger.Info("connections are served by goroutines", "error", err)
			break
		}
		if err != nil {
			s.opt.Logger.Warn("connections are served by goroutines", "error", err)
			break
		}
		s.pollers = append(s.pollers, p)
	}
	for _, o := range s.opt.Listeners {
		ln, err := s.opt.Listen("tcp", o.Addr)
		if err == nil && s.opt.Backlog > 0 {
			if err = setBacklog(ln, s.opt.Backlog); err != nil {
				err = errors.Join(err, ln.Close())
			}
		}
		if err == nil {
			if err := setUserTimeout(ln, 2*s.opt.WriteTimeout); err != nil { // not every system has it
				s.opt.Logger.Debug("half-open connections are found by keepalive alone", "listener", o.Name, "error", err)
			}
		}
		if err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, l := range s.listeners {
				err = errors.Join(err, l.ln.Close())
			}
			s.listeners = nil
			s.endPollers()
			return fmt.Errorf("socket: listener %s on %s: %w", o.Name, o.Addr, err)
		}
		s.mu.Lock()
		s.listeners = append(s.listeners, &listener{srv: s, opt: o, ln: ln})
		s.mu.Unlock()
	}
	return nil
}

// Addr is the bound address of a listener; nil before Listen.
func (s *Server) Addr(listener string) net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners {
		if l.opt.Name == listener {
			return l.ln.Addr()
		}
	}
	return nil
}

// Connections is the number of open connections.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Serve accepts connections and returns nil after Close, which it calls when
// ctx ends.
func (s *Server) Serve(ctx context.Context, h Handler) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return net.ErrClosed
	}
	s.handler = h
	for _, l := range s.listeners {
		s.wg.Go(l.accept)
	}
	s.mu.Unlock()
	if len(s.pollers) > 0 {
		s.wg.Go(s.sweep)
	}

	select {
	case <-ctx.Done():
		return s.Close()
	case <-s.ctx.Done():
		s.wg.Wait()
		return nil
	}
}

// Close stops accepting, lets requests under way finish for CloseGrace, closes
// all connections, and returns when all is quiet. Handlers that block see their
// context end.
func (s *Server) Close() error {
	var errs []error
	s.mu.Lock()
	if !s.closing {
		s.closing = true
		for _, l := range s.listeners {
			errs = append(errs, l.ln.Close())
		}
	}
	s.changed.Broadcast()
	for c := range s.conns {
		c.shutdown()
	}
	grace := time.AfterFunc(s.opt.CloseGrace, s.giveUp)
	for len(s.conns) > 0 {
		s.changed.Wait()
	}
	s.mu.Unlock()
	grace.Stop()
	s.cancel()
	s.wg.Wait()
	s.endPollers()
	return errors.Join(errs...)
}

// endPollers ends them when no connection is left.
func (s *Server) endPollers() {
	s.polled.Do(func() {
		for _, p := range s.pollers {
			p.Close()
		}
	})
}

// giveUp closes the connections that are still busy.
func (s *Server) giveUp() {
	s.cancel()
	s.mu.Lock()
	left := make([]*Conn, 0, len(s.conns))
	for c := range s.conns {
		left = append(left, c)
	}
	s.mu.Unlock()
	for _, c := range left {
		c.close(errShutdown)
	}
}

// closed forgets a connection.
func (s *Server) closed(c *Conn, reason error) {
	s.mu.Lock()
	delete(s.conns, c)
	c.listener.open--
	if s.perIP[c.ip]--; s.perIP[c.ip] == 0 {
		delete(s.perIP, c.ip)
	}
	s.changed.Broadcast()
	s.mu.Unlock()
	s.log.closed(c, reason)
}

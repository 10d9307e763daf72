package socket

import (
	"math"
	"time"
)

// Limits are what may change while a server runs. Limits of 0 are none, and
// negative ones let nothing in.
type Limits struct {
	// MaxConnections bounds all connections together (max.connections);
	// accepting waits for a free place.
	MaxConnections int
	// MaxPerIP bounds the connections of one client address
	// (max.connections.per.ip); one more is closed at once.
	MaxPerIP int
	// MaxPerIPOverrides replaces MaxPerIP for named addresses; 0 refuses all.
	MaxPerIPOverrides map[string]int
	// Rate bounds the connections accepted per second
	// (max.connection.creation.rate); accepting waits.
	Rate int
	// Listeners are limits of single listeners besides, by name.
	Listeners map[string]ListenerLimits
}

// ListenerLimits are limits of one listener.
type ListenerLimits struct {
	MaxConnections int
	Rate           int
}

// SetLimits changes the limits. Connections beyond them stay.
func (s *Server) SetLimits(l Limits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits = l
	s.changed.Broadcast()
}

// Limits are those in force.
func (s *Server) Limits() Limits {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.limits
}

// full reports whether n connections are all that limit allows.
func full(n, limit int) bool { return limit < 0 || limit > 0 && n >= limit }

// fullLocked reports whether the listener may not have another connection now.
// A protected one has to heed its own limit only.
func (l *listener) fullLocked() bool {
	s := l.srv
	return !l.protectedLocked() && full(len(s.conns), s.limits.MaxConnections) ||
		full(l.open, s.limits.Listeners[l.opt.Name].MaxConnections)
}

// protectedLocked reports whether the listener is to be kept free for brokers.
// The only one there is cannot be.
func (l *listener) protectedLocked() bool { return l.opt.Protected && len(l.srv.listeners) > 1 }

// awaitPlace waits until another connection is allowed, by number and by rate.
// It reports false when the server closes.
func (l *listener) awaitPlace() bool {
	s := l.srv
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.closing {
		if l.fullLocked() {
			s.changed.Wait()
			continue
		}
		wait := l.rate.take(s.limits.Listeners[l.opt.Name].Rate, 0)
		if !l.protectedLocked() {
			wait = max(wait, s.rate.take(s.limits.Rate, 0))
		}
		if wait <= 0 {
			return true
		}
		// Whoever is woken looks again.
		t := time.AfterFunc(wait, s.wake)
		s.changed.Wait()
		t.Stop()
	}
	return false
}

// acceptedLocked counts a connection.
func (l *listener) acceptedLocked() {
	l.rate.take(l.srv.limits.Listeners[l.opt.Name].Rate, 1)
	l.srv.rate.take(l.srv.limits.Rate, 1)
}

func (s *Server) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed.Broadcast()
}

// rate lets so many things happen in a second, and a second's worth at once
// after a pause. It is guarded by Server.mu.
type rate struct {
	// next is when all that has happened would be over if it were evenly spread.
	next time.Time
}

// take counts n things, and returns how long the next one has to wait.
func (r *rate) take(perSecond, n int) time.Duration {
	switch {
	case perSecond == 0 || perSecond >= math.MaxInt32:
		return 0
	case perSecond < 0:
		return time.Hour // until the limit changes
	}
	now := time.Now()
	if r.next.Before(now) {
		r.next = now
	}
	step := time.Second / time.Duration(perSecond)
	r.next = r.next.Add(time.Duration(n) * step)
	return r.next.Sub(now) - (time.Second - step)
}

// makeRoomLocked picks a connection to be closed for one that was accepted on a
// protected listener: of the others, the one that was idle for longest.
func (l *listener) makeRoomLocked() *Conn {
	s := l.srv
	if limit := s.limits.MaxConnections; !l.protectedLocked() || limit == 0 || len(s.conns) <= limit {
		return nil
	}
	var victim *Conn
	for c := range s.conns {
		if !c.listener.opt.Protected && !c.leaving && (victim == nil || c.active.Load() < victim.active.Load()) {
			victim = c
		}
	}
	if victim != nil {
		victim.leaving = true
	}
	return victim
}

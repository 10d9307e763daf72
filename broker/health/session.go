package health

import (
	"sync"
	"time"

	"barnabas/internal/metrics"
	"barnabas/zkpaths/session"
)

// Session follows the ZooKeeper session by what it tells (OnState).
type Session struct {
	mu    sync.Mutex // guards the fields below
	kind  session.StateKind
	id    int64
	since time.Time
	// Counts of Kafka's SessionExpireListener.
	connects, disconnects, expires int64
}

// OnState takes a change of the session; it does not block.
func (s *Session) OnState(st session.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kind, s.id, s.since = st.Kind, st.SessionID, time.Now()
	switch st.Kind {
	case session.NewSession, session.Connected:
		s.connects++
	case session.Disconnected:
		s.disconnects++
	case session.Expired:
		s.expires++
	}
}

// Connected reports whether there is a session that is connected, and since when
// it is, or is not.
func (s *Session) Connected() (bool, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kind == session.NewSession || s.kind == session.Connected, s.since
}

// Check is for /readyz. A broker that had a session and is cut off leads on and
// stays ready: that coordination is lost is said, not punished.
func (s *Session) Check(now time.Time) Finding {
	s.mu.Lock()
	defer s.mu.Unlock()
	ago := round(now.Sub(s.since))
	switch s.kind {
	case session.NewSession, session.Connected:
		return Good("session 0x%x, connected for %v", uint64(s.id), ago)
	case session.Disconnected:
		return Good("coordination lost for %v: disconnected from ZooKeeper; partitions are served, nothing is elected or changed", ago)
	case session.Expired:
		return Good("coordination lost for %v: the session expired; a new one is being made", ago)
	}
	return Bad("no session with ZooKeeper yet")
}

// state is in the words of ZooKeeper's client, which Kafka's SessionState shows.
func (s *Session) state() string {
	switch s.kind {
	case session.NewSession, session.Connected:
		return "CONNECTED"
	case session.Expired:
		return "CLOSED"
	}
	return "CONNECTING"
}

// Collect writes Kafka's SessionExpireListener.
func (s *Session) Collect(p *metrics.Page) {
	s.mu.Lock()
	state, connects, disconnects, expires := s.state(), s.connects, s.disconnects, s.expires
	s.mu.Unlock()
	p.Family("kafka_server_sessionexpirelistener_sessionstate", metrics.GaugeKind, "State of the ZooKeeper session; 1 for the present one.")
	for _, name := range []string{"CONNECTED", "CONNECTING", "CLOSED"} {
		v := int64(0)
		if name == state {
			v = 1
		}
		p.Int(v, "state", name)
	}
	for _, m := range []struct {
		name, help string
		n          int64
	}{
		{"zookeepersyncconnects", "Connections to ZooKeeper made.", connects},
		{"zookeeperdisconnects", "Connections to ZooKeeper lost.", disconnects},
		{"zookeeperexpires", "ZooKeeper sessions lost.", expires},
	} {
		p.Meter("kafka_server_sessionexpirelistener_"+m.name, m.help, func() { p.Int(m.n) })
	}
}

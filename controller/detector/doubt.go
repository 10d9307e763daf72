package detector

import (
	"slices"
	"time"

	"barnabas/cluster"
)

const (
	// doubtFor is how long after the end of a connection what depends on the verdict
	// may wait for it: several times what a verdict and the elections after it take,
	// and a small part of what clients wait for an answer.
	doubtFor = 2 * time.Second
	// proven is how long a new connection must last to end a doubt: a process that
	// dies may accept a last one, since the system closes its connections and its
	// listeners one by one.
	proven = 50 * time.Millisecond
)

// Doubts are the brokers whose processes have ended so lately, as far as is seen
// from here, that the verdict or the elections after it may be a moment away: the
// connection was ended by the other side, and none has lasted since. That is
// evidence enough to wait for more, and for nothing else. One that no verdict may be
// given on is not waited for.
func (d *Detector) Doubts(now time.Time) []cluster.Doubt {
	var out []cluster.Doubt
	for _, s := range d.suspects {
		if s.inDoubt(now) && (!s.actedAt.IsZero() || d.forbidden(now, s) == "") {
			out = append(out, s.doubt())
		}
	}
	for id, x := range d.gone {
		if s := d.suspects[id]; s != nil || !now.Before(x.Until) { // it is back, or it is over
			delete(d.gone, id)
			continue
		}
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b cluster.Doubt) int { return int(a.ID - b.ID) })
	return out
}

// inDoubt reports whether the process may have ended lately.
func (s *suspect) inDoubt(now time.Time) bool {
	answers := s.connected && now.Sub(s.since) >= proven
	return (s.ended || s.connected) && !answers && now.Sub(s.doubted) < doubtFor
}

func (s *suspect) doubt() cluster.Doubt {
	return cluster.Doubt{ID: s.ID, Epoch: s.Epoch, Until: s.doubted.Add(doubtFor)}
}

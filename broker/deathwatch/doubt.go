package deathwatch

import (
	"context"
	"slices"
	"time"

	"barnabas/cluster"
)

// maxWaiting bounds the requests that wait for a verdict. Each has a goroutine, and
// all are woken by each observation; those beyond are answered as things look.
const maxWaiting = 1000

// readWithin is how long the system may know of the end of a connection before its
// goroutine has read it. It bounds what waits meanwhile.
const readWithin = 50 * time.Millisecond

// sight is what is seen of the others, for those who must not wait for the lock. It
// is not changed.
type sight struct {
	doubts []cluster.Doubt // as of the last observation
	links  []link
}

// InDoubt reports whether there are doubts, as of the last observation, at the price
// of one load.
func (w *Watch) InDoubt() bool {
	s := w.sight.Load()
	return s != nil && len(s.doubts) > 0
}

// Doubts are the brokers whose processes may just have ended: see
// detector.Detector.Doubts. The system is asked whether a connection has ended
// meanwhile, since a client that has lost its own may be faster than the goroutine
// that reads the end of ours. As long as all look well nothing is allocated or locked.
// The caller must not change the result.
func (w *Watch) Doubts() []cluster.Doubt {
	s := w.sight.Load()
	if s == nil {
		return nil
	}
	doubts := s.doubts
	for _, l := range s.links {
		if !l.Over() {
			continue
		}
		now := time.Now()
		l.over.CompareAndSwap(0, now.UnixNano())
		if until := time.Unix(0, l.over.Load()).Add(readWithin); now.Before(until) {
			doubts = append(doubts[:len(doubts):len(doubts)], cluster.Doubt{ID: l.id, Epoch: l.epoch, Until: until})
		}
	}
	return doubts
}

// AwaitVerdict waits as long as undecided reports of the brokers in doubt that it
// matters whether they are dead; ctx may end it. It asks at once, and again after
// each observation and each new image. Nobody is waited for longer than the doubt
// lasts.
func (w *Watch) AwaitVerdict(ctx context.Context, undecided func([]cluster.Doubt) bool) {
	entered := false
	defer func() {
		if entered {
			w.waiting.Add(-1)
		}
	}()
	for {
		w.mu.Lock()
		moved := w.moved
		w.mu.Unlock()
		doubts, until := current(w.Doubts(), time.Now())
		if len(doubts) == 0 || !undecided(doubts) {
			return
		}
		if !entered {
			if entered = true; w.waiting.Add(1) > maxWaiting {
				return
			}
			w.waited.Add(1)
		}
		timer := time.NewTimer(time.Until(until))
		select {
		case <-moved:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// current leaves out the doubts that are over; until is the end of the first of the
// others.
func current(doubts []cluster.Doubt, now time.Time) (left []cluster.Doubt, until time.Time) {
	over := func(d cluster.Doubt) bool { return !now.Before(d.Until) }
	if slices.ContainsFunc(doubts, over) {
		doubts = slices.DeleteFunc(slices.Clone(doubts), over)
	}
	for _, d := range doubts {
		if until.IsZero() || d.Until.Before(until) {
			until = d.Until
		}
	}
	return doubts, until
}

// seeLocked publishes what is seen after an observation.
func (w *Watch) seeLocked(now time.Time) {
	s := &sight{doubts: w.d.Doubts(now)}
	for _, l := range w.links {
		s.links = append(s.links, l)
	}
	if !w.running || len(s.doubts)+len(s.links) == 0 {
		s = nil
	}
	w.sight.Store(s)
}

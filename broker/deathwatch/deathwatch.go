package deathwatch

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"barnabas/cluster"
	"barnabas/controller/detector"
	"barnabas/internal/kafka"
	"barnabas/internal/metrics"
	"barnabas/net/peer"
)

const (
	// answerWithin bounds how long an observer that asks is made to wait: until our
	// own dials are over. askFor bounds the question.
	answerWithin, askFor = 250 * time.Millisecond, 500 * time.Millisecond
	// verdictFor bounds how long a verdict is tried to be carried out.
	verdictFor = 5 * time.Second
	// deposeAfter bounds the random delay of a deposition, so that one standby does
	// it and not all.
	deposeAfter = 50 * time.Millisecond
)

// Controller carries verdicts out; *controller.Controller is it.
type Controller interface {
	DeclareDead(context.Context, kafka.BrokerID, kafka.BrokerEpoch) error
	Depose(context.Context, kafka.BrokerID, kafka.BrokerEpoch) error
	Reconsider()
}

// Options of New. All but Logger are required.
type Options struct {
	Self  kafka.BrokerID
	Image func() *cluster.Image
	// Listener is the one for brokers, to which connections are kept.
	Listener   string
	Peers      *peer.Peers
	Controller Controller
	// Hold is how long after a verdict the session of the dead may live: the
	// session timeout.
	Hold   time.Duration
	Logger *slog.Logger
}

// Watch is the observer. Its methods may be called by any goroutine.
type Watch struct {
	o    Options
	wake chan struct{} // one token: Run looks at the image and at what is due
	wg   sync.WaitGroup

	// sight is as of the last observation; nil if there is nothing to be seen. waiting
	// counts the requests that wait for a verdict, waited all that did.
	sight           atomic.Pointer[sight]
	waiting, waited atomic.Int64

	mu      sync.Mutex // guards the fields below
	running bool
	d       *detector.Detector
	links   map[kafka.BrokerID]link
	moved   chan struct{} // closed and replaced after each observation
	// declared and deposed count verdicts that were carried out.
	declared, deposed int64
}

// link is a connection to the process of a registration.
type link struct {
	*peer.Link
	id    kafka.BrokerID
	epoch kafka.BrokerEpoch
	over  *atomic.Int64 // when the system was first seen to know of its end, ns
}

// New makes an observer that watches nobody until Run.
func New(o Options) *Watch {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Watch{
		o: o, wake: make(chan struct{}, 1), d: detector.New(o.Self), links: map[kafka.BrokerID]link{}, moved: make(chan struct{}),
	}
}

// Changed tells that there is a new image; it only enqueues.
func (w *Watch) Changed() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Alarmed reports whether a broker was declared dead by evidence so lately that
// its session may be alive.
func (w *Watch) Alarmed(id kafka.BrokerID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.d.Alarmed(time.Now(), id, w.o.Hold)
}

// Unreachable reports whether a registered broker that is watched has no
// connection from here now. One that isn't watched is taken to be in reach.
func (w *Watch) Unreachable(id kafka.BrokerID) bool {
	b := w.o.Image().Broker(id)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.running || b == nil || !w.d.Watches(id, b.Epoch) {
		return false
	}
	l, ok := w.links[id]
	return !ok || l.epoch != b.Epoch
}

// Confirm answers another observer: whether this one saw the process of a
// registration die. It waits a moment if that is not clear yet.
func (w *Watch) Confirm(ctx context.Context, id kafka.BrokerID, epoch kafka.BrokerEpoch) bool {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	for {
		w.mu.Lock()
		answer, moved := w.d.Asked(time.Now(), id, epoch), w.moved
		if !w.running {
			answer = detector.No
		}
		w.mu.Unlock()
		if answer != detector.NotYet {
			return answer == detector.Yes
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return false
		}
	}
}

// Collect writes the metrics of this room.
func (w *Watch) Collect(p *metrics.Page) {
	w.mu.Lock()
	links, declared, deposed := len(w.links), w.declared, w.deposed
	w.mu.Unlock()
	p.Gauge("barnabas_deathwatch_connections", "Idle connections to other brokers, whose end tells of a death.", int64(links))
	p.Gauge("barnabas_deathwatch_waiting_requests", "Requests that wait for the verdict on a broker whose process may just have ended.", w.waiting.Load())
	p.Counter("barnabas_deathwatch_waited_total", "Requests that have waited for such a verdict.", w.waited.Load())
	p.Counter("barnabas_deathwatch_declared_total", "Brokers that this one, as the controller, declared dead before their sessions ended.", declared)
	p.Counter("barnabas_deathwatch_deposed_total", "Dead controllers that this broker deposed before their sessions ended.", deposed)
}

// Run watches until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	w.mu.Lock()
	w.running = true
	w.mu.Unlock()
	defer w.end()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var seen *cluster.Image
	var alarms map[kafka.BrokerID]cluster.Alarm
	var holdEnds time.Time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.wake:
		case <-timer.C:
		}
		if im := w.o.Image(); im != seen {
			if now := im.Alarms(); !maps.Equal(now, alarms) {
				alarms, holdEnds = now, time.Now().Add(w.o.Hold)
			}
			seen = im
			w.observe(ctx, func(now time.Time) []detector.Effect { return w.d.Cluster(now, viewOf(im)) })
		}
		w.observe(ctx, w.d.Tick)
		now := time.Now()
		if !holdEnds.IsZero() && !now.Before(holdEnds) {
			holdEnds = time.Time{}
			w.o.Controller.Reconsider()
		}
		w.mu.Lock()
		next := w.d.Next(now)
		w.mu.Unlock()
		if next.IsZero() || !holdEnds.IsZero() && holdEnds.Before(next) {
			next = holdEnds
		}
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(max(next.Sub(now), time.Millisecond))
		}
	}
}

// end closes the connections and waits for what is under way.
func (w *Watch) end() {
	w.mu.Lock()
	w.running = false
	for _, l := range w.links {
		l.Close()
	}
	w.movedLocked(time.Now())
	w.mu.Unlock()
	w.wg.Wait()
}

func viewOf(im *cluster.Image) detector.View {
	v := detector.View{Controller: im.Controller}
	for _, b := range im.Brokers() {
		v.Members = append(v.Members, detector.Member{ID: b.ID, Epoch: b.Epoch, FastDeath: b.FastDeath, Process: b.Process})
	}
	for id, a := range im.Alarms() {
		v.Dead = append(v.Dead, detector.Death{ID: id, Epoch: a.Epoch, Process: a.Process})
	}
	return v
}

// observe takes an observation to the detector and does what follows.
func (w *Watch) observe(ctx context.Context, f func(now time.Time) []detector.Effect) {
	w.mu.Lock()
	now := time.Now()
	effects := f(now)
	if !w.running {
		effects = nil
	}
	for _, e := range effects {
		if l, ok := w.links[e.ID]; ok && e.Kind == detector.Drop && l.epoch == e.Epoch {
			delete(w.links, e.ID)
			l.Close()
		}
	}
	w.movedLocked(now)
	for _, e := range effects { // with the lock: Run's end waits for no more than there is
		w.startLocked(ctx, e)
	}
	w.mu.Unlock()
}

// movedLocked tells those who wait for an observation.
func (w *Watch) movedLocked(now time.Time) {
	w.seeLocked(now)
	close(w.moved)
	w.moved = make(chan struct{})
}

// told is observe for others than Run's goroutine, which looks then when the next
// thing is due.
func (w *Watch) told(ctx context.Context, f func(now time.Time) []detector.Effect) {
	w.observe(ctx, f)
	w.Changed()
}

// startLocked begins what an effect asks for.
func (w *Watch) startLocked(ctx context.Context, e detector.Effect) {
	switch e.Kind {
	case detector.Dial:
		w.wg.Go(func() { w.dial(ctx, e) })
	case detector.Ask:
		for _, of := range e.Of {
			w.wg.Go(func() { w.ask(ctx, e, of) })
		}
	case detector.Declare:
		w.wg.Go(func() { w.verdict(ctx, e, w.o.Controller.DeclareDead, &w.declared) })
	case detector.Depose:
		w.wg.Go(func() { w.depose(ctx, e) })
	case detector.Say:
		w.o.Logger.Warn("watching another broker's process", "peer", int32(e.ID), "broker_epoch", int64(e.Epoch), "seen", e.Text)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// dial dials all addresses of a registration, and watches the connection that
// comes of it until it ends.
func (w *Watch) dial(ctx context.Context, e detector.Effect) {
	if e.Delay > 0 {
		sleep(ctx, e.Delay)
	}
	outcome, l := w.o.Peers.Probe(ctx, w.addresses(e.ID, e.Epoch))
	reply := detector.Silent
	switch {
	case ctx.Err() != nil:
	case outcome == peer.Refused:
		reply = detector.Refused
	case outcome == peer.Connected && l != nil:
		reply = detector.Answered
	}
	kept := false
	w.told(ctx, func(now time.Time) []detector.Effect {
		effects := w.d.Dialed(now, e.ID, e.Epoch, reply)
		if kept = reply == detector.Answered && w.running && w.d.Watches(e.ID, e.Epoch); kept {
			w.links[e.ID] = link{l, e.ID, e.Epoch, new(atomic.Int64)}
		}
		return effects
	})
	if l == nil {
		return
	}
	if !kept {
		l.Close()
		return
	}
	byPeer := l.Wait()
	w.told(ctx, func(now time.Time) []detector.Effect {
		if w.links[e.ID].Link == l {
			delete(w.links, e.ID)
		}
		return w.d.Ended(now, e.ID, e.Epoch, byPeer)
	})
}

// addresses are those of a registration, the one for brokers first; none if it is
// not the present one.
func (w *Watch) addresses(id kafka.BrokerID, epoch kafka.BrokerEpoch) []string {
	b := w.o.Image().Broker(id)
	if b == nil || b.Epoch != epoch {
		return nil
	}
	first, ok := b.Endpoint(w.o.Listener)
	if !ok {
		return nil
	}
	addr := func(e cluster.Endpoint) string { return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))) }
	out := []string{addr(first)}
	for _, e := range b.Endpoints {
		if e != first {
			out = append(out, addr(e))
		}
	}
	return out
}

// verdict carries one out.
func (w *Watch) verdict(ctx context.Context, e detector.Effect, do func(context.Context, kafka.BrokerID, kafka.BrokerEpoch) error, count *int64) {
	bounded, cancel := context.WithTimeout(ctx, verdictFor)
	defer cancel()
	err := do(bounded, e.ID, e.Epoch)
	if err != nil && ctx.Err() == nil {
		w.o.Logger.Info("a verdict was not carried out", "verdict", e.Kind.String(), "peer", int32(e.ID), "broker_epoch", int64(e.Epoch), "error", err)
	}
	w.told(ctx, func(now time.Time) []detector.Effect {
		if err != nil {
			return w.d.Undone(now, e.ID, e.Epoch)
		}
		*count++
		return nil
	})
}

// depose deposes the controller, unless another standby did or it answers again.
func (w *Watch) depose(ctx context.Context, e detector.Effect) {
	sleep(ctx, rand.N(deposeAfter))
	w.mu.Lock()
	holds := w.running && w.d.Holds(time.Now(), e.ID, e.Epoch)
	w.mu.Unlock()
	if !holds {
		return
	}
	w.verdict(ctx, e, w.o.Controller.Depose, &w.deposed)
}

var errNoAnswer = errors.New("deathwatch: no answer to what was asked")

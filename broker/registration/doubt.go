package registration

import (
	"context"
	"time"

	"barnabas/internal/kafka"
	"barnabas/zkpaths/session"
)

// While all of ZooKeeper is gone, brokers lead on: nothing can be decided anywhere.
// A broker that alone has lost it is another matter: the others have seen its
// session end and elect in its place. It can't see that, but hears it from them:
// whoever has read more of the change log than this one could, while its own
// session may be over, is proof that ZooKeeper lives. Then it leads nothing until
// it has read on.

// doubting is the state of that; guarded by Registrar.telling.
type doubting struct {
	// since is when the connection to ZooKeeper was lost; zero while there is one.
	since time.Time
	// on: OnLost was told, although the registration may stand.
	on bool
}

// connection notes changes of the session.
func (r *Registrar) connection(s session.State) {
	r.telling.Lock()
	defer r.telling.Unlock()
	switch s.Kind {
	case session.Connected, session.NewSession:
		r.doubt.since = time.Time{}
		r.overdue.Store(0)
	case session.Disconnected:
		if r.doubt.since.IsZero() {
			r.doubt.since = time.Now()
			r.overdue.Store(r.doubt.since.Add(r.o.Client.SessionTimeout()).UnixNano())
		}
	}
}

// Overdue reports whether this broker has been without ZooKeeper for so long that
// its session may be over.
func (r *Registrar) Overdue() bool {
	at := r.overdue.Load()
	return at != 0 && time.Now().UnixNano() >= at
}

// Behind tells that another broker has read more of the change log than this one.
// If that can't be for a moment only, this broker stops leading until it has read
// on. It does not wait.
func (r *Registrar) Behind() {
	if !r.Overdue() {
		return
	}
	r.telling.Lock()
	defer r.telling.Unlock()
	if r.doubt.on || r.doubt.since.IsZero() || r.epoch.Load() == 0 {
		return
	}
	r.doubt.on = true
	r.log.Error("without ZooKeeper for longer than the session lasts, and other brokers have read on: leading nothing until this one has, too",
		"away", time.Since(r.doubt.since).Round(time.Millisecond))
	r.o.OnLost()
}

// Doubtful reports whether Behind has stopped this broker.
func (r *Registrar) Doubtful() bool {
	r.telling.Lock()
	defer r.telling.Unlock()
	return r.doubt.on
}

// resume ends the doubt once the registration is known to stand and everything
// that was decided meanwhile has been read.
func (r *Registrar) resume(ctx context.Context) {
	if !r.Doubtful() || !r.o.Client.Connected() {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, r.o.Client.SessionTimeout())
	defer cancel()
	if err := r.o.ReadOn(bounded); err != nil || !r.stands(ctx) || !r.o.Client.Connected() {
		if err != nil && ctx.Err() == nil {
			r.log.Warn("reading on after an outage failed, will try again", "err", err)
		}
		return
	}
	r.telling.Lock()
	defer r.telling.Unlock()
	epoch := r.epoch.Load()
	if !r.doubt.on || epoch == 0 || !r.doubt.since.IsZero() {
		return
	}
	r.doubt.on = false
	r.log.Info("read on; leading again under the same registration", "epoch", epoch)
	r.o.OnRegistered(kafka.BrokerEpoch(epoch))
}

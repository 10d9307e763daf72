package detector

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"barnabas/cluster"
	"barnabas/internal/kafka"
)

// The limits; see the package comment.
const (
	// betweenDials is the least time between the two dials that count.
	betweenDials = 50 * time.Millisecond
	// evidenceFor is how long refused dials prove anything; they are repeated every
	// repeat as long as they matter.
	evidenceFor, repeat = 2 * time.Second, time.Second
	// confirmFor is how long another's confirmation holds, askAgain the time between
	// two questions.
	confirmFor, askAgain = 2 * time.Second, 300 * time.Millisecond
	// asked bounds how many others are asked at a time.
	asked = 4
	// between is the time between two verdicts, retry that after which one that
	// changed nothing may be given again.
	between, retry = 10 * time.Second, 2 * time.Second
	// exemptFor is how long one is exempt whose process came back for the first time;
	// mostExempt bounds the doubling.
	exemptFor, mostExempt = 10 * time.Minute, 24 * time.Hour
	// outFor is how long one that was declared dead counts as a part of the cluster.
	outFor = 10 * time.Minute
	// settled is the age from which a connection that ends is made again at once;
	// after younger ones there are pauses, from quickPause on, since it may be the last
	// one that a dying process accepts.
	settled, quickPause = time.Second, 5 * time.Millisecond
	// firstPause and mostPause are between dials that prove nothing.
	firstPause, mostPause = 100 * time.Millisecond, 5 * time.Second
)

// Member is a registered broker.
type Member struct {
	ID    kafka.BrokerID
	Epoch kafka.BrokerEpoch
	// FastDeath: its registration allows verdicts by evidence.
	FastDeath bool
	// Process is another one for each start of a process; "": it is not known.
	Process string
}

// Death is a registration that was removed by a verdict, anybody's.
type Death struct {
	ID      kafka.BrokerID
	Epoch   kafka.BrokerEpoch
	Process string
}

// View is what the image of the cluster says.
type View struct {
	Members []Member // who is registered, Self among them
	Dead    []Death
	// Controller is the broker that reigns or reigned last.
	Controller kafka.BrokerID
}

// Reply is how all addresses of a broker answered dials at one time.
type Reply int8

const (
	// Answered: at least one connected, and is kept as the connection to watch.
	Answered Reply = iota
	// Refused: every one of them refused.
	Refused
	// Silent: neither.
	Silent
)

// Answer is what another observer is told that asks about a broker.
type Answer int8

const (
	No Answer = iota
	Yes
	// NotYet: ask again after the next observation.
	NotYet
)

// Kind is what an effect asks for.
type Kind int8

const (
	// Dial every address of the registration, after Delay.
	Dial Kind = iota + 1
	// Drop what is open to the registration.
	Drop
	// Ask the brokers Of whether they saw the same.
	Ask
	// Declare the broker dead: Self is the controller.
	Declare
	// Depose the broker as the controller, after a random delay.
	Depose
	// Say is for the log: Text.
	Say
)

var kindNames = [...]string{"none", "dial", "drop", "ask", "declare", "depose", "say"}

// String is a short name for tests and logs.
func (k Kind) String() string { return kindNames[k] }

// Effect is something to be done.
type Effect struct {
	Kind  Kind
	ID    kafka.BrokerID
	Epoch kafka.BrokerEpoch
	Delay time.Duration
	Of    []kafka.BrokerID
	Text  string
}

// suspect is all that is known of one registration.
type suspect struct {
	Member
	connected bool
	since     time.Time // of the connection
	// ended: a connection was established and the other side ended it, and none
	// was since.
	ended   bool
	dialing bool
	// doubted is when a connection that had lasted, or the first one, was ended by the
	// other side. A broker, or whatever stands before it, that accepts and closes again
	// and again is in doubt once.
	doubted time.Time
	// refused counts the dials that count, at most two; the first and the last.
	refused     int
	first, last time.Time
	next        time.Time // of the next dial, if not connected and not dialing
	pause       time.Duration
	quick       int // connections in a row that did not last
	askedAt     time.Time
	confirmedAt time.Time
	confirmedBy kafka.BrokerID
	actedAt     time.Time // of the last verdict
	said        string    // what holds the verdict up
}

// complete reports whether our own evidence is there and fresh.
func (s *suspect) complete(now time.Time) bool {
	return s.ended && s.refused >= 2 && now.Sub(s.last) < evidenceFor
}

// record is what is remembered of an id over its registrations.
type record struct {
	dead    kafka.BrokerEpoch // the last that was declared dead
	process string            // of it
	deadAt  time.Time
	out     bool // and it has not come back
	// right: another process has come in its place, so it was dead indeed. Such a
	// verdict says nothing against the next one, on whomever.
	right      bool
	times      int // that the same process came back
	exemptTill time.Time
}

// Detector is the machine. It is used by one goroutine.
type Detector struct {
	self       kafka.BrokerID
	controller kafka.BrokerID
	live       int
	suspects   map[kafka.BrokerID]*suspect
	records    map[kafka.BrokerID]*record
	// declared is our last verdict, and when, until it turns out to be right or was
	// not carried out.
	declared   kafka.BrokerID
	declaredAt time.Time
	// gone are those that were in doubt when their registrations went: until their
	// partitions have other leaders the doubt stays. One for each broker.
	gone map[kafka.BrokerID]cluster.Doubt
	out  []Effect
}

// New makes a machine that knows nobody.
func New(self kafka.BrokerID) *Detector {
	return &Detector{self: self, controller: kafka.NoBroker, suspects: map[kafka.BrokerID]*suspect{}, records: map[kafka.BrokerID]*record{},
		gone: map[kafka.BrokerID]cluster.Doubt{}}
}

func (d *Detector) put(k Kind, s *suspect) *Effect {
	d.out = append(d.out, Effect{Kind: k, ID: s.ID, Epoch: s.Epoch})
	return &d.out[len(d.out)-1]
}

func (d *Detector) say(s *suspect, format string, args ...any) {
	d.put(Say, s).Text = fmt.Sprintf(format, args...)
}

func (d *Detector) take() []Effect {
	out := d.out
	d.out = nil
	return out
}

// Cluster takes a new view.
func (d *Detector) Cluster(now time.Time, v View) []Effect {
	if d.controller != v.Controller { // a verdict is another's now
		for _, s := range d.suspects {
			s.actedAt, s.said = time.Time{}, ""
		}
	}
	d.controller, d.live = v.Controller, len(v.Members)
	for _, x := range v.Dead {
		r := d.record(x.ID)
		if x.Epoch > r.dead {
			r.dead, r.process, r.deadAt, r.out, r.right = x.Epoch, x.Process, now, true, false
		}
	}
	here := map[kafka.BrokerID]bool{}
	for _, m := range v.Members {
		if r := d.records[m.ID]; r != nil && r.out && m.Epoch > r.dead {
			d.back(now, m, r)
		}
		if m.ID == d.self || !m.FastDeath {
			continue
		}
		here[m.ID] = true
		s := d.suspects[m.ID]
		if s != nil && s.Epoch == m.Epoch {
			continue
		}
		if s != nil {
			d.put(Drop, s)
		}
		s = &suspect{Member: m, pause: firstPause}
		d.suspects[m.ID] = s
		d.dial(s, 0)
	}
	for _, id := range slices.Sorted(maps.Keys(d.suspects)) {
		if !here[id] {
			s := d.suspects[id]
			if s.inDoubt(now) {
				d.gone[id] = s.doubt()
			}
			d.put(Drop, s)
			delete(d.suspects, id)
		}
	}
	d.judgeAll(now)
	return d.take()
}

// back takes that a broker which was declared dead is registered again. The same
// process was never dead: what made it look so may do it again.
func (d *Detector) back(now time.Time, m Member, r *record) {
	r.out = false
	if m.Process != "" && r.process != "" && m.Process != r.process {
		r.right = true
		if d.declared == m.ID {
			d.declaredAt = time.Time{}
		}
		return
	}
	r.exemptTill = now.Add(min(exemptFor<<min(r.times, 16), mostExempt))
	r.times++
}

func (d *Detector) record(id kafka.BrokerID) *record {
	r := d.records[id]
	if r == nil {
		r = &record{}
		d.records[id] = r
	}
	return r
}

// find returns the suspect of a registration that is still the present one.
func (d *Detector) find(id kafka.BrokerID, epoch kafka.BrokerEpoch) *suspect {
	if s := d.suspects[id]; s != nil && s.Epoch == epoch {
		return s
	}
	return nil
}

func (d *Detector) dial(s *suspect, after time.Duration) {
	s.dialing, s.next = true, time.Time{}
	d.put(Dial, s).Delay = after
}

// Ended takes that the connection to a broker ended; byPeer: by FIN or RST.
func (d *Detector) Ended(now time.Time, id kafka.BrokerID, epoch kafka.BrokerEpoch, byPeer bool) []Effect {
	s := d.find(id, epoch)
	if s == nil || !s.connected {
		return d.take()
	}
	s.connected, s.ended, s.refused = false, byPeer, 0
	if byPeer && (s.doubted.IsZero() || now.Sub(s.since) >= settled) {
		s.doubted = now
	}
	switch {
	case !byPeer:
		d.rest(now, s)
	case now.Sub(s.since) < settled:
		s.next = now.Add(min(quickPause<<min(s.quick, 10), settled))
		s.quick++
	default:
		s.quick = 0
		d.dial(s, 0)
	}
	return d.take()
}

// rest plans the next dial of what proves nothing.
func (d *Detector) rest(now time.Time, s *suspect) {
	s.next = now.Add(s.pause)
	s.pause = min(2*s.pause, mostPause)
}

// Dialed takes the outcome of a Dial.
func (d *Detector) Dialed(now time.Time, id kafka.BrokerID, epoch kafka.BrokerEpoch, r Reply) []Effect {
	s := d.find(id, epoch)
	if s == nil || !s.dialing {
		return d.take()
	}
	s.dialing = false
	switch {
	case r == Answered:
		if s.ended && s.refused > 0 {
			d.say(s, "it answers again")
		}
		s.connected, s.since = true, now
		s.ended, s.refused, s.pause, s.said = false, 0, firstPause, ""
	case r == Silent || !s.ended:
		s.refused = 0
		d.rest(now, s)
	case s.refused == 0:
		s.refused, s.first, s.last = 1, now, now
		s.next = now.Add(betweenDials)
	default:
		if s.refused == 1 && now.Sub(s.first) >= betweenDials {
			s.refused = 2
			d.say(s, "its connection ended and all its addresses refuse")
		}
		s.last = now
		s.next = now.Add(repeat)
		if s.refused == 1 {
			s.next = s.first.Add(betweenDials)
		}
	}
	d.judge(now, s)
	return d.take()
}

// Confirmed takes what another broker said to an Ask.
func (d *Detector) Confirmed(now time.Time, id kafka.BrokerID, epoch kafka.BrokerEpoch, by kafka.BrokerID, yes bool) []Effect {
	if s := d.find(id, epoch); s != nil && yes && by != id && by != d.self {
		s.confirmedAt, s.confirmedBy = now, by
		d.judge(now, s)
	}
	return d.take()
}

// Undone takes that a Declare or Depose was not carried out.
func (d *Detector) Undone(now time.Time, id kafka.BrokerID, epoch kafka.BrokerEpoch) []Effect {
	d.declaredAt = time.Time{}
	if s := d.find(id, epoch); s != nil {
		s.actedAt = now.Add(askAgain - retry)
	}
	return d.take()
}

// Holds reports whether the evidence that a controller is dead still stands.
func (d *Detector) Holds(now time.Time, id kafka.BrokerID, epoch kafka.BrokerEpoch) bool {
	s := d.find(id, epoch)
	return s != nil && s.complete(now) && d.controller == id
}

// Watches reports whether a registration is a present one that is watched.
func (d *Detector) Watches(id kafka.BrokerID, epoch kafka.BrokerEpoch) bool {
	return d.find(id, epoch) != nil
}

// Asked answers another observer's question.
func (d *Detector) Asked(now time.Time, id kafka.BrokerID, epoch kafka.BrokerEpoch) Answer {
	s := d.find(id, epoch)
	switch {
	case s == nil || !s.connected && !s.ended:
		return No
	case s.complete(now):
		return Yes
	}
	return NotYet
}

// Tick does what is due.
func (d *Detector) Tick(now time.Time) []Effect {
	for _, id := range slices.Sorted(maps.Keys(d.suspects)) {
		s := d.suspects[id]
		if !s.next.IsZero() && !now.Before(s.next) {
			d.dial(s, 0)
		}
		d.judge(now, s)
	}
	return d.take()
}

// Next is when Tick is to be called, if nothing is observed before; zero: never.
func (d *Detector) Next(now time.Time) time.Time {
	var at time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	for _, s := range d.suspects {
		sooner(s.next)
		if s.inDoubt(now) {
			sooner(s.doubted.Add(doubtFor))
			if s.connected {
				sooner(s.since.Add(proven))
			}
		}
		if s.complete(now) {
			sooner(now.Add(askAgain))
		}
	}
	return at
}

// Alarmed reports whether a broker was declared dead by a verdict not longer than
// hold ago: its session may not have ended.
func (d *Detector) Alarmed(now time.Time, id kafka.BrokerID, hold time.Duration) bool {
	r := d.records[id]
	return r != nil && !r.deadAt.IsZero() && !r.right && now.Sub(r.deadAt) < hold
}

func (d *Detector) judgeAll(now time.Time) {
	for _, id := range slices.Sorted(maps.Keys(d.suspects)) {
		d.judge(now, d.suspects[id])
	}
}

// judge gives the verdict on a broker if the evidence is there and no limit
// forbids it.
func (d *Detector) judge(now time.Time, s *suspect) {
	if !s.complete(now) || d.controller != d.self && d.controller != s.ID {
		return
	}
	if !s.actedAt.IsZero() && now.Sub(s.actedAt) < retry {
		return
	}
	if why := d.forbidden(now, s); why != "" {
		if s.said != why {
			s.said = why
			d.say(s, "not declared dead before its session ends: %s", why)
		}
		return
	}
	if d.live >= 3 && (s.confirmedAt.IsZero() || now.Sub(s.confirmedAt) >= confirmFor) {
		d.ask(now, s)
		return
	}
	s.actedAt = now
	if d.controller == s.ID {
		d.put(Depose, s)
		return
	}
	d.declared, d.declaredAt = s.ID, now
	d.put(Declare, s)
}

// forbidden says which limit is against a verdict, or "". The removal of a
// controller that is alive costs an election and nothing else, so only its
// exemption counts.
func (d *Detector) forbidden(now time.Time, s *suspect) string {
	if r := d.records[s.ID]; r != nil && now.Before(r.exemptTill) {
		return fmt.Sprintf("it was declared dead and the same process came back (%d times), so it is exempt until %s", r.times, r.exemptTill.Format(time.TimeOnly))
	}
	if d.controller == s.ID {
		return ""
	}
	last := d.declaredAt
	for _, r := range d.records {
		if !r.right && r.deadAt.After(last) {
			last = r.deadAt
		}
	}
	if !last.IsZero() && now.Sub(last) < between {
		return fmt.Sprintf("another was less than %v ago", between)
	}
	out := 0
	for _, r := range d.records {
		if r.out && now.Sub(r.deadAt) < outFor {
			out++
		}
	}
	if most := max(1, (d.live+out)/3); out >= most {
		return fmt.Sprintf("%d of %d brokers were already declared dead", out, d.live+out)
	}
	return ""
}

// ask asks some of the others that we have a connection to.
func (d *Detector) ask(now time.Time, s *suspect) {
	if !s.askedAt.IsZero() && now.Sub(s.askedAt) < askAgain {
		return
	}
	s.askedAt = now
	var of []kafka.BrokerID
	for _, id := range slices.Sorted(maps.Keys(d.suspects)) {
		if id != s.ID && d.suspects[id].connected {
			of = append(of, id)
		}
	}
	if len(of) == 0 {
		return
	}
	// In the ring after Self, so that not all ask the same ones.
	i, _ := slices.BinarySearch(of, d.self)
	of = slices.Concat(of[i:], of[:i])
	d.put(Ask, s).Of = of[:min(asked, len(of))]
}

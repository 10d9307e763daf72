package journal

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"barnabas/cluster"
	"barnabas/internal/kafka"
)

// words has a sentence for each code that the controller writes. Words in braces
// are arguments of the reason; what has none reads "an unknown …".
var words = map[string]string{
	"epoch-begins":        "a new controller began its epoch",
	"found-at-takeover":   "the new controller found it written by a hand, or by the controller before, and took it into the log",
	"brokers":             "brokers came or went",
	"restated":            "old entries were purged, and the brokers told of again",
	"process-dead":        "the process of broker {broker} was found dead before its ZooKeeper session ended",
	"stopping":            "broker {broker} asked to be stopped, and handed over what it led",
	"election":            "the controller elected by who is alive",
	"election-preferred":  "the leadership went to the preferred replica (asked for by {by})",
	"election-by-log-end": "no in-sync replica was left, and the one with the longest log was elected",
	"isr":                 "the leader proposed other in-sync replicas",
	"topic-created":       "the topic was created",
	"partitions-added":    "partitions were added to the topic",
	"topic-adopted":       "the topic's znodes were made or edited by hand, and taken as they are",
	"repair":              "somebody edited the topic's znodes while the controller wrote; they were read again",
	"topic-deleted":       "the topic was deleted",
	"topic-vanished":      "the topic's znode was deleted by a hand",
	"config":              "the configs of the topic changed",
	"reassignment":        "a reassignment of {partitions} partitions began or went on",
	"reassignment-done":   "the reassignment of {partitions} partitions was finished",
}

// Codes are the codes that have words, sorted.
func Codes() []string { return slices.Sorted(maps.Keys(words)) }

// Words says a reason in a sentence without a dot.
func Words(r cluster.Reason) string {
	text, ok := words[r.Code]
	if !ok {
		return fmt.Sprintf("%q (this version knows no words for it)", r.Code)
	}
	for name, value := range r.Args {
		text = strings.ReplaceAll(text, "{"+name+"}", value)
	}
	if i := strings.IndexByte(text, '{'); i >= 0 {
		text = strings.NewReplacer("{", "an unknown ", "}", "").Replace(text)
	}
	if r.Code == "isr" {
		if in := r.Args["in"]; in != "" {
			text += "; caught up: " + in
		}
		if out := r.Args["out"]; out != "" {
			text += "; fell behind or went away: " + out
		}
	}
	return text
}

// String is the explanation for a person.
func (e *Explanation) String() string {
	var b strings.Builder
	w := &writer{&b, e.Now}
	switch {
	case e.Partition != nil:
		w.partition(e.Partition)
	case e.Broker != nil:
		w.broker(e.Broker)
	case e.Controller != nil:
		w.controller(e.Controller)
	}
	return b.String()
}

type writer struct {
	b   *strings.Builder
	now int64
}

func (w *writer) line(format string, args ...any) { fmt.Fprintf(w.b, format+"\n", args...) }

// since says when something was, and how long ago.
func (w *writer) since(at int64) string {
	t := time.UnixMilli(at).UTC()
	ago := time.Duration(max(w.now-at, 0)) * time.Millisecond
	return fmt.Sprintf("%s (%s ago)", t.Format("2006-01-02 15:04:05 UTC"), ago.Round(roundTo(ago)))
}

func roundTo(d time.Duration) time.Duration {
	switch {
	case d < time.Second:
		return time.Millisecond
	case d < time.Hour:
		return time.Second
	}
	return time.Minute
}

func (w *writer) partition(f *PartitionFacts) {
	since, before := f.sinceWhen()
	switch {
	case !f.HasState:
		w.line("%s has no leader: none was ever elected.", f.TP)
	case f.Leader == kafka.NoBroker:
		w.line("%s has no leader, so that nobody can write or read.", f.TP)
	default:
		w.line("%s is led by broker %d, in leader epoch %d.", f.TP, f.Leader, f.LeaderEpoch)
	}
	switch {
	case !f.HasState:
	case since == nil:
		w.line("  since: before what is remembered")
	default:
		w.line("  since: %s", w.since(since.At))
		w.line("  why:   %s", f.why(since, before))
	}
	w.line("  replicas %s; in sync %s; acks=all needs %d in sync (min.insync.replicas)", list(f.Replicas), list(f.ISR), f.MinISR)
	missing := f.missing()
	if len(missing) == 0 {
		w.line("It is healthy.")
	} else {
		w.line("What is missing for it to be healthy:")
	}
	for _, m := range missing {
		w.line("  * %s", m)
	}
	if len(f.History) > 0 {
		w.line("Changes, newest first:")
	}
	for _, c := range slices.Backward(f.History) {
		state := "assignment"
		if s := c.State; s != nil {
			state = fmt.Sprintf("leader %s, epoch %d, in sync %s", leaderName(s.Leader), s.LeaderEpoch, list(s.ISR))
		}
		w.line("  %s  %s: %s [change %d, controller %d]", time.UnixMilli(c.At).UTC().Format("2006-01-02 15:04:05"), state, Words(c.Reason), c.Entry, c.Controller)
	}
}

func leaderName(id kafka.BrokerID) string {
	if id == kafka.NoBroker {
		return "none"
	}
	return fmt.Sprint(int32(id))
}

func list(ids []kafka.BrokerID) string {
	if len(ids) == 0 {
		return "none"
	}
	parts := make([]string, len(ids))
	for i, id := range ids {
		parts[i] = fmt.Sprint(int32(id))
	}
	return strings.Join(parts, ",")
}

// sinceWhen finds the change that made the present leader lead, and the state
// before it, as far as both are remembered.
func (f *PartitionFacts) sinceWhen() (since *Change, before *cluster.EntryState) {
	for i := range f.History {
		s := f.History[i].State
		if s == nil {
			continue
		}
		if s.LeaderEpoch >= f.LeaderEpoch {
			return &f.History[i], before
		}
		before = s
	}
	return nil, nil
}

// why says the reason of a leadership, and what happened to the leader before.
func (f *PartitionFacts) why(since *Change, before *cluster.EntryState) string {
	text := Words(since.Reason)
	if before == nil || before.Leader == kafka.NoBroker || before.Leader == f.Leader {
		return text
	}
	text += fmt.Sprintf("; before it broker %d led", before.Leader)
	for _, c := range slices.Backward(f.Before[before.Leader]) {
		if c.Entry <= since.Entry {
			return text + ", which " + c.happened()
		}
	}
	return text
}

// happened says what became of a broker.
func (c *BrokerChange) happened() string {
	switch {
	case c.State == cluster.Stopping:
		return "asked to be stopped"
	case c.State == cluster.Down && c.Reason.Code == "process-dead":
		return "was found dead before its ZooKeeper session ended"
	case c.State == cluster.Down:
		return "went away: it was stopped, or its ZooKeeper session ended"
	case c.Crashed:
		return "came back after a crash of its machine"
	}
	return "registered (anew)"
}

// missing lists what keeps a partition from being healthy, the worst first.
func (f *PartitionFacts) missing() []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	has := slices.Contains[[]kafka.BrokerID]
	if f.HasState && f.Leader == kafka.NoBroker || !f.HasState {
		switch back := slices.ContainsFunc(f.ISR, func(id kafka.BrokerID) bool { return has(f.Alive, id) }); {
		case len(f.Alive) == 0:
			say("none of its brokers is alive: start one of %s", list(orAll(f.ISR, f.Replicas)))
		case !f.HasState:
			say("a controller that elects; `explain controller` says whether there is one")
		case !back:
			say("a broker of those that were last in sync: start one of %s. The others lack records; unclean.leader.election.enable is %t", list(f.ISR), f.Unclean)
		default:
			say("the in-sync brokers that are alive, %s, can't serve it: look into their logs for this partition", list(f.ISR))
		}
	}
	for _, id := range f.Replicas {
		switch {
		case !has(f.Alive, id):
			went := ""
			if b := f.Before[id]; len(b) > 0 {
				went = "; it " + b[len(b)-1].happened()
			}
			say("broker %d is not alive%s: start it", id, went)
		case has(f.Offline, id):
			say("broker %d can't serve its replica: its log directory is offline, or its log can't be opened", id)
		case f.HasState && f.Leader != kafka.NoBroker && !has(f.ISR, id):
			say("broker %d is alive and has not caught up with the leader", id)
		}
		if has(f.Stopping, id) {
			say("broker %d is stopping", id)
		}
	}
	if f.Leader != kafka.NoBroker && len(f.ISR) < f.MinISR {
		say("%d more in sync: until then acks=all is refused (NOT_ENOUGH_REPLICAS)", f.MinISR-len(f.ISR))
	}
	if len(f.Adding)+len(f.Removing) > 0 {
		say("its reassignment is under way: to be added %s, to be removed %s", list(f.Adding), list(f.Removing))
	}
	if f.Recovering {
		say("it was elected from outside of the in-sync replicas: records may be missing")
	}
	if len(f.Replicas) > 0 && f.Leader != kafka.NoBroker && f.Leader != f.Replicas[0] && has(f.ISR, f.Replicas[0]) {
		only := ""
		if len(out) == 0 {
			only = "nothing but that "
		}
		say("%sbroker %d leads in place of the preferred one, broker %d", only, f.Leader, f.Replicas[0])
	}
	return out
}

func orAll(a, b []kafka.BrokerID) []kafka.BrokerID {
	if len(a) > 0 {
		return a
	}
	return b
}

func (w *writer) broker(f *BrokerFacts) {
	switch {
	case !f.Alive && len(f.History) == 0:
		w.line("Broker %d is not registered, and nothing is remembered of it.", f.ID)
	case !f.Alive:
		w.line("Broker %d is not registered.", f.ID)
	default:
		w.line("Broker %d is registered at %s%s, version %s.", f.ID, f.Address, map[bool]string{true: ", rack " + f.Rack}[f.Rack != ""], orUnknown(f.Version))
	}
	if n := len(f.History); n > 0 {
		w.line("  since: %s", w.since(f.History[n-1].At))
		w.line("  why:   it %s", f.History[n-1].happened())
	} else if f.Alive {
		w.line("  since: before what is remembered")
	}
	w.line("  it has %d replicas, leads %d of them, and is out of sync in %d", f.Replicas, f.Leads, f.OutOfSync)
	switch {
	case f.Stopping:
		w.line("It is stopping, and leads nothing new.")
	case !f.Alive && f.Replicas > 0:
		w.line("What is missing: the broker. Start it.")
	case f.OutOfSync > 0:
		w.line("What is missing: it has to catch up, among others in %s; `explain` tells more of each.", strings.Join(f.Examples, ", "))
	case f.Alive:
		w.line("It is healthy.")
	}
	if len(f.History) > 0 {
		w.line("Changes, newest first:")
	}
	for _, c := range slices.Backward(f.History) {
		w.line("  %s  %s: it %s [change %d, controller %d]", time.UnixMilli(c.At).UTC().Format("2006-01-02 15:04:05"), c.State, c.happened(), c.Entry, c.Controller)
	}
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown (not Barnabas)"
	}
	return s
}

func (w *writer) controller(f *ControllerFacts) {
	if f.Alive {
		w.line("Broker %d is the controller, in epoch %d.", f.ID, f.Epoch)
	} else {
		w.line("There is no controller: nothing is elected, and in-sync replicas stand still. The last one was broker %s, in epoch %d.", leaderName(f.ID), f.Epoch)
	}
	if n := len(f.Reigns); n > 0 && f.Reigns[n-1].Epoch == f.Epoch {
		w.line("  since: %s", w.since(f.Reigns[n-1].At))
		if n > 1 {
			was := f.Reigns[n-2]
			text := fmt.Sprintf("broker %d was the controller before", was.Controller)
			for _, c := range slices.Backward(f.Before[was.Controller]) {
				// It may be told of by the one who took over.
				if c.Entry >= was.Entry && (c.Entry <= f.Reigns[n-1].Entry || c.Epoch != 0 && c.Controller == f.ID && c.State != cluster.Up) {
					text += ", and " + c.happened()
					break
				}
			}
			w.line("  why:   %s", text)
		}
	} else {
		w.line("  since: before what is remembered")
	}
	if f.Alive {
		w.line("It is healthy.")
	} else {
		w.line("What is missing: a live broker that can reach ZooKeeper.")
	}
	for _, r := range slices.Backward(f.Reigns) {
		w.line("  %s  broker %d, epoch %d [change %d]", time.UnixMilli(r.At).UTC().Format("2006-01-02 15:04:05"), r.Controller, r.Epoch, r.Entry)
	}
}

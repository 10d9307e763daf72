package detector

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"barnabas/internal/kafka"
)

// script is an observer, broker 1, and a clock that moves only when told to.
type script struct {
	d    *Detector
	now  time.Time
	view View
}

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// TestScripts runs the scenarios of testdata. Commands:
//
//	cluster controller=N   one line per registered broker: "id epoch [slow] [PROCESS]"
//	                       (slow: its registration does not allow verdicts), "id epoch
//	                       dead [PROCESS]" for one that was declared dead
//	connected ID...        dials under way to these are answered
//	ended ID               the other side ends the connection; "by-us" with that argument
//	refused ID, silent ID  how a dial under way ended
//	confirm ID by=N [no]   another broker's answer
//	asked ID               what we answer
//	wait DURATION          time passes, and what is due then is done
//	undone ID              a verdict was not carried out
//	holds ID, alarmed ID hold=DURATION
//	doubts                 who is in doubt, and until when
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &script{d: New(1), now: start}
		datadriven.RunTest(t, path, s.run)
	})
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "cluster":
		return s.cluster(t, d)
	case "wait":
		span, err := time.ParseDuration(d.CmdArgs[0].Key)
		if err != nil {
			t.Fatal(err)
		}
		return s.wait(span)
	case "doubts":
		return s.doubts()
	}
	var out strings.Builder
	for _, a := range d.CmdArgs {
		n, err := strconv.Atoi(a.Key)
		if err != nil {
			continue
		}
		out.WriteString(s.one(t, d, kafka.BrokerID(n)))
	}
	if out.Len() == 0 {
		return "nothing\n"
	}
	return out.String()
}

func (s *script) one(t *testing.T, d *datadriven.TestData, id kafka.BrokerID) string {
	epoch := s.epoch(id)
	d.MaybeScanArgs(t, "epoch", (*int64)(&epoch))
	switch d.Cmd {
	case "connected":
		return s.show(s.d.Dialed(s.now, id, epoch, Answered))
	case "refused":
		return s.show(s.d.Dialed(s.now, id, epoch, Refused))
	case "silent":
		return s.show(s.d.Dialed(s.now, id, epoch, Silent))
	case "ended":
		return s.show(s.d.Ended(s.now, id, epoch, !d.HasArg("by-us")))
	case "confirm":
		by := 0
		d.ScanArgs(t, "by", &by)
		return s.show(s.d.Confirmed(s.now, id, epoch, kafka.BrokerID(by), !d.HasArg("no")))
	case "undone":
		return s.show(s.d.Undone(s.now, id, epoch))
	case "asked":
		return [...]string{"no\n", "yes\n", "not yet\n"}[s.d.Asked(s.now, id, epoch)]
	case "holds":
		return fmt.Sprintln(s.d.Holds(s.now, id, epoch))
	case "alarmed":
		var hold string
		d.ScanArgs(t, "hold", &hold)
		span, err := time.ParseDuration(hold)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintln(s.d.Alarmed(s.now, id, span))
	}
	t.Fatalf("unknown command %s", d.Cmd)
	return ""
}

func (s *script) doubts() string {
	var out strings.Builder
	for _, x := range s.d.Doubts(s.now) {
		fmt.Fprintf(&out, "%d@%d until %v\n", x.ID, x.Epoch, x.Until.Sub(start))
	}
	if out.Len() == 0 {
		return "nobody\n"
	}
	return out.String()
}

func (s *script) epoch(id kafka.BrokerID) kafka.BrokerEpoch {
	for _, m := range s.view.Members {
		if m.ID == id {
			return m.Epoch
		}
	}
	return 0
}

func (s *script) cluster(t *testing.T, d *datadriven.TestData) string {
	controller := 0
	d.ScanArgs(t, "controller", &controller)
	s.view = View{Controller: kafka.BrokerID(controller)}
	for line := range strings.Lines(d.Input) {
		f := strings.Fields(line)
		id, _ := strconv.Atoi(f[0])
		epoch, err := strconv.Atoi(f[1])
		if err != nil {
			t.Fatal(err)
		}
		what, process := "", ""
		for _, word := range f[2:] {
			if word == "dead" || word == "slow" {
				what = word
			} else {
				process = word
			}
		}
		if what == "dead" {
			s.view.Dead = append(s.view.Dead, Death{kafka.BrokerID(id), kafka.BrokerEpoch(epoch), process})
		} else {
			s.view.Members = append(s.view.Members, Member{kafka.BrokerID(id), kafka.BrokerEpoch(epoch), what != "slow", process})
		}
	}
	if out := s.show(s.d.Cluster(s.now, s.view)); out != "" {
		return out
	}
	return "nothing\n"
}

// wait moves the clock from one thing that is due to the next.
func (s *script) wait(span time.Duration) string {
	var out strings.Builder
	for end := s.now.Add(span); s.now.Before(end); {
		next := s.d.Next(s.now)
		if next.IsZero() || next.After(end) {
			next = end
		}
		s.now = next
		out.WriteString(s.show(s.d.Tick(s.now)))
	}
	if out.Len() == 0 {
		return "nothing\n"
	}
	return out.String()
}

func (s *script) show(effects []Effect) string {
	var out strings.Builder
	for _, e := range effects {
		fmt.Fprintf(&out, "%v %s %d@%d", s.now.Sub(start), e.Kind, e.ID, e.Epoch)
		if e.Delay > 0 {
			fmt.Fprintf(&out, " after %v", e.Delay)
		}
		if len(e.Of) > 0 {
			fmt.Fprintf(&out, " of %v", e.Of)
		}
		if e.Text != "" {
			fmt.Fprintf(&out, ": %s", e.Text)
		}
		out.WriteByte('\n')
	}
	return out.String()
}

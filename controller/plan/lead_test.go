package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"barnabas/cluster"
	"barnabas/internal/kafka"
)

// partitionNamed reads topic-0.
func partitionNamed(t *testing.T, s string) kafka.TopicPartition {
	at := strings.LastIndexByte(s, '-')
	n, err := strconv.Atoi(s[at+1:])
	if at < 0 || err != nil {
		t.Fatalf("no partition: %q", s)
	}
	return kafka.TopicPartition{Topic: s[:at], Partition: int32(n)}
}

func deletedIn(d *datadriven.TestData) func(string) bool {
	arg, _ := d.Arg("deleted")
	return func(name string) bool { return slices.Contains(arg.Vals, name) }
}

// prefer holds a preferred election for the partitions of the input.
func (s *script) prefer(t *testing.T, d *datadriven.TestData) string {
	var tps []kafka.TopicPartition
	for _, w := range strings.Fields(d.Input) {
		tps = append(tps, partitionNamed(t, w))
	}
	steps, results := s.ctl.Prefer(s.im, tps, deletedIn(d))
	return s.carryOut(steps) + told(results)
}

func told(results []cluster.ElectionResult) string {
	var b strings.Builder
	for _, r := range results {
		if r.Err != nil {
			fmt.Fprintf(&b, "%s: %v\n", r.TP, r.Err)
		} else {
			fmt.Fprintf(&b, "%s: led by %d\n", r.TP, r.Leader)
		}
	}
	return b.String()
}

// imbalanced lists what a look for imbalance would give back.
func (s *script) imbalanced(d *datadriven.TestData) string {
	percentage, _ := strconv.Atoi(d.CmdArgs[0].Key)
	out := s.ctl.Imbalanced(s.im, percentage, deletedIn(d))
	if len(out) == 0 {
		return "nothing\n"
	}
	return fmt.Sprintln(out)
}

// stop makes a broker ready to stop.
func (s *script) stop(d *datadriven.TestData) string {
	id, _ := strconv.Atoi(d.CmdArgs[0].Key)
	steps, remaining := s.ctl.Stop(s.im, kafka.BrokerID(id), deletedIn(d))
	out := s.carryOut(steps)
	for _, tp := range remaining {
		out += fmt.Sprintf("remains: %s, movable %v\n", tp, Movable(s.im, tp, kafka.BrokerID(id)))
	}
	return out
}

// survey asks: each line of the input is what a broker answers for a partition,
// "t-0 2: epoch end committed". With force=(t-0) only what was asked for by hand.
func (s *script) survey(t *testing.T, d *datadriven.TestData) string {
	var b strings.Builder
	surveys := s.ctl.Surveys(s.im, deletedIn(d))
	if arg, ok := d.Arg("force"); ok {
		var tps []kafka.TopicPartition
		for _, v := range arg.Vals {
			tps = append(tps, partitionNamed(t, v))
		}
		var results []cluster.ElectionResult
		surveys, results = s.ctl.Forced(s.im, tps, deletedIn(d))
		b.WriteString(told(results))
	}
	answers := map[kafka.TopicPartition]map[kafka.BrokerID]End{}
	for line := range strings.Lines(d.Input) {
		var tp string
		var id, epoch, end, committed int
		if _, err := fmt.Sscanf(line, "%s %d: %d %d %d", &tp, &id, &epoch, &end, &committed); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		at := partitionNamed(t, tp)
		if answers[at] == nil {
			answers[at] = map[kafka.BrokerID]End{}
		}
		answers[at][kafka.BrokerID(id)] = End{Registration: s.im.Broker(kafka.BrokerID(id)).Epoch,
			LogEnd: cluster.LogEnd{Epoch: kafka.LeaderEpoch(epoch), End: int64(end), Committed: int64(committed)}}
	}
	ctl := s.ctl
	ctl.Ends = Ends{}
	for i := range surveys {
		v := &surveys[i]
		enough := v.Enough(s.im, answers[v.TP])
		fmt.Fprintf(&b, "ask for %s in epoch %d: %v, absent %v, unclean %v, enough %v\n", v.TP, v.Question().LeaderEpoch, v.Ask, v.Absent, v.Unclean, enough)
		if enough && (v.Unclean || len(v.Absent) == 0 || d.HasArg("impatient")) {
			ctl.Ends[v.State] = answers[v.TP]
		}
	}
	steps, losses := ctl.Settled(s.im, surveys)
	b.WriteString(s.carryOut(steps))
	for i := range losses {
		fmt.Fprintf(&b, "%s: %s\n", losses[i].TP, &losses[i])
	}
	return b.String()
}

// TestUncleanAllowed: Kafka's ConfigDef takes truth values in any case.
func TestUncleanAllowed(t *testing.T) {
	for value, want := range map[string][2]bool{ // without and with the broker's leave
		"true": {true, true}, "TRUE": {true, true}, " True ": {true, true}, "false": {false, false}, "FALSE": {false, false}, "yes": {false, true}, "": {false, true},
	} {
		for i, unclean := range []bool{false, true} {
			got := Controller{Unclean: unclean}.uncleanAllowed(&cluster.Topic{Config: map[string]string{uncleanKey: value}})
			if got != want[i] {
				t.Errorf("%q with %t: %t", value, unclean, got)
			}
		}
	}
}

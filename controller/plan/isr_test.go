package plan

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"barnabas/cluster"
	"barnabas/internal/kafka"
)

// alter is the command isr. A line belongs to the leader that the image has for
// its partition, if that one asks, else to the first.
func (s *script) alter(t *testing.T, d *datadriven.TestData) string {
	var asks []ISRAsk
	var skip string
	for _, arg := range d.CmdArgs {
		id, err := strconv.Atoi(arg.Key)
		switch {
		case arg.Key == "skip":
			skip = arg.Vals[0]
		case arg.Key == "epoch":
			epoch, _ := strconv.Atoi(arg.Vals[0])
			asks[0].Epoch = kafka.BrokerEpoch(epoch)
		case err != nil:
			t.Fatal(err)
		default:
			ask := ISRAsk{Leader: kafka.BrokerID(id)}
			if b := s.im.Broker(ask.Leader); b != nil {
				ask.Epoch = b.Epoch
			}
			asks = append(asks, ask)
		}
	}
	lines := strings.Split(strings.TrimSpace(d.Input), "\n")
	for _, line := range lines {
		ch := s.isrChange(t, line)
		to := 0
		for i := range asks {
			if p := s.im.Partition(ch.TP); p != nil && p.Leader == asks[i].Leader {
				to = i
			}
		}
		asks[to].Changes = append(asks[to].Changes, ch)
	}
	steps, answers := s.ctl.AlterPartitions(s.im, asks, func(name string) bool { return name == skip })
	var b strings.Builder
	b.WriteString(s.carryOut(steps))
	for i, a := range answers {
		if a.Err != nil {
			fmt.Fprintf(&b, "to %d: %v\n", asks[i].Leader, a.Err)
			continue
		}
		for j, r := range a.Results {
			fmt.Fprintf(&b, "to %d: %s: ", asks[i].Leader, asks[i].Changes[j].TP)
			if r.Err != nil {
				fmt.Fprintln(&b, r.Err)
				continue
			}
			fmt.Fprintf(&b, "leader %d epoch %d isr %v v%d\n", r.Leader, r.LeaderEpoch, r.ISR, r.PartitionEpoch)
		}
	}
	return b.String()
}

func (s *script) isrChange(t *testing.T, line string) cluster.ISRChange {
	words := strings.Fields(line)
	name, byName := strings.CutPrefix(words[0], "name:")
	at := strings.LastIndexByte(name, '-')
	n, _ := strconv.Atoi(name[at+1:])
	ch := cluster.ISRChange{TP: kafka.TopicPartition{Topic: name[:at], Partition: int32(n)}}
	if topic := s.im.Topic(ch.TP.Topic); topic != nil && !byName {
		ch.TopicID = topic.ID
	} else if !byName {
		ch.TopicID = kafka.TopicID{0xff}
	}
	for _, w := range words[1:] {
		if key, value, ok := strings.Cut(w, "="); ok {
			v, _ := strconv.Atoi(value)
			if key == "le" {
				ch.LeaderEpoch = kafka.LeaderEpoch(v)
			} else {
				ch.PartitionEpoch = kafka.PartitionEpoch(v)
			}
			continue
		}
		if w == "recovering" {
			ch.Recovering = true
			continue
		}
		id, epoch, known := strings.Cut(w, "@")
		m := cluster.ISRMember{Epoch: -1}
		v, err := strconv.Atoi(id)
		if err != nil {
			t.Fatal(err)
		}
		m.ID = kafka.BrokerID(v)
		if known {
			e, _ := strconv.Atoi(epoch)
			m.Epoch = kafka.BrokerEpoch(e)
		}
		ch.ISR = append(ch.ISR, m)
	}
	return ch
}

package api

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/protocol"
)

func electionAnswer(resp *kmsg.ElectLeadersResponse) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d", resp.ErrorCode)
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			text := "null"
			if p.ErrorMessage != nil {
				text = *p.ErrorMessage
			}
			fmt.Fprintf(&b, " %s-%d:%d:%s", t.Topic, p.Partition, p.ErrorCode, text)
		}
	}
	return b.String()
}

// The codes and texts are those of golden/answers 05 and 08, of Apache Kafka 3.9.
func TestElectLeaders(t *testing.T) {
	b := newBroker(t)
	ctl := &fakeController{}
	b.api.opt.Controller = ctl
	c := b.dial()
	a0, a1 := kafka.TopicPartition{Topic: "a"}, kafka.TopicPartition{Topic: "a", Partition: 1}
	for version := range int16(3) {
		req := kmsg.NewPtrElectLeadersRequest()
		req.SetVersion(version)
		req.ElectionType, req.TimeoutMillis = 1, 5000
		topic := kmsg.NewElectLeadersRequestTopic()
		topic.Topic, topic.Partitions = "a", []int32{0, 1, 0}
		req.Topics = append(req.Topics, topic)
		ctl.err = nil
		ctl.elected = []cluster.ElectionResult{{TP: a0, Leader: 1},
			{TP: a1, Leader: -1, Err: protocol.Fail(protocol.ElectionNotNeeded, "Leader election not needed for topic partition.")}}
		want := "0 a-0:0:null a-1:84:Leader election not needed for topic partition."
		if got := electionAnswer(call[*kmsg.ElectLeadersResponse](c, req)); got != want {
			t.Errorf("version %d: got %s, want %s", version, got, want)
		}
		kind := cluster.UncleanElection
		if version == 0 {
			kind = cluster.PreferredElection
		}
		if ctl.kind != kind || !slices.Equal(ctl.asked, []kafka.TopicPartition{a0, a1}) {
			t.Errorf("version %d: asked %v of kind %d", version, ctl.asked, ctl.kind)
		}
		// All of them: those that need none are left out.
		req.Topics = nil
		if got := electionAnswer(call[*kmsg.ElectLeadersResponse](c, req)); got != "0 a-0:0:null" {
			t.Errorf("version %d, all: got %s", version, got)
		}
		if len(ctl.asked) != 9 {
			t.Errorf("version %d, all: asked %v", version, ctl.asked)
		}
		// A broker that is not the controller says so of each, as Kafka's.
		ctl.err = protocol.Fail(protocol.NotController, protocol.NotController.Message())
		if got := electionAnswer(call[*kmsg.ElectLeadersResponse](c, req)); strings.Count(got, ":41:null") != 9 || got[0] != '0' {
			t.Errorf("version %d, not the controller: got %s", version, got)
		}
	}
	req := kmsg.NewPtrElectLeadersRequest()
	req.SetVersion(2)
	req.ElectionType = 7
	topic := kmsg.NewElectLeadersRequestTopic()
	topic.Topic, topic.Partitions = "a", []int32{0}
	req.Topics = append(req.Topics, topic)
	if got := electionAnswer(call[*kmsg.ElectLeadersResponse](c, req)); got != "-1 a-0:-1:null" {
		t.Errorf("an unknown type: got %s", got)
	}
}

func TestControlledShutdown(t *testing.T) {
	b := newBroker(t)
	ctl := &fakeController{remaining: []kafka.TopicPartition{{Topic: "a", Partition: 2}}}
	b.api.opt.Controller = ctl
	c := b.dial()
	for version := int16(1); version <= 3; version++ {
		req := kmsg.NewPtrControlledShutdownRequest()
		req.SetVersion(version)
		req.BrokerID, req.BrokerEpoch = 2, 77
		ctl.err = nil
		resp := call[*kmsg.ControlledShutdownResponse](c, req)
		if resp.ErrorCode != 0 || len(resp.PartitionsRemaining) != 1 || resp.PartitionsRemaining[0].Topic != "a" || resp.PartitionsRemaining[0].Partition != 2 {
			t.Errorf("version %d: %+v", version, resp)
		}
		if epoch := map[bool]kafka.BrokerEpoch{false: -1, true: 77}[version >= 2]; ctl.leader != 2 || ctl.epoch != epoch {
			t.Errorf("version %d: asked %+v", version, ctl)
		}
		// Kafka's ControllerMovedException.
		ctl.err = protocol.NotController
		if resp := call[*kmsg.ControlledShutdownResponse](c, req); resp.ErrorCode != protocol.StaleControllerEpoch.Code() {
			t.Errorf("version %d: %+v", version, resp)
		}
	}
	// Version 0 has a header of its own; the bytes are of golden/answers/02.
	ctl.err = protocol.Fail(protocol.BrokerNotAvailable, "")
	raw, err := hex.DecodeString("0000000c" + "0007" + "0000" + "00000009" + "00000063")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.nc.Write(raw); err != nil {
		t.Fatal(err)
	}
	got, err := c.frame()
	if want := "00000009000800000000"; err != nil || hex.EncodeToString(got) != want {
		t.Errorf("version 0: %x, %v, want %s", got, err, want)
	}
}

// ends answers for topic a only.
type ends struct{ asked []cluster.EndQuestion }

func (e *ends) LogEnds(of []cluster.EndQuestion) []cluster.LogEnd {
	e.asked = of
	out := make([]cluster.LogEnd, len(of))
	for i, q := range of {
		if q.TP.Topic != "a" {
			out[i] = cluster.LogEnd{Epoch: -1, End: -1, Committed: -1, Err: protocol.UnknownTopicOrPartition}
			continue
		}
		out[i] = cluster.LogEnd{Epoch: 4, End: 100, Committed: 90}
	}
	return out
}

func TestLogEnds(t *testing.T) {
	b := newBroker(t)
	e := &ends{}
	b.api.opt.Ends = e
	c := b.dial()
	req := &protocol.LogEndsRequest{Partitions: []protocol.LogEndsRequestPartition{{TopicID: idA, Partition: 1, LeaderEpoch: 8}, {TopicID: [16]byte{9}}}}
	resp := call[*protocol.LogEndsResponse](c, req)
	if want := (protocol.LogEndsResponsePartition{LastEpoch: 4, End: 100, Committed: 90}); len(resp.Partitions) != 2 || resp.Partitions[0] != want ||
		resp.Partitions[1].ErrorCode != protocol.UnknownTopicOrPartition.Code() {
		t.Errorf("got %+v", resp)
	}
	if want := (cluster.EndQuestion{TP: kafka.TopicPartition{Topic: "a", Partition: 1}, TopicID: idA, LeaderEpoch: 8}); e.asked[0] != want {
		t.Errorf("asked %+v", e.asked[0])
	}
	// It is nobody's business but the brokers'.
	versions := call[*kmsg.ApiVersionsResponse](c, kmsg.NewPtrApiVersionsRequest())
	if slices.ContainsFunc(versions.ApiKeys, func(k kmsg.ApiVersionsResponseApiKey) bool { return k.ApiKey == protocol.KeyLogEnds }) {
		t.Error("it is advertised")
	}
	c.send(&brokenLogEnds{})
	if _, err := c.frame(); err == nil {
		t.Error("a malformed request was answered")
	}
}

// brokenLogEnds promises more than it has.
type brokenLogEnds struct{ protocol.LogEndsRequest }

func (*brokenLogEnds) AppendTo(b []byte) []byte { return append(b, 0x7f, 0xff, 0xff, 0xff, 1, 2, 3) }

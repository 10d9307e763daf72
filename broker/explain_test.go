package broker_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"barnabas/brokertest"
	"barnabas/cluster/journal"
	"barnabas/protocol"
)

// explained asks one broker.
func explained(t *testing.T, b *brokertest.Broker, subject string) (*journal.Explanation, string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	req := kmsg.NewPtrDescribeConfigsRequest()
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName = protocol.ResourceExplanation, subject
	req.Resources = append(req.Resources, r)
	resp, err := cl.SeedBrokers()[0].Request(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	got := resp.(*kmsg.DescribeConfigsResponse).Resources[0]
	if got.ErrorCode != 0 {
		return nil, *got.ErrorMessage
	}
	e := new(journal.Explanation)
	if err := json.Unmarshal([]byte(*got.Configs[0].Value), e); err != nil {
		t.Fatal(err)
	}
	return e, e.String()
}

// TestExplain: every broker says why another leads since the leader was killed,
// also one that was started after it happened.
func TestExplain(t *testing.T) {
	c := brokertest.Start(t, brokertest.Brokers(3), brokertest.Topics(brokertest.Topic{Name: "t", Partitions: 1, ReplicationFactor: 3}))
	first, text := explained(t, c.Broker(0), "t-0")
	if !strings.Contains(text, "why:   the topic was created\n") || !strings.Contains(text, "It is healthy.") {
		t.Errorf("at the beginning:\n%s", text)
	}
	c.Broker(int(first.Partition.Leader)).Kill()
	// Neither the leader nor, if it lived on, the first asked.
	other := (int(first.Partition.Leader) + 1) % 3
	says := func(parts ...string) func() (bool, string) {
		return func() (bool, string) {
			_, text := explained(t, c.Broker(other), "t-0")
			for _, part := range parts {
				if !strings.Contains(text, part) {
					return false, text
				}
			}
			return true, text
		}
	}
	until(t, "why another leads", says("why:   the controller elected by who is alive; before it broker", "is not alive", "start it"))
	c.Broker(other).Restart()
	until(t, "why another leads, after a restart", says("the topic was created", "the controller elected by who is alive"))
	if _, text := explained(t, c.Broker(other), "controller"); !strings.Contains(text, "is the controller, in epoch") {
		t.Error(text)
	}
	if _, text := explained(t, c.Broker(other), "broker "+string('0'+rune(first.Partition.Leader))); !strings.Contains(text, "is not registered") {
		t.Error(text)
	}
	if _, text := explained(t, c.Broker(other), "none-0"); !strings.Contains(text, "there is no topic none") {
		t.Error(text)
	}
}

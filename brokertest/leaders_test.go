package brokertest

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
)

// leaders asks the brokers who leads the partitions of a topic.
func leaders(t *testing.T, c *Cluster, topic string) map[int32]int32 {
	t.Helper()
	cl, err := c.client(c.running())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	m, err := kadm.NewClient(cl).Metadata(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	out := map[int32]int32{}
	for _, p := range m.Topics[topic].Partitions {
		out[p.Partition] = p.Leader
	}
	return out
}

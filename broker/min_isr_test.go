package broker_test

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"barnabas/brokertest"
)

// TestMinISRChangesLive: min.insync.replicas is changed, for the topic and for
// all brokers, through a broker that need not lead, and counts at the leader.
func TestMinISRChangesLive(t *testing.T) {
	const topic = "t"
	c := brokertest.Start(t, brokertest.Brokers(2), brokertest.Topics(brokertest.Topic{Name: topic, Partitions: 1, ReplicationFactor: 2}))
	adm := kadm.NewClient(c.Client())
	c.Broker(1).Kill()
	awaitISR(c, topic, 1)
	cl := c.Client(kgo.RequiredAcks(kgo.AllISRAcks()), kgo.DefaultProduceTopic(topic), kgo.RecordRetries(0), kgo.DisableIdempotentWrite())
	accepted := func(want bool) {
		t.Helper()
		until(t, "what acks=all needs", func() (bool, string) {
			err := cl.ProduceSync(t.Context(), kgo.StringRecord("x")).FirstErr()
			if err != nil && !errors.Is(err, kerr.NotEnoughReplicas) {
				return false, err.Error()
			}
			return (err == nil) == want, "the other"
		})
	}
	alter := func(value *string, do func(configs []kadm.AlterConfig) (kadm.AlterConfigsResponses, error)) {
		t.Helper()
		op := kadm.SetConfig
		if value == nil {
			op = kadm.DeleteConfig
		}
		resp, err := do([]kadm.AlterConfig{{Op: op, Name: "min.insync.replicas", Value: value}})
		if err != nil || resp[0].Err != nil {
			t.Fatal(err, resp)
		}
	}
	onTopic := func(configs []kadm.AlterConfig) (kadm.AlterConfigsResponses, error) {
		return adm.AlterTopicConfigs(t.Context(), configs, topic)
	}
	onAll := func(configs []kadm.AlterConfig) (kadm.AlterConfigsResponses, error) {
		return adm.AlterBrokerConfigs(t.Context(), configs)
	}
	accepted(true)
	alter(kadm.StringPtr("2"), onTopic)
	accepted(false)
	alter(nil, onTopic)
	accepted(true)
	alter(kadm.StringPtr("2"), onAll)
	accepted(false)
	alter(kadm.StringPtr("1"), onTopic) // stronger
	accepted(true)
}

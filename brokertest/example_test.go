package brokertest_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"barnabas/brokertest"
)

// A test that needs a broker starts one, with the topics that it needs.
func ExampleStart() {
	test := func(t *testing.T) {
		c := brokertest.Start(t, brokertest.Topics(brokertest.Topic{Name: "orders", Partitions: 3}))
		cl := c.Client(kgo.DefaultProduceTopic("orders"))
		if err := cl.ProduceSync(t.Context(), kgo.StringRecord("one letter")).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	_ = test // in a test file: func TestOrders(t *testing.T)
}

// What a program does when its broker goes away and comes back.
func ExampleBroker_Kill() {
	test := func(t *testing.T) {
		c := brokertest.Start(t, brokertest.Brokers(3), brokertest.Topics(brokertest.Topic{Name: "orders", ReplicationFactor: 2}))
		c.Broker(1).Kill() // the others have elected new leaders when it returns
		// ... what the program must survive ...
		c.Broker(1).Restart()
	}
	_ = test
}

// Package brokertest starts brokers and a ZooKeeper inside a Go test: real ones,
// in this process, on free loopback ports, in tens of milliseconds, gone when the
// test ends. Any client of Kafka's can connect to them.
//
//	func TestOrders(t *testing.T) {
//		c := brokertest.Start(t, brokertest.Topics(brokertest.Topic{Name: "orders", Partitions: 3}))
//		cl := c.Client(kgo.DefaultProduceTopic("orders"))
//		...
//	}
//
// Measured by BenchmarkStart on 2 busy cores, start and end together: one broker
// 6 to 11 ms, on disk 12 to 24 ms, three brokers 10 to 16 ms.
//
// Data are in memory unless OnDisk is given. A broker can be stopped, killed and
// restarted (Broker.Stop, Kill, Restart); it keeps its data and its port.
//
// Several brokers (Brokers) are one cluster: partitions are spread over them and
// copied, and when a leader dies another in-sync replica is elected.
//
// Methods that can fail end the test by t.Fatal, so they are to be called by the
// test's own goroutine. What needs a duration waits for the event, never longer
// than a minute.
package brokertest

package client_test

import (
	"context"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"barnabas/brokertest"
	"barnabas/client"
)

// A producer that is told of ZooKeeper only.
func ExampleNew() {
	zookeeper, end := startCluster() // in a program: "zk1:2181,zk2:2181/kafka"
	defer end()
	ctx := context.Background()

	cl, err := client.New(ctx, client.Options{ZooKeeper: zookeeper}, kgo.DefaultProduceTopic("orders"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cl.Close()
	r, err := cl.ProduceSync(ctx, kgo.StringRecord("one letter")).First()
	fmt.Println(r.Topic, r.Offset, err)
	// Output: orders 0 <nil>
}

// A producer and a consumer that share one session with ZooKeeper.
func ExampleOpen() {
	zookeeper, end := startCluster()
	defer end()
	ctx := context.Background()

	cluster, err := client.Open(ctx, client.Options{ZooKeeper: zookeeper, Logger: slog.Default()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cluster.Close()
	leaders, err := cluster.Leaders(ctx, "orders")
	fmt.Println(len(cluster.Addrs()), "broker;", len(leaders), "partitions;", err)

	producer, err := kgo.NewClient(append(cluster.Opts(), kgo.DefaultProduceTopic("orders"))...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer producer.Close()
	consumer, err := kgo.NewClient(append(cluster.Opts(), kgo.ConsumeTopics("orders"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer consumer.Close()

	producer.Produce(ctx, kgo.StringRecord("one letter"), nil)
	consumer.PollRecords(ctx, 1).EachRecord(func(r *kgo.Record) { fmt.Printf("%s\n", r.Value) })
	// Output:
	// 1 broker; 3 partitions; <nil>
	// one letter
}

// One's own partitioner: records of one customer, whose number their key begins
// with, go to one partition.
func ExampleCustom() {
	byCustomer := client.Custom(func(r *kgo.Record, n int) int {
		return int(crc32.ChecksumIEEE(r.Key[:min(4, len(r.Key))])) % n
	})
	opts := []kgo.Opt{kgo.RecordPartitioner(byCustomer)} // to client.New
	_ = opts

	p := byCustomer.ForTopic("orders")
	fmt.Println(p.Partition(&kgo.Record{Key: []byte("0017-a")}, 12) == p.Partition(&kgo.Record{Key: []byte("0017-b")}, 12))
	// Output: true
}

// Where Java's producer sends a key.
func ExampleMurmurPartition() {
	for _, key := range []string{"foobar", "abc", ""} {
		fmt.Println(client.MurmurPartition([]byte(key), 12))
	}
	// Output:
	// 6
	// 3
	// 9
}

// Interceptors that put a header into each record sent, and tell what was
// acknowledged and committed.
func ExampleInterceptors() {
	zookeeper, end := startCluster()
	defer end()
	ctx := context.Background()

	list := client.Interceptors{{
		OnSend: func(r *kgo.Record) {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: "from", Value: []byte("the castle")})
		},
		OnAcknowledgement: func(r *kgo.Record, err error) { fmt.Println("acknowledged", r.Offset, err) },
		OnConsume:         func(r *kgo.Record) { fmt.Printf("consume: %s from %s\n", r.Value, r.Headers[0].Value) },
		OnCommit:          func(o client.Offsets, err error) { fmt.Println("committed", len(o["orders"]), err) },
	}}
	opts := append(list.Opts(), list.AutoCommit(), kgo.DefaultProduceTopic("orders"),
		kgo.ConsumeTopics("orders"), kgo.ConsumerGroup("readers"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	cl, err := client.New(ctx, client.Options{ZooKeeper: zookeeper}, opts...)
	if err != nil {
		fmt.Println(err)
		return
	}
	cl.ProduceSync(ctx, kgo.StringRecord("one letter"))
	cl.PollRecords(ctx, 1)
	list.Commit(ctx, cl, nil) // what was polled; AutoCommit tells of commits in the background
	cl.Close()
	// Output:
	// acknowledged 0 <nil>
	// consume: one letter from the castle
	// committed 1 <nil>
}

// startCluster starts a broker and a ZooKeeper, as tests do by brokertest.Start
// alone.
func startCluster() (zookeeper string, end func()) {
	t := &example{}
	c := brokertest.Start(t, brokertest.Topics(brokertest.Topic{Name: "orders", Partitions: 3}))
	return c.ZooKeeper(), c.Close
}

// example is the test that an example is not.
type example struct{ testing.TB }

func (*example) Helper()        {}
func (*example) Cleanup(func()) {}
func (*example) Fatalf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}
func (e *example) Fatal(args ...any)                 { e.Fatalf("%s", fmt.Sprint(args...)) }
func (e *example) Errorf(format string, args ...any) { e.Fatalf(format, args...) }

// Package client makes franz-go's Kafka client aware of ZooKeeper, so that a Go
// program is told one thing, zookeeper.connect, as brokers are:
//
//	cl, err := client.New(ctx, client.Options{ZooKeeper: "zk1:2181,zk2:2181/kafka"}, kgo.DefaultProduceTopic("orders"))
//
// It finds the brokers in /brokers/ids, under a chroot too, and follows the
// brokers as they come and go. It reads the change log /metadata_changes as
// brokers do, one watch for the whole cluster, and so learns of a new leader
// when it is elected: the kgo.Client is then made to ask for metadata at once,
// until it knows that leader, where alone it would run into errors and wait out
// its MetadataMinAge (5 s unless set). ZooKeeper is only read, by a session of
// its own; without it the kgo.Client works on with what it knows.
//
// Life: Open gives a Cluster, which may serve many kgo.Clients through Opts, and
// is closed after them; New is both for a single client, whose Close ends all.
//
// There are further the partitioners that users of Kafka's Java client know
// (Sticky, RoundRobin, Random, Murmur2), and Interceptors, which see records when
// they are sent, acknowledged and consumed, and offsets when they are committed.
//
// Beside Apache Kafka, which has no change log, brokers are found and followed;
// leaders are left to the kgo.Client, which is made to ask when a broker comes
// or goes.
//
// Cluster.mu guards what is known and who is served; it is held over no call of
// ZooKeeper, of a kgo.Client or of the user. One goroutine reads ZooKeeper; the
// session's callbacks only wake it.
package client

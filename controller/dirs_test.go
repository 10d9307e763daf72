package controller_test

import (
	"slices"
	"testing"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/internal/zktest"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// A broker that reports a failed log directory loses what it leads there; all see
// which replicas are offline; the report's znode goes; what can't be read goes too
// and does no harm.
func TestReportsOfLogDirectories(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		one := startNode(t, connect, 1)
		one.awaitReign()
		two := startNode(t, connect, 2)
		one.await("both", func(im *cluster.Image) bool { return im.Alive(1) && im.Alive(2) })
		one.create(cluster.NewTopic{Name: "t", Assignment: [][]kafka.BrokerID{{2, 1}, {2, 1}}})
		id := two.await("the topic with its leaders", func(im *cluster.Image) bool {
			p, q := im.Partition(kafka.TopicPartition{Topic: "t"}), im.Partition(kafka.TopicPartition{Topic: "t", Partition: 1})
			return p != nil && p.Leader == 2 && q != nil && q.Leader == 2
		}).Topic("t").ID
		report := func(data []byte) string {
			t.Helper()
			path, err := two.zk.Create(t.Context(), zkpaths.LogDirEventPath, data, session.PersistentSequential)
			if err != nil {
				t.Fatal(err)
			}
			return path
		}
		gone := func(path string) func() bool {
			return func() bool { _, there, err := two.zk.Exists(t.Context(), path); return err == nil && !there }
		}
		junk := report([]byte("garbage"))
		old := report(zkpaths.LogDirEvent{Broker: 2, Event: zkpaths.LogDirFailure}.Encode()) // as Apache Kafka writes it
		path := report(zkpaths.LogDirEvent{Broker: 2, Event: zkpaths.LogDirFailure, Complete: true,
			Offline: []zkpaths.LogDirTopic{{ID: id, Partitions: []int32{1}}}}.Encode())
		two.await("another leader", func(im *cluster.Image) bool {
			p := im.Partition(kafka.TopicPartition{Topic: "t", Partition: 1})
			return p != nil && p.Leader == 1 && slices.Equal(p.ISR, []kafka.BrokerID{1}) && slices.Equal(p.Offline, []kafka.BrokerID{2})
		})
		if p := two.meta.Current().Partition(kafka.TopicPartition{Topic: "t"}); p.Leader != 2 || len(p.Offline) > 0 {
			t.Errorf("the other partition: %+v", p)
		}
		for _, p := range []string{junk, old, path} {
			waitUntil(t, p+" to go", gone(p))
		}
		path = report(zkpaths.LogDirEvent{Broker: 2, Event: zkpaths.LogDirFailure, Complete: true}.Encode())
		two.await("it is mended", func(im *cluster.Image) bool {
			p := im.Partition(kafka.TopicPartition{Topic: "t", Partition: 1})
			return p.Leader == 1 && len(p.Offline) == 0
		})
		waitUntil(t, path+" to go", gone(path))
	})
}

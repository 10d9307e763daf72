package controller

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/internal/metrics"
)

// nothing is the image of an empty cluster.
type nothing struct{ Metadata }

func (nothing) Current() *cluster.Image { return cluster.Empty() }

// TestWaitingShows: what waits for the loop, and for how long.
func TestWaitingShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Options{BrokerID: 1, Metadata: nothing{}})
		c.queue.put("/brokers/topics", evTopics)
		c.queue.put("/brokers/topics", evTopics) // one look for both
		c.queue.call(command{name: "first", at: time.Now()})
		time.Sleep(3 * time.Second)
		c.queue.call(command{name: "second", at: time.Now()})
		if n, oldest := c.Waiting(); n != 3 || oldest != 3*time.Second {
			t.Errorf("%d, %v", n, oldest)
		}
		r := metrics.New()
		r.Collect(c.Collect)
		var b bytes.Buffer
		if err := r.WritePage(&b, false); err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{
			"kafka_controller_controllereventmanager_eventqueuesize 3", "barnabas_controller_oldest_waiting_ms 3000",
			"kafka_controller_kafkacontroller_activecontrollercount 0",
		} {
			if !strings.Contains(b.String(), line+"\n") {
				t.Errorf("no %s in\n%s", line, b.String())
			}
		}
		if !c.Pulse().Last().IsZero() {
			t.Error("beats before Run")
		}
	})
}

// TestDeletionsShow: how many topics, with how many replicas, are still to be deleted.
func TestDeletionsShow(t *testing.T) {
	e := cluster.NewEdit(cluster.Empty())
	for i, name := range []string{"a", "b"} {
		e.ReadTopic(cluster.TopicRead{Name: name, ID: kafka.TopicID{byte(i + 1)}, Zxid: 20, Assignment: map[int32]cluster.Assignment{
			0: {Replicas: []kafka.BrokerID{1, 2}}, 1: {Replicas: []kafka.BrokerID{2}},
		}})
	}
	im, _ := e.Publish()
	var s stats
	deleted := s.deleting(im, []string{"a", "b", "unknown"})
	for _, want := range []struct {
		topics, replicas int64
		deleted          string
	}{{3, 6, "a"}, {2, 3, "unknown"}, {1, 3, "b"}, {0, 0, ""}} {
		if topics, replicas := s.topicsToDelete.Load(), s.replicasToDelete.Load(); topics != want.topics || replicas != want.replicas {
			t.Errorf("%d topics with %d replicas, want %+v", topics, replicas, want)
		}
		if want.deleted != "" {
			deleted(want.deleted)
		}
	}
}

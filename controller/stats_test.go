package controller

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"barnabas/cluster"
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

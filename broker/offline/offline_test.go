package offline

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/zkpaths"
)

// world is a broker with one partition, and a controller that reads its reports
// when the test lets it.
type world struct {
	r *Reporter

	mu      sync.Mutex // guards following
	im      *cluster.Image
	zxid    int64
	open    bool // the log is
	reports [][]byte
}

var topicID = kafka.NewTopicID()

func newWorld() *world {
	e := cluster.NewEdit(cluster.Empty())
	e.ReadBroker(&cluster.Broker{ID: 1, Epoch: 10, Zxid: 10})
	e.ReadTopic(cluster.TopicRead{Name: "t", ID: topicID, Assignment: map[int32]cluster.Assignment{0: {Replicas: []kafka.BrokerID{1}}}, Zxid: 20})
	w := &world{zxid: 30}
	w.im, _ = e.Publish()
	w.state(nil)
	w.r = New(Options{
		Self:       1,
		Image:      w.image,
		Registered: func() bool { return true },
		Offline: func(*cluster.Image) []Replica {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.open {
				return nil
			}
			return []Replica{{topicID, 0}}
		},
	})
	w.r.replace = func(_ context.Context, _ string, data []byte) (string, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.reports = append(w.reports, data)
		return fmt.Sprint("/report-", len(w.reports)), nil
	}
	return w
}

// state makes an image in which these brokers can't serve the partition.
func (w *world) state(offline []kafka.BrokerID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := cluster.NewEdit(w.im)
	w.zxid++
	e.ReadState(kafka.TopicPartition{Topic: "t"}, cluster.EntryState{Leader: 1, ISR: []kafka.BrokerID{1}, Offline: offline}, 30, w.zxid)
	w.im, _ = e.Publish()
}

func (w *world) image() *cluster.Image {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.im
}

// opened lets the broker open the log.
func (w *world) opened() {
	w.mu.Lock()
	w.open = true
	w.mu.Unlock()
	w.r.Look()
}

// told are the reports so far.
func (w *world) told() [][]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.reports)
}

// read lets the controller take up a report, and the broker learn of it.
func (w *world) read(t *testing.T, report []byte) {
	t.Helper()
	ev, err := zkpaths.DecodeLogDirEvent(report)
	if err != nil {
		t.Fatal(err)
	}
	var offline []kafka.BrokerID
	if len(ev.Offline) > 0 {
		offline = []kafka.BrokerID{1}
	}
	w.state(offline)
	w.r.Changed()
}

// TestOpenedBeforeRead: a log that is opened after the registration has told that
// it is not, and before the controller has read that, is told to be.
func TestOpenedBeforeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		registered := w.r.AtRegistration()
		if registered == nil {
			t.Fatal("nothing is told with the registration")
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.r.Run(ctx) }()
		w.opened()
		time.Sleep(time.Second)
		for _, report := range append([][]byte{registered}, w.told()...) {
			w.read(t, report)
			time.Sleep(time.Second)
		}
		if n := len(inImage(w.image(), 1)); n != 0 {
			t.Errorf("after %d reports the image says that the replica is offline", len(w.told()))
		}
		if n := len(w.told()); n != 1 {
			t.Errorf("%d reports after that of the registration, want one", n)
		}
		cancel()
		<-done
	})
}

// TestGlance: what nobody has told of is found all the same, in a minute.
func TestGlance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.opened()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.r.Run(ctx) }()
		time.Sleep(time.Second)
		if len(w.told()) != 0 {
			t.Fatalf("%d reports, and nothing is wrong", len(w.told()))
		}
		w.state([]kafka.BrokerID{1}) // by a report of an earlier life; Changed was missed
		time.Sleep(2 * time.Minute)
		if len(w.told()) == 0 {
			t.Error("nothing was reported")
		}
		cancel()
		<-done
	})
}

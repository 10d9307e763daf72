package deathwatch

import (
	"context"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"barnabas/cluster"
	"barnabas/internal/kafka"
	"barnabas/internal/memnet"
	"barnabas/net/peer"
)

// powerless is a controller that declares nobody dead.
type powerless struct{}

func (powerless) DeclareDead(ctx context.Context, _ kafka.BrokerID, _ kafka.BrokerEpoch) error {
	<-ctx.Done()
	return ctx.Err()
}
func (powerless) Depose(ctx context.Context, _ kafka.BrokerID, _ kafka.BrokerEpoch) error {
	<-ctx.Done()
	return ctx.Err()
}
func (powerless) Reconsider() {}

// watched is broker 1, which watches broker 2, the controller; the process of that is
// returned.
func watched(t *testing.T) (*Watch, *memnet.Process) {
	t.Helper()
	n := memnet.New(rand.New(rand.NewPCG(1, 1)))
	here, there := n.Host("10.0.0.1").Process(), n.Host("10.0.0.2").Process()
	ln, err := there.Listen("tcp", "10.0.0.2:9092")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		var keep []net.Conn
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			keep = append(keep, c)
		}
	}()
	e := cluster.NewEdit(cluster.Empty())
	for id, host := range map[kafka.BrokerID]string{1: "10.0.0.1", 2: "10.0.0.2"} {
		e.ReadBroker(&cluster.Broker{ID: id, Epoch: 5, Zxid: 5, FastDeath: true, Endpoints: []cluster.Endpoint{{Listener: "L", Host: host, Port: 9092}}})
	}
	e.ReadController(2, 1)
	im, _ := e.Publish()
	peers := peer.New(peer.Options{Dial: here.Dial, DialTimeout: time.Second})
	w := New(Options{Self: 1, Image: func() *cluster.Image { return im }, Listener: "L", Peers: peers, Controller: powerless{}, Hold: time.Minute})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
		peers.Close()
		here.Kill()
		there.Kill()
	})
	w.Changed()
	time.Sleep(time.Minute) // of the bubble
	return w, there
}

// What depends on a broker whose process has just ended waits for a while, and not
// for ever; nor does it once everything is decided, or the watch ends.
func TestAwaitVerdict(t *testing.T) {
	always := func([]cluster.Doubt) bool { return true }
	await := func(t *testing.T, w *Watch, undecided func([]cluster.Doubt) bool, want time.Duration) {
		t.Helper()
		began := time.Now()
		w.AwaitVerdict(t.Context(), undecided)
		if took := time.Since(began); took != want {
			t.Errorf("it took %v, want %v", took, want)
		}
		if n := w.waiting.Load(); n != 0 {
			t.Errorf("%d wait after the end", n)
		}
	}
	for name, play := range map[string]func(t *testing.T, w *Watch, p *memnet.Process){
		"nobody is in doubt": func(t *testing.T, w *Watch, _ *memnet.Process) {
			if w.InDoubt() || len(w.Doubts()) > 0 {
				t.Errorf("in doubt: %v", w.Doubts())
			}
			await(t, w, always, 0)
			if n := testing.AllocsPerRun(100, func() { w.Doubts() }); n > 0 {
				t.Errorf("%v allocations", n)
			}
		},
		"no verdict": func(t *testing.T, w *Watch, p *memnet.Process) {
			p.Kill()
			synctest.Wait()
			if d := w.Doubts(); !w.InDoubt() || len(d) != 1 || d[0].ID != 2 || d[0].Epoch != 5 {
				t.Errorf("in doubt: %v", d)
			}
			await(t, w, always, 2*time.Second)
			await(t, w, always, 0)
			time.Sleep(time.Millisecond) // until that is noted
			if w.InDoubt() {
				t.Errorf("still in doubt: %v", w.Doubts())
			}
		},
		"decided": func(t *testing.T, w *Watch, p *memnet.Process) {
			p.Kill()
			synctest.Wait()
			await(t, w, func([]cluster.Doubt) bool { return false }, 0)
			decided := time.Now().Add(40 * time.Millisecond) // seen with the second dial
			await(t, w, func([]cluster.Doubt) bool { return time.Now().Before(decided) }, 50*time.Millisecond)
		},
		"too many wait": func(t *testing.T, w *Watch, p *memnet.Process) {
			p.Kill()
			synctest.Wait()
			w.waiting.Store(maxWaiting)
			began := time.Now()
			w.AwaitVerdict(t.Context(), always)
			if took := time.Since(began); took != 0 || w.waiting.Load() != maxWaiting {
				t.Errorf("it took %v, and %d wait", took, w.waiting.Load())
			}
		},
		"the client goes": func(t *testing.T, w *Watch, p *memnet.Process) {
			p.Kill()
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			began := time.Now()
			w.AwaitVerdict(ctx, always)
			if took := time.Since(began); took != 100*time.Millisecond {
				t.Errorf("it took %v", took)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, p := watched(t)
				play(t, w, p)
			})
		})
	}
}

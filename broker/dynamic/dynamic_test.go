package dynamic

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"barnabas/conf"
	"barnabas/internal/zktest"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

func TestFollowsBothZnodes(t *testing.T) {
	zktest.Both(t, func(t *testing.T, connect string) {
		static, _, err := conf.FromMap(map[string]string{"zookeeper.connect": connect, "log.retention.hours": "5"})
		if err != nil {
			t.Fatal(err)
		}
		var w *Watcher
		ready := make(chan struct{})
		zk, err := session.Open(t.Context(), session.Options{Connect: connect, Logger: slog.New(slog.DiscardHandler),
			OnEvent: func(e session.Event) { <-ready; w.OnEvent(e) }})
		if err != nil {
			t.Fatal(err)
		}
		defer zk.Close()
		got := make(chan *conf.Config, 10)
		w = New(Options{Client: zk, BrokerID: 7, Static: static, OnConfig: func(c *conf.Config) { got <- c }, Logger: slog.New(slog.DiscardHandler)})
		close(ready)
		if err := w.Load(t.Context()); err != nil || len(got) != 0 {
			t.Fatalf("nothing is set: %v, %d told", err, len(got))
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()

		set := func(path string, values map[string]string) {
			t.Helper()
			if _, err := zk.CreateAll(t.Context(), path, zkpaths.EncodeConfig(values), session.Persistent); err != nil {
				t.Fatal(err)
			}
		}
		set(defaultPath(), map[string]string{"log.retention.ms": "1000", "broker.id": "3"}) // the second is not dynamic
		if c := <-got; c.Topics.Defaults.Retention != time.Second || c.Broker.ID == 3 {
			t.Errorf("retention %v, broker id %d", c.Topics.Defaults.Retention, c.Broker.ID)
		}
		set(w.ownPath(), map[string]string{"log.retention.ms": "2000"})
		if c := <-got; c.Topics.Defaults.Retention != 2*time.Second {
			t.Errorf("own value: retention %v", c.Topics.Defaults.Retention)
		}
		if _, err := zk.Set(t.Context(), w.ownPath(), []byte("not json"), -1); err != nil {
			t.Fatal(err)
		}
		if c := <-got; c.Topics.Defaults.Retention != time.Second {
			t.Errorf("garbage in the own znode: retention %v", c.Topics.Defaults.Retention)
		}
		if err := zk.Delete(t.Context(), defaultPath(), -1); err != nil {
			t.Fatal(err)
		}
		if c := <-got; c.Topics.Defaults.Retention != 5*time.Hour {
			t.Errorf("nothing left: retention %v", c.Topics.Defaults.Retention)
		}
		cancel()
		<-ended
	})
}

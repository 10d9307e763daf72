package controller_test

import (
	"errors"
	"log/slog"
	"testing"

	"barnabas/cluster"
	"barnabas/controller"
	"barnabas/internal/zktest"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// TestAnotherMake: nobody stands for controller beside a broker of another make, and
// somebody does once it is gone, or registered by one of ours, though no controller
// was there to tell of that.
func TestAnotherMake(t *testing.T) {
	ours := zkpaths.Registration{JMXPort: -1, Timestamp: 1, Marker: &zkpaths.Marker{Version: "test"}}
	for name, leaves := range map[string]func(zk *session.Client, path string) error{
		"it goes": func(zk *session.Client, path string) error { return zk.Delete(t.Context(), path, -1) },
		"one of ours in its place": func(zk *session.Client, path string) error {
			return errors.Join(zk.Delete(t.Context(), path, -1), second(zk.Create(t.Context(), path, ours.Encode(), session.Persistent)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			zktest.Both(t, func(t *testing.T, connect string) {
				zk, err := session.Open(t.Context(), session.Options{Connect: connect})
				if err != nil {
					t.Fatal(err)
				}
				defer zk.Close()
				other, path := zkpaths.Registration{JMXPort: -1, Timestamp: 1}, zkpaths.BrokerPath(9)
				if _, err := zk.CreateAll(t.Context(), path, other.Encode(), session.Persistent); err != nil {
					t.Fatal(err)
				}
				var said lines
				n := startNode(t, connect, 1, func(o *controller.Options) { o.Logger = slog.New(slog.NewTextHandler(&said, nil)) })
				waitUntil(t, "a complaint", func() bool { return said.count("a broker of another make is registered") == 1 })
				if _, reigns := n.ctl.Epoch(); reigns || !n.meta.Current().Alive(9) {
					t.Errorf("reigns: %v, knows of the other broker: %v", reigns, n.meta.Current().Alive(9))
				}
				if err := leaves(zk, path); err != nil {
					t.Fatal(err)
				}
				n.awaitReign()
				n.await("what is registered", func(im *cluster.Image) bool {
					b := im.Broker(9)
					return b == nil || b.Version == "test"
				})
				if got := said.count("a broker of another make is registered"); got != 1 {
					t.Errorf("%d complaints", got)
				}
			})
		})
	}
}

func second(_ string, err error) error { return err }

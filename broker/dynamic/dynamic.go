// Package dynamic is about the configs that are kept in ZooKeeper. A [Store]
// changes those of topics and brokers, as Apache Kafka's brokers do. A [Watcher]
// follows the broker configs: those of this broker in /config/brokers/<id> and
// the cluster's in /config/brokers/<default>, each above the file's values.
//
// The Watcher watches the two znodes themselves, so that a change made with zkCli alone
// counts too, and looks again when a session is new and now and then. Values that
// are not valid or not dynamic are left out with a warning, never fatal.
package dynamic

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"time"

	"barnabas/conf"
	"barnabas/internal/kafka"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// Options of New; all but Interval are required.
type Options struct {
	Client   *session.Client
	BrokerID kafka.BrokerID
	// Static is the configuration without what is dynamic.
	Static *conf.Config
	// OnConfig is told each configuration that differs from the one before. It is
	// called by one goroutine at a time.
	OnConfig func(*conf.Config)
	// Interval between looks without a reason. Default 30 s.
	Interval time.Duration
	Logger   *slog.Logger
}

// Watcher follows the dynamic configs.
type Watcher struct {
	o    Options
	wake chan struct{} // one token: look again
	asks chan chan struct{}

	// Used by Load and Run only.
	own, all map[string]string
}

// New makes a Watcher.
func New(o Options) *Watcher {
	if o.Interval <= 0 {
		o.Interval = 30 * time.Second
	}
	return &Watcher{o: o, wake: make(chan struct{}, 1), asks: make(chan chan struct{})}
}

// OnEvent takes a watch event of the session; it only enqueues.
func (w *Watcher) OnEvent(e session.Event) {
	if e.Path == w.ownPath() || e.Path == defaultPath() {
		w.poke()
	}
}

// OnState takes a change of the session; it only enqueues.
func (w *Watcher) OnState(session.State) { w.poke() }

func (w *Watcher) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *Watcher) ownPath() string { return zkpaths.BrokerConfigPath(w.o.BrokerID) }

func defaultPath() string { return zkpaths.ConfigPath(zkpaths.ConfigBrokers, zkpaths.DefaultEntity) }

// Load reads both znodes, arms the watches, and tells OnConfig if something
// changed.
func (w *Watcher) Load(ctx context.Context) error {
	own, err := w.read(ctx, w.ownPath())
	if err != nil {
		return err
	}
	all, err := w.read(ctx, defaultPath())
	if err != nil {
		return err
	}
	if maps.Equal(own, w.own) && maps.Equal(all, w.all) {
		return nil
	}
	w.own, w.all = own, all
	next, warnings := w.o.Static.WithDynamic(own, all)
	for _, warning := range warnings {
		w.o.Logger.Warn(warning.Text, "key", warning.Key)
	}
	w.o.Logger.Info("dynamic configs taken", "broker_keys", len(own), "cluster_keys", len(all))
	w.o.OnConfig(next)
	return nil
}

// read returns the configs of one znode, none if it is absent or not
// understood.
func (w *Watcher) read(ctx context.Context, path string) (map[string]string, error) {
	_, there, err := w.o.Client.ExistsW(ctx, path)
	if err != nil || !there {
		return nil, err
	}
	data, _, err := w.o.Client.Get(ctx, path)
	if errors.Is(err, session.ErrNoNode) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	values, err := zkpaths.DecodeConfig(data)
	if err != nil {
		w.o.Logger.Warn("dynamic configs are not understood and ignored", "znode", path, "error", err)
		return nil, nil
	}
	return values, nil
}

// Sync returns when Run has looked at the znodes again, or when ctx ends.
func (w *Watcher) Sync(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case w.asks <- done:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run follows until ctx ends, whose error it returns.
func (w *Watcher) Run(ctx context.Context) error {
	tick := time.NewTicker(w.o.Interval)
	defer tick.Stop()
	for {
		var asked chan struct{}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.wake:
		case asked = <-w.asks:
		case <-tick.C:
		}
		if err := w.Load(ctx); err != nil && ctx.Err() == nil {
			w.o.Logger.Debug("dynamic configs could not be read; they are looked at again", "error", err)
		}
		if asked != nil {
			close(asked)
		}
	}
}

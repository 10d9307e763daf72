package broker

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"barnabas/broker/health"
	"barnabas/internal/metrics"
	"barnabas/log"
)

// observer is how the broker is looked at from outside: health and metrics. It
// exists whether or not somebody listens.
type observer struct {
	health   *health.Server
	registry *metrics.Registry
	session  health.Session
	// opened: all partitions that were to be led at the start were once open.
	opened atomic.Bool
}

// observe opens the HTTP listener before anything that takes time.
func (b *Broker) observe(context.Context) error {
	o := &b.observer
	o.registry = metrics.New()
	o.registry.AddProcess(b.o.Version)
	o.registry.Collect(o.session.Collect)
	b.events.add(nil, o.session.OnState)
	h := b.o.Config.HTTP
	o.health = health.New(health.Options{
		Addr: h.Listen, Pprof: h.Pprof, Page: o.registry.WritePage, Listen: b.o.Listen, Logger: b.logger,
	})
	if h.Listen == "" {
		return nil
	}
	if err := o.health.Listen(); err != nil {
		// Not wrapped: advice about a port in use is about the listeners'.
		return fmt.Errorf("broker: barnabas.http.listen: %v", err)
	}
	b.logger.Info("health and metrics", "url", "http://"+o.health.Addr().String()+"/")
	return nil
}

// HTTPAddr is where health and metrics are answered; nil if they are not.
func (b *Broker) HTTPAddr() net.Addr { return b.health.Addr() }

// recovered tells the progress of the log directories.
func (b *Broker) recovered(p log.Progress) {
	b.health.Startup().Recovered(p.Dir, health.Recovery{Done: p.LogsDone, Total: p.LogsTotal, Share: p.Share, Left: p.Left})
}

// watchRooms adds the checks and the metrics of the rooms, which exist now.
func (b *Broker) watchRooms() {
	h, stopping := b.health, b.health.Startup().IsStopping
	h.Live("controller", health.Loop(b.control.Pulse(), &b.session, stopping))
	h.Live("image", health.Loop(b.metadata.Pulse(), &b.session, stopping))
	h.Live("listeners", b.checkListeners)
	h.Live("replicas", func(time.Time) health.Finding { return health.Good("%d partitions", b.replicas.Len()) })
	h.Ready("registered", b.checkRegistered)
	h.Ready("image", b.checkImage)
	h.Ready("partitions", b.checkPartitions)
	h.Ready("zookeeper", b.session.Check)
	for _, collect := range []func(*metrics.Page){b.replicas.Collect, b.throttles.collect, b.api.Collect, b.server.Collect, b.groups.Collect, b.isr.Collect, b.control.Collect, b.logs.Collect, b.deaths.Collect, b.zk.Collect} {
		b.registry.Collect(collect)
	}
}

// acceptFailsFor is how long a listener may be unable to accept.
const acceptFailsFor = time.Minute

func (b *Broker) checkListeners(now time.Time) health.Finding {
	open := 0
	for _, l := range b.server.Listeners() {
		switch {
		case l.Ended && !b.health.Startup().IsStopping():
			return health.Bad("listener %s accepts no more", l.Name)
		case !l.Failing.IsZero() && now.Sub(l.Failing) > acceptFailsFor:
			return health.Bad("listener %s has not been able to accept for %v: %v", l.Name, now.Sub(l.Failing).Round(time.Second), l.Err)
		}
		open += l.Open
	}
	return health.Good("%d connections", open)
}

func (b *Broker) checkRegistered(time.Time) health.Finding {
	if epoch, ok := b.registrar.Epoch(); ok {
		return health.Good("broker %d, epoch %d", b.id, epoch)
	}
	return health.Bad("broker %d is not registered, and leads nothing", b.id)
}

func (b *Broker) checkImage(time.Time) health.Finding {
	select {
	case <-b.metadata.Loaded():
	default:
		return health.Bad("not loaded yet")
	}
	im := b.metadata.Current()
	return health.Good("%d topics, %d partitions, %d brokers; controller %d", im.TopicCount(), im.PartitionCount(), len(im.Brokers()), im.LiveController())
}

func (b *Broker) checkPartitions(time.Time) health.Finding {
	c := b.replicas.Census(nil)
	switch {
	case c.OfflineLeaders > 0:
		return health.Bad("%d of %d led partitions have no log: %v", c.OfflineLeaders, c.Leaders, c.Example)
	case c.Opening > 0:
		return health.Bad("%d of %d partitions are still being checked: %s", c.Opening, c.Partitions, b.health.Startup().Recovery())
	case c.Unusable > 0:
		return health.Bad("%d of %d led partitions wait for the controller to see this registration", c.Unusable, c.Leaders)
	case c.Moving > 0 && !b.opened.Load():
		return health.Bad("%d partitions are still being opened", c.Moving)
	}
	b.opened.Store(true)
	switch {
	case c.Offline > 0:
		return health.Good("leads %d of %d, all open; %d others are offline: %v", c.Leaders, c.Partitions, c.Offline, c.Example)
	case c.Moving > 0:
		return health.Good("leads %d of %d; %d being moved", c.Leaders, c.Partitions, c.Moving)
	}
	return health.Good("leads %d of %d, all open", c.Leaders, c.Partitions)
}

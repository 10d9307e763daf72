package broker

import (
	"context"
	"crypto/rand"
	"net"
	"time"

	"barnabas/broker/deathwatch"
	"barnabas/zkpaths"
)

// lookupFor bounds how long a start waits for a name server.
const lookupFor = 2 * time.Second

// fastDeath decides whether others may declare this broker dead by evidence
// (barnabas.fast.death).
func (b *Broker) fastDeath(ctx context.Context, advertised []zkpaths.Endpoint) bool {
	switch b.o.Config.Broker.FastDeath {
	case "on":
		return true
	case "off":
		return false
	}
	if b.o.ownNetwork { // nobody is between
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, lookupFor)
	defer cancel()
	err := deathwatch.Host{}.Owns(ctx, advertised, func(listener string) net.Addr { return b.server.Addr(listener) })
	if err != nil {
		b.logger.Info("if this process dies, others will wait until its ZooKeeper session ends: something may stand before its advertised addresses. barnabas.fast.death=on overrides that", "why", err)
	}
	return err == nil
}

// buildDeathwatch makes the observer of the other brokers' processes.
func (b *Broker) buildDeathwatch() {
	b.deaths = deathwatch.New(deathwatch.Options{
		Self: b.id, Image: b.metadata.Current, Listener: b.o.Config.Listeners.InterBroker, Peers: b.peers,
		Controller: b.control, Hold: max(b.zk.SessionTimeout(), b.o.Config.ZooKeeper.SessionTimeout), Logger: b.logger,
	})
}

// watchDeaths begins to observe, once this broker is a member.
func (b *Broker) watchDeaths() {
	if b.o.Config.Broker.FastDeath != "off" {
		b.runMember("the watch over other brokers", b.deaths.Run)
	}
}

// newProcessID is another one for each start of a broker, so that others can tell
// one that was restarted from one that looked dead and was not.
func newProcessID() string { return rand.Text() }

package brokertest

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"barnabas/broker"
	"barnabas/conf"
	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/zkpaths"
)

// Broker is one broker of a cluster, running or not.
type Broker struct {
	c    *Cluster
	id   int
	fs   vfs.FS
	dir  string
	addr string

	// Nil while it does not run.
	run  *broker.Broker
	life *life
}

// ID is the broker's id.
func (b *Broker) ID() int { return b.id }

// Addr is where it listens, host:port. It stays the same over restarts.
func (b *Broker) Addr() string { return b.addr }

// Running reports whether it was started and neither stopped nor killed.
func (b *Broker) Running() bool { return b.run != nil }

// Stop ends the broker as a termination signal does: it answers what is under
// way, leaves the cluster, and closes its files cleanly. The others know it when
// Stop returns. Without effect on a broker that doesn't run.
func (b *Broker) Stop() {
	b.c.t.Helper()
	if b.run == nil {
		return
	}
	if err := b.close(); err != nil {
		b.c.t.Fatalf("brokertest: stopping broker %d: %v", b.id, err)
	}
	b.settle("stopping")
}

// Kill ends the broker as kill -9 does: its connections break, and nothing more
// is written; what was written before is kept, as a page cache keeps it. Its
// session with the built-in ZooKeeper ends at once, as if the timeout had passed,
// and the others know it when Kill returns; a ZooKeeper of the option ZooKeeper
// waits for the timeout. Without effect on a broker that doesn't run.
func (b *Broker) Kill() {
	b.c.t.Helper()
	if b.run == nil {
		return
	}
	dead := b.run
	b.life.end()
	b.run, b.life = nil, nil
	b.c.dying.Go(func() { dead.Close() }) // its errors are those of a dead one
	if b.c.zk == nil {
		return
	}
	own := zkpaths.BrokerPath(kafka.BrokerID(b.id))
	for _, s := range b.c.zk.Sessions() {
		if slices.Contains(s.Ephemerals, own) {
			b.c.zk.ExpireSession(s.ID)
		}
	}
	b.settle("killing")
}

// Restart starts the broker with the data and the port that it had. A broker that
// runs is stopped first.
func (b *Broker) Restart() {
	b.c.t.Helper()
	b.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := b.start(ctx); err != nil {
		b.c.t.Fatal(err)
	}
	b.settle("restarting")
}

// settle waits until the brokers left know what happened to this one.
func (b *Broker) settle(what string) {
	b.c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := b.c.settle(ctx); err != nil {
		b.c.t.Fatalf("%s broker %d: %v", what, b.id, err)
	}
}

func (b *Broker) start(ctx context.Context) error {
	values := maps.Clone(b.c.o.configs)
	maps.Copy(values, map[string]string{
		"broker.id":         fmt.Sprint(b.id),
		"zookeeper.connect": b.c.connect,
		"listeners":         "PLAINTEXT://" + b.addr,
		"log.dirs":          b.dir,
	})
	config, _, err := conf.FromMap(values)
	if err != nil {
		return fmt.Errorf("brokertest: the configuration of broker %d: %w", b.id, err)
	}
	l := newLife(b.fs)
	run, err := broker.Start(ctx, broker.Options{
		Config: config, Logger: b.c.o.logger.With("broker", b.id), Version: "test", FS: l, Listen: l.listen, Dial: l.dial,
	})
	if err != nil {
		return fmt.Errorf("brokertest: starting broker %d: %w", b.id, err)
	}
	b.run, b.life = run, l
	return nil
}

// close stops it, if it runs.
func (b *Broker) close() error {
	if b.run == nil {
		return nil
	}
	err := b.run.Close()
	b.run, b.life = nil, nil
	return err
}

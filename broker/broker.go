package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"barnabas/broker/admin"
	"barnabas/broker/api"
	"barnabas/broker/deathwatch"
	"barnabas/broker/dynamic"
	"barnabas/broker/follower"
	"barnabas/broker/forward"
	"barnabas/broker/group"
	"barnabas/broker/isr"
	"barnabas/broker/metadata"
	"barnabas/broker/offline"
	"barnabas/broker/producerid"
	"barnabas/broker/registration"
	"barnabas/broker/replica"
	"barnabas/cluster"
	"barnabas/cluster/journal"
	"barnabas/conf"
	"barnabas/controller"
	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log"
	"barnabas/log/batch"
	"barnabas/net/peer"
	"barnabas/net/socket"
	"barnabas/zkpaths/session"
)

// Options of Start. Config and Logger are required.
type Options struct {
	Config *conf.Config
	Logger *slog.Logger
	// Version is told to other brokers in the registration.
	Version string
	// FS holds the log directories. Default: the operating system's.
	FS vfs.FS
	// LimitMemory sets the soft limit of the process's memory (see docs/memory.md), unless
	// the environment has GOMEMLIMIT: for a process of brokers alone.
	LimitMemory bool
	// Sole: no other broker is to be in this process, so that threads may serve
	// connections (barnabas.socket.pollers) unless the configuration says no.
	Sole bool
	// Listen and Dial are for tests on a network in memory. Default: net's.
	Listen func(network, addr string) (net.Listener, error)
	Dial   func(ctx context.Context, network, addr string) (net.Conn, error)
	// MachineID and BootID tell this machine, and its present run, from others.
	// For tests of what a crash of the machine leaves. Default: the system's.
	MachineID, BootID string

	ownNetwork bool // Dial was given
}

// Broker is a running broker.
type Broker struct {
	o      Options
	logger *slog.Logger
	config atomic.Pointer[conf.Config]
	id     kafka.BrokerID
	// clusterID is what /cluster/id says.
	clusterID string
	host      host

	server    *socket.Server
	logs      *log.Manager
	codecs    *batch.Codecs
	zk        *session.Client
	metadata  *metadata.Reader
	reasons   *journal.Journal // of the change log
	registrar *registration.Registrar
	control   *controller.Controller
	replicas  *replica.Manager
	groups    *group.Coordinator
	finder    *group.Finder
	admin     *admin.Admin
	forward   *forward.Forwarder
	peers     *peer.Peers
	follower  *follower.Follower
	isr       *isr.Proposer
	offline   *offline.Reporter
	dynamic   *dynamic.Watcher
	deaths    *deathwatch.Watch
	ids       *producerid.Allocator
	api       *api.API
	throttles throttles

	events fanout
	birth  birth
	observer
	// failures has room for one of each log directory.
	failures chan dirFailure

	ctx    context.Context // ends when Close begins to stop what runs
	cancel context.CancelFunc
	wg     sync.WaitGroup
	// What makes the broker a member of the cluster ends before the rest.
	memberCtx context.Context
	leaving   context.CancelFunc
	members   sync.WaitGroup

	// stopping: somebody closes, and parts may end by themselves. No sync.Once,
	// whose mutex would be held over waits.
	stopping atomic.Bool
	ended    chan struct{}

	mu sync.Mutex // guards following
	// abort ends the start with a reason; nil when it is over.
	abort context.CancelCauseFunc
	err   error
}

// dirFailure is a log directory that went offline.
type dirFailure struct {
	dir string
	err error
}

// Start starts a broker and returns when it is registered and serves. ctx bounds
// the start only; the broker lives until Close, or until it can't go on (Wait).
func Start(ctx context.Context, o Options) (*Broker, error) {
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if o.ownNetwork = o.Dial != nil; !o.ownNetwork {
		o.Dial = new(net.Dialer).DialContext
	}
	b := &Broker{o: o, logger: o.Logger, id: o.Config.Broker.ID, ended: make(chan struct{}), codecs: batch.NewCodecs(batch.Limits{Absolute: maxOpenBatch(memoryLimit("/"))}), reasons: journal.New(),
		failures: make(chan dirFailure, len(o.Config.Log.Dirs))}
	b.config.Store(o.Config)
	b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	b.memberCtx, b.leaving = context.WithCancel(b.ctx)
	ctx, b.abort = context.WithCancelCause(ctx)
	defer b.abort(nil)
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"opening the health listener", b.observe},
		{"binding the listeners", b.listen},
		{"opening the log directories", b.openLogs},
		{"connecting to ZooKeeper", b.connect},
		{"settling cluster and broker id", b.identify},
		{"loading the cluster's state", b.build},
		{"serving", b.serve},
		{"registering", b.register},
	} {
		if b.health != nil { // made by the first step
			b.health.Startup().Stage(step.name)
		}
		if err := step.do(ctx); err != nil {
			if why := aborted(ctx); why != nil {
				err = why // says more than that the step was ended
			}
			return nil, b.startFailed(err)
		}
	}
	b.mu.Lock()
	b.abort = nil // from here on what fails ends the broker by itself
	b.mu.Unlock()
	if err := aborted(ctx); err != nil {
		return nil, b.startFailed(err)
	}
	b.health.Startup().Started()
	return b, nil
}

// aborted is why a part that runs already has ended the start; nil if none has.
func aborted(ctx context.Context) error {
	if why := context.Cause(ctx); why != ctx.Err() {
		return why
	}
	return nil
}

// startFailed ends what was started.
func (b *Broker) startFailed(err error) error {
	b.health.Startup().Failed(err)
	b.stop(nil)
	return err
}

// listen binds the listeners.
func (b *Broker) listen(ctx context.Context) error {
	o := socketOptions(b.o.Config)
	var err error
	if o.Limits, err = connectionLimits(ctx, &b.o.Config.Socket); err != nil {
		return err
	}
	o.Pollers = pollers(b.o.Config.Socket.Pollers, b.o.Sole)
	o.Logger, o.Listen, o.Stamp, o.Heard = b.logger, b.o.Listen, b.stamp, b.heard
	o.MayWait = func() bool { return b.deaths.InDoubt() }
	b.server = socket.New(o)
	return b.server.Listen()
}

// ID is the broker's id.
func (b *Broker) ID() int32 { return int32(b.id) }

// ClusterID is the cluster that it is part of.
func (b *Broker) ClusterID() string { return b.clusterID }

// Addr is where a listener was bound; nil if there is no such.
func (b *Broker) Addr(listener string) net.Addr { return b.server.Addr(listener) }

// Image is the cluster as this broker knows it now; nil before it was loaded.
func (b *Broker) Image() *cluster.Image { return b.metadata.Current() }

// Wait returns when the broker has ended: nil after Close, else the reason.
func (b *Broker) Wait() error {
	<-b.ended
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// Close answers what is under way, leaves the cluster, and writes what the next
// start may trust. It returns when all is quiet.
func (b *Broker) Close() error {
	b.stop(nil)
	return b.Wait()
}

// fail ends the broker because it can't go on.
func (b *Broker) fail(err error) {
	b.logger.Error("the broker can't go on", "error", err)
	b.health.Startup().Failed(err)
	b.mu.Lock()
	abort := b.abort
	b.mu.Unlock()
	if abort != nil { // the start ends it: nobody else knows what there is by now
		abort(err)
		return
	}
	go b.stop(err)
}

// stop ends what was started, in the reverse order. Later calls wait for the
// first.
func (b *Broker) stop(why error) {
	if b.stopping.Swap(true) {
		<-b.ended
		return
	}
	err := why
	keep := func(part string, e error) {
		if e != nil && !errors.Is(e, context.Canceled) && err == nil {
			err = fmt.Errorf("broker: closing %s: %w", part, e)
		}
	}
	b.health.Startup().Stopping()
	if why == nil {
		b.handOver()
	}
	b.leave()
	if b.replicas != nil { // long polls are answered, not waited for
		b.replicas.Fetches().Close()
	}
	if b.server != nil {
		keep("the listeners", b.server.Close())
	}
	b.cancel()
	b.wg.Wait()
	if b.groups != nil {
		b.groups.Close()
	}
	if b.admin != nil {
		b.admin.Close()
	}
	if b.ids != nil {
		b.ids.Close()
	}
	if b.peers != nil {
		b.peers.Close()
	}
	if b.zk != nil {
		b.zk.Close() // from here on others take over
	}
	if b.logs != nil {
		keep("the logs", b.logs.Close())
	}
	keep("the health listener", b.health.Close()) // last, to be seen until the end
	b.mu.Lock()
	b.err = err
	b.mu.Unlock()
	close(b.ended)
}

// run starts a part that runs until the broker stops; its own end before that
// ends the broker.
func (b *Broker) run(part string, f func(context.Context) error) {
	b.runWithin(b.ctx, &b.wg, part, f)
}

// runMember is run for what makes this broker a member of the cluster: it ends
// first.
func (b *Broker) runMember(part string, f func(context.Context) error) {
	b.runWithin(b.memberCtx, &b.members, part, f)
}

func (b *Broker) runWithin(ctx context.Context, wg *sync.WaitGroup, part string, f func(context.Context) error) {
	wg.Go(func() {
		err := f(ctx)
		if b.stopping.Load() || ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("ended by itself")
		}
		b.fail(fmt.Errorf("broker: %s: %w", part, err))
	})
}

package broker

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"barnabas/broker/admin"
	"barnabas/broker/api"
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
	"barnabas/conf"
	"barnabas/controller"
	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/log"
	"barnabas/log/batch"
	"barnabas/net/peer"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// host tells this machine, and this run of it, from others.
type host struct{ machineID, bootID string }

func thisHost() host {
	return host{machineID: registration.MachineID(vfs.OS), bootID: bootID()}
}

// openLogs locks the log directories and begins to recover what is in them.
func (b *Broker) openLogs(ctx context.Context) error {
	c := b.o.Config
	b.host = thisHost()
	if b.o.BootID != "" {
		b.host = host{machineID: b.o.MachineID, bootID: b.o.BootID}
	}
	m, err := log.OpenManager(ctx, log.ManagerOptions{
		FS: b.o.FS, Dirs: c.Log.Dirs, Codecs: b.codecs, Logger: b.logger, BootID: b.host.bootID,
		RecoveryThreads: c.Log.RecoveryThreads, Background: true, StrayRetention: c.Log.StrayRetention,
		// Until the image says what a topic wants, nothing of it is deleted.
		TopicOptions: func(string) log.Options { return keepAll(&c.Topics.Defaults) },
		Defaults:     keepAll(&c.Topics.Defaults),
		CheckMeta:    b.checkMeta,
		OnDirFailure: b.dirFailed,
		OnProgress:   b.recovered,
		MinFreeBytes: c.Log.MinFreeBytes, StallTimeout: c.Log.StallTimeout, MaxOpenFiles: maxOpenFiles(c.Log.MaxOpenFiles),

		ProducerIDExpiration: c.Log.ProducerIDExpiration, ProducerIDExpirationCheck: c.Log.ProducerIDExpirationCheck,
		InitialDelay: c.Log.InitialTaskDelay, RetentionInterval: c.Log.RetentionCheckInterval,
		FlushCheckInterval:    finite(c.Log.FlushSchedulerInterval),
		RecoveryPointInterval: c.Log.FlushOffsetCheckpointInterval, StartOffsetInterval: c.Log.FlushStartOffsetCheckpointInterval,
		HighWatermarkInterval: c.Replication.HighWatermarkCheckpointInterval,
		DirDeleteDelay:        c.Topics.Defaults.FileDeleteDelay,
		Cleaner:               cleanerOptions(&c.Cleaner),
	})
	if err != nil {
		return err
	}
	m.Reconfigure(c.Log.ProducerIDExpiration, c.Topics.Defaults.FileDeleteDelay)
	b.logs = m
	return nil
}

// maxOpenFiles leaves half of what the process may open to connections.
func maxOpenFiles(configured int) int {
	if configured > 0 {
		return configured
	}
	const few, many = 128, 1 << 16
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return few
	}
	return int(min(max(limit.Cur/2, few), many))
}

// checkMeta refuses the directories of another broker.
func (b *Broker) checkMeta(m log.Meta) error {
	if m.BrokerID == kafka.NoBroker {
		return nil
	}
	if b.id >= 0 && b.id != m.BrokerID {
		return fmt.Errorf("configured broker.id %d doesn't match stored broker.id %d in meta.properties. If you moved your data, make sure your configured broker.id matches. If you intend to create a new broker, you should remove all data in your data directories (log.dirs)", b.id, m.BrokerID)
	}
	b.id = m.BrokerID
	return nil
}

// dirFailed only enqueues: the log that failed may hold its locks.
func (b *Broker) dirFailed(dir string, err error) {
	b.logger.Error("log directory is offline; its partitions are not served until a restart", "dir", dir, "error", err)
	b.failures <- dirFailure{dir, err} // has room for each directory, and each fails once
}

// watchDirs ends the broker once no log directory is left.
func (b *Broker) watchDirs(ctx context.Context) error {
	for left := len(b.o.Config.Log.Dirs); ; {
		select {
		case f := <-b.failures:
			b.replicas.DirFailed(f.dir, f.err)
			if left--; left == 0 {
				return fmt.Errorf("all of them have failed, the last was %s: %w", f.dir, f.err)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// connect opens the session with ZooKeeper. A broker that was part of a cluster
// waits for it; one that never was does not.
func (b *Broker) connect(ctx context.Context) error {
	z := b.o.Config.ZooKeeper
	wait := z.ConnectionTimeout
	if b.logs.ReadMeta().ClusterID != "" {
		wait = -1
	}
	b.metadata = metadata.New(metadata.Options{OnChange: b.changed, OnEntry: b.reasons.Note, Logger: b.logger})
	b.events.add(b.metadata.OnEvent, b.metadata.OnState)
	zk, err := session.Open(ctx, session.Options{
		Connect: z.Connect, Timeout: z.SessionTimeout, ConnectTimeout: wait, Dialer: b.o.Dial,
		OnEvent: b.events.event, OnState: b.events.state, Logger: b.logger,
	})
	if err != nil {
		return err
	}
	b.zk = zk
	b.metadata.SetClient(zk)
	return nil
}

// identify settles which cluster and which broker this is, and writes it down.
func (b *Broker) identify(ctx context.Context) error {
	if err := registration.Prepare(ctx, b.zk); err != nil {
		return err
	}
	id, err := registration.ClusterID(ctx, b.zk, b.logs.ReadMeta().ClusterID)
	if err != nil {
		return err
	}
	b.clusterID = id
	if c := b.o.Config.Broker; b.id < 0 {
		if b.id, err = registration.GenerateBrokerID(ctx, b.zk, c.ReservedMax); err != nil {
			return err
		}
		b.logger.Info("broker id generated", "broker", int32(b.id))
	}
	return b.logs.WriteMeta(log.Meta{BrokerID: b.id, ClusterID: b.clusterID})
}

// build makes the rooms that need to know who we are, and loads the image.
func (b *Broker) build(ctx context.Context) error {
	b.throttles = newThrottles(b.id, b.o.Config)
	b.buildReplicas()
	b.buildMembership()
	b.buildPeers()
	b.buildDeathwatch()
	if err := b.buildDynamic(ctx); err != nil {
		return err
	}
	b.buildAdmin()
	if err := b.buildGroups(); err != nil {
		return err
	}
	b.buildAPI()
	b.watchRooms()
	b.run("the dynamic configs", b.dynamic.Run)
	b.run("the log directories", b.watchDirs)
	b.run("the logs", b.logs.Run)
	b.run("the replicas", b.replicas.Run)
	b.run("the copying from leaders", b.follower.Run)
	b.run("the ISR proposals", b.isr.Run)
	b.run("the reports of offline replicas", b.offline.Run)
	b.run("the image of the cluster", b.metadata.Run)
	select {
	case <-b.metadata.Loaded():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("broker: loading the cluster's state from ZooKeeper: %w", context.Cause(ctx))
	}
}

// buildPeers makes what speaks to other brokers: the connections, the loops that
// copy from leaders, and the proposals to the controller.
func (b *Broker) buildPeers() {
	c := b.o.Config
	b.peers = peer.New(peer.Options{
		Stamp: b.stamp, Heard: b.heard,
		Dial: b.o.Dial, ClientID: "broker-" + strconv.Itoa(int(b.id)), Timeout: c.Replication.SocketTimeout,
		DialTimeout: c.Broker.ConnectTimeout, RequestTimeout: c.Broker.RequestTimeout, ReceiveBuffer: c.Replication.SocketReceiveBufferBytes, Logger: b.logger,
		Address: func(id kafka.BrokerID) (string, bool) {
			if other := b.metadata.Current().Broker(id); other != nil {
				if e, ok := other.Endpoint(c.Listeners.InterBroker); ok {
					return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port))), true
				}
			}
			return "", false
		},
	})
	epoch := func() (kafka.BrokerEpoch, bool) { return b.registrar.Epoch() }
	b.follower = follower.New(follower.Options{
		Self: b.id, Epoch: epoch, Replicas: b.replicas, Peers: b.peers, Throttle: b.throttles.follower, Logger: b.logger,
		FetchMinBytes: c.Replication.FetchMinBytes, FetchWaitMax: c.Replication.FetchWaitMax, Backoff: c.Replication.FetchBackoff,
		PartitionMaxBytes: c.Replication.FetchMaxBytes, ResponseMaxBytes: c.Replication.FetchResponseMaxBytes, Fetchers: c.Replication.Fetchers,
	})
	b.isr = isr.New(isr.Options{
		Self: b.id, Image: b.metadata.Current, Local: b.control, Remote: b.peers, Epoch: epoch, Refused: b.replicas.Refused, Logger: b.logger,
	})
}

func (b *Broker) buildReplicas() {
	b.replicas = replica.NewManager(replica.Options{
		Self: b.id, Logs: b.logs, Logger: b.logger, LagMax: b.o.Config.Replication.LagTimeMax,
		FlushWhenAlone: b.o.Config.Replication.FlushWhenAlone, RackAware: b.o.Config.Replication.RackAwareSelector,
		Propose:     func(p *replica.Proposal) { b.isr.Propose(p) },
		OnFollow:    func(f replica.Following, on bool) { b.follower.Follow(f, on) },
		OnOffline:   func() { b.offline.Look() },
		MoveRate:    func() int64 { return b.config.Load().Replication.LogDirsThrottle },
		MoveThreads: cmp.Or(b.o.Config.Log.MoveThreads, len(b.o.Config.Log.Dirs)),
		Topic: func(overrides map[string]string) (int, log.Options) {
			t, err := b.config.Load().Topic(overrides)
			if err != nil { // written by hand; nothing is deleted on a misunderstanding
				b.logger.Error("topic has configs that are not valid; its records are kept for ever", "error", err)
				d := &b.config.Load().Topics.Defaults
				return d.MinISR, keepAll(d)
			}
			return t.MinISR, logOptions(&t)
		},
		OnLeadership: func(tp kafka.TopicPartition, leading bool, epoch kafka.LeaderEpoch) {
			if tp.Topic != kafka.ConsumerOffsetsTopic {
				return
			}
			if leading {
				b.groups.BecomeLeader(tp.Partition, epoch)
			} else {
				b.groups.Resign(tp.Partition, epoch)
			}
		},
	})
}

// buildMembership makes the controller and the keeper of the registration.
func (b *Broker) buildMembership() {
	b.control = controller.New(controller.Options{
		BrokerID: b.id, Client: b.zk, Metadata: b.metadata, KeepTopics: !b.o.Config.Broker.DeleteTopics, Logger: b.logger,
		Alarmed:     func(id kafka.BrokerID) bool { return b.deaths.Alarmed(id) },
		Unreachable: func(id kafka.BrokerID) bool { return b.deaths.Unreachable(id) },
		Unclean:     func() bool { return b.config.Load().Controller.UncleanElection },
		Rebalance: func() controller.Rebalance {
			c := &b.config.Load().Controller
			return controller.Rebalance{Enabled: c.AutoRebalance, Interval: c.ImbalanceCheckInterval, Percentage: c.ImbalancePercentage}
		},
		Ends: b.logEnds,
	})
	b.events.add(b.control.OnEvent, b.control.OnState)
	advertised := b.advertised()
	b.offline = offline.New(offline.Options{
		Self: b.id, Client: b.zk, Image: b.metadata.Current, Logger: b.logger,
		Registered: func() bool { _, ok := b.registrar.Epoch(); return ok },
		Offline: func(im *cluster.Image) []offline.Replica {
			var out []offline.Replica
			for _, u := range b.replicas.Unavailable(im) {
				out = append(out, offline.Replica{TopicID: u.TopicID, Partition: u.TP.Partition})
			}
			return out
		},
	})
	b.registrar = registration.New(registration.Options{
		Client: b.zk, BrokerID: b.id, ClusterID: b.clusterID, Endpoints: advertised, Bound: b.bound(), Rack: b.o.Config.Broker.Rack,
		Marker: zkpaths.Marker{Version: b.o.Version, Crashed: b.logs.Crashed(), FastDeath: b.fastDeath(b.ctx, advertised), Process: newProcessID()},
		FS:     b.o.FS, LogDirs: b.o.Config.Log.Dirs, MachineID: b.host.machineID, BootID: b.host.bootID, Dialer: b.o.Dial,
		Report: b.offline.AtRegistration,
		OnRegistered: func(e kafka.BrokerEpoch) {
			b.offline.Look()
			b.setBirth(e)
			b.control.Registered(e)
		},
		OnLost: func() { b.setBirth(0) },
		ReadOn: func(ctx context.Context) error { _, err := b.metadata.CatchUp(ctx, true); return err },
		Logger: b.logger,
	})
	b.events.add(b.registrar.OnEvent, b.registrar.SessionChanged)
}

func (b *Broker) buildDynamic(ctx context.Context) error {
	b.dynamic = dynamic.New(dynamic.Options{
		Client: b.zk, BrokerID: b.id, Static: b.o.Config, Logger: b.logger,
		OnConfig: func(c *conf.Config) {
			b.config.Store(c)
			b.replicas.Reconfigure()
			b.throttles.configure(c)
			b.logs.SetCleaner(cleanerOptions(&c.Cleaner))
			b.control.Reconsider()
			b.follower.SetFetchers(c.Replication.Fetchers)
			b.logs.Reconfigure(c.Log.ProducerIDExpiration, c.Topics.Defaults.FileDeleteDelay)
			limits, err := connectionLimits(b.ctx, &c.Socket)
			if err != nil {
				b.logger.Warn("a limit of connections is left out", "error", err)
			}
			b.server.SetLimits(limits)
		},
	})
	b.events.add(b.dynamic.OnEvent, b.dynamic.OnState)
	if err := b.dynamic.Load(ctx); err != nil {
		return fmt.Errorf("broker: reading dynamic configs: %w", err)
	}
	return nil
}

// logEnds asks a broker, maybe this one, where its logs end.
func (b *Broker) logEnds(ctx context.Context, id kafka.BrokerID, questions []cluster.EndQuestion) ([]cluster.LogEnd, error) {
	if id == b.id {
		return b.replicas.LogEnds(questions), nil
	}
	return forward.LogEnds(ctx, b.peers, id, questions)
}

func (b *Broker) buildAdmin() {
	b.forward = forward.New(forward.Options{Self: b.id, Image: b.metadata.Current, Local: b.control, Remote: b.peers})
	b.admin = admin.New(b.ctx, admin.Options{
		Controller: b.control, Elsewhere: b.forward, Image: b.metadata.Current, AwaitImage: b.metadata.WaitFor, AwaitLeading: b.replicas.AwaitLeading, Ends: b.logEnds,
		Self: b.id, Configs: dynamic.NewStore(b.zk), NoTopic: dynamic.ErrNoTopic, AwaitConfig: b.dynamic.Sync,
		Config: b.config.Load, Logger: b.logger,
	})
	b.ids = producerid.New(b.ctx, func(ctx context.Context) (int64, int64, error) {
		epoch, _ := b.registrar.Epoch()
		return b.forward.AllocateProducerIDs(ctx, epoch)
	})
}

func (b *Broker) buildGroups() error {
	g := b.o.Config.Group
	var err error
	b.groups, err = group.New(group.Options{
		Store: groupStore{b.replicas},
		Partitions: func() int32 {
			if t := b.metadata.Current().Topic(kafka.ConsumerOffsetsTopic); t != nil {
				return int32(len(t.Partitions))
			}
			return 0
		},
		Legacy: group.ZooKeeperOffsets{Client: b.zk},
		Lags:   groupLags{self: b.id, image: b.metadata.Current, m: b.replicas, peers: b.peers},
		Config: group.Config{
			MinSessionTimeout: g.MinSessionTimeout, MaxSessionTimeout: g.MaxSessionTimeout,
			InitialRebalanceDelay: g.InitialRebalanceDelay, MaxSize: g.MaxSize, MaxMetadata: g.MetadataMaxBytes,
			OffsetsRetention: g.Retention, RetentionCheckInterval: g.RetentionCheckInterval, CommitTimeout: g.CommitTimeout,
			Codec: batch.Codec(g.Codec),
		},
		Codecs: b.codecs, Logger: b.logger,
	})
	if err != nil {
		return err
	}
	b.finder = &group.Finder{Image: b.metadata.Current, Create: b.admin.AutoCreateSoon}
	b.run("the group coordinator", b.groups.Run)
	return nil
}

func (b *Broker) buildAPI() {
	c := b.o.Config.Broker
	b.api = api.New(api.Options{
		Logger: b.logger, BrokerID: b.id, Image: b.metadata.Current, AwaitImage: b.metadata.WaitFor,
		Replicas: b.replicas, Fetches: b.replicas.Fetches(), Offsets: b.replicas, Records: b.replicas, ProducerIDs: b.ids,
		Groups: b.groups, Coordinators: b.finder, Controller: b.control, Reassignments: b.control, Topics: b.admin, Config: b.config.Load, Codecs: b.codecs, Explain: b.explain,
		Confirm: b.deaths.Confirm, Deaths: b.deaths, Throttle: b.throttles.leader,
		Ends: b.replicas, GroupBytes: groupBytes(),
		FetchMaxBytes: c.FetchMaxBytes, FetchSessionSlots: c.FetchSessionSlots,
	})
}

// changed takes a new image to those who follow it.
func (b *Broker) changed(_, im *cluster.Image, changes []cluster.Change) {
	b.throttles.follow(im, changes)
	b.readBirth(im) // before the states that were planned with it
	b.replicas.Follow(im, changes)
	b.deaths.Changed()
	b.offline.Changed()
	var gone []string
	for _, c := range changes {
		if c.Kind == cluster.TopicDeleted {
			gone = append(gone, c.Topic)
		}
	}
	if len(gone) > 0 {
		b.groups.DropTopics(gone)
	}
}

// serve begins to answer requests.
func (b *Broker) serve(context.Context) error {
	if b.o.LimitMemory && os.Getenv("GOMEMLIMIT") == "" {
		b.run("the limit of memory", b.limitMemory)
	}
	b.run("the listeners", func(ctx context.Context) error { return b.server.Serve(ctx, b.api) })
	return nil
}

// register makes the broker a member of the cluster and lets it take part in
// elections.
func (b *Broker) register(ctx context.Context) error {
	b.awaitLogs(ctx)
	b.replicas.Settle(b.metadata.Current())
	b.runMember("the controller", b.control.Run)
	epoch, err := b.registrar.Register(ctx)
	if err != nil {
		return err
	}
	if b.logs.Crashed() {
		b.wg.Go(func() { b.confirmCrash(b.ctx) })
	}
	b.runMember("the registration", b.registrar.Run)
	b.watchDeaths()
	b.runMember("the look-out while ZooKeeper is away", b.listenAround)
	b.settle(ctx, epoch)
	return nil
}

// recoveryGrace is how long a start waits for logs that are being checked. What
// takes longer goes on while the others are served; the controller is told.
const recoveryGrace = time.Second

func (b *Broker) awaitLogs(ctx context.Context) {
	t := time.NewTimer(recoveryGrace)
	defer t.Stop()
	select {
	case <-b.logs.Opened():
		return
	case <-t.C:
	case <-ctx.Done():
	}
	b.logger.Info("logs are still being checked; the others are served meanwhile", "logs", b.logs.Unopened())
}

// settleWait bounds how long a start waits to lead; a cluster whose controller has
// just died takes longer, and then clients are told to come back.
const settleWait = 5 * time.Second

// settle waits until the controller has told of this broker's birth and the
// partitions that it leads are served.
func (b *Broker) settle(ctx context.Context, epoch kafka.BrokerEpoch) {
	ctx, cancel := context.WithTimeout(ctx, settleWait)
	defer cancel()
	err := b.metadata.WaitFor(ctx, func(im *cluster.Image) bool {
		self := im.Broker(b.id)
		return self != nil && self.Epoch == epoch
	})
	if err == nil {
		err = b.replicas.AwaitLed(ctx)
	}
	if err != nil {
		b.logger.Warn("started, but not all partitions of this broker are served yet", "error", err)
	}
}

// advertised is what clients are told, with ports that were 0 and hosts that
// were empty filled in.
func (b *Broker) advertised() []zkpaths.Endpoint {
	var out []zkpaths.Endpoint
	for _, l := range b.o.Config.Listeners.Advertised {
		e := zkpaths.Endpoint{Listener: l.Name, Host: l.Host, Port: int32(l.Port), Protocol: string(l.Protocol)}
		if a, ok := b.server.Addr(l.Name).(*net.TCPAddr); ok && e.Port == 0 {
			e.Port = int32(a.Port)
		}
		if e.Host == "" {
			if name, err := os.Hostname(); err == nil {
				e.Host = name
			} else {
				e.Host = "localhost"
			}
		}
		out = append(out, e)
	}
	return out
}

func (b *Broker) bound() []net.Addr {
	var out []net.Addr
	for _, l := range b.o.Config.Listeners.Bind {
		out = append(out, b.server.Addr(l.Name))
	}
	return out
}

// keepAll are the options of logs of which nothing may be deleted.
func keepAll(t *conf.Topic) log.Options {
	o := logOptions(t)
	o.RetentionAge, o.RetentionBytes = -1, -1
	o.MinCompactionLag = math.MaxInt64
	return o
}

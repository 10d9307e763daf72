// Package controller is the one broker of the cluster that decides, and on all
// others the standby that may become it. One goroutine, Run's, owns all state:
// events come to it through one queue, controller/plan says what to write, and
// this package carries it out in ZooKeeper transactions, each with the check of
// the controller's epoch and an entry of the change log.
//
// Whoever creates the ephemeral /controller, in one transaction with the raise
// of /controller_epoch, reigns; the version of that znode fences each write
// after. A write that fails at the fence, a lost session, or a /controller that
// is another's end the reign.
//
// The image that plans are made on is the broker's own, from broker/metadata:
// after each transaction the loop waits until its entry was read back. What a
// hand edited under us shows as a conflict: the topic is read again as it is,
// taken into the log with an entry of its own, and planned anew.
package controller

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"barnabas/cluster"
	"barnabas/controller/plan"
	"barnabas/internal/kafka"
	"barnabas/internal/pulse"
	"barnabas/protocol"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// Metadata is the reader of the change log; *metadata.Reader is it.
type Metadata interface {
	Current() *cluster.Image
	CatchUp(ctx context.Context, fresh bool) (*cluster.Image, error)
	Seen(t cluster.Token) (number int64, ok bool)
	Loaded() <-chan struct{}
}

// Options of a Controller.
type Options struct {
	BrokerID kafka.BrokerID
	Client   *session.Client // its events are handed to OnEvent and OnState
	Metadata Metadata
	// Unclean is unclean.leader.election.enable, asked at each election.
	// Default: false.
	Unclean func() bool
	// Alarmed tells of a broker that the log declared dead by evidence whether its
	// session may still be alive. Default: never.
	Alarmed func(kafka.BrokerID) bool
	// Rebalance is asked at each look for partitions that other than their first
	// replicas lead. Default: they stay where they are.
	Rebalance func() Rebalance
	// Unreachable tells of a broker that is registered and that this one can't
	// connect to: no leader is given back to it. Default: there is none.
	Unreachable func(kafka.BrokerID) bool
	// Ends asks replicas before an election that may lose records. Nil: none is held.
	Ends Ends
	// CrashedWait is how long members of an ISR are waited for while the others are
	// back after a crash of their machines. Default 2 minutes.
	CrashedWait time.Duration
	// KeepTopics is set where delete.topic.enable is false: marks are removed and
	// nothing is deleted.
	KeepTopics bool
	// EntryAge is how old an entry of the change log must be to be purged, counted to
	// the newest. Default: 2 minutes, but at least two session timeouts.
	EntryAge time.Duration
	// RenewAbove is the number of entries after which the change log is begun anew.
	// Default 1 << 28.
	RenewAbove int64
	// NameBytes bounds the names of all topics together: one reply lists them, and
	// ZooKeeper's tools take 1 MiB of it. Half of it is warned of, and what would take
	// more than nine tenths is refused. Default 1 MiB.
	NameBytes int
	// ScrubRest is the pause after all states were compared with their znodes.
	// Default 15 s.
	ScrubRest time.Duration
	// Interval between looks at /controller without a reason. Default 1 s.
	Interval time.Duration
	Logger   *slog.Logger // default: nothing is logged
}

// ErrNotController is the answer of a broker that does not reign.
var ErrNotController = protocol.Fail(protocol.NotController, protocol.NotController.Message())

// Controller is the loop. Its exported methods may be called by any goroutine.
type Controller struct {
	opts  Options
	zk    *session.Client
	meta  Metadata
	log   *slog.Logger
	queue queue
	isr   isrCalls
	epoch atomic.Int32 // of the reign, 0 if none; for others to look at
	pulse pulse.Pulse  // of Run
	stats stats
	asks  sync.WaitGroup // surveys under way

	reign   *reign // Run's goroutine only; nil: standby
	counter int64  // of tokens
	// announced is the Untold of the image whose findings the log tells of since; 0
	// if there were none.
	announced int64
	// complained is the unmarked broker that the log names already.
	complained kafka.BrokerID
	again      map[string]event // failed looks, for the next tick
}

// reign is one term as the controller.
type reign struct {
	epoch     kafka.ControllerEpoch
	zkVersion int32 // of /controller_epoch: the fence
	session   int64
	lastNote  int64 // the last /config/changes notification taken
	notes     int64 // the czxid of /config/changes
	// configs are the topics whose overrides are to be taken.
	configs  map[string]bool
	ready    bool
	born     map[kafka.BrokerID]int64 // see plan.Controller, as reports
	reports  map[kafka.BrokerID]*plan.Report
	purgedAt time.Time
	// rebalanceAt is when to look next for partitions to give back.
	rebalanceAt time.Time
	scrub       scrub
	asking      bool                               // a survey is under way
	leaderless  bool                               // there was something to ask about at the last look
	waits       map[kafka.TopicPartition]time.Time // what is to be asked about, since when
	// warnedOfNames: the names of all topics take more than half of their room, and
	// the log says so.
	warnedOfNames bool
	// trouble is what was logged of topics that can't be dealt with.
	trouble map[string]string
	// awaited are the dead brokers that the log names as targets of
	// reassignments.
	awaited map[kafka.BrokerID]bool
}

// New makes a controller that does nothing until Run.
func New(o Options) *Controller {
	if o.Unclean == nil {
		o.Unclean = func() bool { return false }
	}
	if o.Unreachable == nil {
		o.Unreachable = func(kafka.BrokerID) bool { return false }
	}
	if o.Alarmed == nil {
		o.Alarmed = func(kafka.BrokerID) bool { return false }
	}
	if o.Rebalance == nil {
		o.Rebalance = func() Rebalance { return Rebalance{} }
	}
	if o.CrashedWait <= 0 {
		o.CrashedWait = crashedWait
	}
	if o.RenewAbove <= 0 {
		o.RenewAbove = renewAbove
	}
	if o.NameBytes <= 0 {
		o.NameBytes = 1 << 20
	}
	if o.ScrubRest <= 0 {
		o.ScrubRest = scrubRest
	}
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Controller{opts: o, zk: o.Client, meta: o.Metadata, log: o.Logger, complained: kafka.NoBroker}
	c.queue.wake = make(chan struct{}, 1)
	c.queue.watch = map[string]event{}
	c.again = map[string]event{}
	return c
}

// SetClient gives the session, for those who must make the controller before
// the session that reports to it. It is called before Run.
func (c *Controller) SetClient(zk *session.Client) { c.zk = zk }

// Epoch is the epoch of the present reign; ok is false on a standby.
func (c *Controller) Epoch() (e kafka.ControllerEpoch, ok bool) {
	v := c.epoch.Load()
	return kafka.ControllerEpoch(v), v > 0
}

// event is something that makes the loop look again at ZooKeeper.
type event int8

const (
	evController event = iota + 1
	evBrokers
	evTopics
	evTopic
	evDeletions
	evConfigs
	evDirs
	evReassign
	evPreferred
	evElect
	evExpired
)

// command is a call that waits for its answer.
type command struct {
	name    string
	at      time.Time
	run     func(ctx context.Context)
	preempt func()
}

// maxCommands bounds the calls that wait.
const maxCommands = 1000

// queue holds what the loop has to do. Watch events of one path coalesce.
type queue struct {
	wake chan struct{}

	mu       sync.Mutex       // guards following
	watch    map[string]event // by path
	order    []string
	commands []command
	closed   bool // nobody takes anything any more
}

func (q *queue) put(path string, e event) {
	q.mu.Lock()
	if _, ok := q.watch[path]; !ok {
		q.order = append(q.order, path)
	}
	q.watch[path] = e
	q.mu.Unlock()
	q.signal()
}

// call puts a command at the end, unless there are too many. After the end of the
// loop it is preempted at once.
func (q *queue) call(c command) bool {
	q.mu.Lock()
	closed, ok := q.closed, len(q.commands) < maxCommands
	if ok && !closed {
		q.commands = append(q.commands, c)
	}
	q.mu.Unlock()
	if closed {
		c.preempt()
		return true
	}
	q.signal()
	return ok
}

// close returns the commands that were never taken.
func (q *queue) close() []command {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	return q.drainCommands()
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take gives the next thing to do: watch events before commands, so that no
// command is planned on what is known to be stale.
func (q *queue) take() (path string, e event, cmd command, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.order) > 0 {
		path = q.order[0]
		q.order = q.order[1:]
		e = q.watch[path]
		delete(q.watch, path)
		return path, e, command{}, true
	}
	if len(q.commands) > 0 {
		cmd = q.commands[0]
		q.commands = q.commands[1:]
		return "", 0, cmd, true
	}
	return "", 0, command{}, false
}

func (q *queue) drainCommands() []command {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := q.commands
	q.commands = nil
	return out
}

// OnEvent takes a watch event of the session; it only enqueues.
func (c *Controller) OnEvent(e session.Event) {
	switch {
	case e.Path == zkpaths.ControllerPath:
		c.queue.put(e.Path, evController)
	case e.Path == zkpaths.BrokerIDs || strings.HasPrefix(e.Path, zkpaths.BrokerIDs+"/"):
		c.queue.put(zkpaths.BrokerIDs, evBrokers)
	case e.Path == zkpaths.Topics:
		c.queue.put(e.Path, evTopics)
	case e.Path == zkpaths.DeleteTopics:
		c.queue.put(e.Path, evDeletions)
	case e.Path == zkpaths.ConfigChanges:
		c.queue.put(e.Path, evConfigs)
	case e.Path == zkpaths.LogDirEvents:
		c.queue.put(e.Path, evDirs)
	case e.Path == zkpaths.ReassignPath:
		c.queue.put(e.Path, evReassign)
	case e.Path == zkpaths.PreferredElectionPath:
		c.queue.put(e.Path, evPreferred)
	default:
		if _, ok := zkpaths.ParseTopicPath(e.Path); ok {
			c.queue.put(e.Path, evTopic)
		}
	}
}

// OnState takes a change of the session; it only enqueues.
func (c *Controller) OnState(s session.State) {
	switch s.Kind {
	case session.Expired:
		c.queue.put("expired", evExpired)
	case session.Connected, session.NewSession:
		c.queue.put(zkpaths.ControllerPath, evController)
	}
}

// Run takes part in elections and reigns when elected, until ctx ends. It must
// start after this broker has registered. At the end it gives the throne up, so
// that the next one need not wait for the session.
func (c *Controller) Run(ctx context.Context) error {
	select {
	case <-c.meta.Loaded():
	case <-ctx.Done():
		return ctx.Err()
	}
	tick := time.NewTicker(c.opts.Interval)
	defer tick.Stop()
	defer c.leave()
	defer c.asks.Wait()
	defer c.pulse.End()
	c.queue.put(zkpaths.ControllerPath, evController)
	for {
		c.pulse.Beat()
		for ctx.Err() == nil {
			c.pulse.Beat()
			path, e, cmd, ok := c.queue.take()
			if !ok {
				break
			}
			c.handle(ctx, path, e, cmd)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.queue.wake:
		case <-tick.C:
			c.handle(ctx, zkpaths.ControllerPath, evController, command{})
			for path, e := range c.again {
				c.queue.put(path, e)
			}
			clear(c.again)
			c.tendMoves(ctx)
			c.housekeeping(ctx)
		}
	}
}

// leave resigns at the end of Run and deletes /controller if it is ours.
func (c *Controller) leave() {
	r := c.reign
	c.resign("the broker stops")
	for _, cmd := range c.queue.close() {
		cmd.preempt()
	}
	c.answerISRs(plan.ISRAnswer{Err: ErrNotController})
	if r == nil || c.zk.SessionID() != r.session {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	c.abdicate(ctx, r)
}

// handle does one thing. Errors other than the end of the reign are logged: the
// next look, at most a tick away, tries again.
func (c *Controller) handle(ctx context.Context, path string, e event, cmd command) {
	if cmd.run != nil {
		if c.reign == nil || !c.reign.ready {
			cmd.preempt()
			return
		}
		c.stats.queueTime.Since(cmd.at)
		cmd.run(ctx)
		return
	}
	began := time.Now()
	err := c.look(ctx, path, e)
	if h := c.stats.timeOf(e); h != nil && c.reign != nil {
		h.Since(began)
	}
	if err == nil || ctx.Err() != nil || errors.Is(err, ErrNotController) {
		return
	}
	if errors.Is(err, session.ErrNoNode) {
		c.makeContainers(ctx)
	}
	c.log.Warn("controller: will try again", "event", path, "err", err)
	if c.reign != nil && e != evController && e != evExpired {
		c.again[path] = e
	}
}

// makeContainers makes the start-up znodes again that a hand has deleted.
func (c *Controller) makeContainers(ctx context.Context) {
	for _, p := range zkpaths.StartupPaths() {
		if _, err := c.zk.CreateAll(ctx, p, nil, session.Persistent); err != nil && !errors.Is(err, session.ErrNodeExists) {
			c.log.Warn("a start-up znode can't be made", "path", p, "err", err)
			return
		}
	}
}

func (c *Controller) look(ctx context.Context, path string, e event) error {
	switch e {
	case evExpired:
		c.resign("the ZooKeeper session expired")
		return nil
	case evController:
		return c.lookAtThrone(ctx)
	}
	if c.reign == nil {
		return nil
	}
	switch e {
	case evBrokers:
		return c.lookAtBrokers(ctx)
	case evTopics:
		return c.lookAtTopics(ctx)
	case evTopic:
		topic, _ := zkpaths.ParseTopicPath(path)
		return c.lookAtTopic(ctx, topic)
	case evDeletions:
		return c.lookAtDeletions(ctx)
	case evConfigs:
		return c.lookAtConfigs(ctx)
	case evDirs:
		return c.lookAtReports(ctx)
	case evReassign:
		return c.lookAtReassignments(ctx)
	case evPreferred:
		return c.lookAtPreferred(ctx)
	case evElect:
		return c.settle(ctx)
	}
	return nil
}

// resign ends the reign in memory; calls that wait are told.
func (c *Controller) resign(why string) {
	if c.reign == nil {
		return
	}
	c.log.Info("no longer the controller", "epoch", c.reign.epoch, "reason", why)
	c.reign = nil
	c.epoch.Store(0)
	for _, cmd := range c.queue.drainCommands() {
		cmd.preempt()
	}
}

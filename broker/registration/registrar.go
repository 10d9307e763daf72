package registration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"barnabas/internal/kafka"
	"barnabas/internal/vfs"
	"barnabas/zkpaths"
	"barnabas/zkpaths/session"
)

// Errors of Register; each message names the other broker.
var (
	ErrIDInUse       = errors.New("registration: the broker id is in use")
	ErrEndpointInUse = errors.New("registration: an endpoint is registered by another broker")
	ErrForeign       = errors.New("registration: a broker that is not Barnabas is registered")
)

// Options of New. Client, BrokerID and Endpoints are needed.
type Options struct {
	Client   *session.Client
	BrokerID kafka.BrokerID
	// ClusterID is the cluster to register in; "" asks for no check.
	ClusterID string
	// Endpoints are the advertised listeners, ports resolved.
	Endpoints []zkpaths.Endpoint
	// Bound are the addresses that this process listens on. Listen first, then
	// register.
	Bound  []net.Addr
	Rack   string
	Marker zkpaths.Marker
	// Report is what the controller has to know together with the registration: the
	// content of a znode of zkpaths.LogDirEvents, nil for nothing. Default: nothing.
	Report func() []byte

	// FS and LogDirs are where the session is recorded. The lock of every
	// directory must be held from before Register until after Run.
	FS      vfs.FS
	LogDirs []string
	// MachineID and BootID tell this machine from others; "" is unknown.
	MachineID, BootID string
	// LockIdentity gives device and inode of a directory's lock file. Default:
	// from FS.
	LockIdentity func(dir string) (device, inode uint64, err error)

	// Dialer probes endpoints; default net.Dialer.
	Dialer func(ctx context.Context, network, addr string) (net.Conn, error)
	// Interval is the time between looks at our own znode. Default 1 s.
	Interval time.Duration
	// OnRegistered is told each new broker epoch, OnLost that the last one no
	// longer stands, or may not (leading must stop at once). One call at a time;
	// they must not wait for the Registrar.
	OnRegistered func(kafka.BrokerEpoch)
	OnLost       func()
	// ReadOn brings the image of the cluster to the end of the change log, after a
	// sync. Default: nothing is to be read.
	ReadOn func(context.Context) error
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Dialer == nil {
		o.Dialer = new(net.Dialer).DialContext
	}
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	if o.OnRegistered == nil {
		o.OnRegistered = func(kafka.BrokerEpoch) {}
	}
	if o.OnLost == nil {
		o.OnLost = func() {}
	}
	if o.ReadOn == nil {
		o.ReadOn = func(context.Context) error { return nil }
	}
	if o.Report == nil {
		o.Report = func() []byte { return nil }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Registrar holds one broker's registration. Register and Run are called by one
// goroutine, the rest by any.
type Registrar struct {
	o     Options
	log   *slog.Logger
	wake  chan struct{} // one token: the session changed
	epoch atomic.Int64  // 0: not registered
	// overdue is when the session may be over, Unix nanoseconds; 0 while there is a
	// connection.
	overdue atomic.Int64
	judged  atomic.Bool // see Judged
	telling sync.Mutex  // guards doubt; held while OnRegistered and OnLost run
	doubt   doubting

	// Used by Register and Run only.
	session int64 // that owns, or owned, our last registration
	version int32 // of our znode as we left it
	data    []byte
	report  []byte // of the present attempt
}

// New makes a Registrar; Register does the first work.
func New(o Options) *Registrar {
	o = o.withDefaults()
	return &Registrar{o: o, log: o.Logger.With("broker", o.BrokerID), wake: make(chan struct{}, 1)}
}

// Epoch is the present broker epoch; false while there is none.
func (r *Registrar) Epoch() (kafka.BrokerEpoch, bool) {
	e := r.epoch.Load()
	return kafka.BrokerEpoch(e), e != 0
}

// Judged tells that nothing counts any more on what the machine may have lost when it
// crashed: what this broker is in sync with it has copied since. A registration that
// it makes after another loss of the session is not one of a crash.
func (r *Registrar) Judged() { r.judged.Store(true) }

// OnEvent takes a watch event of the session; it only wakes Run.
func (r *Registrar) OnEvent(e session.Event) {
	if e.Path == zkpaths.BrokerPath(r.o.BrokerID) {
		r.SessionChanged(session.State{})
	}
}

// Leave removes the registration, so that others take over at once instead of
// when the session ends. Run must have ended.
func (r *Registrar) Leave(ctx context.Context) error {
	if r.epoch.Load() == 0 {
		return nil
	}
	r.lost()
	err := r.o.Client.Delete(ctx, zkpaths.BrokerPath(r.o.BrokerID), r.version)
	if errors.Is(err, session.ErrNoNode) || errors.Is(err, session.ErrBadVersion) { // not ours any more
		return nil
	}
	return err
}

// SessionChanged is to be called with what session.Options.OnState tells; it
// never blocks. An expiry is a loss at once.
func (r *Registrar) SessionChanged(s session.State) {
	r.connection(s)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// errRetry says that the znodes moved and the attempt is to be repeated.
var errRetry = errors.New("registration: try again")

// waitError says that the id is held by a session that may be dead.
type waitError struct {
	host string
	why  error
}

func (e *waitError) Error() string {
	return fmt.Sprintf("registered by another session, at %s (not provably ours: %v)", e.host, e.why)
}

// Register makes the first registration. It waits for an old session of this id
// that nobody answers for, for two session timeouts. What another broker forbids
// is an error at once.
func (r *Registrar) Register(ctx context.Context) (kafka.BrokerEpoch, error) {
	limit := 2*r.o.Client.SessionTimeout() + 2*time.Second
	start := time.Now()
	told := false
	for {
		err := r.attempt(ctx)
		if err == nil {
			e, _ := r.Epoch()
			return e, nil
		}
		if ctx.Err() != nil {
			return 0, fmt.Errorf("registration of broker %d: %w", r.o.BrokerID, err)
		}
		var wait *waitError
		switch {
		case errors.As(err, &wait):
			if time.Since(start) > limit {
				return 0, fmt.Errorf("%w: broker %d is %w after %v", ErrIDInUse, r.o.BrokerID, err, limit)
			}
			if !told {
				told = true
				r.log.Warn("waiting for the old session of this broker id to expire", "atMost", limit, "host", wait.host, "why", wait.why)
			}
		case errors.Is(err, ErrIDInUse), errors.Is(err, ErrEndpointInUse), errors.Is(err, ErrForeign):
			return 0, err
		case !transient(err):
			return 0, fmt.Errorf("registration of broker %d: %w", r.o.BrokerID, err)
		}
		r.pause(ctx, err)
	}
}

// transient reports whether the next try may go better without anybody's help.
func transient(err error) bool {
	return errors.Is(err, errRetry) || errors.Is(err, session.ErrConnectionLost) || errors.Is(err, session.ErrExpired) || errors.Is(err, context.DeadlineExceeded)
}

// pause waits a little between attempts: not at all where the znodes moved.
func (r *Registrar) pause(ctx context.Context, err error) {
	if errors.Is(err, errRetry) {
		return
	}
	t := time.NewTimer(r.o.Interval / 5)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.wake:
	case <-ctx.Done():
	}
}

// Run keeps the registration until ctx ends. It has no last try.
func (r *Registrar) Run(ctx context.Context) error {
	tick := time.NewTicker(r.o.Interval)
	defer tick.Stop()
	r.SessionChanged(session.State{}) // the first look leaves the watch
	var told string
	for ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-r.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
		for ctx.Err() == nil && !r.stands(ctx) {
			r.lost()
			err := r.attempt(ctx)
			if err == nil {
				told = ""
				continue // one more look, which leaves a watch
			}
			if text := err.Error(); text != told && ctx.Err() == nil && !errors.Is(err, errRetry) {
				told = text
				r.log.Error("can't register; trying on", "err", err)
			}
			r.pause(ctx, err)
		}
		r.resume(ctx)
	}
	return ctx.Err()
}

// stands compares our znode with what we wrote. No answer is no loss: while all
// of ZooKeeper is gone, leaders lead on; the session's end tells otherwise.
func (r *Registrar) stands(ctx context.Context) bool {
	if r.epoch.Load() == 0 {
		return false
	}
	if id := r.o.Client.SessionID(); id != 0 && id != r.session {
		r.log.Warn("the session that held the registration is gone")
		return false
	}
	if !r.o.Client.Connected() {
		return !r.o.Client.Expired(r.session)
	}
	ctx, cancel := context.WithTimeout(ctx, r.o.Interval)
	defer cancel()
	st, ok, err := r.o.Client.ExistsW(ctx, zkpaths.BrokerPath(r.o.BrokerID))
	switch {
	case err != nil:
		return !errors.Is(err, session.ErrExpired)
	case !ok:
		r.log.Warn("our registration is gone")
		return false
	case st.Czxid != r.epoch.Load() || st.EphemeralOwner != r.session || st.Version != r.version:
		r.log.Warn("our registration was changed", "czxid", st.Czxid, "version", st.Version)
		return false
	}
	return true
}

// lost tells once that the epoch no longer stands.
func (r *Registrar) lost() {
	r.telling.Lock()
	defer r.telling.Unlock()
	if r.epoch.Swap(0) != 0 {
		r.data, r.doubt.on = nil, false
		r.o.OnLost()
	}
}

// attempt tries once to register.
func (r *Registrar) attempt(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, max(10*time.Second, r.o.Client.SessionTimeout()))
	defer cancel()
	if err := r.sameCluster(ctx); err != nil {
		return err
	}
	err := r.lookAround(ctx)
	if errors.Is(err, session.ErrNoNode) { // the whole tree was deleted under us
		if err = Prepare(ctx, r.o.Client); err == nil {
			err = r.lookAround(ctx)
		}
	}
	if err != nil {
		return err
	}
	id := r.o.Client.SessionID()
	if id == 0 {
		return fmt.Errorf("%w: no session", session.ErrConnectionLost)
	}
	report := r.o.Report()
	if report != nil { // a hand may have deleted its parent
		if _, err := r.o.Client.CreateAll(ctx, zkpaths.LogDirEvents, nil, session.Persistent); err != nil && !errors.Is(err, session.ErrNodeExists) {
			return err
		}
	}
	r.report = report
	if r.data == nil {
		marker := r.o.Marker
		marker.Crashed = marker.Crashed && !r.judged.Load()
		reg := zkpaths.Registration{
			Endpoints: r.o.Endpoints, JMXPort: -1, Timestamp: time.Now().UnixMilli(),
			Rack: r.o.Rack, Marker: &marker,
		}
		r.data = reg.Encode()
	}
	return r.create(ctx, id)
}

// sameCluster refuses to register where /cluster/id is gone or another: ZooKeeper
// was emptied, or is not the one that it was.
func (r *Registrar) sameCluster(ctx context.Context) error {
	if r.o.ClusterID == "" {
		return nil
	}
	_, err := ClusterID(ctx, r.o.Client, r.o.ClusterID)
	return err
}

// lookAround reads all registrations: what other brokers forbid.
func (r *Registrar) lookAround(ctx context.Context) error {
	names, _, err := r.o.Client.Children(ctx, zkpaths.BrokerIDs)
	if err != nil {
		return err
	}
	var ids []kafka.BrokerID
	var paths []string
	for _, n := range names {
		if id, ok := zkpaths.ParseBrokerID(n); ok && id != r.o.BrokerID {
			ids, paths = append(ids, id), append(paths, zkpaths.BrokerPath(id))
		}
	}
	var bad error
	r.o.Client.GetAll(ctx, paths, func(i int, data []byte, _ session.Stat, err error) {
		if err == nil {
			err = r.tolerates(ids[i], data)
		} else if errors.Is(err, session.ErrNoNode) {
			err = nil
		}
		if bad == nil {
			bad = err
		}
	})
	return bad
}

// tolerates judges the registration of another broker.
func (r *Registrar) tolerates(id kafka.BrokerID, data []byte) error {
	reg, err := zkpaths.DecodeRegistration(data)
	if err != nil {
		return fmt.Errorf("%w: broker %d, whose registration can't be read: %w", ErrForeign, id, err)
	}
	if reg.Marker == nil {
		return fmt.Errorf("%w: broker %d at %s. Mixed clusters are not possible yet: stop it first", ErrForeign, id, hostOf(reg))
	}
	for _, theirs := range reg.Endpoints {
		for _, ours := range r.o.Endpoints {
			if theirs.Host == ours.Host && theirs.Port == ours.Port {
				return fmt.Errorf("%w: %s, which we advertise, is advertised by broker %d too", ErrEndpointInUse, ours.Addr(), id)
			}
		}
	}
	return nil
}

func hostOf(reg *zkpaths.Registration) string {
	if len(reg.Endpoints) > 0 {
		return reg.Endpoints[0].Addr()
	}
	return "an unknown host"
}

// create makes the znode for the session id, or finds out why it can't. The
// records of the last session are overwritten only when there is no registration
// left that they could prove to be ours.
func (r *Registrar) create(ctx context.Context, id int64) error {
	path := zkpaths.BrokerPath(r.o.BrokerID)
	data, st, err := r.o.Client.Get(ctx, path)
	if errors.Is(err, session.ErrNoNode) {
		err = r.commit(ctx, id, 0, r.creation(path))
		if errors.Is(err, session.ErrNodeExists) {
			return errRetry
		}
		return err
	}
	if err != nil {
		return err
	}
	switch st.EphemeralOwner {
	case id:
		if bytes.Equal(data, r.data) && st.Version == 1 {
			r.registered(st, id) // our own transaction, whose reply was lost
			return nil
		}
		return r.replace(ctx, id, st) // edited by hand
	case r.session: // our own expired one (KAFKA-7165); 0 is a persistent znode
		if r.session != 0 {
			return r.replace(ctx, id, st)
		}
	}
	if err := r.stale(ctx, data, st); err != nil {
		return err
	}
	return r.replace(ctx, id, st)
}

// creation is the pair of operations of KafkaZkClient.registerBroker: the Stat of
// the second gives the czxid. A report before them has the same zxid, so that it
// is known to be of this registration.
func (r *Registrar) creation(path string) []session.Op {
	ops := []session.Op{session.CreateOp(path, nil, session.Ephemeral), session.SetOp(path, r.data, 0)}
	if r.report != nil {
		ops = append([]session.Op{session.CreateOp(zkpaths.LogDirEventPath, r.report, session.PersistentSequential)}, ops...)
	}
	return ops
}

// commit records the session and runs a transaction that ends in creation.
func (r *Registrar) commit(ctx context.Context, id, replaced int64, ops []session.Op) error {
	r.remember(id, replaced)
	res, err := r.o.Client.Multi(ctx, ops...)
	if err != nil {
		return err
	}
	st := res[len(res)-1].Stat
	if st.EphemeralOwner != id { // the session changed under us
		r.remember(st.EphemeralOwner, 0)
	}
	r.registered(st, st.EphemeralOwner)
	return nil
}

func (r *Registrar) registered(st session.Stat, owner int64) {
	r.telling.Lock()
	defer r.telling.Unlock()
	r.session, r.version, r.doubt.on = owner, st.Version, false
	r.epoch.Store(st.Czxid)
	r.log.Info("registered", "epoch", st.Czxid, "session", fmt.Sprintf("%#x", uint64(owner)))
	r.o.OnRegistered(kafka.BrokerEpoch(st.Czxid))
}
